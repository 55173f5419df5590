"""`python -m src.sample`: text from a trained model, streamed to the terminal and kept with its run."""

import hashlib
import sys
from typing import Any

from src.cli import launch


def body(config: Any) -> None:
    import numpy as np

    from src.lab.lookup import lookup
    from src.lab.sampling import sample

    found = lookup(config.run, config)
    rng = np.random.default_rng(config.seed)
    characters = sample(found.model, config.prompt, config.temperature, config.length, rng)
    written = [config.prompt]
    sys.stdout.write(config.prompt)
    for character in characters:
        sys.stdout.write(character)
        sys.stdout.flush()
        written.append(character)
    print()
    digest = hashlib.sha256(config.prompt.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    name = (
        f"written_{digest}_temperature_{config.temperature:g}_seed_{config.seed}_length_{config.length}.txt"
    )
    found.keep(f"samples/{name}", "".join(written) + "\n")


if __name__ == "__main__":
    launch("sample", "sample", body)
