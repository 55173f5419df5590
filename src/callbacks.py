"""What Hydra calls at both ends of a sweep, in the process that launched it."""

from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from src.config import PlacesConfig, TrackingConfig
from src.lab.sweep import Sweep, open_sweep


class Refused(BaseException):
    """Carries an error out of a callback: Hydra makes a mere warning of an Exception there."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class SweepCallback(Callback):
    """Opens the sweep before its first job, closes it behind the last one.

    opened: the sweep that this process has launched and its config, for whoever ends the command: an
    interrupted sweep must be closed, too, and a failed job is told in the exit status.
    """

    opened: ClassVar[tuple[Sweep, PlacesConfig] | None] = None
    failures: ClassVar[int] = 0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.job.name != "train":
            return
        typed = list(config.hydra.overrides.task)
        keys = swept_keys(typed, dict(config.hydra.sweeper.get("params") or {}))
        places = places_of(config)
        several = [text for text in typed if text.partition("=")[0] in keys]
        SweepCallback.failures = 0
        try:
            SweepCallback.opened = open_sweep(places, keys, several), places
        except Exception as error:
            raise Refused(error) from error

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            SweepCallback.close("FINISHED")
        except Exception as error:
            raise Refused(error) from error

    @classmethod
    def close(cls, status: str) -> None:
        """End the sweep, if one is open: its table, its page, its parent."""
        if cls.opened is None:
            return
        from src.lab.sweep_end import close_sweep

        sweep, config = cls.opened
        cls.opened = None
        cls.failures = close_sweep(sweep, config, status)


def places_of(config: DictConfig) -> PlacesConfig:
    """Where the sweep is tracked. (The rest of the config has no value yet where a key is swept.)"""
    tracking: TrackingConfig = OmegaConf.to_object(config.tracking)  # type: ignore[assignment]
    return PlacesConfig(outputs=config.outputs, data_dir=config.data_dir, tracking=tracking)


def swept_keys(typed: list[str], params: dict[str, Any]) -> list[str]:
    """The keys that a sweep varies: those typed with several values, and those of the sweeper's own."""
    parsed = OverridesParser.create().parse_overrides(typed)
    keys = [o.get_key_element() for o in parsed if o.is_sweep_override()]
    return list(dict.fromkeys([*keys, *params]))
