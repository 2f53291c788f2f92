"""torch-pruning's criteria on our groups, and where ours and theirs are the same criterion."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch_pruning
from scoring_models import member_slices, traced
from torch import Tensor, nn
from torch_pruning.pruner import importance as peer

import graphprune as gp
from graphprune.scoring import find_importance

NETS = ["residual", "depthwise", "concat"]
every_net = pytest.mark.parametrize("name", NETS)


def squared(outputs: Tensor) -> Tensor:
    return outputs.square().sum()


def with_gradients(name: str) -> nn.Module:
    """A copy of the model that has gradients."""
    model, _, x = traced(name)
    model = copy.deepcopy(model)
    with torch.enable_grad():
        squared(model(x)).backward()
    return model


def theirs(name: str, importance: Any) -> dict[str, Tensor | None]:
    """Scores by torch-pruning's own graph, groups and pruning functions, for each of our groups."""
    model, graph, x = with_gradients(name), traced(name)[1], traced(name)[2]
    own = torch_pruning.DependencyGraph().build_dependency(model, x)
    found = {}
    for group in graph.groups:
        layer = model.get_submodule(group.members[0].layer)
        function = own.get_pruner_of_module(layer).prune_out_channels
        found[group.name] = importance(own.get_pruning_group(layer, function, list(range(group.size))))
    return found


def ours(name: str, importance: Any, **data: Any) -> dict[str, Tensor | None]:
    graph = traced(name)[1]
    return find_importance(importance, **data)(graph, graph.program.tensors, 0)


def check(found: dict[str, Tensor | None], expected: dict[str, Tensor | None]) -> None:
    assert found.keys() == expected.keys()
    for name, scores in expected.items():
        assert (scores is None) == (found[name] is None), name
        if scores is not None:
            torch.testing.assert_close(found[name], scores.detach().double(), rtol=1e-4, atol=1e-6)


OBJECTS = {
    "magnitude": lambda: peer.GroupMagnitudeImportance(),
    "first, l1": lambda: peer.MagnitudeImportance(p=1, group_reduction="first", normalizer=None),
    "max, bias": lambda: peer.GroupMagnitudeImportance(group_reduction="max", normalizer="max", bias=True),
    "prod": lambda: peer.GroupMagnitudeImportance(group_reduction="prod", normalizer="sum"),
    "lamp": lambda: peer.LAMPImportance(),
    "fpgm": lambda: peer.FPGMImportance(),
    "bn": lambda: peer.BNScaleImportance(),
}


@every_net
@pytest.mark.parametrize("kind", OBJECTS)
def test_the_adapter_says_what_they_say(name: str, kind: str) -> None:
    check(ours(name, OBJECTS[kind]()), theirs(name, OBJECTS[kind]()))


@every_net
@pytest.mark.parametrize("kind", [peer.TaylorImportance, peer.HessianImportance])
def test_gradients_come_from_calibration(name: str, kind: type) -> None:
    model, _, x = traced(name)
    expected = theirs(name, _squaring(kind))
    check(ours(name, kind(), calibration=[x], loss=squared), expected)
    assert all(parameter.grad is None for parameter in model.parameters())


def _squaring(kind: type) -> Any:
    """Theirs reads the Hessian's diagonal in ``grad``; one batch, so it is that of the squared gradient."""
    importance = kind()

    def score(group: Any) -> Any:
        if kind is not peer.HessianImportance:
            return importance(group)
        layers = {dep.layer for dep, _ in group if isinstance(dep.layer, nn.Module)}
        owned = {id(p): p for layer in layers for p in layer.parameters(recurse=False) if p.grad is not None}
        before = {key: p.grad.clone() for key, p in owned.items()}
        for p in owned.values():
            p.grad = p.grad.square()
        scores = importance(group)
        for key, p in owned.items():
            p.grad = before[key]
        return scores

    return score


@pytest.mark.parametrize("kind", [peer.GroupTaylorImportance, peer.GroupHessianImportance])
def test_a_layer_that_the_loss_does_not_reach_counts_nothing(kind: type) -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.one, self.other = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.up(x).relu()
            return self.one(h), self.other(h)

    torch.manual_seed(0)
    model, x = Heads(), torch.randn(8, 4)
    graph = gp.trace(model, x)

    def loss(outputs: Any) -> Tensor:
        return outputs[0].square().sum()

    found = [find_importance(kind(), x, loss)(graph, graph.program.tensors, 0)["up.weight:0"]]
    with torch.no_grad():
        model.other.weight.mul_(100)
    found.append(find_importance(kind(), x, loss)(graph, graph.program.tensors, 0)["up.weight:0"])
    assert found[0] is not None
    assert found[0].std() > 0
    torch.testing.assert_close(found[0], found[1])


