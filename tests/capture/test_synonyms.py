"""Operators that are others under another name become those, and compute the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from graphprune.capture.capture import capture
from graphprune.capture.operators import call
from graphprune.capture.synonyms import SAID, SAME, spelt_alike

ATEN = torch.ops.aten
_POSITIVE = torch.rand(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.8 + 0.1
# what an operator needs beside one tensor, or in its place
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "arccosh": (_POSITIVE + 1,),
    "arctan2": (_POSITIVE, _POSITIVE.mT),
    "chain_matmul": ([_POSITIVE, _POSITIVE, _POSITIVE],),
    "clip": (_POSITIVE, 0.3, 0.6),
    "diag": (_POSITIVE, 1),
    "dsplit": (torch.rand(2, 3, 4), 2),
    "fix": (_POSITIVE * 4,),
    "ger": (_POSITIVE[0], _POSITIVE[1]),
    "hsplit": (torch.rand(2, 4), [1, 3]),
    "linalg_matmul": (_POSITIVE, _POSITIVE),
    "matrix_power": (_POSITIVE, 3),
    "moveaxis": (torch.rand(2, 3, 4), 0, 2),
    "native_channel_shuffle": (torch.rand(2, 6, 4), 3),
    "orgqr": (_POSITIVE, _POSITIVE[0]),
    "row_stack": ([_POSITIVE, _POSITIVE[0]],),
    "special_gammainc": (_POSITIVE, _POSITIVE.mT),
    "special_gammaincc": (_POSITIVE, _POSITIVE.mT),
    "special_log_softmax": (_POSITIVE, 1),
    "special_logsumexp": (_POSITIVE, [1]),
    "special_multigammaln": (_POSITIVE + 2, 2),
    "special_polygamma": (2, _POSITIVE),
    "special_round": (_POSITIVE,),
    "special_softmax": (_POSITIVE, 1),
    "special_xlogy": (_POSITIVE, _POSITIVE.mT),
    "unsafe_split": (torch.rand(4, 3), 2),
    "unsafe_split_with_sizes": (torch.rand(4, 3), [1, 3]),
    "vsplit": (torch.rand(4, 3), 2),
}


def _names() -> list[str]:
    return [*(name for name in SAME if "." not in name), *SAID]


def _runs(name: str) -> Any:
    """The overload that takes the example's arguments."""
    packet = getattr(ATEN, name)
    given = _ARGUMENTS.get(name, (_POSITIVE,))
    for overload in packet.overloads():
        try:
            return getattr(packet, overload), given, getattr(packet, overload)(*given)
        except (RuntimeError, TypeError):
            continue
    raise AssertionError(f"no overload of {name} takes the example")


def _graph(target: Any, given: tuple[Any, ...]) -> fx.Graph:
    graph = fx.Graph()

    def held(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        node = graph.placeholder("x")
        node.meta["val"] = value
        return node

    graph.output(graph.call_function(target, fx.node.map_aggregate(given, held)))
    return graph


@pytest.mark.parametrize("name", _names())
def test_another_name_says_the_same(name: str) -> None:
    target, given, expected = _runs(name)
    graph = _graph(target, given)
    node = next(node for node in graph.nodes if node.op == "call_function")
    spelt_alike(graph)
    assert node.target is not target, f"{target} stayed"
    result = call(node, lambda source: source.meta["val"])
    for one, other in zip(*map(_flat, (result, expected)), strict=True):
        assert torch.equal(one, other)


def _flat(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


@pytest.mark.parametrize("overload", ["self_scalar", "other_scalar"])
def test_overloads_of_other_names(overload: str) -> None:
    target = getattr(ATEN.special_xlogy, overload)
    given = (2.5, _POSITIVE) if overload == "self_scalar" else (_POSITIVE, 2.5)
    graph = _graph(target, given)
    node = next(node for node in graph.nodes if node.op == "call_function")
    spelt_alike(graph)
    assert torch.equal(call(node, lambda source: source.meta["val"]), target(*given))


def test_of_a_vector_the_matrix_that_has_it_as_diagonal() -> None:
    vector = torch.rand(4)
    graph = _graph(ATEN.diag.default, (vector, -1))
    node = next(node for node in graph.nodes if node.op == "call_function")
    spelt_alike(graph)
    assert node.target is ATEN.diag_embed.default
    assert torch.equal(call(node, lambda source: source.meta["val"]), vector.diag(-1))


class _InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fliplr((x * 2).negative_().arctan_())


def test_a_captured_program_has_the_names_that_rules_know() -> None:
    program = capture(_InPlace(), torch.rand(2, 3))
    assert [operation.family for operation in program.operations] == [
        "aten.mul",
        "aten.neg",
        "aten.atan",
        "aten.flip",
    ]
