"""The graph of a slim program, made from the original's, is as good as the original's."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.raising import raise_program
from graphprune.planning import Budget, Constraints, choose, find_limits, make_plan
from graphprune.rewriting import rewrite, slim_graph
from graphprune.scoring import find_importance
from graphprune.verifying import verify
from models_zoo.blocks import BLOCKS
from models_zoo.small_transformers import SMALL_TRANSFORMERS

torch.set_num_threads(1)
# concatenation, weights that are computed, recurrent cells; fibred heads; literals that grow with the batch
NAMES = ("unet_transposed", "weight_standardised", "gru_tagger", "mlp_mixer", "squeeze_excite")
TRANSFORMERS = ("bloom", "llama")


def traced(name: str) -> DependencyGraph:
    model = BLOCKS[name] if name in BLOCKS else SMALL_TRANSFORMERS[name]
    return gp.trace(model.build(), model.example_inputs(2))


def without_a_third(graph: DependencyGraph, seed: int) -> gp.Plan:
    scores = find_importance("random")(graph, graph.program.tensors, seed)
    return make_plan(graph, choose(graph, scores, Budget("ratio", 0.3), find_limits(graph, Constraints())))


@pytest.mark.parametrize("name", [*NAMES, *TRANSFORMERS])
def test_a_second_plan_is_exact_and_both_are_one(name: str) -> None:
    if name in TRANSFORMERS:
        pytest.importorskip("transformers")
    graph = traced(name)
    first = without_a_third(graph, seed=1)
    slim = rewrite(graph, first)
    again = slim_graph(graph, first, slim)
    assert again.cost() == graph.cost({n: kept.shape[-1] for n, kept in first.groups.items()})
    second = without_a_third(again, seed=2)
    slimmer = rewrite(again, second)
    assert verify(again, second, slimmer, raise_program(slimmer)).passed
    whole = first.then(second, graph)
    direct = rewrite(graph, whole)
    for stored in direct.stored.values():
        assert torch.equal(stored.tensor, slimmer.stored[stored.name].tensor), stored.name
    assert verify(graph, whole, direct, raise_program(direct)).passed


def test_values_have_the_shapes_that_they_have() -> None:
    graph = traced("gru_tagger")
    plan = without_a_third(graph, seed=3)
    slim = rewrite(graph, plan)
    again = slim_graph(graph, plan, slim)
    for name, stored in slim.stored.items():
        if name in graph.tensor_terms:
            assert tuple(stored.tensor.shape) == tuple(term.size for term in again.tensor_terms[name])
    prime = again.program.batch_primes[0]
    for operation in again.program.operations:
        for value in operation.outputs:
            assert value.shape == tuple(term.size for term in again.analysis.terms[value.name])
    assert any(size % prime == 0 for value in again.program.values.values() for size in value.shape)


def test_a_second_plan_of_something_else_is_refused() -> None:
    graph = traced("unet_transposed")
    first = without_a_third(graph, seed=1)
    with pytest.raises(gp.PlanError, match="that the first one does not leave"):
        first.then(make_plan(graph, {g.name: torch.arange(1, g.size) for g in graph.groups[:1]}), graph)
    with pytest.raises(gp.PlanError, match="another model"):
        first.then(first, traced("mlp_mixer"))
