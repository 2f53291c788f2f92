"""What capture makes of a model: names, constants, functional operators, sizes, lines of source."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.capture import Program, capture, normalise_inputs, run, tensor_leaves
from graphprune.capture.inputs import input_dimensions, with_sizes
from graphprune.capture.operators import draws_random, mutates
from graphprune.capture.raising import raise_program

X = torch.zeros(2, 6)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


class Base(nn.Module):
    """Two layers, and whatever a function does with them and a few tensors."""

    def __init__(self, function: Callable[[Base, Tensor], Any] | None = None) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 4)
        self.register_buffer("saved", torch.rand(8))
        self.register_buffer("hidden", torch.rand(8), persistent=False)
        self.plain = torch.rand(8)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        if self.function is None:
            return self.down(self.up(x) * self.saved + self.hidden - self.plain)
        return self.function(self, x)


def _ops(program: Program) -> list[str]:
    return [operation.family.removeprefix("aten.") for operation in program.operations]


def _same(model: nn.Module, program: Program, x: Tensor) -> None:
    model.eval()
    with torch.no_grad():
        wanted, given = model(x), raise_program(program)(x)
        again = run(program.graph, program.tensors, [x])
    for one, two, three in zip(*map(tensor_leaves, (wanted, given, again)), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


# -- stored tensors ---------------------------------------------------------------------------------------


def test_stored_tensors_are_the_users_own() -> None:
    model = Base()
    program = capture(model, X)
    assert program.tensors["up.weight"] is model.up.weight
    assert program.tensors["saved"] is model.saved
    assert {name: item.kind for name, item in program.stored.items() if "." not in name} == {
        "saved": "buffer",
        "hidden": "buffer",
        "plain": "constant",
    }
    assert [name for name, item in program.stored.items() if not item.persistent] == [
        "hidden",
        "plain",
    ]
    assert program.attributes["p_up_weight"] == "up.weight"
    _same(model, program, torch.randn(5, 6))


def test_every_name_of_a_tied_tensor_is_known() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    model.add_module("again", model[1])
    program = capture(model, torch.zeros(2, 4))
    assert program.stored["0.weight"].ties == ("2.weight",)
    assert program.stored["1.weight"].ties == ("again.weight",)
    assert program.parameter_count == 16 * 2 + 4 * 3
    reads = [node.target for node in program.graph.nodes if node.op == "get_attr"]
    assert len(reads) == len(set(reads)) == 5


def test_two_views_of_one_storage_are_two_tensors() -> None:
    whole = torch.rand(2, 8)
    model = Base(lambda m, x: m.down(m.up(x) * m.first + m.second))
    model.register_buffer("first", whole[0])
    model.register_buffer("second", whole[1])
    program = capture(model, X)
    assert {"first", "second"} <= set(program.stored)
    _same(model, program, torch.randn(3, 6))


# -- constants --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.down(m.up(x) + torch.arange(8)),
        lambda m, x: m.down(m.up(x) * torch.linspace(0, 1, 8).flip(0).exp()),
        lambda m, x: m.down(m.up(x) + torch.tensor([1.0, 2.0] * 4)),
        lambda m, x: m.down(m.up(x) @ torch.eye(8).tril()),
        lambda m, x: m.down(m.up(x) * (m.plain * 2).sqrt()),
        lambda m, x: m.down(m.up(x) + torch.zeros(8).index_fill(0, torch.tensor([2]), 5.0)),
    ],
)
def test_what_depends_on_nothing_becomes_one_constant(function: Callable[[Base, Tensor], Any]) -> None:
    model = Base(function)
    program = capture(model, X)
    assert [name for name, item in program.stored.items() if item.kind == "constant"] == ["_constant_0"]
    assert len(_ops(program)) == 3
    _same(model, program, torch.randn(5, 6))
    raised = raise_program(program)
    assert "_constant_0" not in raised.state_dict()


def test_parameters_and_buffers_are_no_constants() -> None:
    model = Base(lambda m, x: m.down(m.up(x) * m.saved.exp()))
    program = capture(model, X)
    assert "exp" in _ops(program)
    model.saved.fill_(2.0)
    _same(model, program, torch.randn(3, 6))


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda m, x: F.dropout(m.up(x)), "aten.dropout"),
        (lambda m, x: m.up(x) + torch.randn(8), "aten.randn"),
        (lambda m, x: m.up(x)[:, torch.randperm(8)], "aten.randperm"),
        (lambda m, x: torch.bernoulli(m.up(x).sigmoid()), "aten.bernoulli"),
        (lambda m, x: torch.normal(m.up(x), 1.0), "aten.normal"),
        (lambda m, x: F.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.1), "scaled_dot"),
    ],
)
def test_random_numbers_in_eval_mode_are_refused(function: Callable[[Base, Tensor], Any], named: str) -> None:
    with pytest.raises(
        gp.CaptureError, match=rf"random numbers in eval mode: {named}|{named}.*self\.training"
    ) as e:
        capture(Base(function), X)
    assert f"{Path(__file__).name}:" in str(e.value)
    assert "F.dropout(x, p, self.training)" in str(e.value)


def test_dropout_that_is_off_is_not_random() -> None:
    class Careful(Base):
        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(self.up(x), 0.5, self.training)
            x = F.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.1 * self.training)[0]
            return self.down(F.rrelu(x, training=self.training))

    program = capture(Careful(), X)
    assert not any(draws_random(node) for node in program.graph.nodes)
    kinds = [type(module) for module in raise_program(program).modules()]
    assert kinds.count(nn.Dropout) == 1


# -- functional operators ---------------------------------------------------------------------------------


def _views(m: Base, x: Tensor) -> Tensor:
    y = m.up(x)
    y[:, :4].mul_(2)
    y[:, 4:] += y[:, :4]
    return m.down(y)


def _alias(m: Base, x: Tensor) -> Tensor:
    y = m.up(x)
    early = y.view(-1, 2, 4)
    y.add_(1)
    return m.down(y) + early.sum((1, 2))[:, None]


def _chain(m: Base, x: Tensor) -> Tensor:
    return m.down(m.up(x).add_(1).relu_().mul_(m.saved).clamp_(max=2))


def _zeros(m: Base, x: Tensor) -> Tensor:
    y = torch.zeros(x.shape[0], 8)
    y[:, 2:6] = m.up(x)[:, :4]
    y[:, 0].fill_(3)
    return m.down(y)


def _twice(m: Base, x: Tensor) -> Tensor:
    y = m.up(x)
    z = y + 0
    y.relu_()
    return m.down(y - z)


def _before(m: Base, x: Tensor) -> Tensor:
    y = m.up(x)
    z = y.sigmoid()
    y.tanh_()
    return m.down(y * z)


IN_PLACE = [_views, _alias, _chain, _zeros, _twice, _before]


@pytest.mark.parametrize("function", IN_PLACE)
def test_writing_in_place(function: Callable[[Base, Tensor], Any]) -> None:
    model = Base(function)
    program = capture(model, X)
    _same(model, program, torch.randn(5, 6))


@pytest.mark.parametrize("function", [_chain, _twice, _before])
def test_operators_without_living_views_become_functional(function: Callable[[Base, Tensor], Any]) -> None:
    assert not any(mutates(node) for node in capture(Base(function), X).graph.nodes)


def test_a_tensor_that_is_kept_is_still_written_in_place() -> None:
    model = Base(lambda m, x: m.down(m.up(x) + m.saved.mul_(0.5).add_(1)))
    before = model.saved.clone()
    program = capture(model, X)
    assert [str(node.target) for node in program.graph.nodes if mutates(node)] == [
        "aten.mul_.Tensor",
        "aten.add_.Tensor",
    ]
    assert torch.equal(model.saved, before)
    raised = raise_program(program)
    raised(torch.randn(3, 6))
    assert torch.equal(raised.saved, before * 0.5 + 1)


# -- regions ----------------------------------------------------------------------------------------------


def _no_grad(m: Base, x: Tensor) -> Tensor:
    y = m.up(x)
    with torch.no_grad():
        z = y.softmax(-1) + m.saved
    return m.down(y * z)


def _autocast_off(m: Base, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        y = m.up(x.float())
    return m.down(y.relu())


def _two_results(m: Base, x: Tensor) -> Tensor:
    y = m.up(x)
    with torch.no_grad():
        a, b = y.chunk(2, 1)
        c = a * 2
    return m.down(torch.cat([a + b, c], 1))


@pytest.mark.parametrize("function", [_no_grad, _autocast_off, _two_results])
def test_wrapped_regions_are_seen_through(function: Callable[[Base, Tensor], Any]) -> None:
    model = Base(function)
    program = capture(model, X)
    assert not any("wrap_with" in operation.op for operation in program.operations)
    _same(model, program, torch.randn(5, 6))
    assert [group.size for group in gp.trace(model, X).groups]


def _cond(m: Base, x: Tensor) -> Tensor:
    y = m.up(x)
    y = torch.cond(y.sum() > 0, lambda y: y.relu(), lambda y: y * 2, (y,))
    return m.down(y)


def test_conditions_that_hold_whole_graphs_are_refused() -> None:
    with pytest.raises(gp.CaptureError, match=r"cond chooses between whole graphs.*torch\.where") as caught:
        capture(Base(_cond), X)
    assert f"({Path(__file__).name}:" in str(caught.value)


# -- the description for the core -------------------------------------------------------------------------


class Described(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Base(), Base(lambda m, x: m.up(x))])

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        y = self.blocks[0](x.reshape(b * t, c)).view(b, t, 4)
        return y.sum(1) + self.blocks[1](x).mean((1, 2))[:, None]  # the last line


def test_operations_know_their_layer_and_line() -> None:
    program = capture(Described(), torch.zeros(3, 5, 6))
    layers = {operation.layer for operation in program.operations}
    assert {"", "blocks.0", "blocks.0.up", "blocks.1.up"} <= layers
    lines, start = inspect.getsourcelines(Described.forward)
    last = start + next(index for index, line in enumerate(lines) if "the last line" in line)
    sources = {operation.source for operation in program.operations if operation.layer == ""}
    assert f"{Path(__file__).name}:{last}" in sources
    assert program.module_types["blocks.0"] == "Base"


def test_batch_sizes_are_large_primes_and_no_factor_is_mistaken_for_them() -> None:
    program = capture(Described(), torch.zeros(3, 5, 6))
    (prime,) = program.batch_primes
    assert prime > 1000
    assert program.values["x"].shape == (prime, 5, 6)
    folded = [value.shape for value in program.values.values() if value.shape[:1] == (5 * prime,)]
    assert folded
    assert program.dynamic_batch
    assert program.notes == ()


def test_integers_computed_from_sizes_are_folded_into_arguments() -> None:
    program = capture(Described(), torch.zeros(3, 5, 6))
    last = [operation for operation in program.operations if operation.family == "aten.reshape"][-1]
    assert last.arguments["shape"] == [program.batch_primes[0], 5, 4]


def test_arguments_are_bound_by_name_with_defaults() -> None:
    program = capture(nn.Conv2d(3, 4, 3), torch.zeros(2, 3, 8, 8))
    (operation,) = program.operations
    assert operation.op == "aten.conv2d.default"
    assert list(operation.arguments) == ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
    assert operation.arguments["groups"] == 1
    assert [value.name for value in operation.inputs] == ["input_1", "p_weight", "p_bias"]


def test_shape_assertions_and_dead_code_are_dropped() -> None:
    def wasteful(m: Base, x: Tensor) -> Tensor:
        torch._assert(x.shape[1] == 6, "six columns")
        m.up(x).exp().sum()
        return m.down(m.up(x))

    assert _ops(capture(Base(wasteful), X)) == ["linear", "linear"]


def test_an_empty_model_is_captured() -> None:
    program = capture(nn.Identity(), X)
    assert program.operations == ()
    assert raise_program(program)(X) is X


# -- inputs -----------------------------------------------------------------------------------------------


def test_inputs_are_brought_to_one_form() -> None:
    for given in (X, (X,), [X], ((X,), {})):
        args, kwargs = normalise_inputs(given)
        assert len(args) == 1
        assert kwargs == {}
    args, kwargs = normalise_inputs({"x": X})
    assert args == ()
    assert list(kwargs) == ["x"]
    args, kwargs = normalise_inputs(((X, {"a": X}), {"b": X}))
    assert isinstance(args[1], dict)
    assert list(kwargs) == ["b"]


def test_one_tensor_in_two_places_becomes_two() -> None:
    (first, second), _ = normalise_inputs((X, X))
    assert first is not second
    program = capture(Base(lambda m, pair: m.down(m.up(pair[0] - pair[1]))), ((X, X),))
    assert len(program.inputs) == 2


def test_batches_are_repeated_and_cut() -> None:
    inputs = ((torch.arange(3.0), torch.tensor(5)), {"y": torch.zeros(3, 2), "n": 4})
    first = [replace(item, name="batch") for item in input_dimensions(inputs, ("x", "n")) if not item.dim]
    args, kwargs = with_sizes(inputs, first, {"batch": 5})
    assert args[0].tolist() == [0, 1, 2, 0, 1]
    assert args[1].shape == ()
    assert kwargs["y"].shape == (5, 2)
    assert kwargs["n"] == 4
    assert with_sizes(inputs, first, {"batch": 1})[0][0].tolist() == [0]
    assert with_sizes(inputs, first, {"batch": 3})[0][0] is inputs[0][0]


class Keeps(nn.Module):
    """Keeps the tables that it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
        self.table: torch.Tensor | None = None
        self.tables: dict[int, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[1]
        if self.table is None or self.table.shape[0] < length:
            self.table = torch.arange(length).float()[:, None]
        self.tables[int(length)] = self.table
        self.latest = self.table
        return self.down(self.up(x) + self.table[:length])


def test_a_model_keeps_nothing_of_the_runs_without_data() -> None:
    model, x = Keeps().eval(), torch.randn(2, 5, 4)
    program = capture(model, x)
    assert model.table is None
    assert not model.tables
    assert not hasattr(model, "latest")
    expected = model(x)
    assert expected.device.type == "cpu"
    torch.testing.assert_close(raise_program(program)(x), expected)


class Hooks(nn.Module):
    """Collects what its layers give by hooks that it registers at the first call, as transformers does."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: list[torch.Tensor] = []
        if not hasattr(self, "registered"):
            self.registered = True
            self.up.register_forward_hook(lambda module, args, output: self.found.extend([output, output]))
        self.found = found
        self.up(x)
        return self.down(torch.cat(found, -1))


def test_hooks_that_a_model_registers_when_it_first_runs_are_not_registered_twice() -> None:
    model, x = Hooks().eval(), torch.randn(2, 4)
    program = capture(model, x)
    assert not model.up._forward_hooks
    torch.testing.assert_close(raise_program(program)(x), model(x))
