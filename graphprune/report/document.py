"""What stands in a report.json: its schema, see `graphprune.ground.documents`.

What every result has is required: a report in which it is missing is damaged, or was cut short.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from graphprune.asking.record import PlanRequest
from graphprune.ground.documents import read_json
from graphprune.ground.errors import InputError
from graphprune.report.tradeoff import SweepDocument

__all__ = ["ReportDocument", "read_report", "sweep_hint"]

Words = list[str]
Figures = dict[str, float | None]
LAYERS = 50_000  # that are drawn at most, and as many groups; edges ten times as many


class Cost(TypedDict):
    """What a model takes."""

    params: int
    macs: int
    onnx_bytes: NotRequired[int]


class Check(TypedDict):
    """One row of the verdict."""

    name: str
    passed: bool
    figure: float | None
    limit: float | None
    detail: str
    ran: NotRequired[bool]


class Verdict(TypedDict):
    """All checks."""

    passed: bool
    checks: list[Check]


class Dimension(TypedDict):
    """One dimension of an input."""

    input: str
    place: int
    dim: int
    size: int
    name: str
    multiple: int
    reason: str


class Member(TypedDict):
    """A dimension of a tensor that loses units with its group."""

    tensor: str
    dim: int
    role: str


class Scores(TypedDict):
    """How the scores of a group are spread."""

    quantiles: list[float]
    removed: list[int]
    kept: list[int]
    cut: float | None


class Group(TypedDict):
    """Units that go together."""

    size: int
    kept: int
    each_of: int | None
    params: float
    macs: float
    members: list[Member]
    scores: NotRequired[Scores]


class Layer(TypedDict):
    """One node of the picture."""

    name: str
    kind: str
    width: list[int]
    params: list[int]
    macs: list[int]
    tensors: Words
    roles: dict[str, str]
    pins: list[list[str | int]]


class Pin(TypedDict):
    """A reason why something cannot be removed."""

    reason: str
    axes: int
    params: int
    unreachable: int
    examples: Words


class Source(TypedDict, total=False):
    """The original; a result that was made in Python has none."""

    model: str
    command: str
    weights: str
    seed: int
    input_shapes: list[list[int]]
    inputs: dict[str, Any]
    digest: str
    notes: Words


class Latency(TypedDict):
    """Times in onnxruntime."""

    original_ms: float
    slim_ms: float
    ratio: float
    batch: NotRequired[int]
    threads: NotRequired[int]
    runs: NotRequired[int]
    interval: NotRequired[list[float]]
    confidence: NotRequired[float]
    layers: NotRequired[dict[str, list[float | None]]]
    layers_note: NotRequired[str]


class Evaluation(TypedDict, total=False):
    """Figures of the models on data."""

    before: Figures
    after: Figures


class Round(TypedDict):
    """One round of a loop."""

    number: int
    before: float | None
    metric: float | None


class Loop(TypedDict):
    """All rounds."""

    rounds: list[Round]


class Missing(TypedDict):
    """A file that a result has not, and why."""

    what: str
    why: str
    remedy: str


class PickedSweep(SweepDocument):
    """The sweep that a result was picked from."""

    picked: float | str


class ReportDocument(TypedDict):
    """The report of a result."""

    format: Literal[1]
    name: str
    versions: dict[str, str]
    request: PlanRequest
    dynamic_batch: bool
    dimensions: list[Dimension]
    notes: Words
    before: Cost
    after: Cost
    verdict: Verdict
    groups: dict[str, Group]
    layers: list[Layer]
    edges: list[list[int]]
    pins: list[Pin]
    source: NotRequired[Source]
    seconds: NotRequired[Figures]
    latency: NotRequired[Latency]
    tidied: NotRequired[Latency]
    evaluation: NotRequired[Evaluation]
    loop: NotRequired[Loop]
    tuning: NotRequired[dict[str, Any]]
    repair: NotRequired[dict[str, Any]]
    sweep: NotRequired[PickedSweep]
    lossless: NotRequired[dict[str, Any]]
    missing: NotRequired[list[Missing]]
    onnx_fixed: NotRequired[dict[str, str]]
    export_dtype: NotRequired[str]
    opset: NotRequired[int]


def sweep_hint(directory: Path) -> str:
    """What to name in the place of a sweep's folder, which is no result; empty of any other folder."""
    if not (directory / "sweep.json").is_file() or (directory / "report.json").exists():
        return ""
    return "it is a sweep: name one of the folders in it, or make one the result with graphprune pick"


def read_report(path: Path) -> dict[str, Any]:
    """The report of a result.

    Raises:
        InputError: it cannot be read, a section is missing, or holds what does not belong there.
    """
    if said := sweep_hint(path.parent):
        raise InputError(said)
    found = read_json(path, ReportDocument)
    count = len(found["layers"])
    if max(count, len(found["groups"]), len(found["edges"]) // 10) > LAYERS:
        raise InputError(f"it has more than {LAYERS} layers or groups")
    if any(len(edge) != 2 or not all(0 <= end < count for end in edge) for edge in found["edges"]):
        raise InputError("an edge leads to no layer")
    if not found["verdict"]["checks"]:
        raise InputError("it has no checks")
    return found
