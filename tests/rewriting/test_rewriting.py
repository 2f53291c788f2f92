"""Rewriting: what becomes of the tensors and the literals, and what stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import graphprune as gp
from graphprune.capture.operators import arguments
from graphprune.capture.program import Program
from graphprune.capture.raising import raise_program
from graphprune.planning import make_plan
from graphprune.planning.region import narrowed
from graphprune.rewriting import rewrite

IMAGE, TOKENS = torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 6)


# -- literals ---------------------------------------------------------------------------------------------


class Between(nn.Module):
    """A convolution of 12 channels, an operator, and whatever consumes its result."""

    def __init__(self, operator: Callable[[Tensor], Tensor], after: nn.Module, width: int = 12) -> None:
        super().__init__()
        self.a, self.after, self.operator = nn.Conv2d(3, width, 1), after, operator

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.operator(self.a(x)))


class Between3(nn.Module):
    """A linear layer of 12 features on (batch, tokens, features)."""

    def __init__(self, operator: Callable[[Tensor], Tensor], after: nn.Module, width: int = 12) -> None:
        super().__init__()
        self.a, self.after, self.operator = nn.Linear(6, width), after, operator

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.operator(self.a(x)))


def _conv(width: int) -> nn.Module:
    return nn.Conv2d(width, 2, 1)


def _by_size(graph: gp.DependencyGraph, sizes: dict[int, list[int]]) -> gp.Plan:
    """The plan that keeps the given units of the groups of these sizes."""
    chosen = {}
    for group in graph.groups:
        if group.size in sizes:
            kept = torch.tensor(sizes[group.size])
            chosen[group.name] = kept if group.fibre is None else kept.expand(group.fibre.size, -1)
    assert len(chosen) >= len(sizes)
    return make_plan(graph, chosen)


def _slim(model: nn.Module, inputs: Any, kept: dict[int, list[int]]) -> tuple[gp.Result, Program]:
    graph = gp.trace(model, inputs)
    plan = _by_size(graph, kept)
    return gp.shrink(graph, plan=plan), rewrite(graph, plan)


def _literals(program: Program, family: str, names: list[str], nth: int = 0) -> list[Any]:
    nodes = [node for node in program.graph.nodes if str(node.target).startswith(f"aten.{family}.")]
    bound = arguments(nodes[nth])
    return [bound[name] for name in names]


def _half(x: Tensor) -> Tensor:
    return x[:, :6]


LITERALS: dict[str, tuple[nn.Module, Tensor, dict[int, list[int]], str, list[str], list[Any]]] = {
    "view": (
        Between(lambda x: x.view(-1, 12, 16), nn.Conv1d(12, 2, 1)),
        IMAGE,
        {12: [0, 3, 5]},
        "reshape",
        ["shape"],
        [[-1, 3, 16]],
    ),
    "view of factors": (
        Between(lambda x: x.view(-1, 3, 4, 16).relu().view(-1, 12, 16), nn.Conv1d(12, 2, 1)),
        IMAGE,
        {3: [0, 2], 4: [1]},
        "reshape",
        ["shape"],
        [[-1, 2, 1, 16]],
    ),
    "reshape that infers the channels": (
        Between(lambda x: x.reshape(2, -1, 16), nn.Conv1d(12, 2, 1)),
        IMAGE,
        {12: [0, 3, 5]},
        "reshape",
        ["shape"],
        [[2, -1, 16]],
    ),
    "unflatten": (
        Between(lambda x: x.unflatten(1, (3, 4)).relu().flatten(1, 2), _conv(12)),
        IMAGE,
        {3: [0, 2], 4: [1, 3]},
        "unflatten",
        ["sizes"],
        [[2, 2]],
    ),
    "flatten has none": (
        Between(lambda x: x.flatten(1), nn.Linear(192, 2)),
        IMAGE,
        {12: [0, 3, 5]},
        "flatten",
        ["start_dim", "end_dim"],
        [1, -1],
    ),
    "expand": (
        Between(lambda x: x + x.mean((2, 3), keepdim=True).expand(-1, 12, 4, 4), _conv(12)),
        IMAGE,
        {12: [0, 3, 5]},
        "expand",
        ["size"],
        [[-1, 3, 4, 4]],
    ),
    "chunk": (
        Between(lambda x: torch.cat([part.tanh() for part in x.chunk(2, 1)], 1), _conv(12)),
        IMAGE,
        {6: [0, 1, 5]},
        "chunk",
        ["chunks", "dim"],
        [2, 1],
    ),
    "split in equal parts": (
        Between(lambda x: torch.cat([part.tanh() for part in x.split(5, 1)], 1), _conv(12)),
        IMAGE,
        {5: [0, 1, 4], 2: [1]},
        "tensor_split",
        ["indices", "dim"],
        [[3, 6], 1],
    ),
    "split with sizes": (
        Between(lambda x: torch.cat([part.tanh() for part in x.split([7, 5], 1)], 1), _conv(12)),
        IMAGE,
        {7: [0, 6], 5: [2]},
        "split_with_sizes",
        ["split_sizes", "dim"],
        [[2, 1], 1],
    ),
    "split along the last dimension": (
        Between3(lambda x: torch.cat([part.tanh() for part in x.split([7, 5], -1)], 2), nn.Linear(12, 2)),
        TOKENS,
        {7: [0, 6], 5: [2]},
        "split_with_sizes",
        ["split_sizes", "dim"],
        [[2, 1], 2],
    ),
    "tensor_split": (
        Between(lambda x: torch.cat([part.tanh() for part in x.tensor_split((7,), 1)], 1), _conv(12)),
        IMAGE,
        {7: [0, 6], 5: [2]},
        "tensor_split",
        ["indices", "dim"],
        [[2], 1],
    ),
    "slice": (
        Between(lambda x: x[:, 2:9].relu(), _conv(7)),
        IMAGE,
        {2: [1], 7: [0, 1, 6], 3: [0]},
        "slice",
        ["dim", "start", "end"],
        [1, 1, 4],
    ),
    "slice from the end": (
        Between(lambda x: x[:, -5:-1].relu(), _conv(4)),
        IMAGE,
        {7: [0, 3], 4: [1, 2]},
        "slice",
        ["dim", "start", "end"],
        [1, -3, -1],
    ),
    "every second": (
        Between(lambda x: x[:, ::2].relu(), _conv(6)),
        IMAGE,
        {6: [0, 5]},
        "slice",
        ["dim", "start", "step"],
        [1, 0, 2],
    ),
    "every second, from the second": (
        Between(lambda x: x[:, 1::2].relu(), _conv(6)),
        IMAGE,
        {6: [0, 5]},
        "slice",
        ["dim", "start", "step"],
        [1, 1, 2],
    ),
    "narrow": (
        Between(lambda x: x.narrow(1, 2, 7).relu(), _conv(7)),
        IMAGE,
        {2: [1], 7: [0, 1, 6]},
        "narrow",
        ["dim", "start", "length"],
        [1, 1, 3],
    ),
    "select": (
        Between(lambda x: x * x[:, 4].unsqueeze(1).sigmoid(), _conv(12)),
        IMAGE,
        {4: [3], 7: [0, 2]},
        "select",
        ["dim", "index"],
        [1, 1],
    ),
    "pad of channels": (
        Between(lambda x: F.pad(x, (0, 0, 0, 0, 2, 3)), _conv(17)),
        IMAGE,
        {12: [0, 3], 2: [1], 3: [0, 2]},
        "pad",
        ["pad"],
        [[0, 0, 0, 0, 1, 2]],
    ),
    "pad of positions": (
        Between(lambda x: F.pad(x, (1, 1, 2, 2)), _conv(12)),
        IMAGE,
        {12: [0, 3]},
        "pad",
        ["pad"],
        [[1, 1, 2, 2]],
    ),
    "repeat": (
        Between(lambda x: x.repeat(1, 3, 1, 1).relu(), _conv(36)),
        IMAGE,
        {12: [0, 3], 3: [1, 2]},
        "repeat",
        ["repeats"],
        [[1, 2, 1, 1]],
    ),
    "repeat_interleave": (
        Between(lambda x: x.repeat_interleave(3, 1).relu(), _conv(36)),
        IMAGE,
        {12: [0, 3], 3: [1, 2]},
        "repeat_interleave",
        ["repeats", "dim"],
        [2, 1],
    ),
    "grouped convolution": (
        Between(nn.Conv2d(12, 24, 1, groups=3), _conv(24)),
        IMAGE,
        {3: [0, 2], 4: [1]},
        "conv2d",
        ["groups"],
        [2],
    ),
    "depthwise convolution": (
        Between(nn.Conv2d(12, 12, 3, groups=12), _conv(12)),
        IMAGE,
        {12: [0, 3, 5, 7]},
        "conv2d",
        ["groups"],
        [4],
    ),
    "grouped transposed convolution": (
        Between(nn.ConvTranspose2d(12, 6, 2, groups=3), _conv(6)),
        IMAGE,
        {3: [0, 2], 4: [1]},
        "conv_transpose2d",
        ["groups"],
        [2],
    ),
    "group norm": (
        Between(nn.GroupNorm(3, 12), _conv(12)),
        IMAGE,
        {3: [1, 2], 4: [0, 3]},
        "group_norm",
        ["num_groups"],
        [2],
    ),
    "channel shuffle": (
        Between(nn.ChannelShuffle(3), _conv(12)),
        IMAGE,
        {3: [1, 2], 4: [0, 3]},
        "channel_shuffle",
        ["groups"],
        [2],
    ),
    "layer norm": (
        Between3(nn.LayerNorm(12), nn.Linear(12, 2)),
        TOKENS,
        {12: [0, 3, 5]},
        "layer_norm",
        ["normalized_shape"],
        [[3]],
    ),
    "layer norm over two dimensions": (
        Between3(lambda x: F.layer_norm(x, (5, 12)), nn.Linear(12, 2)),
        TOKENS,
        {12: [0, 3, 5]},
        "layer_norm",
        ["normalized_shape"],
        [[5, 3]],
    ),
    "rms norm": (
        Between3(nn.RMSNorm(12), nn.Linear(12, 2)),
        TOKENS,
        {12: [0, 3, 5]},
        "rms_norm",
        ["normalized_shape"],
        [[3]],
    ),
    "pixel shuffle keeps its factor": (
        Between(nn.PixelShuffle(2), _conv(3)),
        IMAGE,
        {3: [0, 2]},
        "pixel_shuffle",
        ["upscale_factor"],
        [2],
    ),
}


@pytest.mark.parametrize("label", LITERALS)
def test_literals(label: str) -> None:
    model, inputs, kept, family, names, expected = LITERALS[label]
    result, slim = _slim(model, inputs, kept)
    nth = 1 if family == "conv2d" else 0
    assert _literals(slim, family, names, nth) == expected
    assert result.verdict.passed
    assert result.after.params < result.before.params


class Scaled(nn.Module):
    """A shape computed from the batch: ``view(batch * channels, ...)``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.after = nn.Conv2d(3, 12, 1), nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        b, c, h, w = x.shape
        return self.after(self.b(x.reshape(b * c, 1, h, w)).view(b, c, h, w))


