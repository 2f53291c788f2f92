"""Tries the user's own ``forward`` with slim layers of given widths: without data for shapes, and on random values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.terms import Term, size_of
from graphprune.capture.describe import within_package
from graphprune.capture.export import left_as_it_was, what_failed
from graphprune.capture.grafting import Place, graft
from graphprune.capture.inputs import fresh
from graphprune.capture.program import Program
from graphprune.capture.raising import raise_program
from graphprune.ground.unlogged import unlogged
from graphprune.planning import Plan, make_plan
from graphprune.rewriting import rewrite
from graphprune.verifying import Lively
from graphprune.verifying.differences import TOLERANCE
from graphprune.verifying.grafted import outputs_differ
from graphprune.verifying.nodes import coarsest_dtype
from graphprune.verifying.samples import checked_sizes, random_inputs

__all__ = ["Trials", "drawn_plan", "lively_program", "numbers_at"]

Numbers = Mapping[Place, Term]
DIFFERS = "it computes otherwise with slim layers"


def numbers_at(graph: DependencyGraph, numbers: Numbers, sizes: Mapping[str, int]) -> dict[Place, int]:
    """The values of attributes at these sizes of groups."""
    by_atom = {graph.by_name[name].atom: size for name, size in sizes.items()}
    return {place: size_of(term, by_atom) for place, term in numbers.items()}


def drawn_plan(graph: DependencyGraph, sizes: Mapping[str, int], seed: int) -> Plan:
    """Units of these groups drawn at random; each row of a fibred group has its own."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for name, size in sizes.items():
        order = torch.rand(graph.by_name[name].shape, generator=generator).argsort(-1)
        kept[name] = order[..., :size].sort(-1).values
    return make_plan(graph, kept)


def lively_program(program: Program, model: nn.Module, seed: int) -> Program:
    """The program with random values for which outputs depend on inputs, see `Lively`."""
    values = Lively(model, seed)
    return _with(program, {name: values[name] for name in program.stored if name in set(values)})


def _with(program: Program, tensors: Mapping[str, Tensor]) -> Program:
    stored = {name: item.with_tensor(tensors.get(name, item.tensor)) for name, item in program.stored.items()}
    return replace(program, stored=stored)


class Trials:
    """The user's module with slim layers, at one choice of widths after the other."""

    def __init__(self, graph: DependencyGraph, model: nn.Module, seed: int = 0) -> None:
        self.graph = graph
        self.model = model
        self.seed = seed
        self.count = 0
        self._known: tuple[Any, fx.GraphModule] | None = None
        self._hollow = True
        self._hollow = not self._shapes({}, {})[1]  # the model may ask for values

    def progress(self, sizes: Mapping[str, int], numbers: Numbers) -> tuple[int, str]:
        """How many functions of torch the forward called, and what then failed; all, and nothing, where it ran."""
        self.count += 1
        return self._shapes(sizes, numbers)

    def problem(self, sizes: Mapping[str, int], numbers: Numbers) -> str:
        """What fails where the forward runs on random values; empty where its outputs are the slim model's."""
        program = self._lively
        slim = rewrite(replace(self.graph, program=program), drawn_plan(self.graph, sizes, self.seed))
        layers = raise_program(slim)
        grafted = graft(self.model, layers, numbers_at(self.graph, numbers, sizes))
        inputs = random_inputs(program, self.seed, checked_sizes(program)[0])
        error, problem = outputs_differ(program, layers, grafted, inputs)
        limit = TOLERANCE[coarsest_dtype(program)]
        return problem or ("" if error <= limit else DIFFERS)

    def _shapes(self, sizes: Mapping[str, int], numbers: Numbers) -> tuple[int, str]:
        hollow = self._hollow
        layers = self._layers(sizes)
        grafted = graft(self.model, layers, numbers_at(self.graph, numbers, sizes), hollow)
        calls = _Calls()
        args, kwargs = fresh(self.graph.program.example)
        device = "meta" if hollow else "cpu"
        args, kwargs = tree_map_only(Tensor, lambda tensor: tensor.to(device), (args, kwargs))
        try:
            with left_as_it_was(grafted), unlogged(), torch.device(device), calls:
                grafted(*args, **kwargs)
        except Exception as error:  # whatever the user's forward raises
            return calls.count, what_failed(error, within_package)
        return calls.count, ""

    def _layers(self, sizes: Mapping[str, int]) -> fx.GraphModule:
        """The slim model; the last one is remembered."""
        key = (self._hollow, *sorted(sizes.items()))
        if self._known is None or self._known[0] != key:
            program = self._empty if self._hollow else self._lively
            slim = rewrite(replace(self.graph, program=program), drawn_plan(self.graph, sizes, self.seed))
            self._known = (key, raise_program(slim))
        return self._known[1]

    @cached_property
    def _empty(self) -> Program:
        program = self.graph.program
        empty = {n: torch.empty_like(item.tensor, device="meta") for n, item in program.stored.items()}
        return _with(program, empty)

    @cached_property
    def _lively(self) -> Program:
        return lively_program(self.graph.program, self.model, self.seed)


class _Calls(TorchFunctionMode):
    """Counts calls of functions of torch."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))
