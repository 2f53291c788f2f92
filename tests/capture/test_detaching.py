"""What a model computes without gradients is computed so by the slim model too: it learns what the model learns."""

from __future__ import annotations

import copy
import math
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import graphprune as gp
from graphprune.capture.raising import raise_program


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)


class Branch(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        with torch.no_grad():
            z = self.b(y).relu()
        return self.c(y + z)


class Nested(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        with torch.no_grad():
            z = self.b(y).relu()
            with torch.enable_grad():
                w = self.b(y).tanh() * z
            v = w * 2
        return self.c(y + v) + self.c(w)


class Decorated(Base):
    @torch.no_grad()
    def encoded(self, x: Tensor) -> Tensor:
        return self.b(x)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.c(y * self.encoded(y))


class Switched(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        z = self.b(y)
        torch.set_grad_enabled(before)
        return self.c(y * z)


class Inference(Base):
    @torch.no_grad()
    def encoded(self, x: Tensor) -> Tensor:
        return self.b(x)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        with torch.inference_mode():
            z = self.encoded(y).relu()
        return self.c(self.b(y) + z)


class StraightThrough(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        quantised = torch.round(y * 4) / 4
        return self.c(self.b(y + (quantised - y).detach()))


class Target(Base):
    """Two networks, of which one is to be followed by the other."""

    def __init__(self) -> None:
        super().__init__()
        self.target = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(self.b(self.a(x)))
        with torch.no_grad():
            wanted = self.target(x)
        return 2 - 2 * F.cosine_similarity(y, wanted, dim=-1)


class Halves(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        with torch.no_grad():
            u, v = self.b(y).chunk(2, -1)
        return self.c(torch.cat([v, u], -1) + y)


class Data(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.c(y * self.b(y).data)


MODELS = [Branch, Nested, Decorated, Switched, Inference, StraightThrough, Target, Halves, Data]


def _gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    y = model(x)
    (y * torch.arange(1.0, y.numel() + 1).view_as(y)).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    return {
        name: torch.zeros_like(p) if found[name] is None else found[name]
        for name, p in model.named_parameters()
    }


def _differentiable(model: nn.Module) -> nn.Module:
    """A result of inference mode cannot be saved for a backward run; the same without it can."""
    if isinstance(model, Inference):
        model.forward = lambda x: model.c(model.b(y := model.a(x)) + model.b(y).relu().detach())
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_of_the_captured_program_are_the_models(kind: type[Base]) -> None:
    torch.manual_seed(0)
    model, x = kind(), torch.randn(3, 4)
    captured = raise_program(gp.trace(model, torch.zeros(2, 4)).program)
    torch.testing.assert_close(_gradients(captured, x), _gradients(_differentiable(model), x))


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_of_the_slim_model_are_the_masked_models(kind: type[Base]) -> None:
    torch.manual_seed(0)
    model, x = kind(), torch.randn(3, 4)
    result = gp.shrink(model, torch.zeros(2, 4), ratio=0.5)
    kept = result.plan.kept
    masked = _differentiable(copy.deepcopy(model))
    with torch.no_grad():
        for name, parameter in masked.named_parameters():
            for dim, indices in kept.get(name, {}).items():
                gone = torch.ones(parameter.shape[dim], dtype=torch.bool).index_fill(0, indices, False)
                parameter.index_fill_(dim, gone.nonzero().flatten(), 0)
    expected = _gradients(masked, x)
    for name, found in _gradients(result.model, x).items():
        wanted = expected[name]
        for dim, indices in kept.get(name, {}).items():
            wanted = wanted.index_select(dim, indices)
        torch.testing.assert_close(found, wanted)


def test_what_needs_no_detach_has_none() -> None:
    """Tables of positions are made without gradients in many models, and no parameter reaches them."""

    class Positions(Base):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("frequencies", torch.arange(1.0, 4.0) / math.pi)

        @torch.no_grad()
        def table(self, length: int) -> Tensor:
            angles = torch.arange(length)[:, None] * self.frequencies
            return torch.cat([angles.sin(), angles.cos()], -1).detach()

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.b(self.a(x) + self.table(x.shape[1])))

    program = gp.trace(Positions(), torch.zeros(2, 5, 4)).program
    assert not [op.op for op in program.operations if "detach" in op.op]
    assert program.detaches


def test_a_detach_of_memory_that_a_parameter_was_written_into_stays() -> None:
    class Written(Base):
        def forward(self, x: Tensor) -> Tensor:
            held = torch.zeros(3, 6)
            row = held[0]
            row.copy_(self.a(x).sum(0))
            return self.c(self.b(held) * held.detach())

    model, x = Written(), torch.randn(3, 4)
    captured = raise_program(gp.trace(model, torch.zeros(2, 4)).program)
    torch.testing.assert_close(_gradients(captured, x), _gradients(model, x))


def test_a_detach_that_capture_loses_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.capture.export.detached", lambda _, made: made)
    with pytest.raises(gp.VerificationError, match=r"captured program equal .* worst is that of b\."):
        gp.shrink(Branch(), torch.zeros(2, 4), ratio=0.5)


def test_a_detach_that_is_dropped_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def dropped(graph: fx.Graph, _: object) -> None:
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.detach.default):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)

    monkeypatch.setattr(sys.modules["graphprune.capture.capture"], "drop_needless", dropped)
    with pytest.raises(gp.VerificationError, match=r"captured program equal .* worst is that of b\."):
        gp.shrink(Branch(), torch.zeros(2, 4), ratio=0.5)


def test_the_model_is_left_as_it_was() -> None:
    model = Branch()
    model.b.weight.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    result = gp.shrink(model, torch.zeros(2, 4), ratio=0.5)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    assert {name: p.requires_grad for name, p in result.model.named_parameters()} == before


def test_what_autograd_forbids_can_be_captured() -> None:
    """Writing into one of several views is fine in inference alone."""

    class Scaled(Base):
        def forward(self, x: Tensor) -> Tensor:
            u, v = self.b(self.a(x)).unbind(0)
            u *= 2
            return self.c(u + v)

    result = gp.shrink(Scaled(), torch.zeros(2, 4), ratio=0.5)
    assert result.verdict.passed


def test_a_write_that_autograd_does_not_see_is_refused() -> None:
    """The gradient is that of the value before: no functional operator has such a one."""

    class Rewritten(Base):
        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            with torch.no_grad():
                y.mul_(2)
            return self.c(self.b(y))

    with pytest.raises(gp.VerificationError, match=r"written into under torch\.no_grad: y = y \+ "):
        gp.shrink(Rewritten(), torch.zeros(2, 4), ratio=0.5)
