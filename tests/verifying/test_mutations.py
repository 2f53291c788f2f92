"""The verifier is not blind: whatever is wrong with a slim program, it fails and names the place."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import graphprune as gp
from graphprune.capture.operators import own_memory
from graphprune.capture.program import Program, Stored
from graphprune.capture.raising import raise_program
from graphprune.planning import make_plan
from graphprune.rewriting import rewrite
from graphprune.verifying import Verdict, verify

ATEN = torch.ops.aten


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Block(nn.Module):
    """A transformer block: fused projection, heads, layer scale, and an optional zero-initialised end."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)
        self.gamma = nn.Parameter(torch.full((16,), gain))

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, 16)
        x = x + self.gamma * self.proj(y)
        return x + self.gamma * self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, blind: bool) -> None:
        super().__init__()
        self.embed, self.block, self.head = nn.Linear(6, 16), Block(1e-6 if blind else 1.0), nn.Linear(16, 5)
        if blind:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.block.proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x)))


class Convolutions(nn.Module):
    """Groups, splits, slices, padding, repetition, norms: literals of every kind."""

    def __init__(self, blind: bool) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.grouped, self.group_norm = nn.Conv2d(16, 24, 3, padding=1, groups=4), nn.GroupNorm(4, 24)
        self.left, self.right = nn.Conv2d(10, 12, 1), nn.Conv2d(14, 12, 1)
        self.depthwise, self.wide = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(20, 8, 1)
        self.up, self.last = nn.ConvTranspose2d(8, 8, 2, stride=2, groups=2), nn.Conv2d(16, 8, 1)
        self.pool, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(8 * 4, 5)
        self.scale = nn.Parameter(torch.rand(1, 12, 1, 1) + 0.5)
        if blind:
            nn.init.zeros_(self.norm.weight)
            nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group_norm(self.grouped(self.norm(self.stem(x)).relu()))
        a, b = x.split([10, 14], 1)
        x = self.depthwise((self.left(a) + self.right(b)).relu()) * self.scale.expand(x.shape[0], 12, 8, 8)
        x = torch.cat([F.pad(x[:, 2:10], (0, 0, 0, 0, 3, 0)), x[:, :9]], 1)
        x = self.up(self.wide(x))
        x = self.last(torch.cat([x, x.repeat(1, 2, 1, 1)[:, 3:11]], 1))
        return self.head(self.pool(x).view(-1, 32))


CASES: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "transformer": (lambda: Transformer(False), torch.zeros(2, 5, 6)),
    "transformer, blind": (lambda: Transformer(True), torch.zeros(2, 5, 6)),
    "convolutions": (lambda: Convolutions(False), torch.zeros(2, 3, 8, 8)),
    "convolutions, blind": (lambda: Convolutions(True), torch.zeros(2, 3, 8, 8)),
}


@cache
def _case(name: str) -> tuple[gp.DependencyGraph, gp.Plan]:
    build, inputs = CASES[name]
    torch.manual_seed(0)
    result = gp.shrink(build(), inputs, ratio=0.5, importance="random")
    return result.graph, result.plan


def _slim(name: str) -> tuple[gp.DependencyGraph, gp.Plan, Program]:
    graph, plan = _case(name)
    return graph, plan, rewrite(graph, plan)


def _verdict(graph: gp.DependencyGraph, plan: gp.Plan, slim: Program) -> Verdict:
    return verify(graph, plan, slim, raise_program(rewrite(graph, plan)))


def _failures(verdict: Verdict) -> str:
    return "; ".join(str(check) for check in verdict.checks if not check.passed)


def _node(program: Program, name: str) -> fx.Node:
    (node,) = [node for node in program.graph.nodes if node.name == name]
    return node


def _first(program: Program, target: Any, nth: int = 0) -> fx.Node:
    return [node for node in program.graph.nodes if node.target is target][nth]


def _with(slim: Program, name: str, tensor: Tensor) -> Program:
    item = slim.stored[name]
    if item.kind == "parameter":
        tensor = nn.Parameter(tensor, requires_grad=item.tensor.requires_grad)
    return dataclasses.replace(slim, stored={**slim.stored, name: dataclasses.replace(item, tensor=tensor)})


@pytest.mark.parametrize("name", CASES)
def test_the_right_program_passes(name: str) -> None:
    graph, plan, slim = _slim(name)
    verdict = verify(graph, plan, slim, raise_program(slim))
    assert verdict.passed, str(verdict)
    assert str(verdict).count("passed") == len(verdict.checks)