def test_gradients_that_the_model_has_are_used() -> None:
    model, x = with_gradients("residual"), traced("residual")[2]
    grads = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    graph = gp.trace(model, x[:2])
    found = find_importance(peer.TaylorImportance())(graph, graph.program.tensors, 0)
    check(found, ours("residual", peer.TaylorImportance(), calibration=[x], loss=squared))
    assert all(torch.equal(grads[key], parameter.grad) for key, parameter in model.named_parameters())


# -- the same criterion, twice ------------------------------------------------------------------------------
SAME = {  # (ours, theirs, what theirs is raised to)
    "l1": ("l1:first:none", lambda: peer.MagnitudeImportance(1, "first", None), 1),
    "l2": ("l2:first:none", lambda: peer.MagnitudeImportance(2, "first", None), 0.5),
    "l1, over its mean": ("l1:first:mean", lambda: peer.MagnitudeImportance(1, "first", "mean"), 1),
    "bn_scale": ("bn_scale:mean:none", lambda: peer.BNScaleImportance("mean", None), 1),
    "bn_scale, over its mean": ("bn_scale", lambda: peer.BNScaleImportance(), 1),
    "lamp": ("lamp:first", lambda: peer.LAMPImportance(group_reduction="first"), 1),
    "taylor": ("taylor:first:none", lambda: peer.TaylorImportance("first", None, multivariable=True), 1),
    "taylor_abs": ("taylor_abs:first:none", lambda: peer.TaylorImportance("first", None), 1),
    "obd": ("obd:first:none", lambda: _squaring(_first_hessian), 1),
}


def _first_hessian() -> Any:
    return peer.HessianImportance("first", None)


@every_net
@pytest.mark.parametrize("kind", [kind for kind in SAME if kind != "obd"])
def test_one_criterion_twice(name: str, kind: str) -> None:
    spelling, make, power = SAME[kind]
    data = {"calibration": [traced(name)[2]], "loss": squared} if "taylor" in kind else {}
    expected = {key: None if s is None else s**power for key, s in theirs(name, make()).items()}
    check(ours(name, spelling, **data), expected)


@every_net
def test_half_the_hessian(name: str) -> None:
    """Optimal brain damage has a factor of one half that theirs leaves out; one batch."""
    data = {"calibration": [traced(name)[2]], "loss": squared}
    expected = ours(name, peer.HessianImportance("first", None), **data)
    check(ours(name, "obd:first:none", **data), {key: scores / 2 for key, scores in expected.items()})


# -- beyond channels, and refusals --------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["grouped", "attention"])
def test_groups_that_they_do_not_know(name: str) -> None:
    """Heads, their widths and the groups of a convolution: by the sum over the weights that go with them."""
    model, graph, _ = traced(name)
    weights = {key: value.detach().double().abs() for key, value in model.named_parameters()}
    found = ours(name, peer.MagnitudeImportance(1, "sum", None))
    for group in graph.groups:
        total = torch.zeros(found[group.name].numel(), dtype=torch.float64)
        for member, places in member_slices(graph, group):
            if weights[member.tensor].dim() > 1:
                # they count the inputs of a grouped convolution once for each of its groups
                times = 3 if (name, member.tensor, member.dim) == ("grouped", "conv.weight", 1) else 1
                pieces = [weights[member.tensor].index_select(member.dim, at).sum() for at in places]
                total += times * torch.stack(pieces)
        torch.testing.assert_close(found[group.name].flatten(), total, rtol=1e-5, atol=1e-9)
    result = gp.shrink(graph, params=0.6, importance=peer.GroupMagnitudeImportance())
    assert result.after.params <= 0.6 * result.before.params
    assert result.plan.request["importance"] == "torch_pruning.GroupMagnitudeImportance"


def test_random_scores_follow_the_seed() -> None:
    graph = traced("residual")[1]
    criterion = find_importance(peer.RandomImportance())
    state = torch.get_rng_state()
    one, same, other = (criterion(graph, graph.program.tensors, seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


class Short(peer.Importance):
    def __call__(self, group: Any) -> Tensor:
        return torch.ones(1)


class Broken(peer.Importance):
    def __call__(self, group: Any) -> Tensor:
        raise KeyError("scores")


@pytest.mark.parametrize(
    ("importance", "data", "message"),
    [
        (
            peer.TaylorImportance(),
            {},
            "torch_pruning.TaylorImportance needs gradients, and the model has none",
        ),
        (peer.MagnitudeImportance(), {"calibration": torch.zeros(1, 3, 8, 8)}, "looks at no data"),
        (Short(), {}, r"torch_pruning.Short gives \(1,\) for the 8 units of stem.weight:0"),
        (Broken(), {}, "torch_pruning.Broken fails on group stem.weight:0: KeyError"),
    ],
)
def test_what_cannot_be_used_is_refused(importance: Any, data: dict[str, Any], message: str) -> None:
    with pytest.raises(gp.InputError, match=message):
        ours("residual", importance, **data)
