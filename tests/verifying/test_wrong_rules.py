"""A wrong rule is caught on the first model that uses it: node and group are named, nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.axes.call import Call
from graphprune.axes.rules import RULES
from graphprune.axes.rules.pointwise import broadcast, unary
from graphprune.axes.rules.table import Rule


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


IMAGE, TOKENS = torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 6)


class Around(nn.Module):
    """An operator between two convolutions, and a group that has nothing to do with it."""

    def __init__(self, operator: Callable[[Tensor], Tensor], width: int = 12, out: int = 12) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, width, 3), nn.Conv2d(out, 10, 3)
        self.innocent, self.head = nn.Conv2d(10, 14, 1), nn.Conv2d(14, 4, 1)
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.innocent(self.after(self.operator(self.before(x)))))


class Around3(nn.Module):
    """The same between linear layers on (batch, tokens, width)."""

    def __init__(self, operator: Callable[[Tensor], Tensor], width: int = 12, out: int = 12) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(6, width), nn.Linear(out, 10)
        self.innocent, self.head = nn.Linear(10, 14), nn.Linear(14, 4)
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.innocent(self.after(self.operator(self.before(x)))))


class Attend(nn.Module):
    """Attention by itself; ``before`` makes queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.k, self.v = nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (6, 2)).transpose(1, 2) for y in (x, self.k(x), self.v(x)))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def nothing(call: Call) -> None:
    """Says nothing at all: every dimension of the result is free of its inputs."""


def first_half_only(call: Call) -> None:
    """A chunk whose parts are all indexed like the first."""
    source = call["self"]
    for output in call.outputs:
        for axis, other in zip(output.dims, source.dims, strict=True):
            if axis.size == other.size:
                call.unify(axis, other)
    parts = [output.dims[call.get("dim")] for output in call.outputs]
    call.unify(source.dims[call.get("dim")], call.equations.sum(parts[::-1]))


def free_keys(call: Call) -> None:
    """Attention whose keys have a width of their own."""
    query, value = call["query"], call["value"]
    for axis, other in zip(call.output.dims, (*query.dims[:-1], value.dims[-1]), strict=True):
        call.unify(axis, other)
    for dim in (0, 1, 2):
        call.unify(query.dims[dim], call["key"].dims[dim])
        call.unify(query.dims[dim], value.dims[dim])


def free_heads(call: Call) -> None:
    """Attention whose values have heads of their own."""
    query, key, value = call["query"], call["key"], call["value"]
    for axis, other in zip(call.output.dims, (*query.dims[:-1], value.dims[-1]), strict=True):
        call.unify(axis, other)
    for axis, other in zip(key.dims, query.dims, strict=True):
        call.unify(axis, other)
    for dim in (0, 2):
        call.unify(query.dims[dim], value.dims[dim])


def turned(call: Call) -> None:
    """A reshape whose factors stand in the wrong order: ``(a b)`` read as ``(b a)``."""
    source, result = call["self"], call.output
    a, b = (call.equations.atom(size) for size in result.shape[1:3])
    call.unify(source.dims[0], result.dims[0])
    call.unify(source.dims[1], call.equations.product((b, a)) if a.size == b.size else source.dims[1])
    call.unify(result.dims[1], a)
    call.unify(result.dims[2], b)
    for axis, other in zip(result.dims[3:], source.dims[2:], strict=True):
        call.unify(axis, other)


def unpinned_index(call: Call) -> None:
    """Indexing by data as if positions stood for themselves."""
    unary(call)


def free_softmax(call: Call) -> None:
    """Softmax that neither couples its result with its input nor lines anything up."""


def no_weights(call: Call) -> None:
    """A batch norm that forgets its own tensors."""
    unary(call)


def no_contraction(call: Call) -> None:
    """A linear layer whose weight's columns are not the input's."""
    source, weight, result = call["input"], call["weight"], call.output
    for axis, other in zip(result.dims[:-1], source.dims[:-1], strict=True):
        call.unify(axis, other)
    call.unify(result.dims[-1], weight.dims[0])
    if call.get("bias") is not None:
        call.unify(result.dims[-1], call["bias"].dims[0])


def no_bias(call: Call) -> None:
    """A convolution that forgets its bias."""
    source, weight, result = call["input"], call["weight"], call.output
    call.unify(source.dims[0], result.dims[0])
    call.unify(source.dims[1], weight.dims[1])
    call.unify(result.dims[1], weight.dims[0])
    for operand in (source, weight, result):
        call.pin(operand.dims[2:], "a window")


def _flip(x: Tensor) -> Tensor:
    return x.flip(1)


def _gather(x: Tensor) -> Tensor:
    return x.index_select(1, torch.arange(11, -1, -1))


