"""Criteria that look at activations and reconstruction, by hooks and least squares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from scoring_models import MODELS, traced
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import graphprune as gp
from graphprune.calibration import Calibration
from graphprune.scoring.elimination import elimination_errors

DATA = ["activation_mean", "activation_variance", "apoz", "wanda", "reconstruction"]


def scores(name: str, criterion: str, batches: object, normalise: str = "none") -> dict[str, Tensor | None]:
    graph = traced(name)[1]
    found = gp.Criterion(criterion, normalise=normalise, calibration=batches)
    return found(graph, graph.program.tensors, 0)


def inputs_of(name: str, layer: str) -> Tensor:
    """What the layer of the user's own model is given."""
    model, _, x = traced(name)
    seen: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(x)
    hook.remove()
    return seen[0].double()


def test_statistics_are_those_of_the_consumers_input() -> None:
    x = traced("residual")[2]
    seen = inputs_of("residual", "two")
    group = "one.weight:0"
    values = {
        "activation_mean": seen.abs().mean((0, 2, 3)),
        "activation_variance": seen.transpose(0, 1).flatten(1).var(1, correction=0),
        "apoz": (seen != 0).double().mean((0, 2, 3)),
    }
    assert 0.05 < float(values["apoz"].mean()) < 0.95
    for name, expected in values.items():
        torch.testing.assert_close(scores("residual", name, x)[group], expected, rtol=1e-5, atol=1e-9)


def test_several_activations_of_a_group_are_averaged() -> None:
    x = traced("residual")[2]
    found = scores("residual", "activation_mean", x)["stem.weight:0"]
    expected = (
        inputs_of("residual", "one").abs().mean((0, 2, 3)) + inputs_of("residual", "head").abs().mean(0)
    ) / 2
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


