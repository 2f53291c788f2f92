"""Groups of a convolution that are zero are left out, and nothing that is kept differs by it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx
from torch.utils.flop_counter import FlopCounterMode

from graphprune.capture.execution import call_operator
from graphprune.verifying.grouped import call_without_zeros

GROUPS, KEPT = 6, [0, 3, 4]


def _node(rank: int) -> fx.Node:
    graph = fx.Graph()
    operator = getattr(torch.ops.aten, f"conv{rank}d").default
    return graph.call_function(operator, tuple(graph.placeholder(name) for name in "xw"))


def _arguments(rank: int, per_group: int, biased: bool) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(rank)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    rows = torch.zeros(GROUPS, dtype=torch.bool)
    rows[KEPT] = True
    rows = rows.repeat_interleave(per_group)
    x = drawn(2, 2 * GROUPS, *[5] * rank)
    weight = drawn(per_group * GROUPS, 2, *[3] * rank) * rows.reshape(-1, *[1] * (rank + 1))
    bias = drawn(per_group * GROUPS) * rows if biased else None
    return [tensor if tensor is None else tensor.requires_grad_() for tensor in (x, weight, bias)]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("per_group", [1, 3])
@pytest.mark.parametrize("biased", [False, True])
def test_values_and_gradients_are_those_of_all_groups(rank: int, per_group: int, biased: bool) -> None:
    x, weight, bias = _arguments(rank, per_group, biased)
    args, leaves = (x, weight, bias, [2] * rank, [1] * rank, [1] * rank, GROUPS), [x, weight]
    leaves += [] if bias is None else [bias]
    with FlopCounterMode(display=False) as all_groups:
        expected = call_operator(_node(rank), args, {})
    with FlopCounterMode(display=False) as some_groups:
        given = call_without_zeros(_node(rank), args, {})
    torch.testing.assert_close(given, expected, rtol=1e-13, atol=1e-13)
    assert torch.equal(given == 0, expected == 0)
    assert some_groups.get_total_flops() * GROUPS == all_groups.get_total_flops() * len(KEPT)
    by = torch.rand_like(expected) * (expected.detach() != 0)  # what is removed is held at zero afterwards
    pairs = zip(
        torch.autograd.grad(expected, leaves, by), torch.autograd.grad(given, leaves, by), strict=True
    )
    for whole, part in pairs:
        kept = part != 0
        assert kept.any()
        torch.testing.assert_close(part[kept], whole[kept], rtol=1e-12, atol=1e-13)


def test_a_group_that_only_its_bias_keeps_is_computed() -> None:
    x, weight = torch.randn(1, 2, 4, 4), torch.randn(2, 1, 3, 3)
    weight[1] = 0
    value = call_without_zeros(_node(2), (x, weight, torch.tensor([0.0, 5.0])), {"groups": 2})
    assert torch.equal(value[:, 1], torch.full((1, 2, 2), 5.0))


def test_a_computed_weight_is_left_whole_where_it_is_differentiated_by() -> None:
    x, given = torch.ones(1, 2, 4, 4), torch.ones(2, 1, 3, 3, requires_grad=True)
    weight = torch.cat([given[:1], given[1:] - given[1:].detach()])
    call_without_zeros(_node(2), (x, weight), {"groups": 2}).sum().backward()
    assert torch.equal(given.grad, torch.full_like(given, 4.0))


def test_where_all_is_zero_all_is_computed() -> None:
    x, weight = torch.randn(1, 2, 4, 4), torch.zeros(2, 1, 3, 3)
    assert call_without_zeros(_node(2), (x, weight), {"groups": 2}).shape == (1, 2, 2, 2)
