"""What the model returns: its structure, and the choice of the part that is wanted.

It is brought to tuples, lists and dicts of tensors. Objects that nothing but their class knows how to take apart, such
as the cache of a language model, are returned where they are asked for, or where such an object is an input as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from graphprune.capture.inputs import Inputs
from graphprune.capture.objects import is_object, objects_in, tensors_within
from graphprune.capture.program import Constant
from graphprune.ground.errors import InputError

__all__ = ["Results", "choose_outputs", "output_structure", "plain_results", "positions"]

_DROPPED = Constant("an output that is not wanted")


@dataclasses.dataclass
class Results:
    """What ``forward`` returned while it was watched: the objects among it, path → name of the class."""

    objects: dict[str, str] = dataclasses.field(default_factory=dict)
    empty: set[str] = dataclasses.field(default_factory=set)  # those in which there are no tensors
    others: int = 0  # tensors that stand in no object

    @contextlib.contextmanager
    def plain(self, model: nn.Module) -> Iterator[None]:
        """Makes ``model`` return plain containers."""
        hook = model.register_forward_hook(lambda _model, _inputs, returned: self._take(returned))
        try:
            yield
        finally:
            hook.remove()

    def _take(self, returned: Any) -> Any:
        self.objects, self.empty, self.others = {}, set(), 0
        found = _plain(returned, "", self)
        return () if found is None else found  # None would leave what was returned as it is

    def left_out(self, wanted: Sequence[str], inputs: Inputs) -> tuple[str, ...]:
        """Paths of the objects that nobody asked for, if tensors are left, and if no input is of their class."""
        if wanted or not self.others:
            return ()
        given = {type(item).__name__ for item in objects_in((*inputs[0], *inputs[1].values()))}
        return tuple(path for path, kind in self.objects.items() if kind not in given)

    def notes(self, left_out: Collection[str]) -> tuple[str, ...]:
        """What the user should know about the outputs that are missing."""
        return tuple(
            f"the output {path} is left out, a {self.objects[path]}"
            + ("" if path in self.empty else f"; to have its tensors, name it among outputs=[…, {path!r}]")
            for path in left_out
        )


def plain_results(returned: Any) -> Any:
    """``returned`` in tuples, lists and dicts, as in a captured program. Objects become dicts of their tensors."""
    return _plain(returned, "", Results())


def choose_outputs(
    graph: fx.Graph,
    exported: ExportedProgram,
    wanted: Sequence[str],
    results: Results,
    left_out: Collection[str] = (),
) -> tuple[int, ...]:
    """Leaves only those outputs of ``graph`` that are wanted; their positions among all that the model returns.

    Args:
        wanted: names such as "logits", "0" or "hidden_states.1", a name for everything below it, or patterns; all
            outputs if there are none. A dataclass or mapping names its outputs, a tuple numbers them.
        left_out: paths of what is not returned if there are none.

    Raises:
        InputError: there is no such output, or it is no tensor.
    """
    output = graph.output_node()
    leaves: Any = output.args[0]
    structure = pytree.tree_unflatten(list(range(len(leaves))), exported.call_spec.out_spec)
    paths = dict(_paths(structure))
    tensors = {path: leaf for path, leaf in paths.items() if isinstance(leaves[leaf], fx.Node)}
    for pattern in wanted or (results.empty if not tensors else ()):
        if not any(_fits(path, pattern) for path in tensors):
            raise _unknown(pattern, tensors, results)
    if wanted:
        chosen = sorted(leaf for path, leaf in tensors.items() if any(_fits(path, p) for p in wanted))
    else:
        chosen = sorted(leaf for path, leaf in paths.items() if not any(_below(path, p) for p in left_out))
    output.args = (tuple(leaves[leaf] for leaf in chosen),)
    return tuple(chosen)


def _unknown(pattern: str, tensors: Collection[str], results: Results) -> InputError:
    if pattern in results.empty:
        return InputError(
            f"{f'the output {pattern!r}' if pattern else 'the output'} is a {results.objects[pattern]}, in which no "
            "tensors were found",
            "let forward return its tensors, or shrink a module around the model whose forward does",
        )
    names = ", ".join(path for path in tensors if path) or "a single tensor"
    return InputError(f"the model returns no tensor called {pattern!r}", f"it returns {names}")


def output_structure(graph: fx.Graph, exported: ExportedProgram, chosen: Sequence[int]) -> Any:
    """The structure that forward returns, with the names of values (or plain constants) at its leaves.

    Where only some outputs are wanted, the others are missing in it.
    """
    leaves: list[Any] = [_DROPPED] * exported.call_spec.out_spec.num_leaves
    left: Any = graph.output_node().args[0]
    for place, leaf in zip(chosen, left, strict=True):
        leaves[place] = leaf.name if isinstance(leaf, fx.Node) else Constant(leaf)
    return _without_dropped(_unwrapped(pytree.tree_unflatten(leaves, exported.call_spec.out_spec)))


def positions(returned: Any, chosen: Sequence[int]) -> list[torch.Tensor]:
    """The tensors at these positions among the leaves of what the model returned."""
    leaves = pytree.tree_leaves(plain_results(returned), is_leaf=lambda leaf: leaf is None)
    return [leaves[place] for place in chosen if isinstance(leaves[place], torch.Tensor)]


def _fits(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")


def _below(path: str, above: str) -> bool:
    return path == above or path.startswith(f"{above}.")


def _paths(structure: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """The dotted name of every leaf."""
    if isinstance(structure, int):
        yield path, structure
        return
    items = structure.items() if isinstance(structure, Mapping) else enumerate(structure or ())
    for key, value in items:
        yield from _paths(value, _joined(path, key))


def _joined(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _plain(value: Any, path: str, results: Results) -> Any:
    """Tuples, lists and dicts; dataclasses and other mappings become dicts of their fields."""
    if isinstance(value, Mapping):
        return {key: _plain(item, _joined(path, key), results) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [item.name for item in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name), _joined(path, name), results) for name in names}
    if isinstance(value, list | tuple):
        items = (_plain(item, _joined(path, index), results) for index, item in enumerate(value))
        return list(items) if isinstance(value, list) else tuple(items)
    if is_object(value):
        return _taken_apart(value, path, results)
    results.others += isinstance(value, torch.Tensor)
    return value


def _taken_apart(value: Any, path: str, results: Results) -> Any:
    """The tensors of an object; None, where a class is not known to hold any."""
    results.objects[path] = type(value).__name__
    found = tensors_within(value, private=False)
    if found is None and type(value) in pytree.SUPPORTED_NODES:
        found = pytree.tree_leaves(value)
    if found is None:
        results.empty.add(path)
    return found


def _unwrapped(structure: Any) -> Any:
    """Constants as they are, but for texts, which would be taken for names."""
    if isinstance(structure, Constant):
        return structure if isinstance(structure.value, str) else structure.value
    if isinstance(structure, Mapping):
        return {key: _unwrapped(value) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(map(_unwrapped, structure))
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
