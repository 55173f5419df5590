"""Schemas of the files of a run's directory, as `read_json` validates them.

Imported inside functions: pydantic takes 50 ms to import, and the start of a training reads none of these.
"""

from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic rejects typing's before Python 3.12
)

from pydantic import Field
from typing_extensions import TypedDict

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Data(TypedDict):
    """The corpus of a run. source: where its text was read."""

    name: str
    digest: str
    source: str
    profile: dict[str, Any]


class Start(TypedDict):
    """The first event. time: of every event, milliseconds since 1970."""

    kind: Literal["start"]
    experiment: str
    name: str
    params: dict[str, Any]
    tags: dict[str, str]
    data: Data | None
    time: int


class Metrics(TypedDict):
    """Points of metric curves at an optimizer step."""

    kind: Literal["metrics"]
    step: int
    values: dict[str, float]
    time: int


class Artifact(TypedDict):
    """A file below the run's directory, uploaded to `folder`."""

    kind: Literal["artifact"]
    path: str
    folder: str


class Table(TypedDict):
    """Rows of a table with one set of columns."""

    kind: Literal["table"]
    name: str
    rows: list[dict[str, Any]]


class Model(TypedDict):
    """The directory of the trained model."""

    kind: Literal["model"]
    path: str


class Closing(TypedDict):
    """No more jobs will be added to a sweep."""

    kind: Literal["closing"]


class Sweep(TypedDict):
    """Summary of a sweep. ranked: names of its jobs' directories, the best first."""

    kind: Literal["sweep"]
    name: str
    keys: list[str]
    tags: dict[str, str]
    ranked: list[str]


class End(TypedDict):
    """The last event, unless the run is resumed."""

    kind: Literal["end"]
    status: Status
    reason: str
    time: int


class Resumed(TypedDict):
    """A run continued after its end, or after its process was killed."""

    kind: Literal["resumed"]
    tags: dict[str, str]
    time: int


Event = Annotated[
    Start | Metrics | Artifact | Table | Model | Closing | Sweep | End | Resumed, Field(discriminator="kind")
]


class JobNote(TypedDict):
    """sweep.json: the job of a sweep for which the run was trained. sweep-ID.json: one that reused it."""

    sweep: str
    number: int
    name: str
    swept: dict[str, str]
    reused: NotRequired[bool]


class SampleTable(TypedDict):
    """samples.json as MLflow stores a table."""

    columns: list[str]
    data: list[list[Any]]


class SyncFields(TypedDict):
    """sync_state.json: how much of the event log is in MLflow (`SyncState`)."""

    offset: Annotated[int, Field(ge=0)]
    run_id: str
    experiment: str
    ended: bool


class StoreFields(TypedDict):
    """tracking.json: the store of a run. sweep: directory of the sweep with which a job is uploaded."""

    uri: str
    artifacts: str
    sweep: NotRequired[str]
