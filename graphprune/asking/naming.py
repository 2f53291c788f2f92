"""Modules and parameters of the model in the place of their names, as options may give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from glob import escape
from typing import Any

from torch import Tensor, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.ground.errors import InputError

__all__ = ["SYNONYMS", "named"]

# what other tools call an option
SYNONYMS: Mapping[str, str] = dict.fromkeys(
    "exclude excluded frozen ignore ignored ignored_layers ignored_modules skip".split(), "protect"
) | dict.fromkeys("pruning_ratio_dict layer_ratio layer_ratios ratio_dict".split(), "ratios")


def named(model: nn.Module | DependencyGraph, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with names of layers in the place of modules and parameters of the model.

    Raises:
        InputError: one is no part of the model, or is neither a name nor a module.
    """
    found = dict(options)
    if (protect := options.get("protect")) is not None:
        found["protect"] = _parts(model, "protect", protect)
    if isinstance(ratios := options.get("ratios"), Mapping):
        found["ratios"] = _ratios(model, ratios)
    if isinstance(ties := options.get("ties"), list | tuple):
        found["ties"] = tuple(item if isinstance(item, str) else _parts(model, "ties", item) for item in ties)
    return found


def _parts(model: nn.Module | DependencyGraph, option: str, given: Any) -> tuple[str, ...]:
    """The patterns of one part of the model, or of several."""
    alone = isinstance(given, str | Tensor | nn.Module)
    if not alone and not isinstance(given, Iterable):
        raise InputError(
            f"{option}={given!r} names no layers", "give patterns of names, or modules of the model"
        )
    return tuple(_name(model, option, item) for item in ([given] if alone else given))


def _ratios(model: nn.Module | DependencyGraph, given: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, ratio in given.items():
        name = _name(model, "ratios", key)
        if found.setdefault(name, ratio) != ratio:
            raise InputError(f"ratios gives {name!r} two values, {found[name]} and {ratio}", "give it one")
    return found


def _name(model: nn.Module | DependencyGraph, option: str, item: Any) -> str:
    """The pattern that stands for this part of the model alone; a text is a pattern already."""
    if isinstance(item, str):
        return item
    kind = type(item).__name__
    if not isinstance(item, nn.Module | Tensor):
        raise InputError(
            f"{option} holds {_short(item)}, a {kind}", "give names of layers, or modules of the model"
        )
    whole = model.program.model if isinstance(model, DependencyGraph) else model
    if whole is None:
        raise InputError(
            f"{option} holds a {kind}, and the model is a graph without modules", "give its name"
        )
    parts = whole.named_modules() if isinstance(item, nn.Module) else whole.named_parameters()
    name = next((name for name, part in parts if part is item), None)
    if name is None:
        raise InputError(
            f"{option} holds a {_short(item)} that is no part of the model",
            "give a module of this model itself, not of a copy of it, or its name",
        )
    return escape(name) if name else "*"


def _short(item: Any) -> str:
    """One line of at most sixty letters."""
    text = f"{type(item).__name__} {tuple(item.shape)}" if isinstance(item, Tensor) else str(item)
    line = text.splitlines()[0].removesuffix("(") if text else type(item).__name__
    return line if len(line) <= 60 else f"{line[:57]}..."