# -- every literal that rewriting changed, put back or off by one ----------------------------------------


def _changed_literals(name: str) -> Iterator[tuple[str, str, Any]]:
    """(node, argument, original) of every argument of a node that differs from the original program's."""
    graph, _, slim = _slim(name)
    old = {node.name: node for node in graph.program.graph.nodes}
    for node in slim.graph.nodes:
        if node.op != "call_function" or node.name not in old:
            continue
        before = old[node.name]
        for place in range(max(len(node.args), len(before.args))):
            a, b = (args[place] if place < len(args) else None for args in (node.args, before.args))
            if str(a) != str(b):
                yield node.name, str(place), b
        for key in {*node.kwargs, *before.kwargs}:
            if str(node.kwargs.get(key)) != str(before.kwargs.get(key)):
                yield node.name, key, before.kwargs.get(key)


def _changed(node: fx.Node, place: str, value: Any) -> None:
    if place.isdigit():
        args = list(node.args)
        args[int(place)] = value
        node.args = tuple(args)
    elif value is None:
        node.kwargs = {key: item for key, item in node.kwargs.items() if key != place}
    else:
        node.kwargs = {**node.kwargs, place: value}


def _mutants(now: Any, original: Any) -> Iterator[tuple[str, Any]]:
    """Ways to get one literal wrong: the original's, one more, one less, two entries swapped."""
    yield "as it was", original
    if isinstance(now, float):
        yield "a tenth more", now * 1.1
    elif isinstance(now, int):
        yield "one more", now + 1
        yield "one less", now - 1
    elif isinstance(now, list | tuple):
        for place, item in enumerate(now):
            if isinstance(item, int) and item > 0:
                yield f"one more at {place}", [*now[:place], item + 1, *now[place + 1 :]]
        for place in range(len(now) - 1):
            if now[place] != now[place + 1]:
                swapped = [*now[:place], now[place + 1], now[place], *now[place + 2 :]]
                yield f"swapped at {place}", swapped


def _translated(slim: Program, value: Any) -> Any:
    """A literal of the original program with the slim program's nodes for its own."""
    nodes = {node.name: node for node in slim.graph.nodes}
    return fx.node.map_arg(value, lambda node: nodes[node.name])


def _values(program: Program, inputs: list[Any]) -> dict[str, Any]:
    """Every node's value on random tensors; empty if the program does not run."""
    seen: dict[str, Any] = {}
    own = own_memory(program.graph)
    generator = torch.Generator().manual_seed(5)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            seen[node.name] = own(inputs[program.inputs.index(node.name)])
        elif node.op == "get_attr":
            tensor = program.stored[node.target].tensor
            drawn = torch.rand(tensor.shape, generator=generator) + 0.5
            seen[node.name] = drawn if tensor.is_floating_point() else tensor
        elif node.op == "call_function":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: seen[n.name])
            seen[node.name] = node.target(*args, **kwargs)
    return seen


def _equivalent(slim: Program, mutant: Program, inputs: Tensor) -> bool:
    """Whether a mutant computes the same as the right program at every node."""
    x = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(6))
    try:
        wrong = _values(mutant, [x])
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    right = _values(slim, [x])
    return all(
        not isinstance(value, Tensor)
        or (value.shape == wrong[name].shape and torch.allclose(value, wrong[name]))
        for name, value in right.items()
    )


def _place(graph: gp.DependencyGraph, name: str) -> str:
    """How a message names an operator."""
    (operation,) = [operation for operation in graph.program.operations if operation.name == name]
    layer = f" of {operation.layer}" if operation.layer else ""
    return f"{operation.op}{layer} ({operation.source})"


@pytest.mark.parametrize("name", CASES)
def test_every_changed_literal_matters(name: str) -> None:
    graph, plan, right = _slim(name)
    module = raise_program(rewrite(graph, plan))
    tried = 0
    for node_name, place, original in _changed_literals(name):
        node = _node(right, node_name)
        now = node.args[int(place)] if place.isdigit() else node.kwargs.get(place)
        for label, wrong in _mutants(now, original):
            slim = rewrite(graph, plan)
            _changed(_node(slim, node_name), place, _translated(slim, wrong))
            if _equivalent(right, slim, CASES[name][1]):
                continue
            tried += 1
            verdict = verify(graph, plan, slim, module)
            assert not verdict.passed, f"{node_name}, argument {place}, {label}: {wrong}"
            assert _place(graph, node_name) in _failures(verdict), (label, _failures(verdict))
    assert tried >= 15