@pytest.mark.parametrize("kept", [[0, 1, 2, 3, 4], [0, 3, 6], list(range(11))])
def test_sizes_computed_from_the_batch(kept: list[int]) -> None:
    result, _ = _slim(Scaled(), IMAGE, {12: kept})
    assert result.verdict.passed
    for batch in (1, 2, 7):
        assert result.model(torch.randn(batch, 3, 4, 4)).shape == (batch, 2, 4, 4)


def test_the_scale_of_attention_stays_a_literal_only_where_the_width_changes() -> None:
    class Attention(nn.Module):
        def __init__(self, scale: float | None) -> None:
            super().__init__()
            self.qkv, self.o, self.scale = nn.Linear(6, 36), nn.Linear(12, 2), scale

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).view(-1, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
            return self.o(y.transpose(1, 2).flatten(2))

    found = [
        _literals(_slim(Attention(scale), TOKENS, kept)[1], "scaled_dot_product_attention", ["scale"])[0]
        for scale, kept in [(None, {3: [0, 2]}), (None, {4: [0, 2, 3]}), (0.3, {4: [0, 2, 3]})]
    ]
    assert found == [None, 0.5, 0.3]


def test_nodes_that_touch_nothing_that_changed_are_copied_as_they_are() -> None:
    graph = gp.trace(Scaled(), IMAGE)
    slim = rewrite(graph, make_plan(graph, {}))
    assert str(slim.graph) == str(graph.program.graph)
    assert all(torch.equal(slim.tensors[name], tensor) for name, tensor in graph.program.tensors.items())


def test_the_original_program_is_unchanged() -> None:
    graph = gp.trace(Scaled(), IMAGE)
    before = str(graph.program.graph)
    tensors = {name: tensor.clone() for name, tensor in graph.program.tensors.items()}
    slim = rewrite(graph, _by_size(graph, {12: [0, 3]}))
    assert str(graph.program.graph) == before
    assert str(slim.graph) != before
    assert all(torch.equal(graph.program.tensors[name], tensor) for name, tensor in tensors.items())
    assert not set(slim.graph.nodes) & set(graph.program.graph.nodes)


def test_rewriting_twice_gives_equal_programs() -> None:
    graph = gp.trace(Scaled(), IMAGE)
    plan = _by_size(graph, {12: [0, 3, 4]})
    first, second = rewrite(graph, plan), rewrite(graph, plan)
    assert str(first.graph) == str(second.graph)
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
    assert all(first.tensors[name] is not second.tensors[name] for name in ("a.weight", "after.weight"))


# -- tensors ----------------------------------------------------------------------------------------------


class Stored(nn.Module):
    """Ties, frozen parts, several dtypes, buffers of both kinds, a plain tensor, an unused layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 12), nn.Linear(12, 7, bias=False)
        self.head.weight = self.embed.weight
        self.up, self.down = nn.Linear(12, 10), nn.Linear(10, 12, dtype=torch.float64)
        self.up.weight.requires_grad_(False)
        self.register_buffer("shift", torch.rand(10))
        self.register_buffer("scale", torch.rand(10), persistent=False)
        self.register_buffer("count", torch.tensor(4))
        self.plain = torch.rand(10)
        self.alias = self.up
        self.unused = nn.Linear(3, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.up(self.embed(tokens)) * self.scale + self.shift * self.plain / self.count
        return self.head(self.down(x.relu().double()).float())


@pytest.fixture(scope="module")
def traced() -> gp.DependencyGraph:
    torch.manual_seed(0)
    return gp.trace(Stored(), torch.arange(6).reshape(2, 3))


@pytest.fixture(scope="module")
def slim(traced: gp.DependencyGraph) -> Program:
    return rewrite(traced, _by_size(traced, {12: [0, 3, 7, 8], 10: [1, 2, 9]}))


def test_tensors_hold_the_kept_indices_in_order(traced: gp.DependencyGraph, slim: Program) -> None:
    wide = traced.program.tensors
    assert torch.equal(slim.tensors["embed.weight"], wide["embed.weight"][:, [0, 3, 7, 8]])
    assert torch.equal(slim.tensors["up.weight"], wide["up.weight"][[1, 2, 9]][:, [0, 3, 7, 8]])
    assert torch.equal(slim.tensors["down.weight"], wide["down.weight"][[0, 3, 7, 8]][:, [1, 2, 9]])
    assert torch.equal(slim.tensors["shift"], wide["shift"][[1, 2, 9]])
    assert torch.equal(slim.tensors["count"], wide["count"])


def test_ties_stay_one_parameter(slim: Program) -> None:
    assert slim.stored["embed.weight"].ties == ("head.weight",)
    assert "head.weight" not in slim.stored
    module = raise_program(slim)
    assert module.head.weight is module.embed.weight
    assert len([p for p in module.parameters() if p.shape == (7, 4)]) == 1


def test_a_layer_under_two_names_stays_one(slim: Program) -> None:
    assert slim.stored["up.weight"].ties == ("alias.weight",)


def test_trainable_stays_trainable_and_frozen_stays_frozen(traced: gp.DependencyGraph, slim: Program) -> None:
    for name, item in traced.program.stored.items():
        assert slim.stored[name].tensor.requires_grad == item.tensor.requires_grad
        assert isinstance(slim.stored[name].tensor, nn.Parameter) == isinstance(item.tensor, nn.Parameter)
    assert not slim.stored["up.weight"].tensor.requires_grad
    assert slim.stored["up.bias"].tensor.requires_grad


def test_dtypes_and_devices_stay(traced: gp.DependencyGraph, slim: Program) -> None:
    for name, item in traced.program.stored.items():
        assert slim.stored[name].tensor.dtype is item.tensor.dtype
        assert slim.stored[name].tensor.device == item.tensor.device
    assert slim.stored["down.weight"].tensor.dtype is torch.float64


def test_buffers_stay_as_persistent_as_they_were(traced: gp.DependencyGraph, slim: Program) -> None:
    assert {name: item.persistent for name, item in slim.stored.items()} == {
        name: item.persistent for name, item in traced.program.stored.items()
    }
    module = raise_program(slim)
    assert "scale" not in module.state_dict()
    assert "scale" in dict(module.named_buffers())
    assert "shift" in module.state_dict()


def test_no_memory_is_shared_with_the_original(traced: gp.DependencyGraph, slim: Program) -> None:
    read = set(traced.program.attributes.values())
    theirs = {traced.program.stored[name].tensor.untyped_storage().data_ptr() for name in read}
    ours = {name: slim.stored[name].tensor.untyped_storage().data_ptr() for name in read}
    assert not theirs & set(ours.values())
    assert len(set(ours.values())) == len(ours)
    for name in read:
        tensor = slim.stored[name].tensor
        assert tensor.untyped_storage().nbytes() == tensor.nbytes  # no large storage behind a small view


def test_narrowing_takes_the_kept_indices() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    part = narrowed(tensor, {1: torch.tensor([0, 2])})
    assert torch.equal(narrowed(tensor, {}), tensor)
    assert part.tolist() == [[0.0, 2.0], [3.0, 5.0]]
    assert part.is_contiguous()


def test_parts_of_different_sizes_of_one_chunk() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.f, self.g = nn.Conv2d(3, 12, 1), nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.a(x).chunk(2, 1)
            return self.f(a) - self.g(b)

    graph = gp.trace(Halves(), IMAGE)
    first, second = (group.name for group in graph.groups if group.size == 6)
    plan = make_plan(graph, {first: torch.tensor([0]), second: torch.tensor([1, 2, 3, 5])})
    result = gp.shrink(graph, plan=plan)
    split = [node for node in result.model.graph.nodes if node.target == "split"]
    assert split[0].args[1] == [1, 4]
    assert result.plan.kept["a.weight"][0].tolist() == [0, 7, 8, 9, 11]
    assert isinstance(split[0], fx.Node)