def test_wanda_multiplies_every_weight_with_its_own_activation() -> None:
    """Behind a flatten, a channel's positions have norms of their own."""
    model, _, x = traced("depthwise")
    norms = inputs_of("depthwise", "head").square().sum(0).sqrt()
    expected = (model.head.weight.detach().double().abs() * norms).reshape(4, 6, 16).sum((0, 2))
    found = scores("depthwise", "wanda", x)["project.weight:0"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


def test_wanda_of_heads() -> None:
    model, graph, x = traced("attention")
    norms = inputs_of("attention", "out").flatten(0, 1).square().sum(0).sqrt()
    columns = (model.out.weight.detach().double().abs() * norms).sum(0).reshape(3, 4)
    found = scores("attention", "wanda", x)
    fibred = next(group.name for group in graph.groups if group.fibre is not None)
    heads = next(group.name for group in graph.groups if group.size == 3)
    torch.testing.assert_close(found[fibred], columns, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(found[heads], columns.sum(1), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("criterion", DATA)
def test_batches_of_any_size_and_form_say_the_same(name: str, criterion: str) -> None:
    x = traced(name)[2]
    whole = scores(name, criterion, x, "mean")
    labels = torch.zeros(5)
    forms = [
        [x[:2], x[2:3], x[3:]],
        ((piece,) for piece in x.split(4)),
        [((x[:4],), {}), ((x[4:],), {})],
        DataLoader(TensorDataset(x, labels), batch_size=2),
        [{"x": x[:1].double()}, {"x": x[1:]}],
    ]
    for form in forms:
        for group, found in scores(name, criterion, form, "mean").items():
            torch.testing.assert_close(found, whole[group], rtol=1e-4, atol=1e-5)


def test_a_big_tensor_is_run_in_pieces() -> None:
    graph = traced("residual")[1]
    x = torch.randn(70, 3, 8, 8)
    sizes: list[int] = []
    one = gp.Criterion("activation_mean", calibration=x)(graph, graph.program.tensors, 0)
    for batch in Calibration(x).walk(graph.program):
        sizes.append(len(batch[1][0]))
    assert sizes == [32, 32, 6]
    two = gp.Criterion("activation_mean", calibration=[x])(graph, graph.program.tensors, 0)
    for group in one:
        torch.testing.assert_close(one[group], two[group])


# -- reconstruction -----------------------------------------------------------------------------------------
def test_errors_are_those_of_least_squares() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    weights = torch.randn(6, 3, dtype=torch.float64)
    errors = elimination_errors(x.T @ x / 200, weights)
    order = errors.argsort()
    for removed in range(1, 5):
        kept = order[removed:]
        target = x @ weights
        fitted = x[:, kept] @ torch.linalg.lstsq(x[:, kept], target).solution
        expected = (target - fitted).square().sum() / 200
        torch.testing.assert_close(errors[order[removed - 1]], expected, rtol=1e-3, atol=1e-3)


def test_a_unit_that_others_make_up_for_goes_first() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6, bias=False), nn.Identity(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight[4] = 10 * (model[0].weight[1] - model[0].weight[2])  # large, but a sum of two others
    graph = gp.trace(model, torch.zeros(2, 8))
    data = torch.randn(64, 8)
    found = gp.Criterion("reconstruction", calibration=data)(graph, graph.program.tensors, 0)["0.weight:0"]
    magnitude = gp.Criterion("l2")(graph, graph.program.tensors, 0)["0.weight:0"]
    assert int(magnitude.argmax()) == 4
    assert int(found.argmin()) in (1, 2, 4)  # any one of the three that depend on each other
    assert float(found.min()) < 1e-3 * float(found.median())


def test_too_many_units_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.scoring.reconstruction.LIMIT", 9)
    with pytest.raises(gp.InputError, match=r"group one.weight:0 has 12 units, too many"):
        scores("residual", "reconstruction", traced("residual")[2])


# -- what cannot be used ------------------------------------------------------------------------------------
def nothing() -> Iterator[Tensor]:
    yield from ()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (7, "the calibration data is a int"),
        ([], "has no batches"),
        (nothing(), "has no batches"),
        (
            [torch.zeros(2, 4, 8, 9)],  # height and width vary
            r"input x of calibration batch 1 is torch.float32 \(2, 4, 8, 9\), the model was captured for "
            r"torch.float32 \(any, 3, any, any\)",
        ),
        ([torch.zeros(2, 3, 8, 8), torch.zeros(2, 3)], "calibration batch 2"),
        ([torch.zeros(2, 3, 8, 8, dtype=torch.int64)], "torch.int64"),
        ([{"y": torch.zeros(2, 3, 8, 8)}], "batch 1 does not hold the model's 1 inputs"),
        (["text"], "batch 1 does not hold"),
    ],
)
def test_data_that_does_not_fit_is_refused(batches: object, message: str) -> None:
    with pytest.raises(gp.InputError, match=message) as caught:
        scores("residual", "wanda", batches)
    assert caught.value.remedy


class Fixed(nn.Module):
    """Its batch size stands in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x)).reshape(4, 8))


def test_a_fixed_batch_takes_batches_of_its_own_size() -> None:
    graph = gp.trace(Fixed(), torch.zeros(4, 6))
    assert not graph.program.dynamic_batch
    for criterion in ("wanda", "taylor", "fisher"):
        gp.Criterion(criterion, calibration=[torch.randn(4, 6)])(graph, graph.program.tensors, 0)
        with pytest.raises(gp.InputError, match="same batch size"):
            gp.Criterion(criterion, calibration=[torch.randn(3, 6)])(graph, graph.program.tensors, 0)


def test_arguments_are_found_by_name() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.c(torch.relu(self.a(x) + 3 * self.b(y)))

    x, y = torch.randn(5, 4), torch.randn(5, 4)
    graph = gp.trace(Two(), (torch.zeros(2, 4), torch.zeros(2, 4)))
    found = [
        gp.Criterion("wanda", calibration=batches)(graph, graph.program.tensors, 0)
        for batches in ((x, y), {"y": y, "x": x}, [((x,), {"y": y})])
    ]
    for other in found[1:]:
        assert torch.equal(other["a.weight:0"], found[0]["a.weight:0"])
