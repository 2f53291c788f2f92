"""Reads a slim model that was saved, alone or into the user's own class."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TypeVar, overload

from torch import fx, nn

from graphprune import exporting
from graphprune.cutting.grafted import put_into
from graphprune.ground.documents import named, read_text
from graphprune.planning import Plan

__all__ = ["load"]

Model = TypeVar("Model", bound=nn.Module)


@overload
def load(directory: str | Path, operators: Collection[str] = ..., into: None = None) -> fx.GraphModule: ...


@overload
def load(directory: str | Path, operators: Collection[str] = ..., *, into: Model) -> Model: ...


def load(directory: str | Path, operators: Collection[str] = (), into: nn.Module | None = None) -> nn.Module:
    """The slim model that `Result.save` wrote. Neither pickle nor code from the directory is run.

    Args:
        operators: operators of other libraries than torch that the model may call, as "mylib::scale"; their
            libraries must be imported. All others are refused.
        into: of a result of ``graft=True``, the model that was shrunk, with any weights: a copy of it is returned, of
            the same class, with the slim layers.

    Raises:
        InputError: there is no such model, the file is damaged or foreign, or does not fit ``into`` the model.
    """
    path = Path(directory)
    layers = exporting.load_model(path / "model.safetensors" if path.is_dir() else path, operators)
    return layers if into is None else put_into(into, layers, _recorded_plan(path))


def _recorded_plan(directory: Path) -> Plan:
    path = directory / "plan.json"
    return Plan.from_json(named(path, lambda: read_text(path)))
