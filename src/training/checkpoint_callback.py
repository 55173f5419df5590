"""A run's checkpoints: what they hold beside the training itself, and whether that fits what goes on."""

from dataclasses import asdict

from src.common.atomic_io import write_text
from src.common.console import say
from src.common.errors import InputError
from src.data.corpus import Corpus
from src.rnn.parameters import Architecture
from src.tracking.fingerprint import code_digest
from src.tracking.run import Run
from src.training import checkpoint
from src.training.early_stopping import budget_spent
from src.training.resume import Resumption
from src.training.train_state import Snapshot


class Keeper:
    """Writes the checkpoints of a run, and the samples that it wrote while training.

    watched: the text of samples/while_training.txt.
    """

    def __init__(self, record: Run, corpus: Corpus, architecture: Architecture) -> None:
        self.record = record
        self.file = record.folder / "samples" / "while_training.txt"
        self.file.parent.mkdir(exist_ok=True)
        self.watched = ""
        self.known = {
            "corpus": corpus.digest,
            "code": code_digest(),
            "model": {
                "architecture": asdict(architecture),
                "characters": list(corpus.vocabulary.characters),
                "normalisation": asdict(corpus.normalisation),
            },
        }

    def watch(self, text: str) -> None:
        """Add to the samples."""
        self.watched += text
        write_text(self.file, self.watched)
        self.record.keep(self.file, "samples")

    def keep(self, snapshot: Snapshot) -> None:
        """Write a checkpoint. The journal is on the disk before it: what it says is told is told."""
        told = {
            "training": snapshot.state,
            "journal": self.record.journal.sync(),
            "watched": len(self.watched),
        }
        checkpoint.save(self.record.folder, snapshot.step, snapshot.arrays, told | self.known)

    def resume(self, found: Resumption) -> Snapshot:
        """Where to go on. The samples are again those of the checkpoint's step."""
        state = found.checkpoint.state
        if self.file.exists():
            with self.file.open(encoding="utf-8", errors="surrogatepass", newline="") as file:
                self.watched = file.read(state["watched"])
        return Snapshot(state["training"]["now"]["step"], state["training"], found.checkpoint.arrays)


def check_fits(found: Resumption, corpus: Corpus, total: int) -> None:
    """Refuse another text, and a run that has nothing left to do; say so when the code is another.

    total: steps of the whole training.
    """
    state, folder, config = found.checkpoint.state, found.folder, found.config
    if state["corpus"] != corpus.digest:
        raise InputError(
            f"resume: expected the corpus of run {folder.name} (digest {state['corpus'][:12]}), got another "
            f"{corpus.name} ({corpus.digest[:12]}): has the text changed?"
        )
    now, best = state["training"]["now"], state["training"]["best"]
    spent = budget_spent(config, now["step"], total, best["waited"], now["seconds"])
    if found.status == "FINISHED" and spent:
        key = "patience" if spent == "early stopping" else spent
        raise InputError(
            f"resume: expected a run with something left to do, got {folder.name}, finished by {spent}: to "
            f"train it further give a larger {key} (now {getattr(config, key):g})"
        )
    if state["code"] != code_digest():
        say("resume: the code has changed since: the bits may come out otherwise")
