"""The names that the user gives to dimensions of the inputs, found among the tensors that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from graphprune.capture.dimensions import Dimension
from graphprune.ground.dynamic import Declared, Dynamic
from graphprune.ground.errors import InputError

__all__ = ["given_names", "is_as_asked", "may_vary"]


def given_names(dynamic: Dynamic, dimensions: Sequence[Dimension]) -> dict[tuple[int, int], str]:
    """Place of the tensor and dimension → the name that ``dynamic`` gives; empty where it gives none.

    Args:
        dynamic: as `graphprune.ground.dynamic.read_dynamic` gives it. Inputs may be patterns, such as "past.*"; a
            negative dimension counts from the last.
        dimensions: of all tensors.

    Raises:
        InputError: there is no such tensor or dimension, a dimension has two names, or one name stands for two sizes.
    """
    named: dict[tuple[int, int], str] = {}
    for key, names in dynamic.items() if isinstance(dynamic, Mapping) else ():
        for tensor in _tensors(key, dimensions):
            for dim, name in ((dim, name) for dim, name in names.items() if name):
                at = _dimension(tensor, dim)
                if (other := named.setdefault((at.place, at.dim), name)) != name:
                    raise InputError(
                        f"dynamic calls {at} both {other} and {name}", "give each dimension one name"
                    )
    _check_sizes(named, dimensions)
    return named


def may_vary(dynamic: Dynamic, dimensions: Sequence[Dimension]) -> list[Dimension]:
    """Those of the dimensions that are to be tried."""
    if isinstance(dynamic, Declared):
        return [at for at in dimensions if at.dim in dynamic.get(at.input, {})]
    return [] if dynamic is False else list(dimensions)


def is_as_asked(dynamic: Dynamic, dimensions: Sequence[Dimension]) -> bool:
    """Whether ``dimensions``, of a program, have the names that ``dynamic`` gives; with False, whether none varies."""
    if dynamic is False:
        return not any(at.name for at in dimensions)
    named = given_names(dynamic, dimensions)
    return all(named.get((at.place, at.dim), at.name) == at.name for at in dimensions)


def _tensors(key: str, dimensions: Iterable[Dimension]) -> list[list[Dimension]]:
    """The dimensions of each tensor that ``key`` fits.

    Raises:
        InputError: it fits none.
    """
    by_input: dict[str, list[Dimension]] = {}
    for at in dimensions:
        by_input.setdefault(at.input, []).append(at)
    if key in by_input:
        return [by_input[key]]
    if fitting := [tensor for name, tensor in by_input.items() if fnmatchcase(name, key)]:
        return fitting
    if within := [name for name in by_input if name.startswith(f"{key}.")]:
        raise InputError(
            f"dynamic names {key!r}, which holds the tensors {', '.join(within)}",
            f"name one of them, or all by {key + '.*'!r}",
        )
    raise InputError(f"dynamic names {key!r}, which is no input tensor", f"there are {', '.join(by_input)}")


def _dimension(tensor: Sequence[Dimension], dim: int) -> Dimension:
    count = len(tensor)
    if not -count <= dim < count:
        raise InputError(
            f"dynamic names dimension {dim} of {tensor[0].input}, which has {count}", f"give 0 to {count - 1}"
        )
    return tensor[dim]


def _check_sizes(named: Mapping[tuple[int, int], str], dimensions: Iterable[Dimension]) -> None:
    """Raises where dimensions of one name differ in size."""
    first: dict[str, Dimension] = {}
    for at in dimensions:
        if name := named.get((at.place, at.dim)):
            other = first.setdefault(name, at)
            if other.size != at.size:
                raise InputError(
                    f"dynamic calls both {other} and {at} {name}, but they are {other.size} and {at.size}",
                    "give different sizes different names",
                )
