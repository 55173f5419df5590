"""How long a training may take, and when that is spent."""

from math import ceil

from src.config import Config
from src.text.batches import Batches


def total_steps(config: Config, batches: Batches) -> int:
    """Steps of max_epochs."""
    return max(1, ceil(config.max_epochs * batches.steps_per_epoch))


def budget_spent(config: Config, step: int, total: int, waited: int, seconds: float) -> str:
    """Why training ends behind this step, "" where it goes on. waited: evaluations without a better one."""
    if config.patience is not None and waited >= config.patience:
        return "early stopping"
    if config.max_seconds is not None and seconds >= config.max_seconds:
        return "max_seconds"
    return "max_epochs" if step >= total else ""
