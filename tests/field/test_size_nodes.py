"""Programs with size nodes and conditions, through the complete path: pruned, right at other sizes, or refused."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from size_programs import Sizes, sized_graph, sized_program
from torch import Tensor, fx, nn

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.capture.describe import describe
from graphprune.capture.execution import run
from graphprune.capture.program import Program
from graphprune.capture.raising import raise_program
from graphprune.rewriting import rewrite
from graphprune.verifying.claim import Claim, Values
from graphprune.verifying.nodes import compare_nodes
from graphprune.verifying.tensors import randomised
from graphprune.verifying.verdict import Check

IMAGE, TOKENS = torch.zeros(2, 5, 46, 58), torch.zeros(2, 46, 5)
Written = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Between(nn.Module):
    """first → something that looks at the sizes of x → second → head."""

    def __init__(self, between: Written, image: bool, tables: dict[str, Tensor]) -> None:
        super().__init__()
        self.between = between
        self.first = nn.Conv2d(5, 12, 1) if image else nn.Linear(5, 12)
        self.second = nn.Conv2d(12, 10, 1) if image else nn.Linear(12, 10)
        self.head = nn.Conv2d(10, 4, 1) if image else nn.Linear(10, 4)
        for name, table in tables.items():
            setattr(self, name, nn.Parameter(table))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.between(self, x, self.first(x).relu())).relu())


def positions(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return y + torch.arange(x.shape[1]).unsqueeze(1) / x.shape[1]


def masked(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    mask = torch.full((x.shape[1], x.shape[1]), 2.0).tril()
    return (mask @ y) / x.shape[1]


def prompted(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    y = torch.cat([m.prompt.expand(x.shape[0], -1, -1), y], 1)
    y = y.view(x.shape[0], x.shape[1] + 7, 3, 4).softmax(1)
    return y.flatten(2)[:, -x.shape[1] :]


def summed(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    y = torch.cat([m.prompt.expand(x.shape[0], -1, -1), y], 1)
    return y.view(x.shape[0], x.shape[1] + 7, 3, 4).softmax(3).flatten(2).sum(1, keepdim=True)


def rolled(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return y.roll(x.shape[1] // 2, 1) + y.roll([x.shape[1] - 1], [1])


def halves(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    one, other = y.split([x.shape[1] // 2, x.shape[1] - x.shape[1] // 2], 1)
    return torch.cat([other, one], 1) + y.narrow(1, x.shape[1] - 1, 1) + y[:, x.shape[1] // 2].unsqueeze(1)


HALF, LESS = {23: (operator.floordiv, 46, 2)}, {45: (operator.sub, 46, 1)}
SPACE = {2: "height", 3: "width"}
PRODUCT = {46 * 58: (operator.mul, 46, 58)}

TOKENWISE: dict[str, tuple[Written, Sizes, dict[str, Tensor]]] = {
    "positions": (positions, Sizes({1: "sequence"}), {}),
    "a causal mask": (masked, Sizes({1: "sequence"}), {}),
    "divided": (lambda m, x, y: y * (y.sum(1, keepdim=True) / x.shape[1]), Sizes({1: "sequence"}), {}),
    "multiplied": (lambda m, x, y: y * x.shape[1] - x.shape[1], Sizes({1: "sequence"}), {}),
    "a table of positions": (
        lambda m, x, y: y + m.table[:, : x.shape[1]],
        Sizes({1: "sequence"}, {}, [(operator.le, 46, 80, "x[1] is at most 80, the rows of table")]),
        {"table": torch.randn(1, 80, 12)},
    ),
    "a prompt": (
        prompted,
        Sizes({1: "sequence"}, {53: (operator.add, 46, 7), -46: (operator.neg, 46)}),
        {"prompt": torch.randn(1, 7, 12)},
    ),
    "a prompt that is summed": (
        summed,
        Sizes({1: "sequence"}, {53: (operator.add, 46, 7)}),
        {"prompt": torch.randn(1, 7, 12)},
    ),
    "rolled": (rolled, Sizes({1: "sequence"}, {**HALF, **LESS}), {}),
    "channels rolled with the sequence": (
        lambda m, x, y: y.roll(x.shape[1] // 2, 2),
        Sizes({1: "sequence"}, HALF),
        {},
    ),
    "channels cut at the sequence": (
        lambda m, x, y: F.pad(y[..., : x.shape[1] // 9], (0, 12 - x.shape[1] // 9)),
        Sizes({1: "sequence"}, {5: (operator.floordiv, 46, 9), 7: (operator.sub, 12, 5)}),
        {},
    ),
    "halves": (
        halves,
        Sizes({1: "sequence"}, {**LESS, **HALF, 23: (operator.floordiv, 46, 2)}),
        {},
    ),
    "padded": (
        lambda m, x, y: F.pad(y, (0, 0, 0, x.shape[1] // 2))[:, x.shape[1] // 2 :],
        Sizes({1: "sequence"}, HALF),
        {},
    ),
    "the larger": (
        lambda m, x, y: F.pad(y, (0, 0, 0, max(x.shape[1], 50) - x.shape[1])),
        Sizes({1: "sequence"}, {50: (torch.sym_max, 46, 50), 4: (operator.sub, 50, 46)}),
        {},
    ),
    "heads": (
        lambda m, x, y: (
            F.scaled_dot_product_attention(
                *(y.view(x.shape[0], x.shape[1], 3, 4).transpose(1, 2) for _ in range(3))
            )
            .transpose(1, 2)
            .reshape(x.shape[0], x.shape[1], 12)
        ),
        Sizes({1: "sequence"}),
        {},
    ),
    "expanded": (
        lambda m, x, y: y + m.token.expand(x.shape[0], x.shape[1], -1) + m.token.repeat(1, x.shape[1], 1),
        Sizes({1: "sequence"}),
        {"token": torch.randn(1, 1, 12)},
    ),
}
IMAGEWISE: dict[str, tuple[Written, Sizes, dict[str, Tensor]]] = {
    "resized": (
        lambda m, x, y: F.interpolate(F.max_pool2d(y, 2), size=x.shape[2:], mode="bilinear"),
        Sizes(SPACE),
        {},
    ),
    "flattened": (
        lambda m, x, y: y.reshape(x.shape[0], 12, x.shape[2] * x.shape[3]).softmax(-1).reshape(y.shape),
        Sizes(SPACE, PRODUCT),
        {},
    ),
    "flattened with the channels": (
        lambda m, x, y: y.reshape(x.shape[0], 12 * x.shape[2] * x.shape[3]).relu().reshape(y.shape),
        Sizes(SPACE, {552: (operator.mul, 46, 12), 552 * 58: (operator.mul, 552, 58)}),
        {},
    ),
    "pooled to half": (
        lambda m, x, y: F.interpolate(
            F.adaptive_avg_pool2d(y, (x.shape[2] // 2, x.shape[3] // 2)), size=x.shape[2:]
        ),
        Sizes(SPACE, {**HALF, 29: (operator.floordiv, 58, 2)}),
        {},
    ),
}
CASES = {f"{label} of tokens": (False, *case) for label, case in TOKENWISE.items()} | {
    f"{label} of images": (True, *case) for label, case in IMAGEWISE.items()
}


def compared(graph: DependencyGraph, plan: gp.Plan, slim: Program, x: Tensor) -> Check:
    """The slim program against the masked original at the sizes of ``x``, on random tensors."""
    drawn = randomised(graph.program.stored, 0, torch.float64)
    claim = Claim(graph, plan, slim)
    return compare_nodes("another size", claim, Values.of(claim, drawn), [x], torch.float64).check


@pytest.mark.parametrize("label", CASES)
def test_exact_at_other_sizes(label: str) -> None:
    image, between, sizes, tables = CASES[label]
    torch.manual_seed(0)
    model = Between(between, image, tables).eval()
    example = IMAGE if image else TOKENS
    graph = sized_graph(model, torch.randn(example.shape), sizes)
    result = gp.shrink(graph, None, ratio=0.5)
    assert result.verdict.passed
    slim = rewrite(graph, result.plan)
    for other in ((40, 62), (38, 30)):
        shape = (3, 5, *other) if image else (3, other[0], 5)
        x = torch.randn(shape)
        torch.testing.assert_close(raise_program(graph.program)(x), model(x))
        check = compared(graph, result.plan, slim, x)
        assert check.passed, check
        with torch.no_grad():
            expected = run(slim.graph, slim.tensors, [x])[0]
            torch.testing.assert_close(result.model(x), expected)


def test_tokens_of_a_prompt_are_pruned_beside_a_sequence_of_any_length() -> None:
    """The literals that count them are shifted, not scaled."""
    _, between, sizes, tables = CASES["a prompt that is summed of tokens"]
    graph = sized_graph(Between(between, False, tables).eval(), torch.randn(TOKENS.shape), sizes)
    result = gp.shrink(graph, None, ratio=0.5)
    left = result.model.prompt.shape[1]
    assert left < 7
    nodes = rewrite(graph, result.plan).graph.nodes
    shapes = [node.args[1] for node in nodes if node.target is torch.ops.aten.reshape.default]
    kept = next(iter(shapes))[1]
    assert (kept.target, kept.args[1]) == (operator.sub, 7 - left)


def counted(program: Program, dim: int, number: int) -> Program:
    """``program`` with the size of its first layer's output in the place of ``number``."""
    graph = program.graph
    source = next(node for node in graph.nodes if str(node.target).startswith("aten.relu"))
    with graph.inserting_after(source):
        size = graph.call_function(torch.ops.aten.sym_size.int, (source, dim))
    size.meta["val"] = number
    for node in graph.nodes:
        if isinstance(node.meta.get("val"), Tensor):
            node.args = fx.node.map_aggregate(
                node.args, lambda leaf: size if type(leaf) is int and leaf == number else leaf
            )
    described = describe(graph)
    return replace(program, operations=described.operations, values=described.values)


