"""What the model returns: its structure, and the choice of the part that is wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from graphprune.capture.program import Constant
from graphprune.ground.errors import InputError

__all__ = ["choose_outputs", "output_structure", "positions"]

_DROPPED = Constant("an output that is not wanted")


def choose_outputs(graph: fx.Graph, exported: ExportedProgram, wanted: Sequence[str]) -> tuple[int, ...]:
    """Leaves only those outputs of ``graph`` that are wanted; their positions among all that the model returns.

    Args:
        wanted: names such as "logits", "0" or "hidden_states.1", a name for everything below it, or patterns; all
            outputs if there are none. A dataclass or mapping names its outputs, a tuple numbers them.

    Raises:
        InputError: there is no such output, or it is no tensor.
    """
    output = graph.output_node()
    leaves: Any = output.args[0]
    if not wanted:
        return tuple(range(len(leaves)))
    structure = _plain(pytree.tree_unflatten(list(range(len(leaves))), exported.call_spec.out_spec))
    paths = {path: leaf for path, leaf in _paths(structure) if isinstance(leaves[leaf], fx.Node)}
    for pattern in wanted:
        if not any(_fits(path, pattern) for path in paths):
            names = ", ".join(path for path in paths if path) or "a single tensor"
            raise InputError(f"the model returns no tensor called {pattern!r}", f"it returns {names}")
    chosen = tuple(sorted(leaf for path, leaf in paths.items() if any(_fits(path, p) for p in wanted)))
    output.args = (tuple(leaves[leaf] for leaf in chosen),)
    return chosen


def output_structure(graph: fx.Graph, exported: ExportedProgram, chosen: Sequence[int]) -> Any:
    """The structure that forward returns, with the names of values (or plain constants) at its leaves.

    Where only some outputs are wanted, the others are missing in it.
    """
    leaves: list[Any] = [_DROPPED] * exported.call_spec.out_spec.num_leaves
    left: Any = graph.output_node().args[0]
    for place, leaf in zip(chosen, left, strict=True):
        leaves[place] = leaf.name if isinstance(leaf, fx.Node) else Constant(leaf)
    return _without_dropped(_plain(pytree.tree_unflatten(leaves, exported.call_spec.out_spec)))


def positions(returned: Any, chosen: Sequence[int]) -> list[torch.Tensor]:
    """The tensors at these positions among the leaves of what the model returned."""
    leaves = pytree.tree_leaves(returned, is_leaf=lambda leaf: leaf is None)
    return [leaves[place] for place in chosen if isinstance(leaves[place], torch.Tensor)]


def _fits(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")


def _paths(structure: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """The dotted name of every leaf."""
    if isinstance(structure, int):
        yield path, structure
        return
    items = structure.items() if isinstance(structure, Mapping) else enumerate(structure or ())
    for key, value in items:
        yield from _paths(value, f"{path}.{key}" if path else str(key))


def _plain(structure: Any) -> Any:
    """Tuples, lists and dicts; dataclasses and other mappings become dicts of their fields."""
    if isinstance(structure, Constant):
        return structure if isinstance(structure.value, str) else structure.value
    if isinstance(structure, Mapping):
        return {key: _plain(value) for key, value in structure.items()}
    if dataclasses.is_dataclass(structure):
        fields = dataclasses.fields(structure)
        return {item.name: _plain(getattr(structure, item.name)) for item in fields}
    if isinstance(structure, list | tuple):
        return (list if isinstance(structure, list) else tuple)(map(_plain, structure))
    return structure


def _without_dropped(structure: Any) -> Any:
    """Nothing is left of a container that held unwanted outputs alone."""
    if isinstance(structure, Mapping):
        kept = {key: _without_dropped(value) for key, value in structure.items()}
        found: Any = {key: value for key, value in kept.items() if value is not _DROPPED}
    elif isinstance(structure, list | tuple):
        found = type(structure)(item for item in map(_without_dropped, structure) if item is not _DROPPED)
    else:
        return structure
    return found if found or not structure else _DROPPED
