"""Training goes on where it was: a step on the slim model is the step on the masked original."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from planning_models import _Network
from torch import Tensor, nn

import graphprune as gp

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "AMSGrad": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.5),
}


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def masked(model: nn.Module, plan: gp.Plan) -> None:
    """Sets what the plan removes to zero, so that it neither gives nor takes anything."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for dim, kept in plan.kept.get(name, {}).items():
                gone = torch.ones(parameter.shape[dim], dtype=torch.bool)
                gone[kept] = False
                parameter.index_fill_(dim, gone.nonzero().flatten(), 0.0)


def cut(tensor: Tensor, kept: dict[int, Tensor]) -> Tensor:
    for dim, indices in kept.items():
        tensor = tensor.index_select(dim, indices)
    return tensor


def trained(
    make: Callable[[Any], torch.optim.Optimizer],
) -> tuple[nn.Module, torch.optim.Optimizer, Tensor, Tensor]:
    torch.manual_seed(0)
    model = _Network().double()
    x, y = torch.randn(8, 3, 8, 8, dtype=torch.float64), torch.arange(8) % 10
    optimizer = make(model.parameters())
    for _ in range(3):
        step(model, optimizer, x, y)
    return model, optimizer, x, y


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_equals_that_of_the_masked_original(kind: str) -> None:
    model, optimizer, x, y = trained(OPTIMIZERS[kind])
    result = gp.shrink(model, x[:2], macs=0.5)
    plan, slim = result.plan, result.model
    ours = plan.remap_optimizer(optimizer, model, slim)
    assert type(ours) is type(optimizer)
    masked(model, plan)
    model.train()
    slim.train()
    step(model, optimizer, x, y)
    step(slim, ours, x, y)
    original = dict(model.named_parameters())
    for name, parameter in slim.named_parameters():
        expected = cut(original[name].detach(), plan.kept.get(name, {}))
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-9, atol=1e-11)


def test_a_fresh_optimizer_steps_otherwise() -> None:
    """The comparison above sees the state."""
    model, optimizer, x, y = trained(OPTIMIZERS["momentum"])
    result = gp.shrink(model, x[:2], macs=0.5)
    other = copy.deepcopy(result.model)
    step(result.model, result.plan.remap_optimizer(optimizer, model, result.model), x, y)
    step(other, OPTIMIZERS["momentum"](other.parameters()), x, y)
    pairs = zip(result.model.parameters(), other.parameters(), strict=True)
    assert max(float((one - two).detach().abs().max()) for one, two in pairs) > 1e-3


def test_groups_and_their_options_are_kept() -> None:
    model, _, x, y = trained(OPTIMIZERS["SGD"])
    norms = [p for name, p in model.named_parameters() if "norm" in name]
    rest = [p for name, p in model.named_parameters() if "norm" not in name]
    groups = [{"params": norms, "weight_decay": 0.0}, {"params": rest, "lr": 0.3}]
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.2)
    step(model, optimizer, x, y)
    state = copy.deepcopy(optimizer.state_dict())
    result = gp.shrink(model, x[:2], ratio=0.5)
    moved = result.plan.remap_optimizer(optimizer, model, result.model)
    assert [(g["lr"], g["weight_decay"], len(g["params"])) for g in moved.param_groups] == [
        (0.1, 0.0, len(norms)),
        (0.3, 0.2, len(rest)),
    ]
    assert all(float(entry["step"]) == 1 for entry in moved.state.values())
    assert str(state) == str(optimizer.state_dict())  # the original's is left as it was


def test_named_parameters() -> None:
    model, _, x, y = trained(OPTIMIZERS["SGD"])
    optimizer = torch.optim.Adam(model.named_parameters(), lr=0.1)
    step(model, optimizer, x, y)
    result = gp.shrink(model, x[:2], ratio=0.5)
    moved = result.plan.remap_optimizer(optimizer, model, result.model)
    assert set(moved.param_groups[0]["param_names"]) == {name for name, _ in model.named_parameters()}


def test_what_cannot_be_moved_is_refused() -> None:
    model, optimizer, x, _ = trained(OPTIMIZERS["momentum"])
    result = gp.shrink(model, x[:2], ratio=0.5)
    with pytest.raises(gp.InputError, match="not the original model's"):
        result.plan.remap_optimizer(optimizer, copy.deepcopy(model), result.model)
    with pytest.raises(gp.InputError, match="is none of the original's"):
        result.plan.remap_optimizer(optimizer, model, nn.Linear(2, 2))
    with pytest.raises(gp.PlanError, match="and the slim model has"):
        result.plan.remap_optimizer(optimizer, model, model)
    optimizer.state[model.head.weight]["factors"] = torch.zeros(10)
    with pytest.raises(gp.InputError, match=r"keeps factors of shape \(10,\) for head.weight"):
        result.plan.remap_optimizer(optimizer, model, result.model)
