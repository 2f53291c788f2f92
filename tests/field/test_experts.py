"""Mixtures of experts: where all experts are weighted, their number is an axis; where some are chosen, it stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from black_box import (
    difference,
    pins,
    randomise,
    reproducible,  # noqa: F401  (a fixture)
)
from torch import Tensor, nn

import graphprune as gp
from graphprune.exporting.runtime import runner, session

EXPERTS, WIDTH, HIDDEN = 6, 8, 10
X = torch.zeros(4, 5)


class Mixture(nn.Module):
    """A router and experts [experts, inputs, outputs]; ``form`` is how they are computed."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.into, self.router, self.out = nn.Linear(5, WIDTH), nn.Linear(WIDTH, EXPERTS), nn.Linear(WIDTH, 3)
        self.up = nn.Parameter(torch.zeros(EXPERTS, WIDTH, HIDDEN))
        self.bias = nn.Parameter(torch.zeros(EXPERTS, 1, HIDDEN))
        self.down = nn.Parameter(torch.zeros(EXPERTS, HIDDEN, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        shares = self.router(x).softmax(-1)
        return self.out(getattr(self, f"_{self.form}")(x, shares))

    def _einsum(self, x: Tensor, shares: Tensor) -> Tensor:
        hidden = (torch.einsum("bi,eih->beh", x, self.up) + self.bias.squeeze(1)).relu()
        return torch.einsum("be,beh,ehi->bi", shares, hidden, self.down)

    def _matmul(self, x: Tensor, shares: Tensor) -> Tensor:
        results = (x @ self.up + self.bias).relu() @ self.down
        return (shares.t().unsqueeze(-1) * results).sum(0)

    def _bmm(self, x: Tensor, shares: Tensor) -> Tensor:
        copies = x.expand(self.up.shape[0], *x.shape)
        results = torch.bmm(torch.baddbmm(self.bias, copies, self.up).relu(), self.down)
        return torch.einsum("be,ebi->bi", shares, results)

    def _of_weights(self, x: Tensor, shares: Tensor) -> Tensor:
        """Each example has a weight of its own, the mean of the experts'."""
        up = torch.tensordot(shares, self.up, ([1], [0]))
        hidden = (x.unsqueeze(1) @ up).relu()
        return (hidden @ torch.tensordot(shares, self.down, ([1], [0]))).squeeze(1)

    def _chosen(self, x: Tensor, shares: Tensor) -> Tensor:
        best, which = shares.topk(2, -1)
        hidden = torch.einsum("bi,bkih->bkh", x, self.up[which]).relu()
        return torch.einsum("bk,bkh,bkhi->bi", best, hidden, self.down[which])

    def _chosen_and_masked(self, x: Tensor, shares: Tensor) -> Tensor:
        best, which = shares.topk(2, -1)
        return self._einsum(x, torch.zeros_like(shares).scatter(-1, which, best))


def of_the_kept(model: Mixture, result: gp.Result) -> Mixture:
    """The user's own module with the kept experts and units, taken out by hand."""
    smaller = Mixture(model.form).eval()
    for name, parameter in model.named_parameters():
        for dim, indices in result.plan.kept.get(name, {}).items():
            parameter = parameter.index_select(dim, indices)
        owner, _, local = name.rpartition(".")
        setattr(smaller.get_submodule(owner), local, nn.Parameter(parameter.detach()))
    return smaller


@pytest.mark.parametrize("form", ["einsum", "matmul", "bmm", "of_weights"])
def test_the_number_of_experts_that_are_all_weighted(form: str, tmp_path: Path) -> None:
    model = Mixture(form).eval()
    randomise(model)
    result = gp.shrink(model, X, ratio=0.5)
    assert result.model.router.out_features == EXPERTS // 2
    assert result.plan.kept["up"][0].tolist() == result.plan.kept["router.weight"][0].tolist()
    assert result.model.get_parameter("up").shape == (EXPERTS // 2, WIDTH // 2, HIDDEN // 2)
    smaller = of_the_kept(model, result)
    result.save(tmp_path / "out", latency=False)
    loaded = session(tmp_path / "out" / "model.onnx")
    for batch in (1, 3):
        x = torch.randn(batch, 5)
        with torch.no_grad():
            expected = smaller(x)
            assert difference(expected, result.model(x)) < 1e-5
        assert difference(expected, [torch.as_tensor(array) for array in runner(loaded, (x,), {})()]) < 1e-4


@pytest.mark.parametrize("form", ["chosen", "chosen_and_masked"])
def test_experts_of_which_some_are_chosen_stay(form: str) -> None:
    """The experts' widths go all the same, and the reason is said."""
    model = Mixture(form).eval()
    randomise(model)
    result = gp.shrink(model, X, ratio=0.5)
    assert result.model.router.out_features == EXPERTS
    assert result.model.get_parameter("up").shape == (EXPERTS, WIDTH // 2, HIDDEN // 2)
    reason = "which positions are chosen is data: of fewer, others would be chosen"
    assert reason in pins(result, "router.weight", 0)
    assert reason in result.graph.explain("router", width=500)


class Listed(nn.Module):
    """Experts that are layers of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.out = nn.Linear(5, 4), nn.Linear(8, 3)
        self.experts = nn.ModuleList([nn.Linear(5, 8) for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        results = torch.stack([expert(x) for expert in self.experts], 1)
        return self.out((self.router(x).softmax(-1).unsqueeze(-1) * results).sum(1))


def test_experts_that_are_layers_of_their_own_stay() -> None:
    result = gp.shrink(Listed(), X, ratio=0.5)
    assert pins(result, "router.weight", 0) == {
        "tensors are stacked along it, each made by layers of its own"
    }
    assert result.model.get_parameter("experts.0.weight").shape == (4, 5)
