"""`python -m src.reproduce`: the sonnets and the experiments, every claim checked, one page at the end."""

import sys
from typing import Any

from src.cli import launch


def body(config: Any) -> None:
    from src.files import write_text
    from src.lab.experiments import EXPERIMENTS, QUICK, check_texts, record, run
    from src.lab.report import page, section
    from src.lab.report_sonnets import facts, places, sonnets, sonnets_section
    from src.lab.rundir import absolute
    from src.lab.terminal import say

    outputs, typed = absolute(config.outputs), places(config)
    texts = {"warandpeace": config.warandpeace, "tinyshakespeare": config.tinyshakespeare}
    names = config.only or (QUICK if config.size == "quick" else tuple(EXPERIMENTS))
    check_texts(texts, [EXPERIMENTS[name] for name in config.only or ()])
    sections, found = [], []
    if config.only is None:
        say("== sonnets")
        found += sonnets(typed, outputs)
        sections.append(sonnets_section(outputs))
    for name in names:
        experiment = EXPERIMENTS[name]
        say(f"\n== {name}")
        outcome = run(experiment, config.size, typed, outputs, texts)
        if not outcome.missing:
            record(outcome, outputs / "reproduction")
        sections.append(section(outcome))
        found += outcome.verdicts
        print(
            "\n".join(
                [f"\n{name}: {outcome.missing}" if outcome.missing else f"\n{name}"]
                + [v.line() for v in outcome.verdicts]
            ),
            flush=True,
        )
    file = outputs / "reproduction.html"
    write_text(file, page(sections, facts(config.size)))
    held = sum(v.held for v in found)
    print(f"\n{held} of {len(found)} claims reproduced; figures, numbers and samples: {file}", flush=True)
    missing = sum(s.note.startswith("not run") for s in sections)
    if held < len(found) or (missing and config.size == "quick"):
        sys.exit(1)


if __name__ == "__main__":
    launch("reproduce", "reproduce", body)