def test_a_size_of_what_is_pruned_counts_as_before() -> None:
    """A divisor stays, as in the masked original, and a shape is that of what is left."""

    def between(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (y / 12).reshape(x.shape[0], x.shape[1] * 12).reshape(x.shape[0], x.shape[1], 12)

    torch.manual_seed(0)
    model = Between(between, False, {}).eval()
    sizes = Sizes({1: "sequence"}, {552: (operator.mul, 46, 12)})
    program = counted(sized_program(model, torch.randn(TOKENS.shape), sizes), 2, 12)
    assert any(
        node.target is torch.ops.aten.sym_size.int and node.args[1] == 2 for node in program.graph.nodes
    )
    for options in ({"ratio": 0.5}, {"ratio": 0.5, "rounds": 2}):
        result = gp.shrink(build_graph(program), None, **options)
        assert result.verdict.passed
        assert result.model.first.weight.shape[0] < 12
        check = compared(
            build_graph(program),
            result.plan,
            rewrite(build_graph(program), result.plan),
            torch.randn(3, 40, 5),
        )
        assert check.passed, check


def test_a_channel_that_is_zero_goes_without_loss_beyond_a_resize_to_any_size() -> None:
    torch.manual_seed(0)
    model = Between(lambda m, x, y: F.interpolate(F.max_pool2d(y, 2), size=x.shape[2:]), True, {}).eval()
    model.first.weight.data[3] = model.first.bias.data[3] = 0
    result = gp.shrink(sized_graph(model, torch.randn(IMAGE.shape), Sizes(SPACE)), None, lossless=True)
    assert result.model.first.weight.shape[0] == 11
    x = torch.randn(3, 5, 40, 62)
    torch.testing.assert_close(result.model(x), model(x))