def test_the_scale_of_attention_is_a_literal_that_matters() -> None:
    for name in ("transformer", "transformer, blind"):
        graph, plan, slim = _slim(name)
        node = _first(slim, ATEN.scaled_dot_product_attention.default)
        assert node.kwargs["scale"] == 4**-0.5
        node.kwargs = {}
        text = _failures(_verdict(graph, plan, slim))
        assert f"first difference at {_place(graph, node.name)}" in text
        assert "random parameters, every node" in text


# -- operators and their inputs ---------------------------------------------------------------------------


def _skip(node: fx.Node, place: int = 0) -> None:
    """The node hands on one of its inputs."""
    node.replace_all_uses_with(node.args[place])


def _rewired(node: fx.Node, *args: Any) -> None:
    node.args = (*args, *node.args[len(args) :])


Mutation = Callable[[Program], str]  # changes the program, returns the name of the first node that differs


def _swap_operands(slim: Program) -> str:
    node = _first(slim, ATEN.scaled_dot_product_attention.default)
    q, k, v = node.args
    node.args = (q, v, k)
    return node.name


def _drop_activation(slim: Program) -> str:
    node = _first(slim, ATEN.gelu.default)
    node.target = ATEN.relu.default
    return node.name


def _drop_residual(slim: Program) -> str:
    node = _first(slim, ATEN.add.Tensor)
    node.target = ATEN.sub.Tensor
    return node.name


def _drop_bias(slim: Program) -> str:
    node = _node(slim, "linear_1")
    node.args = node.args[:2]
    return node.name


def _wrong_tensor(slim: Program) -> str:
    """Weight and bias have one shape."""
    node = _first(slim, ATEN.layer_norm.default)
    node.args = (node.args[0], node.args[1], node.args[3], node.args[2])
    return node.name


def _wrong_axis(slim: Program) -> str:
    node = _first(slim, ATEN.transpose.int)
    node.args = (node.args[0], 1, 1)
    return node.name


def _permuted_heads(slim: Program) -> str:
    """Heads in another order before the projection."""
    node = _first(slim, ATEN.transpose.int)
    with slim.graph.inserting_after(node):
        flipped = slim.graph.call_function(ATEN.flip.default, (node, [2]))
    node.replace_all_uses_with(flipped, delete_user_cb=lambda user: user is not flipped)
    return next(iter(flipped.users)).name


def _permuted_parts(slim: Program) -> str:
    """Queries for keys."""
    unbind = _first(slim, ATEN.unbind.int)
    q, k, _ = unbind.users
    q.args, k.args = (unbind, 1), (unbind, 0)
    return q.name


def _another_input(slim: Program) -> str:
    node = _first(slim, ATEN.layer_norm.default, 1)
    node.args = (next(n for n in slim.graph.nodes if n.name == "linear"), *node.args[1:])
    return node.name


@pytest.mark.parametrize("blind", ["transformer", "transformer, blind"])
@pytest.mark.parametrize(
    "mutation",
    [
        _swap_operands,
        _drop_activation,
        _drop_residual,
        _drop_bias,
        _wrong_tensor,
        _wrong_axis,
        _permuted_heads,
        _permuted_parts,
        _another_input,
    ],
)
def test_wrong_operators_and_inputs(mutation: Mutation, blind: str) -> None:
    graph, plan, slim = _slim(blind)
    name = mutation(slim)
    verdict = _verdict(graph, plan, slim)
    assert not verdict.passed
    text = _failures(verdict)
    wanted = _place(graph, name) if any(o.name == name for o in graph.program.operations) else name
    assert f"at {wanted}" in text or f"cannot run {wanted}" in text, text


# -- tensors ----------------------------------------------------------------------------------------------


def _swapped(tensor: Tensor, dim: int) -> Tensor:
    order = [1, 0, *range(2, tensor.shape[dim])]
    return tensor.index_select(dim, torch.tensor(order))


