"""`python -m src.reproduce`: the sonnets and the experiments, every claim checked, one page at the end."""

import shlex
import sys
from typing import Any

from src.cli.main import Invocation, run_command
from src.common.errors import echo_err


def main(config: Any, _: Invocation) -> None:
    try:
        reproduce(config)
    except KeyboardInterrupt:
        echo_err(f"\ngo on where it was interrupted with: {shlex.join(sys.orig_argv)}")
        raise


def reproduce(config: Any) -> None:
    """Run what is asked for, write the page; exit status 1 where a claim failed or something did not run."""
    from src.common.files import absolute, write_text
    from src.experiments.claims import all_passed, tally
    from src.experiments.report import facts, page, places, section, sonnets, sonnets_section
    from src.experiments.results import earlier_measures, record
    from src.experiments.runner import EXPERIMENTS, QUICK, check_texts, get_experiment, run

    outputs, typed = absolute(config.output_dir), places(config)
    outcomes = outputs / "reproduction"
    texts = {"warandpeace": config.warandpeace, "tinyshakespeare": config.tinyshakespeare}
    names = config.experiments or (QUICK if config.preset == "quick" else tuple(EXPERIMENTS))
    check_texts(texts, [get_experiment(name) for name in config.experiments or ()])
    sections, found = [], []
    if config.experiments is None:
        echo_err("== sonnets")
        found += sonnets(typed, outputs)
        sections.append(sonnets_section(outputs))
    for name in names:
        experiment = get_experiment(name)
        echo_err(f"\n== {name}")
        size = "full" if experiment.part else config.preset
        earlier = earlier_measures(outcomes, experiment.name, size) if experiment.part else None
        outcome = run(experiment, size, typed, outputs, texts, earlier)
        if not outcome.missing:
            record(outcome, outcomes)
        sections.append(section(outcome))
        found += outcome.claims
        print(
            "\n".join(
                [f"\n{name}: {outcome.missing}" if outcome.missing else f"\n{name}"]
                + [v.line() for v in outcome.claims]
            ),
            flush=True,
        )
    file = outputs / "reproduction.html"
    write_text(file, page(sections, facts(config.preset)))
    print(f"\n{tally(found)}; the claims, figures and samples: {file}", flush=True)
    missing = sum(s.note.startswith("not run") for s in sections)
    if not all_passed(found) or (missing and (config.preset == "quick" or config.experiments is not None)):
        sys.exit(1)


if __name__ == "__main__":
    run_command("reproduce", "reproduce", main)
