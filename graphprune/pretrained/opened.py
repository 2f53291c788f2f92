"""A folder that was looked at: its graph with weights in files, its twin, and the moves that its class can express."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor, nn

from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.capture import capture
from graphprune.capture.easing import eased
from graphprune.exporting import in_dtype
from graphprune.ground.clock import Clock
from graphprune.ground.dynamic import AUTO
from graphprune.ground.errors import CaptureError, InputError
from graphprune.pretrained.blueprint import Blueprint, filled
from graphprune.pretrained.examples import example_inputs, input_names, output_names, task_outputs
from graphprune.pretrained.families import Family, families_of
from graphprune.pretrained.folder import Folder
from graphprune.pretrained.loading import Weights, find_weights
from graphprune.pretrained.move import Move
from graphprune.pretrained.moves import Moves, find_moves
from graphprune.pretrained.open_fields import with_open_fields
from graphprune.pretrained.shaping import Shaping, named
from graphprune.pretrained.twin import small_twin
from graphprune.verifying import Lively

__all__ = ["Model", "Twin", "look_at"]

DEPTHS = (2, 4, 8, 16)  # layers of a twin, until it has groups of every kind


@dataclass(frozen=True)
class Twin:
    """A small model of the class, with lively random weights, and its graph."""

    blueprint: Blueprint
    graph: DependencyGraph
    moves: Moves


@dataclass(frozen=True)
class Model:
    """All that was found out about a folder before anything is planned.

    Args:
        graph: of the whole model; tensors are read when they are asked for.
        shaping: its class, with open fields said.
        moves: of the whole model, each by the move of the twin that has the same fields.
        held: group → why its width stays.
    """

    folder: Folder
    weights: Weights
    graph: DependencyGraph
    shaping: Shaping
    twin: Twin
    moves: Mapping[Move, Move]
    held: Mapping[str, str]

    @cached_property
    def wide(self) -> DependencyGraph:
        """The graph in single precision, for scores and repair; half precision is widened when it is read."""
        return replace(self.graph, program=in_dtype(self.graph.program, torch.float32))


def look_at(folder: Folder, clock: Clock, given: Mapping[str, Tensor] | None = None, seed: int = 0) -> Model:
    """Traces the model and a twin, and finds which widths its configuration can say.

    Args:
        given: example inputs by argument; found by the names of arguments where there are none.

    Raises:
        InputError, CaptureError, WeightsError: the model cannot be read, run or captured.
    """
    with clock("read the folder"):
        weights = find_weights(folder)
    with clock("trace a small twin"):
        twins = _twins(folder.blueprint, not given, seed)
        first = next(twins)
        probe = first[1]
        names = () if given else input_names(probe, probe.config)
        inputs = given or example_inputs(names, folder.blueprint.configuration())
        outputs = task_outputs(output_names(probe, given or example_inputs(names, probe.config)))
    with clock("trace the model"):
        graph = _whole(folder, weights, inputs, outputs)
    with clock("trace a small twin"):
        blueprint, twin_graph = _twin(chain([first], twins), graph, names, given, outputs)
        graph = replace(graph, program=eased(graph.program, twin_graph.program))
    with clock("find what the configuration says"):
        twin = Twin(blueprint, twin_graph, find_moves(blueprint, twin_graph, seed))
        shaping = Shaping(with_open_fields(folder.blueprint, graph), graph)
        moves, held = _carried_over(twin, shaping, weights.dtype.itemsize)
    return Model(folder, weights, graph, shaping, twin, moves, held)


def _twins(blueprint: Blueprint, narrow: bool, seed: int) -> Iterator[tuple[Blueprint, nn.Module]]:
    """Twins with more and more layers, each with its model."""
    for depth in DEPTHS:
        twin = small_twin(blueprint, depth, narrow)
        yield twin, _lively(twin.built(), seed)


def _lively(model: nn.Module, seed: int) -> nn.Module:
    """The model with random values for which outputs depend on inputs; buffers that are computed stay."""
    values = Lively(model, seed)
    for name, tensor in model.named_parameters():
        if tensor.is_floating_point():
            tensor.data.copy_(values[name])
    return model


def _whole(
    folder: Folder, weights: Weights, inputs: Mapping[str, Tensor], outputs: tuple[str, ...]
) -> DependencyGraph:
    """The graph from shapes alone; of a model whose values decide, from the model with its weights, which then go."""
    empty = folder.blueprint.empty(weights.dtype)
    try:
        graph = _traced(empty, inputs, outputs)
    except (CaptureError, InputError):
        whole = filled(folder.blueprint, weights.tensors, weights.dtype)
        graph = _without_values(_traced(whole, inputs, outputs), weights, empty)
    return graph.with_weights(weights.tensors)


def _without_values(graph: DependencyGraph, weights: Weights, model: nn.Module) -> DependencyGraph:
    stored = {
        name: item.with_tensor(item.tensor.to("meta"))
        if any(n in weights.tensors for n in item.names)
        else item
        for name, item in graph.program.stored.items()
    }
    return replace(graph, program=replace(graph.program, stored=stored, model=model))


def _traced(model: nn.Module, inputs: Mapping[str, Tensor], outputs: tuple[str, ...]) -> DependencyGraph:
    return build_graph(capture(model, dict(inputs), outputs, AUTO), False)


def _twin(
    twins: Iterable[tuple[Blueprint, nn.Module]],
    whole: DependencyGraph,
    names: tuple[str, ...],
    given: Mapping[str, Tensor] | None,
    outputs: tuple[str, ...],
) -> tuple[Blueprint, DependencyGraph]:
    """The smallest twin with groups of all kinds that the whole model has."""
    kinds = {family.kind for family in families_of(whole)}
    for made in twins:
        twin, model = made
        graph = _traced(model, given or example_inputs(names, model.config), outputs)
        if kinds <= {family.kind for family in families_of(graph)}:
            break
    return with_open_fields(twin, graph), graph


def _carried_over(
    twin: Twin, shaping: Shaping, itemsize: int
) -> tuple[Mapping[Move, Move], Mapping[str, str]]:
    """The moves of the whole model, and why its other groups are held."""
    why = {family.kind: reason for family, reason in twin.moves.held.items()}
    found: dict[Move, Move] = {}
    for move in twin.moves.moves:
        kinds = [family.kind for family in move.families]
        same = twin.blueprint.values == shaping.blueprint.values
        for families in [list(move.families)] if same else _alike(shaping.families, kinds):
            made = shaping.move(families, move.fields, max(move.grain * 4 // itemsize, move.grain))
            if isinstance(made, Move):
                found[made] = move
            else:
                why |= {family.kind: f"with {named(move.fields)} {made}" for family in families}
    free = {name for move in found for name in move.names}
    held = {
        name: why.get(family.kind, "no such group is in a small model of the class")
        for family in shaping.families
        for name in family.names
        if name not in free
    }
    return found, held


def _alike(families: tuple[Family, ...], kinds: list[str]) -> list[list[Family]]:
    """Families of these kinds, one of each; of a kind alone, which may have several widths, each by itself."""
    named_so = [[family for family in families if family.kind == kind] for kind in kinds]
    if len(kinds) == 1:
        return [[family] for family in named_so[0]]
    return [[some[0] for some in named_so]] if all(len(some) == 1 for some in named_so) else []
