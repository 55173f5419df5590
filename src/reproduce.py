"""`python -m src.reproduce`: run the experiments, check every claim, write a report page."""

import shlex
import sys
import time
from typing import Any

from src.cli.main import Invocation, run_command
from src.common.console import echo_err


def main(config: Any, _: Invocation) -> None:
    """Run the experiments; after Ctrl-C, print the command that resumes them.

    Args:
        config: Validated config, a `src.config.schema.ReproduceConfig`.

    Raises:
        KeyboardInterrupt: The command was interrupted.
        UserError: For bad input.
        SystemExit: With status 1, as `reproduce`.
    """
    try:
        reproduce(config)
    except KeyboardInterrupt:
        echo_err(f"\nresume with: {shlex.join(sys.orig_argv)}")
        raise


def reproduce(config: Any) -> None:
    """Run the experiments one after the other, print their claims and write the report page.

    Args:
        config: Validated config, a `src.config.schema.ReproduceConfig`.

    Raises:
        UserError: For bad input, before the first experiment; or for jobs that lack a measured value.
        SystemExit: With status 1, where a claim failed or a requested experiment did not run.
    """
    from src.common.console import ExperimentProgress, format_duration
    from src.common.files import absolute, write_text
    from src.experiments.claims import tally
    from src.experiments.results import (
        describe_environment,
        earlier_measures,
        expected_seconds,
        record,
        render_page,
    )
    from src.experiments.runner import (
        EXPERIMENTS,
        QUICK,
        ExperimentResult,
        check_texts,
        get_experiment,
        path_overrides,
        run,
        runs_folder,
    )
    from src.tracking.mlflow_links import ui_location

    outputs, records, overrides = absolute(config.output_dir), runs_folder(config), path_overrides(config)
    texts = {"warandpeace": config.warandpeace, "tinyshakespeare": config.tinyshakespeare}
    names = config.experiments or (QUICK if config.preset == "quick" else tuple(EXPERIMENTS))
    check_texts(texts, [get_experiment(name) for name in config.experiments or ()])
    outcomes: list[ExperimentResult] = []
    selected = [get_experiment(name) for name in names]
    expected = [expected_seconds(e, e.preset(config.preset), records) for e in selected]
    speed = 1.0  # duration on this machine, divided by the expected one
    for number, (name, experiment) in enumerate(zip(names, selected, strict=True)):
        if past := sum(s for s, outcome in zip(expected, outcomes, strict=False) if not outcome.missing):
            speed = sum(outcome.seconds for outcome in outcomes) / past
        after = speed * sum(expected[number + 1 :])
        label = f"{number + 1}/{len(names)} {name}"
        progress = ExperimentProgress(label, time.time(), speed * expected[number], after)
        echo_err(f"\n== experiment {label}, total {format_duration(progress.seconds + after)} left")
        preset = experiment.preset(config.preset)
        earlier = earlier_measures(records, experiment.name, preset) if experiment.part else None
        outcome = run(experiment, preset, overrides, records, texts, earlier, progress)
        if not outcome.missing:
            record(outcome, records)
        outcomes.append(outcome)
        lines = [f"\n{name}: {outcome.missing}" if outcome.missing else f"\n{name}"]
        if experiment.command == "src.train":  # the pipeline prints its own claims
            lines += [claim.line() for claim in outcome.claims]
        print("\n".join(lines), flush=True)
    file = outputs / "reproduction.html"
    ui = ui_location(config) if config.tracking.enabled else ("", "")
    write_text(file, render_page(outcomes, describe_environment(config.preset), ui))
    passed = [claim.passed for outcome in outcomes for claim in outcome.claims]
    print(f"\n{tally(passed)}; the claims, figures and samples: {file}", flush=True)
    missing = any(outcome.missing for outcome in outcomes)
    if False in passed or (missing and (config.preset == "quick" or config.experiments is not None)):
        sys.exit(1)


if __name__ == "__main__":
    run_command("reproduce", "reproduce", main)
