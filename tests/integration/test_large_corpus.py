"""A text much larger than the allowed memory is prepared, read and scored."""

import sys
from pathlib import Path

import pytest

from tests.commands import run_process

SIZE = 40_000_000  # bytes
ALLOWED = 24_000_000  # bytes in addition to interpreter and libraries
# The resamples of an evaluation take 64 MB; n-grams and suffixes of the whole text would take 2 GB.
ALLOWED_TO_EVALUATE = 90_000_000

CHILD = """
import resource, sys
from pathlib import Path

import numpy as np

from src.evaluation import baselines
from src.evaluation.evaluate import evaluate_network
from src.evaluation.text_quality import TextQuality
from src.evaluation.scoring import validation_loss
from src.rnn.parameters import RNNConfig
from src.data.batches import ShuffledWindows
from src.data.corpus import CorpusConfig, prepare
from src.data.normalization import Normalization
from src.data.sources import Source

np.ones((512, 512)) @ np.ones((512, 512))  # OpenBLAS takes its own buffers now
text, data_dir, *allowed = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])
status = Path("/proc/self/status").read_text()
taken = next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
_, hard = resource.getrlimit(resource.RLIMIT_DATA)
resource.setrlimit(resource.RLIMIT_DATA, (taken + allowed[0], hard))

settings = CorpusConfig("file", "utf-8", Normalization(True, True, True), (0.8, 0.1, 0.1))
corpus, made = prepare(Source((text,)).parts, settings, 20, data_dir)
again, made_again = prepare(Source((text,)).parts, settings, 20, data_dir)
assert (made, made_again) == (True, False)

windows = ShuffledWindows(corpus.split("train"), 20, 64, 1, np.random.default_rng(0))
for _ in range(100):
    windows.next()
architecture = RNNConfig(len(corpus.vocabulary), 16)
flat = np.zeros(architecture.size(), np.float32)
validation_loss(architecture, flat, corpus.split("val"), 32_000)

baselines.MAX_REFERENCE_CHARS = 300_000  # what the memory is proportional to, less of it: sooner done
resource.setrlimit(resource.RLIMIT_DATA, (taken + allowed[1], hard))
evaluation = evaluate_network(architecture, flat, corpus, 20, np.random.default_rng(0), 5_000)
assert "reference text: the last 300,000 of " in evaluation.table()
assert TextQuality(corpus).reference_metrics(500).known_words > 0.9
print(corpus.tokens.size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limit of a process' own memory is Linux's")
def test_large_corpus_needs_bounded_memory(tmp_path: Path) -> None:
    line = "Shall I compare thee\u2019s temp\u2019rate \u00c9lan to a summer\u2019s day? \u0416\n".encode()
    ascii_line = b"And often is his gold complexion dimmed, thou art more lovely.\n"
    block = (ascii_line * 30_000 + line * 3_000) * 4
    with (tmp_path / "text.txt").open("wb") as out:
        while out.tell() < SIZE:
            out.write(block)
    arguments = [str(tmp_path / "text.txt"), str(tmp_path / "data"), str(ALLOWED), str(ALLOWED_TO_EVALUATE)]
    environment = {"OPENBLAS_NUM_THREADS": "1", "PATH": ""}
    process = run_process([sys.executable, "-c", CHILD, *arguments], env=environment).check()
    assert int(process.out) > 0.9 * SIZE