TENSORS: dict[str, tuple[str, str, Callable[[Tensor, Tensor], Tensor]]] = {
    "two kept units swapped": ("convolutions", "left.weight", lambda cut, whole: _swapped(cut, 1)),
    "the first units, not the chosen": (
        "convolutions",
        "stem.weight",
        lambda cut, whole: whole[: len(cut)].clone(),
    ),
    "a bias left whole": ("convolutions", "stem.bias", lambda cut, whole: whole.clone()),
    "a statistic left whole, masked": ("convolutions", "norm.running_var", lambda cut, whole: whole * 0),
    "a statistic of zeros": ("convolutions", "norm.running_var", lambda cut, whole: cut * 0),
    "one value a little off": ("transformer", "block.up.weight", lambda cut, whole: cut + 1e-7),
    "another precision": ("transformer", "block.up.bias", lambda cut, whole: cut.double()),
    "heads permuted": (
        "transformer",
        "block.proj.weight",
        lambda cut, whole: cut.unflatten(1, (2, 2)).flip(1).flatten(1),
    ),
    "zeros swapped, which no output shows": (
        "transformer, blind",
        "block.qkv.weight",
        lambda cut, whole: _swapped(cut, 0),
    ),
    "a tensor too many columns": (
        "convolutions",
        "wide.weight",
        lambda cut, whole: torch.cat([cut, cut[:, :1]], 1),
    ),
}


@pytest.mark.parametrize("label", TENSORS)
def test_wrong_tensors(label: str) -> None:
    name, tensor, change = TENSORS[label]
    graph, plan, slim = _slim(name)
    wrong = _with(
        slim, tensor, change(slim.stored[tensor].tensor.detach(), graph.program.tensors[tensor].detach())
    )
    verdict = verify(graph, plan, wrong, raise_program(wrong))
    assert not verdict.passed
    (check,) = [check for check in verdict.checks if check.name == "tensors as planned"]
    assert not check.passed
    assert check.detail == tensor


@pytest.mark.parametrize(
    "change",
    [
        lambda item: dataclasses.replace(
            item, tensor=nn.Parameter(item.tensor.detach(), requires_grad=False)
        ),
        lambda item: dataclasses.replace(item, persistent=False),
        lambda item: dataclasses.replace(item, kind="buffer"),
        lambda item: dataclasses.replace(item, ties=("elsewhere.weight",)),
    ],
    ids=["frozen", "not persistent", "a buffer", "tied"],
)
def test_tensors_that_are_not_stored_alike(change: Callable[[Stored], Stored]) -> None:
    graph, plan, slim = _slim("convolutions")
    wrong = dataclasses.replace(
        slim, stored={**slim.stored, "head.weight": change(slim.stored["head.weight"])}
    )
    verdict = verify(graph, plan, wrong, raise_program(slim))
    assert "tensors as planned: FAILED, 1 (limit 0), head.weight" in _failures(verdict)


def test_a_forgotten_tensor() -> None:
    graph, plan, slim = _slim("convolutions")
    rest = {name: item for name, item in slim.stored.items() if name != "norm.running_mean"}
    verdict = verify(graph, plan, dataclasses.replace(slim, stored=rest), raise_program(slim))
    assert "norm.running_mean" in _failures(verdict)


@pytest.mark.parametrize("name", ["convolutions", "convolutions, blind"])
def test_a_plan_whose_tensors_do_not_follow_from_its_groups(name: str) -> None:
    """Rewriting and plan agree with one another, and are wrong together."""
    graph, plan = _case(name)
    kept = copy.deepcopy(plan.kept)
    indices = kept["left.weight"][1]
    kept["left.weight"][1] = indices[torch.tensor([1, 0, *range(2, len(indices))])]
    wrong = dataclasses.replace(plan, kept=kept)
    slim = rewrite(graph, wrong)
    verdict = verify(graph, wrong, slim, raise_program(slim))
    assert "tensors as planned" not in _failures(verdict)
    assert "first difference at p_left_weight" in _failures(verdict)


def test_other_units_on_one_side_of_a_residual() -> None:
    graph, plan = _case("convolutions")
    kept = copy.deepcopy(plan.kept)
    chosen = kept["right.weight"][0].tolist()
    other = next(unit for unit in range(12) if unit not in chosen)
    for tensor in ("right.weight", "right.bias"):
        kept[tensor][0] = torch.tensor(sorted([other, *chosen[1:]]))
    wrong = dataclasses.replace(plan, kept=kept)
    slim = rewrite(graph, wrong)
    verdict = verify(graph, wrong, slim, raise_program(slim))
    assert "first difference at p_right_weight" in _failures(verdict)


