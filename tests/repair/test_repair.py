"""Repairs whose result is known, through every kind of path; bounds; data that are no good."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from repair_models import MODELS, Twice, copied, data, model_of, without_first
from torch import Tensor, nn

import graphprune as gp
from graphprune.calibration import Calibration
from graphprune.capture.raising import raise_program
from graphprune.ground.clock import told
from graphprune.planning import Plan, make_plan
from graphprune.repair import Repair, RepairReport, repair
from graphprune.repair.sequential import RESTARTS, make_blocks
from graphprune.repair.steps import find_steps
from graphprune.repair.walk import Walk
from graphprune.rewriting import rewrite


def repaired(
    graph: gp.DependencyGraph, plan: Plan, batches: Any, options: Repair | None = None
) -> tuple[nn.Module, RepairReport]:
    program, report = repair(graph, plan, rewrite(graph, plan), Calibration(batches), options or Repair())
    return raise_program(program), report


def half(graph: gp.DependencyGraph) -> Plan:
    """Removes the first half of every group."""
    groups = {}
    for group in graph.groups:
        kept = torch.arange(group.size) >= group.size // 2
        groups[group.name] = kept if group.fibre is None else kept.expand(group.fibre.size, -1)
    return make_plan(graph, groups)


def error(model: nn.Module, other: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((model(x) - other(x)).abs().max() / model(x).abs().max())


def cases() -> Iterator[Any]:
    for name, kind in MODELS.items():
        graph = gp.trace(model_of(kind), data(2))
        for group in graph.groups:
            # queries and keys of one width only meet each other: there is nothing to refit
            if group.name != "qkv.weight:0/2":
                yield pytest.param(kind, group.name, id=f"{name}-{group.name}")


@pytest.mark.parametrize(("kind", "name"), cases())
@pytest.mark.parametrize("residual", [True, False], ids=["sums", "alone"])
def test_a_copy_can_be_removed_exactly(kind: type[nn.Module], name: str, residual: bool) -> None:
    """What a consumer had of it, it takes from the unit it is a copy of; on other data too."""
    model = model_of(kind)
    graph = gp.trace(model, data(2))
    group = graph.by_name[name]
    copied(graph, group)
    plan = without_first(graph, group)
    cut = raise_program(rewrite(graph, plan))
    slim, report = repaired(graph, plan, list(data(96).split(24)), Repair(residual=residual))
    assert report.kept
    assert error(model, cut, data(9, seed=5)) > 1e-4
    assert error(model, slim, data(9, seed=5)) < 1e-7


@pytest.mark.parametrize("name", MODELS)
def test_half_of_every_group_comes_nearer(name: str) -> None:
    model = model_of(MODELS[name])
    graph = gp.trace(model, data(2))
    plan = half(graph)
    cut = raise_program(rewrite(graph, plan))
    slim, report = repaired(graph, plan, list(data(96).split(24)))
    x = data(64, seed=7)
    with torch.no_grad():
        before, after = ((model(x) - other(x)).square().sum() for other in (cut, slim))
    assert after < 0.6 * before
    assert all(step.after <= step.before + 1e-12 for step in report.steps)
    assert {step.kind for step in report.steps} >= {"weights"}


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x))


def refitting_limit(model: Linear, x: Tensor, ridge: float) -> float:
    """How far outputs may be off after ``down`` was refitted on ``x`` for the loss of its first unit.

    The new weights solve (M + ridge m) w = M w*, where M are the second moments of the units that are left, m is the
    mean of its diagonal, and w* would be exact. By the ridge they are off by at most ridge m / λ of w*, where λ is the
    smallest eigenvalue of M. By rounding they are off by n eps κ in the solution of the equations, in float64, where
    κ is the condition of M, and by n eps √κ in what was observed, in the model's own dtype. An output is off by that
    times the largest that one of its n + 1 terms can be. Rounding of the outputs themselves is n eps.
    """
    with torch.no_grad():
        units = model.up(x).double()
        left = units[:, 1:] - units[:, 1:].mean(0)
        moments = left.mT @ left / len(left)
        values, n, eps = torch.linalg.eigvalsh(moments), len(moments), torch.finfo(x.dtype).eps
        condition = float(values[-1] / values[0])
        by_ridge = ridge * float(moments.diagonal().mean() / values[0])
        by_rounding = n * (torch.finfo(torch.float64).eps * condition + eps * condition**0.5)
        largest = (n + 1) * float(units.abs().max() * model.down.weight.abs().max() / model(x).abs().max())
    return (by_ridge + by_rounding) * largest + n * eps


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_linear_combination_can_be_removed_exactly(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Linear().to(dtype).eval()
    with torch.no_grad():
        mixing = torch.tensor([[0.5, -1.0, 2.0, 0.3]], dtype=dtype)
        model.up.weight[:1] = mixing @ model.up.weight[1:]
        model.up.bias[:1] = 0.7
    x = torch.randn(60, 6, dtype=dtype)
    graph = gp.trace(model, x[:2])
    plan = without_first(graph, graph.groups[0])
    slim, report = repaired(graph, plan, list(x.split(20)))
    (step,) = report.steps
    assert (step.layer, step.kind) == ("down", "weights")
    # ridges whose squared effect is below the rounding of the whole foretell equally well, and rounding chooses
    assert step.ridge <= 10 * torch.finfo(dtype).eps ** 0.5
    assert error(model, slim, torch.randn(50, 6, dtype=dtype)) < refitting_limit(model, x, step.ridge)
    assert report.tensors == ("down.weight", "down.bias")
    assert step.after < 1e-9 < 1e-3 < step.before


def test_a_constant_unit_goes_into_the_bias() -> None:
    model = model_of(Linear)
    with torch.no_grad():
        model.up.weight[0] = 0.0
    graph = gp.trace(model, torch.randn(2, 6).double())
    plan = without_first(graph, graph.groups[0])
    options = Repair(weights=False, batch_norms=False)
    slim, report = repaired(graph, plan, torch.randn(64, 6).double(), options)
    expected = model.down.bias + model.down.weight[:, 0] * model.up.bias[0]
    torch.testing.assert_close(slim.down.bias, expected, rtol=0, atol=1e-12)
    assert torch.equal(slim.down.weight, model.down.weight[:, 1:])
    assert [(step.kind, step.ridge) for step in report.steps] == [("bias", 0.0)]


def test_without_a_bias_the_batch_norm_behind_takes_the_mean() -> None:
    model = model_of(MODELS["residual"])
    graph = gp.trace(model, data(2))
    plan = without_first(graph, graph.by_name["one.weight:0"])
    options = Repair(weights=False, batch_norms=False, residual=False)
    slim, _ = repaired(graph, plan, list(data().split(12)), options)
    with torch.no_grad():
        h = F.relu(model.norm(model.stem(data())))
        inner = F.relu(model.inner(model.one(h)))
        gone = torch.zeros_like(inner)
        gone[:, 0] = inner[:, 0]
        missing = model.two(gone).mean((0, 2, 3))
    torch.testing.assert_close(
        slim.outer.running_mean, model.outer.running_mean - missing, rtol=0, atol=1e-10
    )
    assert "two.bias" not in slim.state_dict()


def test_statistics_are_a_direct_estimate_where_the_original_s_are() -> None:
    """The first batch norm that reads something else: its statistics are those of what it reads."""
    model = model_of(MODELS["concat"])
    x = data(64)
    with torch.no_grad():
        both = torch.cat([model.left(x), model.right(x)], 1)
        model.norm.running_mean.copy_(both.mean((0, 2, 3)))
        model.norm.running_var.copy_(both.var((0, 2, 3), correction=0))
        h = F.relu(model.norm(both))
        assert h.shape[1] == 9
    deep = nn.Sequential(model.left, nn.ReLU(), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5)).double().eval()
    with torch.no_grad():
        y = deep[:3](x)
        deep[3].running_mean.copy_(y.mean((0, 2, 3)))
        deep[3].running_var.copy_(y.var((0, 2, 3), correction=0))
        deep[0].weight[1:] *= 1e-2  # so that what is removed is nearly all there was
    y = deep[:3](x).detach()
    deep[3].running_mean.copy_(y.mean((0, 2, 3)))
    deep[3].running_var.copy_(y.var((0, 2, 3), correction=0))
    graph = gp.trace(deep, x[:2])
    plan = without_first(graph, graph.groups[0])
    options = Repair(weights=False, biases=False)
    slim, report = repaired(graph, plan, list(x.split(16)), options)
    with torch.no_grad():
        now = deep[2]._conv_forward(F.relu(deep[0](x))[:, 1:], deep[2].weight[:, 1:], deep[2].bias)
    norm = slim.get_submodule("3")
    torch.testing.assert_close(norm.running_mean, now.mean((0, 2, 3)), rtol=0, atol=1e-9)
    assert [step.kind for step in report.steps] == ["statistics"]


def test_what_nothing_was_cut_from_stays_bit_by_bit() -> None:
    model = model_of(MODELS["residual"])
    graph = gp.trace(model, data(2))
    plan = without_first(graph, graph.by_name["one.weight:0"])
    slim, report = repaired(graph, plan, list(data().split(12)))
    assert "stem.weight" not in report.tensors
    assert "one.weight" not in report.tensors
    assert torch.equal(slim.norm.running_mean, model.norm.running_mean)


def test_a_layer_that_is_called_twice_is_refitted_once_for_both() -> None:
    model = model_of(Twice)
    graph = gp.trace(model, data(2))
    plan = half(graph)
    slim, report = repaired(graph, plan, list(data(96).split(24)))
    assert [step.layer for step in report.steps].count("again") == 1
    assert report.left == {"table": "its weight is used elsewhere too"}
    assert report.after < report.before
    assert torch.equal(slim.table.weight, raise_program(rewrite(graph, plan)).table.weight)


def test_it_is_the_same_every_time() -> None:
    graph = gp.trace(model_of(MODELS["depthwise"]), data(2))
    one, other = (repaired(graph, half(graph), list(data().split(7)))[0].state_dict() for _ in range(2))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# ---- bounds --------------------------------------------------------------------------------------------------------


def test_without_room_steps_go_in_blocks_and_nothing_waits() -> None:
    graph = gp.trace(model_of(MODELS["residual"]), data(2))
    batches = list(data(64).split(16))
    cut = raise_program(rewrite(graph, half(graph)))
    slim, report = repaired(graph, half(graph), batches, Repair(memory=0))
    assert report.kept
    assert error(graph.program.model, slim, data(9)) < error(graph.program.model, cut, data(9))


def test_batches_wait_within_the_room_there_is() -> None:
    graph = gp.trace(model_of(MODELS["residual"]), data(2))
    plan = half(graph)
    slim = rewrite(graph, plan)
    tensors = {name: item.tensor.detach() for name, item in slim.stored.items()}
    steps, _ = find_steps(graph.program, True, True, True)
    call = steps[2].calls[0]
    size = next(iter(Walk(graph, plan, slim, tensors, Calibration([data(8)]), 2**30).to(call)))[1].bytes()
    walk = Walk(graph, plan, slim, tensors, Calibration(list(data(48).split(8))), int(2.5 * size))
    with torch.no_grad():
        first = [float(pair.through(call)[1].sum()) for _, pair in walk.to(call)]
        again = [float(pair.through(call)[1].sum()) for _, pair in walk.to(call)]
    assert len(walk.waiting) == 2
    assert sum(pair.bytes() for pair in walk.waiting.values()) <= walk.room
    assert first == again
    assert len(first) == 6


def test_blocks_start_anew_for_a_bounded_number_of_passes() -> None:
    steps, _ = find_steps(gp.trace(model_of(MODELS["residual"]), data(2)).program, True, True, True)
    many = [steps[place % len(steps)] for place in range(60)]
    for missing in (0, 1):
        sizes = {step.calls[0]: missing * 100 for step in many}
        shares = {step.calls[0]: 0.5 for step in many}
        blocks = make_blocks(many, sizes, shares, 0 if missing else 1)
        assert [step for block in blocks for step in block] == many
        if missing:
            assert len(blocks) <= RESTARTS + 1
        else:
            assert len(blocks) == 60


def test_sums_do_not_grow_with_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the batches: as many rows, but for rounding, and the same matrices."""
    monkeypatch.setattr("graphprune.repair.refit.ROWS", 600)
    monkeypatch.setattr("graphprune.repair.refit.ROWS_PER_REGRESSOR", 2)
    graph = gp.trace(model_of(MODELS["concat"]), data(2))
    rows = {}
    for count in (64, 128):
        _, report = repaired(graph, half(graph), list(data(count).split(16)))
        rows[count] = {step.layer: step.rows for step in report.steps if step.kind == "weights"}
    assert rows[64]["after"] == pytest.approx(600, abs=40)
    assert rows[128]["after"] == pytest.approx(600, abs=40)
    assert rows[128]["head"] == 128


