"""A logged configuration as today's typed one."""

from dataclasses import asdict, fields
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.common.errors import InputError
from src.config.schema import ASIDE, OPTIMIZERS, SCHEDULES, Config, DataConfig, ModelConfig, TrackingConfig
from src.config.validation import check, keys_of


def restored(logged: dict[str, Any], run: str, commit: str | None, today: Config) -> Config:
    """The config of a logged run, to be trained again in today's places.

    What says where a run is made (ASIDE) is of today, whatever the logged run had.

    logged: config.json. run, commit: the run's id and the commit that it was made with, for complaints.
    today: the config as typed now, of which data.path counts, too, where one was typed. Raises InputError
    for a key that today's schema lacks, or that it has and the run did not, and for a value out of range.
    """
    told = {key: value for key, value in logged.items() if key not in ASIDE}
    told |= {key: value for key, value in asdict(today).items() if key in ASIDE} | {
        "rerun": None,
        "register": False,
    }
    with_commit = f": check out the commit it was made with ({commit})" if commit else ""

    def refused(expected: str, got: str) -> InputError:
        return InputError(f"rerun: expected {expected} in config.json of run {run}, got {got}{with_commit}")

    kinds: dict[str, type] = {"data": DataConfig, "model": ModelConfig, "tracking": TrackingConfig}
    for group, choices in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        chosen = told.get(group)
        name = chosen.get("name") if isinstance(chosen, dict) else None
        if name not in choices:
            raise refused(f"one of {', '.join(choices)} as {group}", str(name))
        kinds[group] = choices[name]
    known = {f.name for f in fields(Config)} - kinds.keys()
    known |= {f"{group}.{key}" for group, kind in kinds.items() for key in keys_of(kind)}
    given = set(told) - kinds.keys()
    for group in kinds:
        if not isinstance(told.get(group), dict):
            raise refused(f"a group {group}", "none")
        given |= {f"{group}.{key}" for key in told[group]}
    if given != known:
        odd = [f"{key}, which is unknown" for key in sorted(given - known)]
        odd += [f"no {key}" for key in sorted(known - given)]
        raise refused("the keys of today's configuration", " and ".join(odd))
    try:
        schema = OmegaConf.structured(Config)
        for group, kind in kinds.items():
            schema[group] = OmegaConf.structured(kind)
        config = OmegaConf.to_object(OmegaConf.merge(schema, told))
        assert isinstance(config, Config)
        check(config)
    except OmegaConfBaseException as error:
        raise refused("values of today's types", str(error).splitlines()[0]) from error
    except InputError as error:
        raise InputError(f"rerun: {error} (config.json of run {run})") from error
    if today.data.path is not None:
        config.data.path = today.data.path
    return config
