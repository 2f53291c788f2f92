"""What stands in the JSON of a stored graph: its schema, see `graphprune.ground.documents`."""

from __future__ import annotations

from typing_extensions import NotRequired, TypedDict

from graphprune.exporting.literals import Json

__all__ = ["GraphDocument"]


class ModuleRecord(TypedDict):
    """A layer, a group of layers, or another name of one."""

    name: str
    named: NotRequired[bool]
    same_as: NotRequired[str]
    args: NotRequired[list[Json]]
    kwargs: NotRequired[dict[str, Json]]


class TensorRecord(TypedDict):
    """A parameter or buffer."""

    name: str
    kind: str
    persistent: NotRequired[Json]
    same_as: NotRequired[str]
    shape: NotRequired[list[int]]
    dtype: NotRequired[str]
    requires_grad: NotRequired[Json]


class NodeRecord(TypedDict):
    """A node; its arguments are as `graphprune.exporting.literals` writes them."""

    name: Json
    op: str
    target: Json
    args: list[Json]
    kwargs: dict[str, Json]


class GraphDocument(TypedDict):
    """A stored graph."""

    format_version: int
    class_name: str
    training: bool
    training_differs: list[str]
    modules: list[ModuleRecord]
    tensors: list[TensorRecord]
    nodes: list[NodeRecord]
