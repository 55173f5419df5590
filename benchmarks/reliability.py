"""Writes benchmarks/reliability.md, the table of guarantees, from the results of the other benchmarks.

make bench-reliability
"""

import json
from pathlib import Path
from typing import Any

from src.common.files import write_text

HERE = Path(__file__).parent
RESULT = HERE / "reliability.md"


def read_result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found


def yes(value: bool) -> str:
    return "yes" if value else "**NO**"


def least_digits(kernels: dict[str, Any], score: str) -> float:
    """Return the decimal digits of a score that all families agree on."""
    return min(float(d) for pair in kernels["pairs"] if (d := pair["digits"][score]) is not None)


def rows() -> list[tuple[str, str, str]]:
    """Return promise, figure and file of each row."""
    resume, outage, text, bits = (read_result(n) for n in ("resume", "outage", "large_corpus", "determinism"))
    kernels = read_result("kernels")
    away, eight = outage["outage"], outage["eight_at_once"]
    big = text["preprocess"][-1]
    last = max(bits["differences"], key=lambda d: (d["step"], d["weights"]))
    return [
        (
            "a training killed (SIGKILL) and resumed again and again ends with the bits of one left alone",
            f"{resume['kills']} kills, {resume['kills_while_a_checkpoint_was_written']} amid a checkpoint"
            f"; weights equal: {yes(resume['weights_equal'])}; all {resume['points']} points equal: "
            f"{yes(resume['points_equal'])}",
            "resume.json",
        ),
        (
            "a checkpoint costs little (default network)",
            f"{resume['checkpoint']['milliseconds']:.1f} ms, {resume['checkpoint']['bytes'] / 1000:.0f} kB",
            "resume.json",
        ),
        (
            "SIGTERM ends within seconds, resumable",
            f"{resume['seconds_from_sigterm_to_exit']:.1f} s",
            "resume.json",
        ),
        (
            "the tracking server goes away in the middle of training: nothing lost, nothing twice",
            f"away for {away['server_away_seconds']:.0f} s; longest pause between two steps from then on "
            f"{away['longest_pause_from_the_outage_on_seconds']:.2f} s, before it "
            f"{away['longest_pause_before_seconds']:.2f} s; of {away['points']:,} points and "
            f"{away['artifacts']} files {away['points_lost'] + away['artifacts_lost']} lost, "
            f"{away['points_twice'] + away['artifacts_twice']} twice",
            "outage.json",
        ),
        (
            "eight processes begin at once with a database that does not exist yet",
            f"{eight['finished']} of 8 finished; of {eight['points']} points {eight['points_lost']} lost",
            "outage.json",
        ),
        (
            "a text of any size",
            f"{big['mb']:,} MB prepared at {big['mb_per_second']:.0f} MB/s on one core with "
            f"{max(0.0, big['extra_mb']):.0f} MB more than 1 MB takes",
            "large_corpus.json",
        ),
        (
            "training on it takes no more memory",
            "training: "
            + ", ".join(f"{mb:.0f} MB on {size} MB of text" for size, mb in text["train_mb"].items())
            + "; at the end, with baselines learned from at most 5 MB: "
            + ", ".join(f"{mb:.0f}" for mb in text["with_scores_mb"].values()),
            "large_corpus.json",
        ),
        (
            "the same config, seed and number of workers: the same bits",
            ", ".join(f"{n} workers: {yes(same)}" for n, same in bits["repeats"].items()),
            "determinism.json",
        ),
        (
            "the number of BLAS threads changes no bit, with the kernels of any processor",
            f"{', '.join(kernels['families'])}: {yes(not kernels['threads_matter'])}",
            "kernels.json",
        ),
        (
            "between kernels of different processors the scores agree to some digits",
            f"`test/bpc`: {least_digits(kernels, 'test/bpc')} decimal digits, `val/loss`: "
            f"{least_digits(kernels, 'val/loss')}",
            "kernels.json",
        ),
        (
            "across numbers of workers the difference is bounded",
            f"at most {last['weights']:.1e} of the weights' length after {last['step']:,} steps",
            "determinism.json",
        ),
    ]


def main() -> None:
    lines = ["# Reliability: guarantees and measurements", ""]
    lines += ["Written by `make bench-reliability`. Each file says on which processor.", ""]
    lines += ["| guarantee | measured | file |", "| --- | --- | --- |"]
    lines += [f"| {guarantee} | {figure} | [{file}]({file}) |" for guarantee, figure, file in rows()]
    write_text(RESULT, "\n".join(lines) + "\n")
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
