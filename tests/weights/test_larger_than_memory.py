"""A model whose weights stay in files: scored, cut, written and proved as one in memory is, a tensor at a time."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from folders import llama, tokens, write
from torch import Tensor, fx

import graphprune as gp
from graphprune.capture.program import Program
from graphprune.exporting import in_dtype
from graphprune.planning import Plan, make_plan
from graphprune.rewriting import rewrite
from graphprune.scoring import find_importance
from graphprune.verifying import Verdict, verify_streamed
from graphprune.weights import Shards

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[torch.dtype], Path]:
    """The folder of a model in three shards."""
    made: dict[torch.dtype, Path] = {}

    def of(dtype: torch.dtype) -> Path:
        if dtype not in made:
            made[dtype] = tmp_path_factory.mktemp("llama")
            tensors = llama(dtype).state_dict()
            most = sum(tensor.nbytes for tensor in tensors.values()) * 2 // 5
            assert len(write(made[dtype], tensors, most)) == 4  # and their index
        return made[dtype]

    return of


def lazy(dtype: torch.dtype, weights: Mapping[str, Tensor]) -> gp.DependencyGraph:
    return gp.trace(llama(dtype, values=False), tokens(), outputs=["logits"]).with_weights(weights)


def widened(graph: gp.DependencyGraph) -> gp.DependencyGraph:
    return replace(graph, program=in_dtype(graph.program, torch.float32))


def half(graph: gp.DependencyGraph) -> Plan:
    """Every second unit of each MLP."""
    kept = {name: torch.arange(0, group.size, 2) for name, group in graph.by_name.items() if ".mlp." in name}
    assert len(kept) == 2
    return make_plan(graph, kept, {"ties": [["model.layers.*.mlp.gate_proj"]]})


def written(slim: Program, folder: Path, changes: Mapping[str, Tensor] | None = None) -> Program:
    """The slim program with its weights as they are in files."""
    tensors = {name: slim.tensors[name] for name, item in slim.stored.items() if item.persistent}
    write(folder, {**tensors, **(changes or {})}, most=50_000)
    return slim.with_weights(Shards(folder))


@DTYPES
def test_scores_are_those_of_the_model_in_memory(
    folders: Callable[[torch.dtype], Path], dtype: torch.dtype
) -> None:
    held = widened(gp.trace(llama(dtype), tokens(), outputs=["logits"]))
    read = widened(lazy(dtype, Shards(folders(dtype))))
    for name in ("l2", "fpgm", "wanda", "activation_variance", "taylor"):
        data = None if name in ("l2", "fpgm") else [tokens(1), tokens(2)]
        wanted = find_importance(name, data)(held, held.program.tensors, 0)
        found = find_importance(name, data)(read, read.program.tensors, 0)
        assert found.keys() == wanted.keys()
        judged = [group for group, scores in wanted.items() if scores is not None]
        assert len(judged) >= 9
        assert all(torch.equal(found[group], wanted[group]) for group in judged)
        assert {str(scores.std() > 0) for group, scores in found.items() if ".mlp." in group} == {
            "tensor(True)"
        }


@DTYPES
def test_the_slim_weights_are_those_that_are_cut_in_memory(
    folders: Callable[[torch.dtype], Path], dtype: torch.dtype
) -> None:
    held = gp.trace(llama(dtype), tokens(), outputs=["logits"])
    read = lazy(dtype, Shards(folders(dtype)))
    in_memory, slim = rewrite(held, half(held)), rewrite(read, half(read))
    assert slim.stored["model.layers.0.mlp.up_proj.weight"].tensor.is_meta
    assert slim.tensors["model.layers.0.mlp.up_proj.weight"].shape == (64, 64)
    assert in_memory.stored.keys() == slim.stored.keys()
    assert all(torch.equal(tensor, slim.tensors[name]) for name, tensor in in_memory.tensors.items())


@DTYPES
def test_what_was_written_is_proved(
    folders: Callable[[torch.dtype], Path], dtype: torch.dtype, tmp_path: Path
) -> None:
    graph = lazy(dtype, Shards(folders(dtype)))
    plan = half(graph)
    verdict = verify_streamed(graph, plan, written(rewrite(graph, plan), tmp_path), {"sequence": 8})
    assert verdict.passed, verdict
    figures = {check.name: (check.figure, check.limit) for check in verdict.checks}
    assert figures["own parameters, every node"][0] < 1e-5
    assert figures["own parameters, every node"][1] == 1e-4  # of float32, in which bfloat16 is computed
    assert list(figures) == [
        "tensors as planned",
        "tied groups keep the same share",
        "graph is well formed",
        "parameters as predicted",
        "own parameters, every node",
        "multiply-accumulates as predicted",
    ]


# -- planted faults -----------------------------------------------------------------------------------------
DOWN = "model.layers.1.mlp.down_proj.weight"


def failed(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.detail for check in verdict.checks if not check.passed}


@pytest.fixture
def graph(folders: Callable[[torch.dtype], Path]) -> gp.DependencyGraph:
    return lazy(torch.bfloat16, Shards(folders(torch.bfloat16)))


def one_number(tensor: Tensor, original: Tensor) -> Tensor:
    tensor[3, 5] += 1
    return tensor


def the_other_units(tensor: Tensor, original: Tensor) -> Tensor:
    return original[:, 1::2].clone()


def one_unit_in_the_place_of_another(tensor: Tensor, original: Tensor) -> Tensor:
    return original[:, [1, *range(2, original.shape[1], 2)]]


def one_unit_more(tensor: Tensor, original: Tensor) -> Tensor:
    return original[:, :65].clone()


def another_dtype(tensor: Tensor, original: Tensor) -> Tensor:
    return tensor.float()


@pytest.mark.parametrize(
    "change",
    [one_number, the_other_units, one_unit_in_the_place_of_another, one_unit_more, another_dtype],
)
def test_a_wrong_tensor_in_a_file_is_found(
    graph: gp.DependencyGraph, tmp_path: Path, change: Callable[[Tensor, Tensor], Tensor]
) -> None:
    plan = half(graph)
    slim = rewrite(graph, plan)
    wrong = change(slim.tensors[DOWN], graph.program.tensors[DOWN])
    verdict = verify_streamed(graph, plan, written(slim, tmp_path, {DOWN: wrong}))
    assert failed(verdict) == {"tensors as planned": DOWN}


def test_two_tensors_in_each_others_place_are_found(graph: gp.DependencyGraph, tmp_path: Path) -> None:
    plan = half(graph)
    slim = rewrite(graph, plan)
    gate, up = (f"model.layers.0.mlp.{name}_proj.weight" for name in ("gate", "up"))
    swapped = {gate: slim.tensors[up], up: slim.tensors[gate]}
    verdict = verify_streamed(graph, plan, written(slim, tmp_path, swapped))
    assert failed(verdict) == {"tensors as planned": f"{gate}, {up}"}


def test_a_wrong_operator_is_found_where_it_stands(graph: gp.DependencyGraph, tmp_path: Path) -> None:
    plan = half(graph)
    slim = written(rewrite(graph, plan), tmp_path)
    last = slim.graph.find_nodes(op="call_function", target=torch.ops.aten.silu.default)[-1]
    last.target = torch.ops.aten.relu.default
    found = failed(verify_streamed(graph, plan, slim))
    assert list(found) == ["own parameters, every node"]
    assert "first difference at aten.silu.default of model.layers.1.mlp.act_fn" in next(iter(found.values()))


def test_ties_that_are_not_kept_are_found(graph: gp.DependencyGraph, tmp_path: Path) -> None:
    one = next(name for name in graph.by_name if ".0.mlp." in name)
    plan = make_plan(graph, {one: torch.arange(64)}, {"ties": [["model.layers.*.mlp.gate_proj"]]})
    found = failed(verify_streamed(graph, plan, written(rewrite(graph, plan), tmp_path)))
    assert list(found) == ["tied groups keep the same share"]


# -- memory -------------------------------------------------------------------------------------------------
class Counted(Mapping[str, Tensor]):
    """Tensors of a mapping, with how many of those that it gave are alive at once at most."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights
        self.alive = self.most = self.read = 0

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.weights[name]
        self.alive += 1
        self.read += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(tensor, self._forget)
        return tensor

    def _forget(self) -> None:
        self.alive -= 1

    def __contains__(self, name: object) -> bool:
        return name in self.weights

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def test_few_weights_are_alive_at_once(folders: Callable[[torch.dtype], Path], tmp_path: Path) -> None:
    """Of 21: one that is read, one that a node uses, and one that the comparison remembers."""
    weights = Counted(Shards(folders(torch.float32)))
    graph = lazy(torch.float32, weights)
    assert weights.read == 0
    find_importance("wanda", [tokens(1), tokens(2)])(graph, graph.program.tensors, 0)
    assert weights.read >= 2 * 21
    assert weights.most <= 2
    plan = half(graph)
    slim = rewrite(graph, plan)
    written(slim, tmp_path)
    cut = Counted(Shards(tmp_path))
    weights.most = weights.alive
    assert verify_streamed(graph, plan, slim.with_weights(cut)).passed
    assert weights.most <= 3
    assert cut.most <= 3
    assert (weights.alive, cut.alive) == (0, 0)


