"""Runs without data: what operators gave is not asked again, and nothing else changes by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphprune.capture.known import Known
from graphprune.capture.trial import Trial


def _meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


IMAGE, ROWS, COUNTS = (2, 4, 6, 8), (3, 5), (3, 5)
CALLS: dict[str, Callable[[], Any]] = {
    "add": lambda: _meta(*ROWS) + _meta(5),
    "an integer and an integer": lambda: _meta(*COUNTS, dtype=torch.int64) + 1,
    "an integer and a float": lambda: _meta(*COUNTS, dtype=torch.int64) + 1.0,
    "an integer and a truth": lambda: _meta(*COUNTS, dtype=torch.int64) + True,
    "convolution": lambda: nn.functional.conv2d(_meta(*IMAGE), _meta(3, 4, 3, 3), stride=2, padding=1),
    "of another layout": lambda: _meta(*IMAGE).to(memory_format=torch.channels_last) * 2,
    "transposed": lambda: _meta(*ROWS).t() * 2,
    "several results": lambda: _meta(*ROWS).max(dim=1),
    "a list of results": lambda: torch.unbind(_meta(*ROWS)),
    "sums of parts": lambda: [part.sum(0) for part in _meta(*IMAGE).split([1, 3], dim=1)],
    "in place": lambda: _meta(*ROWS).relu_(),
    "written into": lambda: _meta(*ROWS).copy_(_meta(5)),
    "resized": lambda: _meta(*ROWS).resize_(2, 9),
    "squeezed": lambda: _meta(3, 1, 5).squeeze_(1),
    "norm": lambda: nn.functional.layer_norm(_meta(*ROWS), (5,), _meta(5), _meta(5)),
    "attention": lambda: nn.functional.scaled_dot_product_attention(*(_meta(2, 3, 7, 4) for _ in range(3))),
    "a factory": lambda: torch.arange(7, device="meta"),
}


def _told(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.shape, result.stride(), result.dtype, result.device.type
    return type(result), *map(_told, result)


@pytest.mark.parametrize("name", CALLS)
def test_what_is_known_is_what_torch_gives(name: str) -> None:
    expected = _told(CALLS[name]())
    known = Known()
    for _ in range(3):
        with known:
            found = _told(CALLS[name]())
        assert found == expected


def test_all_calls_are_told_apart() -> None:
    with Known():
        found = [{name: _told(call()) for name, call in CALLS.items()} for _ in range(2)]
    assert found[0] == found[1] == {name: _told(call()) for name, call in CALLS.items()}


def test_the_default_dtype_counts() -> None:
    before = torch.get_default_dtype()
    with Known():
        kinds = []
        for dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(dtype)
            kinds.append((_meta(2, dtype=torch.int64) / 2).dtype)
        torch.set_default_dtype(before)
    assert kinds == [torch.float32, torch.float64]


def test_what_is_written_into_is_given_back() -> None:
    with Known():
        for _ in range(2):
            tensor = _meta(*ROWS)
            assert tensor.relu_() is tensor


def test_what_fails_fails_each_time() -> None:
    with Known():
        _meta(3, 4).add_(_meta(4))
        for _ in range(2):
            with pytest.raises(RuntimeError, match="broadcast"):
                _meta(3, 4).add_(_meta(2, 3, 4))


def test_torch_is_asked_once_for_each_shape() -> None:
    asked: list[torch.Size] = []
    with torch.library._scoped_library("graphprune_tests", "FRAGMENT") as library:
        library.define("asked(Tensor x) -> Tensor")

        def shape(x: Tensor) -> Tensor:
            asked.append(x.shape)
            return torch.empty_like(x)

        library.impl("asked", shape, "Meta")
        with Known():
            for size in (3, 4, 3, 3, 4):
                torch.ops.graphprune_tests.asked(_meta(size))
    assert asked == [torch.Size([3]), torch.Size([4])]


def test_what_the_model_compiles_is_still_compiled() -> None:
    compiled: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    part = torch.compile(lambda x: x.sin() + 1, backend=backend)

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return part(x)

    assert Trial(Model(), ((torch.zeros(2, 3),), {})).run({(0, 0): 7}).shapes == ((7, 3),)
    before = len(compiled)
    part(torch.zeros(2, 3))
    assert len(compiled) == before + 1


class Asking(nn.Module):
    """Asks for values, as some checks do, but for the cases in which it may not."""

    def __init__(self, unless: Callable[[], bool]) -> None:
        super().__init__()
        self.unless = unless

    def forward(self, x: Tensor) -> Tensor:
        if not self.unless() and bool((x > 0).all()):
            return x.sum(1)
        return x.mean(1, keepdim=True)


def test_a_model_that_asks_for_values_is_tried_as_if_exported() -> None:
    trial = Trial(Asking(torch.compiler.is_exporting), ((torch.ones(2, 3),), {}))
    assert trial.run({(0, 0): 7}).shapes == ((7, 1),)
    assert not torch.compiler.is_exporting()


def test_a_model_that_always_asks_for_values_has_none_to_ask() -> None:
    assert Trial(Asking(lambda: False), ((torch.ones(2, 3),), {})).run({}).problem