def test_parameters_that_the_plan_does_not_predict() -> None:
    graph, plan, slim = _slim("convolutions")
    node = next(n for n in slim.graph.nodes if n.op == "get_attr" and n.target == "left.bias")
    node.replace_all_uses_with(next(n for n in slim.graph.nodes if n.target == "right.bias"))
    slim.graph.erase_node(node)
    attributes = {value: name for value, name in slim.attributes.items() if name != "left.bias"}
    verdict = _verdict(graph, plan, dataclasses.replace(slim, attributes=attributes))
    assert "parameters as predicted: FAILED, 7" in _failures(verdict)


def test_a_graph_that_is_not_well_formed() -> None:
    graph, plan, slim = _slim("convolutions")
    node = _first(slim, ATEN.relu.default)
    node.append(node.args[0])  # its input comes after it
    assert "graph is well formed: FAILED" in _failures(_verdict(graph, plan, slim))


# -- layers -----------------------------------------------------------------------------------------------


def _swap_modules(module: nn.Module, first: str, second: str) -> None:
    a, b = module.get_submodule(first), module.get_submodule(second)
    module.set_submodule(first, b)
    module.set_submodule(second, a)


def _values_of(module: nn.Module, name: str, value: Any, attribute: str) -> None:
    setattr(module.get_submodule(name), attribute, value)


LAYERS: dict[str, Callable[[nn.Module], None]] = {
    "another epsilon": lambda m: _values_of(m, "norm", 0.1, "eps"),
    "another padding": lambda m: _values_of(m, "stem", (0, 0), "padding"),
    "another number of groups": lambda m: _values_of(m, "group_norm", 1, "num_groups"),
    "two norms' parameters swapped": lambda m: (
        _values_of(m, "group_norm", m.group_norm.bias, "weight"),
        _values_of(m, "group_norm", m.group_norm.weight, "bias"),
    ),
    "no pool": lambda m: m.set_submodule("pool", nn.Identity()),
    "a fresh layer": lambda m: m.set_submodule("stem", nn.Conv2d(3, m.stem.out_channels, 3, padding=1)),
    "a broken layer": lambda m: m.set_submodule("stem", nn.Linear(3, 3)),
    "one unit more": lambda m: m.set_submodule("stem", nn.Conv2d(3, m.stem.out_channels + 1, 3, padding=1)),
}


@pytest.mark.parametrize("name", ["convolutions", "convolutions, blind"])
@pytest.mark.parametrize("label", LAYERS)
def test_wrong_layers(label: str, name: str) -> None:
    graph, plan, slim = _slim(name)
    module = raise_program(slim)
    LAYERS[label](module)
    verdict = verify(graph, plan, slim, module)
    failed = {check.name for check in verdict.checks if not check.passed}
    assert failed
    assert failed <= {
        "layers equal the program",
        "layers equal the program, random parameters",
        "layers hold the planned tensors",
        "gradients equal those of the masked original, random parameters",
        "multiply-accumulates as predicted",
    }


def test_results_in_another_order() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.a(x)
            return self.b(x), self.c(x)

    torch.manual_seed(0)
    graph = gp.trace(Two(), torch.zeros(2, 6))
    plan = make_plan(graph, {"a.weight:0": torch.arange(4)})
    slim = rewrite(graph, plan)
    turned = dataclasses.replace(slim, outputs=slim.outputs[::-1])
    assert verify(graph, plan, slim, raise_program(slim)).passed
    verdict = verify(graph, plan, slim, raise_program(turned))
    assert "layers equal the program: FAILED" in _failures(verdict)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_coarse_precisions_do_not_hide_a_wrong_literal(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    graph = gp.trace(Transformer(False).to(dtype), torch.zeros(2, 5, 6, dtype=dtype))
    plan = make_plan(graph, {g.name: torch.arange(g.size // 2) for g in graph.groups if g.fibre is None})
    right, slim = rewrite(graph, plan), rewrite(graph, plan)
    assert verify(graph, plan, right, raise_program(right)).passed
    node = _first(slim, ATEN.scaled_dot_product_attention.default)
    node.kwargs = {"scale": 0.49}
    assert f"first difference at {_place(graph, node.name)}" in _failures(
        verify(graph, plan, slim, raise_program(right))
    )
