"""What the package once refused, or did though it should not; a gap that is known is a strict xfail here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.axes.algebra import Equations
from graphprune.axes.terms import atoms


class Written(nn.Module):
    """Layers, and what they do."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def shrunk(model: nn.Module, *shape: int, ratio: float = 0.5) -> gp.Result:
    torch.manual_seed(0)
    return gp.shrink(model, torch.zeros(shape), ratio=ratio)


def test_a_choice_within_a_choice() -> None:
    model = Written(
        lambda m, x: m.b(m.a(x).view(-1, 2, 4, 5).relu().flatten(1)), a=nn.Linear(3, 40), b=nn.Linear(40, 2)
    )
    assert shrunk(model, 2, 3).verdict.passed


def test_a_view_of_what_attention_returns() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        q = m.q(x).view(-1, 5, 3, 4).transpose(1, 2)
        x = F.scaled_dot_product_attention(q, q, q)
        return m.o(x.transpose(1, 2).contiguous().view(-1, 5, 12))

    assert shrunk(Written(run, q=nn.Linear(8, 12), o=nn.Linear(12, 8)), 2, 5, 8).verdict.passed


def test_a_single_unit_that_is_squeezed() -> None:
    model = Written(lambda m, x: m.b(m.a(x).squeeze(1)), a=nn.Linear(3, 8), b=nn.Linear(8, 2))
    assert shrunk(model, 2, 3, ratio=0.9).verdict.passed


def test_multiply_accumulates_of_an_einsum_over_a_single_unit() -> None:
    model = Written(
        lambda m, x: m.b(torch.einsum("bij,bik->bjk", y := m.a(x), y)),
        a=nn.Conv1d(6, 2, 1),
        b=nn.Linear(4, 3),
    )
    assert shrunk(model, 2, 6, 4).verdict.passed


def test_the_same_fibre_is_chosen_every_time() -> None:
    model = Written(
        lambda m, x: m.b(m.a(x).view(-1, 4, 4, 5).relu().flatten(1)), a=nn.Linear(3, 80), b=nn.Linear(80, 2)
    )
    graphs = [gp.trace(model, torch.zeros(2, 3)) for _ in range(12)]
    assert len({graph.groups[2].fibre.number for graph in graphs}) == 1


def test_regroupings_do_not_depend_on_the_order_of_equations() -> None:
    def free_units(order: tuple[int, ...]) -> int:
        equations = Equations()
        four, six, other_six, other_four, two, also_two, three, outer = map(
            equations.atom, (4, 6, 6, 4, 2, 2, 3, 2)
        )
        jobs = [
            (equations.product((four, six)), equations.product((other_six, other_four))),
            (four, equations.product((two, also_two))),
            (other_six, equations.product((outer, three))),
        ]
        for place in order:
            equations.unify(*jobs[place])
        found = dict.fromkeys(atom for axis in (four, other_six) for atom in atoms(equations.solve(axis)))
        return sum(not atom.pins for atom in found)

    assert free_units((1, 2, 0)) == free_units((0, 1, 2))


def test_every_group_has_a_parameter() -> None:
    model = Written(
        lambda m, x: m.b(m.a(x)[:, :, [0, 2, 3]]).mean(2), a=nn.Conv1d(3, 6, 1), b=nn.Conv1d(6, 2, 1)
    )
    graph = gp.trace(model, torch.zeros(2, 3, 5))
    kinds = {name: item.kind for name, item in graph.program.stored.items()}
    assert all("parameter" in {kinds[member.tensor] for member in group.members} for group in graph.groups)