# -- weights that do not fit --------------------------------------------------------------------------------
def test_weights_of_another_model_are_refused(folders: Callable[[torch.dtype], Path]) -> None:
    shards = Shards(folders(torch.float32))
    few = {name: shards[name] for name in shards if ".1." not in name}
    with pytest.raises(gp.InputError, match=r"the weights lack model\.layers\.1\..* and 8 more"):
        lazy(torch.float32, few)


def test_weights_of_another_dtype_are_refused_when_they_are_read(
    folders: Callable[[torch.dtype], Path],
) -> None:
    graph = lazy(torch.bfloat16, Shards(folders(torch.float32)))
    with pytest.raises(gp.InputError, match=r"lm_head.weight as torch.float32 \[100, 64\], the model has"):
        graph.program.tensors["lm_head.weight"]


def test_a_tied_weight_is_found_under_any_of_its_names() -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(4, 4, bias=False)
            self.last = torch.nn.Linear(4, 4, bias=False)
            self.last.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu())

    with torch.device("meta"):
        model = Tied()
    weight = torch.rand(4, 4)
    graph = gp.trace(model, torch.rand(2, 4)).with_weights({"last.weight": weight})
    assert torch.equal(graph.program.tensors["first.weight"], weight)


def test_weights_are_read_right_before_they_are_used(folders: Callable[[torch.dtype], Path]) -> None:
    graph = lazy(torch.float32, Shards(folders(torch.float32)))
    order = {node: place for place, node in enumerate(graph.program.graph.nodes)}

    def wait(node: fx.Node) -> int:
        return min(order[user] for user in node.users) - order[node]

    waits = [wait(node) for node in graph.program.graph.find_nodes(op="get_attr")]
    assert len(waits) == 22  # with the table of the positions
    assert max(waits) <= 2