# ---- data that are no good -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "the calibration data has no batches"),
        (
            [torch.randn(2, 3, 6, 6), torch.full((2, 3, 6, 6), float("nan"))],
            "calibration batch 2 are not finite",
        ),
        ([torch.randn(2, 4, 5, 6)], "the model was captured for"),  # height and width vary
        (7, "the calibration data is a int"),
    ],
    ids=["empty", "nan", "shape", "kind"],
)
def test_bad_data_is_refused_and_the_model_is_as_it_was(batches: Any, message: str) -> None:
    model = model_of(MODELS["residual"]).float()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(gp.InputError, match=message):
        gp.shrink(model, data(2).float(), macs=0.6, calibration=batches, repair=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_batch_on_which_the_model_fails_is_named() -> None:
    model = nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    batches = [torch.tensor([[1, 2]]), torch.tensor([[1, 9]])]
    with pytest.raises(gp.InputError, match="the model fails on calibration batch 2: index out of range"):
        gp.shrink(model, torch.tensor([[1, 2]]), macs=0.6, calibration=batches, repair=True)


def test_repair_without_loss_is_refused() -> None:
    model = model_of(MODELS["residual"])
    with pytest.raises(gp.InputError, match="a lossless shrink leaves nothing to repair"):
        gp.shrink(model, data(2), lossless=True, repair=True, calibration=data())


# ---- through the whole pipeline ------------------------------------------------------------------------------------


def test_shrink_repairs_what_it_has_proved() -> None:
    model = model_of(MODELS["depthwise"]).float()
    before = copy.deepcopy(model.state_dict())
    batches = iter(data(64).float().split(16))  # walked once by the criterion, and again by the repair
    result = gp.shrink(model, data(2).float(), macs=0.6, importance="wanda", calibration=batches, repair=True)
    plain = gp.shrink(model, data(2).float(), plan=result.plan)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert result.repair is not None
    assert result.repair.kept
    assert result.repair.after < result.repair.before
    assert error(model, result.model, data(32).float()) < error(model, plain.model, data(32).float())
    names = [check.name for check in result.verdict.checks]
    assert names[: len(plain.verdict.checks)] == [check.name for check in plain.verdict.checks]
    assert "repaired layers equal the program" in names
    changed = {
        n for n, t in result.model.state_dict().items() if not torch.equal(t, plain.model.state_dict()[n])
    }
    assert changed == set(result.repair.tensors)
    assert all(p.requires_grad for p in result.model.parameters())
    assert result.plan.request["repair"]["weights"] is True


def test_a_repair_that_does_harm_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.repair.sequential.distance", lambda walk: float("nan"))
    model = model_of(MODELS["residual"])
    result = gp.shrink(model, data(2), macs=0.6, calibration=data(), repair=True)
    plain = gp.shrink(model, data(2), plan=result.plan)
    assert result.repair is not None
    assert not result.repair.kept
    assert result.repair.tensors == ()
    assert all(torch.equal(t, plain.model.state_dict()[n]) for n, t in result.model.state_dict().items())
    # the plan alone has no budget to meet
    assert result.verdict.checks[: len(plain.verdict.checks)] == plain.verdict.checks
    assert not any("repaired" in check.name for check in result.verdict.checks)


def test_a_model_that_writes_in_place_is_repaired_from_the_start_each_time() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.up(x)
            x[:, 0] = 0.5
            return self.down(F.relu(x))

    model = model_of(Writes)
    graph = gp.trace(model, torch.randn(2, 6).double())
    slim, report = repaired(graph, half(graph), list(torch.randn(64, 6).double().split(16)))
    assert report.kept
    assert report.after < 0.9 * report.before
    assert slim(torch.randn(3, 6).double()).isfinite().all()


def test_how_far_it_is_goes_up_by_the_work_of_its_steps() -> None:
    layers = nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3)
    graph = gp.trace(nn.Sequential(*layers), torch.randn(8, 6))
    heard: list[float] = []
    with told(heard.append):
        repaired(graph, half(graph), [torch.randn(64, 6)] * 2)
    assert len(set(heard)) > 4
    assert heard == sorted(heard)
    assert heard[-1] == 1
