"""`python -m src.sample`: generate text with a trained model; print it and log it to the model's run.

Only the model of the run is needed, not its config.json.
"""

import hashlib
import sys
from collections.abc import Iterator
from typing import Any

from src.cli.main import Invocation, run_command
from src.common.console import echo_err


def main(config: Any, _: Invocation) -> None:
    """Generate texts, print them while they are generated, and save them to the model's run.

    Args:
        config: Validated config, a `src.config.schema.SampleConfig`.

    Raises:
        UserError: The run is unknown, its model cannot be loaded, or the prompt has unknown characters.
    """
    import attrs
    import numpy as np

    from src.common.files import write_text
    from src.generation.sampling import sample_many
    from src.tracking.run_store import open_attended_store

    store = open_attended_store(config)
    run = store.find(config.run)
    model = store.load_model(run)
    if config.prompt is None:
        config = attrs.evolve(config, prompt=model.prompt)
    rng = np.random.default_rng(config.seed)
    restrictions = {"top_k": config.top_k, "top_p": config.top_p}
    settings = (config.prompt, config.temperature, config.length, rng, config.num_samples)
    texts = sample_many(model, *settings, **restrictions)
    echo_err(run.describe(config.run))
    written = []
    for part in interleave(config.prompt, config.num_samples, texts):
        sys.stdout.write(part)
        sys.stdout.flush()
        written.append(part)
    store.save_files(run, {f"samples/{file_name(config)}": lambda file: write_text(file, "".join(written))})


def interleave(prompt: str, count: int, texts: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """Iterate over the parts of the output: the first text while it is generated, the other texts after it.

    Args:
        prompt: Text that the network read, the beginning of each text.
        count: Number of texts, >= 1.
        texts: For each generated position, one character per text.

    Yields:
        Parts of the output, to be printed one after the other.
    """
    rest: list[list[str]] = [[] for _ in range(count - 1)]
    yield (heading(1, count) if count > 1 else "") + prompt
    for first, *others in texts:
        yield first
        for text, character in zip(rest, others, strict=True):
            text.append(character)
    yield "\n"
    for number, text in enumerate(rest, 2):
        yield f"\n{heading(number, count)}{prompt}{''.join(text)}\n"


def heading(number: int, count: int) -> str:
    """Return the line above one of several texts.

    Args:
        number: Number of the text, from 1.
        count: Number of texts.

    Returns:
        The line with its line end.
    """
    return f"--- {number} of {count}\n"


def file_name(config: Any) -> str:
    """Return a file name that differs wherever the generated text may differ.

    Args:
        config: Validated config, a `src.config.schema.SampleConfig`.

    Returns:
        The name, made of a digest of the prompt and the sampling settings; settings that are off are left
        out.
    """
    digest = hashlib.sha256(config.prompt.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    name = f"written_{digest}_temperature_{config.temperature:g}_seed_{config.seed}_length_{config.length}"
    name += "" if config.top_k is None else f"_top_k_{config.top_k}"
    name += "" if config.top_p is None else f"_top_p_{config.top_p:g}"
    name += f"_samples_{config.num_samples}" if config.num_samples > 1 else ""
    return name + ".txt"


if __name__ == "__main__":
    run_command("sample", "sample", main)
