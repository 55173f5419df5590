"""Job results for tests of experiments."""

from dataclasses import replace
from math import log

from src.common.job_result import JobResult

UNIFORM = 4.75


def job_result(swept: dict[str, str], status: str = "FINISHED", **metrics: float) -> JobResult:
    found = {"test/uniform_bpc": UNIFORM} | {name.replace("__", "/"): v for name, v in metrics.items()}
    curve = [(10, 3.3), (20, 2.5), (30, metrics.get("val__loss", 2.0))]
    curves = {"train/loss": curve, "val/loss": curve}
    return JobResult(str(swept), 0, swept, "id", status, metrics=found, curves=curves)


def clipping_sweep() -> list[JobResult]:
    """Return a sweep in which only the high learning rate diverges."""
    results = []
    for lr in ("0.3", "3"):
        for clip in ("0.5", "25", "null"):
            for length in ("20", "100"):
                for seed in ("1", "2"):
                    bad = lr == "3" and clip != "0.5"
                    loss = 30.0 if bad else 2.0 if lr == "3" else 2.3 if clip == "null" else 2.31
                    swept = {"lr": lr, "clip": clip, "seq_len": length, "seed": seed}
                    results.append(job_result(swept, val__loss=loss))
    return results


def variants(**bits: tuple[float, ...]) -> list[JobResult]:
    return [
        job_result({"variant": f"x/{name}", "seed": str(k)}, test__bpc=value, test_stateless__bpc=value + 0.1,
            val__loss=value * log(2), test__loss=value * log(2), train__seconds=3.0)
        for name, values in bits.items()
        for k, value in enumerate(values)
    ]  # fmt: skip


def with_gradient(model: str, length: int, decay: float, **swept: str) -> JobResult:
    """Return a job whose gradient falls by a constant factor per character."""
    curve = [(k, 3 * decay**k) for k in range(length)]
    return replace(
        job_result({"model": model, "seq_len": str(length), **swept}, test__bpc=2.0), gradient=curve
    )


def with_samples() -> list[JobResult]:
    samples = [
        {"temperature": t, "prompt": "o ", "text": "love", "seed": 1, "known_words": known, "distinct_2": 1.0,
         "repetition": None if t == 2 else 0.5, "longest_match": 10}
        for t, known in ((0.1, 0.9), (2.0, 0.2))
    ]  # fmt: skip
    return [JobResult("seed=1", 0, {"seed": "1"}, "id", "FINISHED", samples=samples)]
