"""The experiments: what runs each, what it measures, and whether its claims hold."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from src.common.console import ExperimentProgress
from src.common.errors import UserError
from src.common.files import PROJECT, absolute
from src.common.job_result import JobResult, read_results, write_results
from src.common.process import run_module
from src.config.schema import Config, ReproduceConfig
from src.data import sources
from src.experiments import cell_analyses as cells
from src.experiments import training_analyses as training
from src.experiments.claims import ClaimResult, Measures, Preset, check_claims, read_claims
from src.final_evaluation import RunResult
from src.runner import prepare
from src.sweeps.seed_stats import one_per_setting
from src.tracking.run import tracking_store
from src.tracking.run_record import job_result
from src.training.callbacks import EarlyStopping, NullLogger
from src.training.trainer import Trainer

FOLDER = PROJECT / "experiments"
RUNS = "reproduction"  # under output_dir: the runs of the experiments, and their records
PIPELINE_RESULTS = "pipeline/jobs.json"  # under output_dir: the pipeline's run as the only job


@dataclass(frozen=True)
class Experiment:
    """A folder of experiments/.

    Attributes:
        name: Name of the folder.
        measure: Function that measures the jobs.
        plot: Function that draws the jobs and their measures. For an experiment that is run in parts, it
            draws the measures alone.
        command: Module that runs it: a sweep of `src.train`, or `src.pipeline`.
        has_quick: Whether the preset `quick` differs from `full`.
        text: Name of the text of which it may need the user's copy; "" for none.
        needs_copy: Whether it cannot be run without that copy.
        parallel: Whether jobs run side by side; otherwise one job uses all cores.
        part: The part that is run; "" for the whole experiment.
        contrast: Function that selects the jobs whose samples show the point of the experiment, in the order
            of the page.
    """

    name: str
    measure: Callable[[list[JobResult]], Measures]
    plot: Callable[[list[JobResult], Measures], Figure]
    command: Literal["src.train", "src.pipeline"] = "src.train"
    has_quick: bool = True
    text: str = ""
    needs_copy: bool = False
    parallel: bool = True
    part: str = ""
    contrast: Callable[[list[JobResult]], list[JobResult]] = one_per_setting

    @property
    def cli_name(self) -> str:
        """The name in `experiments=`."""
        return f"{self.name}_{self.part}" if self.part else self.name

    def preset(self, requested: Preset) -> Preset:
        """Return the preset that is run.

        Args:
            requested: The preset of the command.

        Returns:
            `requested`; `full` for a part, and where there is no quick preset.
        """
        return requested if self.has_quick and not self.part else "full"

    def config(self, preset: Preset) -> str:
        """Return the name of the experiment's config in conf/experiment/.

        Args:
            preset: `quick` or `full`.

        Returns:
            The name of the file, without `.yaml`.
        """
        return f"{self.name}_quick" if self.preset(preset) == "quick" else self.cli_name

    def arguments(self, preset: Preset) -> list[str]:
        """Return the arguments of the command that select the experiment.

        Args:
            preset: `quick` or `full`.

        Returns:
            The arguments; empty for the pipeline, whose default config is the experiment.
        """
        return ["--multirun", f"experiment={self.config(preset)}"] if self.command == "src.train" else []

    def command_line(self, preset: Preset) -> str:
        """Return the command that a person would type.

        Args:
            preset: `quick` or `full`.

        Returns:
            The command in one line, from `python -m`.
        """
        return " ".join(["python", "-m", self.command, *self.arguments(preset)])


EXPERIMENTS = {
    e.name: e
    for e in (
        Experiment(
            "sonnets", training.measure_sonnets, training.plot_sonnets, "src.pipeline", has_quick=False
        ),
        Experiment(
            "clipping", training.measure_clipping, training.plot_clipping, contrast=training.contrast_clipping
        ),
        Experiment("state", cells.measure_state, cells.plot_state),
        Experiment(
            "temperature", training.measure_temperature, training.plot_temperature,
            contrast=lambda results: results[:1],
        ),
        Experiment("context", cells.measure_context, cells.plot_context),
        Experiment("cells", cells.measure_cells, cells.plot_cells),
        Experiment(
            "tinyshakespeare", training.measure_tinyshakespeare, training.plot_tinyshakespeare,
            has_quick=False, text="tinyshakespeare", parallel=False,
        ),
        Experiment(
            "karpathy2015", cells.measure_karpathy2015, cells.plot_karpathy2015,
            text="warandpeace", needs_copy=True,
        ),
    )
}  # fmt: skip
QUICK = ("sonnets", "clipping", "state", "temperature")  # what `make reproduce` runs


def get_experiment(name: str) -> Experiment:
    """Return an experiment, or a part of one.

    Args:
        name: Name in `experiments=`: of a folder, or of a part such as `karpathy2015_64`.

    Returns:
        The experiment, whose `part` is "" for the whole one.

    Raises:
        KeyError: There is no such experiment.
    """
    whole, _, part = name.partition("_")
    return replace(EXPERIMENTS[whole], part=part)


@dataclass(frozen=True)
class ExperimentResult:
    """Result of an experiment.

    Attributes:
        experiment: The experiment.
        preset: `quick` or `full`.
        results: Results of its jobs.
        measures: Measured value by name.
        claims: The checked claims.
        seconds: Duration in seconds.
        missing: Why the experiment did not run; "" where it did.
        comparison: Path of its jobs' comparison page, relative to RUNS; "" for the pipeline.
    """

    experiment: Experiment
    preset: Preset
    results: list[JobResult] = field(default_factory=list)
    measures: Measures = field(default_factory=dict)
    claims: list[ClaimResult] = field(default_factory=list)
    seconds: float = 0.0
    missing: str = ""
    comparison: str = ""

    def figure(self) -> Figure:
        """Draw the jobs and the measures.

        Returns:
            The figure of the experiment.
        """
        return self.experiment.plot(self.results, self.measures)


def path_overrides(config: ReproduceConfig) -> list[str]:
    """Return the overrides that give a started command its folder and the tracking store of this one.

    The runs of the experiments have their own folder and their own MLflow experiment: `latest` and `best`
    still find the runs of the user.

    Args:
        config: Validated config of the command `reproduce`.

    Returns:
        Overrides such as `output_dir=/path`, with absolute paths.
    """
    overrides = [f"output_dir={runs_folder(config)}", f"data_dir={absolute(config.data_dir)}"]
    overrides.append(f"tracking={config.tracking.name}")
    if config.tracking.enabled:
        overrides.append(f"tracking.uri={tracking_store(config)['uri']}")
        overrides.append(f"tracking.experiment={config.tracking.experiment}")
    return overrides


def runs_folder(config: ReproduceConfig) -> Path:
    """Return the folder of the runs and records of the experiments.

    Args:
        config: Validated config of the command `reproduce`.

    Returns:
        The output folder of the started commands.
    """
    return absolute(config.output_dir) / RUNS


def build_arguments(
    experiment: Experiment, preset: Preset, overrides: list[str], text: str | None
) -> list[str]:
    """Return the arguments that run an experiment; finished jobs of an earlier run are reused.

    Args:
        experiment: The experiment.
        preset: `quick` or `full`.
        overrides: Further overrides of its command (`path_overrides`).
        text: Path of the user's copy of the text; None for the text of the corpus itself.

    Returns:
        The arguments after `python -m MODULE`.
    """
    line = [*experiment.arguments(preset), *overrides]
    if experiment.command == "src.train":
        line.append("skip_finished=true")
        line += ["hydra/launcher=joblib"] if experiment.parallel else []
    return [*line, f"data.path={text}"] if text else line


def check_texts(texts: dict[str, str | None], requested: list[Experiment]) -> None:
    """Check the user's copies of texts, before other experiments run for hours.

    Args:
        texts: Path of each copy by name of the text; None where none was given.
        requested: The experiments that were requested by name.

    Raises:
        UserError: A copy is not the text of that name, or an experiment lacks the copy that it needs.
    """
    for name, given in texts.items():
        if given is not None:
            try:
                sources.find(name, given, Path())
            except UserError as error:
                raise UserError(str(error).replace("data.path: ", f"{name}: ", 1)) from error
    for experiment in requested:
        if experiment.needs_copy and texts.get(experiment.text) is None:
            needed = f"your copy of the text, for experiments=[{experiment.cli_name}]"
            raise UserError(f"{experiment.text}: expected {needed}, got null")


def run(
    experiment: Experiment,
    preset: Preset,
    overrides: list[str],
    outputs: Path,
    texts: dict[str, str | None],
    earlier: Measures | None = None,
    progress: ExperimentProgress | None = None,
) -> ExperimentResult:
    """Run an experiment in a separate process, with its output on this terminal, and read the results.

    Args:
        experiment: The experiment.
        preset: `quick` or `full`.
        overrides: Overrides of its command (`path_overrides`).
        outputs: The output folder that `overrides` names.
        texts: Path of the user's copy by name of the text; None where none was given.
        earlier: Measures of the parts of the experiment that were run earlier; None for none.
        progress: What the lines of the process name; None (the default) for nothing.

    Returns:
        The result; where the text is missing or the process failed, a result with the reason in `missing`.

    Raises:
        KeyboardInterrupt: It was interrupted; raised after its process has ended.
        UserError: The jobs lack something that is to be measured.
    """
    text = texts.get(experiment.text)
    if experiment.needs_copy and text is None:
        missing = f"it requires your copy of the text: {experiment.text}=FILE"
        return ExperimentResult(experiment, preset, missing=missing)
    sweep = experiment.command == "src.train"
    began, start = time.time(), time.perf_counter()
    line = build_arguments(experiment, preset, overrides, text)
    status = run_module(experiment.command, *line, environ=progress.environ() if progress else None)
    files = outputs.glob("sweeps/*/jobs.json" if sweep else PIPELINE_RESULTS)
    new = [file for file in files if file.stat().st_mtime >= began - 1]
    # A sweep with failed jobs exits with 1 (divergence may be the result); the pipeline exits with 2 for a
    # claim that is not reproduced.
    if status not in (0, 1 if sweep else 2) or not new:
        missing = f"{experiment.command} exited with status {status}"
        return ExperimentResult(experiment, preset, missing=missing)
    jobs = max(new, key=lambda file: file.stat().st_mtime_ns)
    result = build_result(experiment, preset, read_results(jobs), time.perf_counter() - start, earlier)
    page = jobs.with_name("comparison.html").relative_to(outputs).as_posix()
    return replace(result, comparison=page if sweep else "")


def build_result(
    experiment: Experiment,
    preset: Preset,
    results: list[JobResult],
    seconds: float = 0.0,
    earlier: Measures | None = None,
) -> ExperimentResult:
    """Measure the jobs and check the claims of experiments/NAME/expected.json.

    Args:
        experiment: The experiment.
        preset: `quick` or `full`.
        results: Results of its jobs.
        seconds: Duration in seconds.
        earlier: Measures of the parts of the experiment that were run earlier; None for none.

    Returns:
        The result with its measures and checked claims.

    Raises:
        UserError: The jobs lack something that is to be measured.
    """
    try:
        measures = (earlier or {}) | experiment.measure(results)
    except (IndexError, KeyError, ValueError) as error:
        raise UserError(
            f"experiment {experiment.name}: expected complete jobs, got {len(results)}, of which some lack "
            f"{error}"
        ) from error
    claims = read_claims(FOLDER / experiment.name / "expected.json", preset)
    checked = check_claims(claims, measures, partly=bool(experiment.part))
    return ExperimentResult(experiment, preset, results, measures, checked, seconds)


def check_pipeline(result: RunResult, config: Config) -> ExperimentResult:
    """Train once more, and check the claims of the experiment `sonnets` against the pipeline's run.

    Writes PIPELINE_RESULTS: the run as the only job, with the measure `repeat/identical`, which is 1 if the
    second training gave the same weights.

    Args:
        result: Result of the pipeline's run.
        config: Validated config of that run.

    Returns:
        The result of the experiment.

    Raises:
        UserError: The run lacks something that is to be measured, or the file cannot be written.
    """
    corpus = prepare(config, with_prompt=False)
    again = Trainer(config, corpus).fit(NullLogger(), [EarlyStopping(config.patience)])
    identical = hashlib.sha256(again.params.tobytes()).hexdigest() == result.weights_sha256
    job = job_result(result.folder, {"sweep": "", "number": 0, "name": "sonnets", "swept": {}}, result.run_id)
    steps = {"train/steps": result.training.steps, "train/best_step": result.training.best_step}
    job = replace(job, metrics=job.metrics | {"repeat/identical": float(identical), **steps})
    write_results(absolute(config.output_dir) / PIPELINE_RESULTS, [job])
    return build_result(EXPERIMENTS["sonnets"], "full", [job], job.seconds)