def _chunked(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([a.relu(), b.tanh()], 1)


WRONG: dict[str, tuple[str, Rule, Callable[[], nn.Module], Tensor, str, str]] = {
    # label: operator, rule, model, inputs, the node that diverges first, a group to blame
    "flip as pointwise": ("aten.flip", unary, lambda: Around(_flip), IMAGE, "aten.flip", "before.weight:0"),
    "roll as pointwise": (
        "aten.roll",
        unary,
        lambda: Around(lambda x: x.roll(1, 1)),
        IMAGE,
        "aten.roll",
        "before.weight:0",
    ),
    "cumprod as pointwise": (
        "aten.cumprod",
        unary,
        lambda: Around(lambda x: x.cumprod(1)),
        IMAGE,
        "aten.cumprod",
        "before.weight:0",
    ),
    "sort as pointwise": (
        "aten.sort",
        lambda call: [call.unify(a, b) for a, b in zip(call.output.dims, call["self"].dims, strict=True)],
        lambda: Around(lambda x: x.sort(1)[0]),
        IMAGE,
        "aten.sort",
        "before.weight:0",
    ),
    "index_select as pointwise": (
        "aten.index_select",
        unpinned_index,
        lambda: Around(_gather),
        IMAGE,
        "aten.index_select",
        "before.weight:0",
    ),
    "softmax that couples nothing": (
        "aten.softmax",
        free_softmax,
        lambda: Around(lambda x: x.softmax(1)),
        IMAGE,
        "aten.softmax",
        "before.weight:0",
    ),
    "batch norm without its tensors": (
        "aten.batch_norm",
        no_weights,
        lambda: Around(nn.BatchNorm2d(12)),
        IMAGE,
        "aten.batch_norm",
        "before.weight:0",
    ),
    "layer norm without its tensors": (
        "aten.layer_norm",
        no_weights,
        lambda: Around3(nn.LayerNorm(12)),
        TOKENS,
        "aten.layer_norm",
        "before.weight:0",
    ),
    "group norm without groups": (
        "aten.group_norm",
        lambda call: [
            unary(call),
            *(call.unify(call["input"].dims[1], call[n].dims[0]) for n in ("weight", "bias")),
        ],
        lambda: Around(nn.GroupNorm(3, 12)),
        IMAGE,
        "aten.group_norm",
        "before.weight:0",
    ),
    "attention with free keys": (
        "aten.scaled_dot_product_attention",
        free_keys,
        lambda: Around3(Attend()),
        TOKENS,
        "aten.scaled_dot_product_attention",
        "before.weight:0",
    ),
    "attention with free heads": (
        "aten.scaled_dot_product_attention",
        free_heads,
        lambda: Around3(Attend()),
        TOKENS,
        "aten.scaled_dot_product_attention",
        "before.weight:0",
    ),
    "linear without contraction": (
        "aten.linear",
        no_contraction,
        lambda: Around3(F.gelu),
        TOKENS,
        "aten.linear",
        "before.weight:0",
    ),
    "convolution without bias": (
        "aten.conv2d",
        no_bias,
        lambda: Around(F.relu),
        IMAGE,
        "aten.conv2d",
        "before.weight:0",
    ),
    "chunks in the wrong order": (
        "aten.chunk",
        first_half_only,
        lambda: Around(_chunked, 12),
        IMAGE,
        "aten.chunk",
        "before.weight:0",
    ),
    "factors in the wrong order": (
        "aten.reshape",
        turned,
        lambda: Around(lambda x: x.view(-1, 4, 4, 6, 6).relu().flatten(1, 2), 16, 16),
        IMAGE,
        "aten.reshape",
        "before.weight:0",
    ),
    "pixel shuffle as if channels came last": (
        "aten.pixel_shuffle",
        nothing,
        lambda: Around(nn.PixelShuffle(2), 48),
        IMAGE,
        "aten.pixel_shuffle",
        "before.weight:0",
    ),
    "matmul as pointwise": (
        "aten.matmul",
        broadcast,
        lambda: Around3(lambda x: x @ torch.linspace(0, 1, 144).reshape(12, 12)),
        TOKENS,
        "aten.matmul",
        "before.weight:0",
    ),
}


@pytest.mark.parametrize("label", WRONG)
def test_a_wrong_rule_is_caught(label: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    operator, rule, build, inputs, node, group = WRONG[label]
    monkeypatch.setitem(RULES, operator, rule)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(gp.VerificationError) as caught:
        gp.shrink(model, inputs, ratio=0.5, importance="random").save(tmp_path / "slim")
    text = str(caught.value)
    assert f"at {node}" in text or f"cannot run {node}" in text
    blamed = text.partition("; groups ")[2].partition(" — ")[0].split(", ")
    assert any(name.split("/")[0] == group for name in blamed), text
    assert "innocent.weight:0" not in blamed
    assert "nothing was written" in text
    assert list(tmp_path.iterdir()) == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("label", WRONG)
def test_the_same_models_pass_with_the_right_rules(label: str) -> None:
    _, _, build, inputs, _, _ = WRONG[label]
    torch.manual_seed(0)
    assert gp.shrink(build(), inputs, ratio=0.5, importance="random").verdict.passed


def test_cumsum_as_pointwise_is_right() -> None:
    """No mistake: with what is removed at zero, the sums at kept positions are sums of what is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RULES, "aten.cumsum", unary)
        torch.manual_seed(0)
        result = gp.shrink(Around(lambda x: x.cumsum(1)), IMAGE, ratio=0.5, importance="random")
    assert "before.weight:0" in result.graph.by_name
