"""Fine-tuning: what it reaches, what it leaves alone, and what each setting means."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy
import pytest
import torch
from torch import Tensor
from tuning_models import CLASSES, data, loader, shrunk, tensors

import graphprune as gp
from graphprune.tuning import Moment
from graphprune.tuning.learner import learning_rate, update_average


def accuracy(model: torch.nn.Module) -> float:
    images, labels = data()
    return float((model(images).argmax(1) == labels).double().mean())


@pytest.fixture
def fresh_precision() -> Iterator[None]:
    """Accelerate holds the precision of the whole process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


def test_accuracy_comes_back_and_nothing_else_changes() -> None:
    result = shrunk()
    before = {name: tensor.clone() for name, tensor in tensors(result.model).items()}
    original = {name: tensor.clone() for name, tensor in result.graph.program.tensors.items()}
    states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    moments: list[Moment] = []
    tuned = gp.tune(result, loader(), gp.Tuning(epochs=15, lr=2e-2), evaluate=accuracy, watch=moments.append)
    assert tuned.tuning["metric"]["before"] < 0.7
    assert tuned.tuning["metric"]["best"] == accuracy(tuned.model) > 0.95
    assert [moment.step for moment in moments] == list(range(1, 46))
    assert moments[0].seconds_left > moments[-1].seconds_left == 0
    assert moments[-1].best == tuned.tuning["metric"]["best"]
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(result.model).items())
    assert all(torch.equal(original[name], tensor) for name, tensor in result.graph.program.tensors.items())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), numpy.random.get_state()[1].tolist())
    assert not tuned.model.training
    assert type(tuned.model).__name__ == type(result.model).__name__
    assert tuned.plan is result.plan


def test_the_original_teaches_without_labels() -> None:
    result, (images, _) = shrunk(), data()
    teacher = result.graph.program.model
    assert teacher is not None

    def distance(model: torch.nn.Module) -> float:
        return float((model(images) - teacher(images)).square().sum() / teacher(images).square().sum())

    for match in ("mse", "kl", "cosine"):
        settings = gp.Tuning(epochs=10, lr=1e-2, match=match)
        tuned = gp.tune(
            result, loader(labelled=False), settings, evaluate=lambda m: {"error": distance(m), "other": 0.0}
        )
        assert tuned.tuning["history"][-1]["loss"] < 0.3 * tuned.tuning["history"][0]["loss"]
    settings = gp.Tuning(epochs=10, lr=1e-2, lower_is_better=True)
    tuned = gp.tune(result, loader(labelled=False), settings, evaluate=distance)
    assert tuned.tuning["metric"]["best"] < 0.25 * tuned.tuning["metric"]["before"]


def test_one_step_is_the_gradient_of_the_stated_loss() -> None:
    """Against a step that is written out here: cross-entropy and T² KL, plain gradient descent."""
    result, (images, labels) = shrunk(norm=False, dropout=0.0), data()
    batch = images[:16], labels[:16]
    settings = gp.Tuning(
        steps=1, optimizer="sgd", momentum=0.0, lr=0.1, warmup=0, clip=0, weight_decay=0.0, temperature=3.0
    )
    tuned = gp.tune(result, [batch], settings)
    slim, teacher = result.model, result.graph.program.model
    assert teacher is not None
    outputs, targets = slim(batch[0]), teacher(batch[0]).detach()
    p, log_q = (targets / 3).softmax(1), (outputs / 3).log_softmax(1)
    divergence = (p * (p.log() - log_q)).sum(1).mean() * 9
    loss = -outputs.log_softmax(1)[range(16), batch[1]].mean() + divergence
    parameters = dict(slim.named_parameters())
    grads = torch.autograd.grad(loss, list(parameters.values()))
    for (name, parameter), grad in zip(parameters.items(), grads, strict=True):
        torch.testing.assert_close(
            tensors(tuned.model)[name], parameter.detach() - 0.1 * grad, rtol=1e-4, atol=1e-6
        )


def test_accumulated_batches_are_one_step() -> None:
    """Halves of a batch, accumulated, against the whole one; sums in another order differ by float32 rounding."""
    result = shrunk(norm=False, dropout=0.0)
    settings = {"epochs": 2, "lr": 1e-2, "features": 0.5}
    whole = gp.tune(result, loader(16, shuffle=False), gp.Tuning(**settings))
    halves = gp.tune(result, loader(8, shuffle=False), gp.Tuning(**settings, accumulate=2))
    assert whole.tuning["steps"] == halves.tuning["steps"] == 6
    for name, tensor in tensors(whole.model).items():
        torch.testing.assert_close(tensors(halves.model)[name], tensor, rtol=1e-4, atol=1e-5)


def test_features_of_the_kept_units_are_compared() -> None:
    """A lossless cut computes what the original does, on the kept units: their distance is zero from the start."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3), torch.nn.ReLU(), torch.nn.Conv2d(6, 5, 3), torch.nn.Flatten(1)
    ).eval()
    with torch.no_grad():
        model[0].weight[[1, 4]] = 0.0
        model[0].bias[[1, 4]] = 0.0
    result = gp.shrink(model, torch.randn(2, 1, 6, 6), lossless=True)
    assert result.plan.groups["0.weight:0"].tolist() == [0, 2, 3, 5]
    settings = gp.Tuning(steps=1, distillation=0, features=1.0, feature_layers=("0",))
    alike = gp.tune(result, [torch.randn(4, 1, 6, 6)], settings)
    assert alike.tuning["history"][0]["loss"] < 1e-10
    cut = gp.shrink(model, torch.randn(2, 1, 6, 6), ratio=0.5, align=1)
    other = gp.tune(cut, [torch.randn(4, 1, 6, 6)], gp.Tuning(steps=1, distillation=0, features=1.0))
    # the second convolution has lost inputs that were alive
    assert other.tuning["history"][0]["loss"] > 1e-3


def test_the_running_average_is_returned() -> None:
    """After one step nine tenths of the way, since the decay begins at a tenth; then by the recursion."""
    result, batch = shrunk(norm=False, dropout=0.0), data(16)
    raw = gp.tune(result, [batch], gp.Tuning(steps=1, warmup=0.0))
    averaged = gp.tune(result, [batch], gp.Tuning(steps=1, warmup=0.0, ema=0.99))
    for name, start in tensors(result.model).items():
        expected = 0.1 * start + 0.9 * tensors(raw.model)[name]
        torch.testing.assert_close(tensors(averaged.model)[name], expected)
    average = {"weight": torch.tensor(0.0), "count": torch.tensor(0)}
    for step, value in enumerate((1.0, 2.0, 3.0)):
        update_average(average, {"weight": torch.tensor(value), "count": torch.tensor(step)}, step, 0.15)
    assert float(average["weight"]) == pytest.approx(0.15 * (0.15 * 0.9 + 0.85 * 2) + 0.85 * 3)
    assert int(average["count"]) == 2


def test_the_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    settings = gp.Tuning(lr=2.0, warmup=0.2)
    rates = [learning_rate(step, 10, settings) for step in range(10)]
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[6] == pytest.approx(1.0)  # half way down
    assert rates[-1] == pytest.approx(1 - torch.cos(torch.tensor(torch.pi / 8)).item(), abs=1e-6)


def test_training_stops_early_and_returns_the_best() -> None:
    figures = iter([0.1, 0.5, 0.4, 0.3, 0.9, 0.9])
    held: list[dict[str, Tensor]] = []

    def evaluate(model: torch.nn.Module) -> float:
        held.append({name: tensor.clone() for name, tensor in tensors(model).items()})
        return next(figures)

    tuned = gp.tune(shrunk(), loader(), gp.Tuning(epochs=9, patience=2), evaluate=evaluate)
    assert [line["metric"] for line in tuned.tuning["history"]] == [0.5, 0.4, 0.3]
    assert tuned.tuning["metric"] == {"before": 0.1, "best": 0.5, "last": 0.3}
    assert all(torch.equal(tensor, held[1][name]) for name, tensor in tensors(tuned.model).items())


def test_batch_norms_can_be_frozen() -> None:
    result = shrunk()
    settings = {"steps": 3, "lr": 1e-2}
    frozen = gp.tune(result, loader(), gp.Tuning(**settings, freeze_norms=True))
    moving = gp.tune(result, loader(), gp.Tuning(**settings))
    name = "first.running_mean"
    assert torch.equal(tensors(frozen.model)[name], tensors(result.model)[name])
    assert not torch.equal(tensors(moving.model)[name], tensors(result.model)[name])
    assert not torch.equal(tensors(frozen.model)["first.weight"], tensors(result.model)["first.weight"])


@pytest.mark.usefixtures("fresh_precision")
def test_mixed_precision_trains_float32_weights() -> None:
    tuned = gp.tune(
        shrunk(), loader(), gp.Tuning(epochs=15, lr=2e-2, precision="bf16", features=0.1), evaluate=accuracy
    )
    assert tuned.tuning["metric"]["best"] > 0.9
    assert all(tensor.dtype is torch.float32 for tensor in tuned.model.parameters())


def test_dicts_with_labels_and_frozen_parameters() -> None:
    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = torch.nn.Linear(4, 8), torch.nn.Linear(8, CLASSES)

        def forward(self, x: Tensor, *, scale: Tensor) -> Tensor:
            return self.head(torch.relu(self.body(x * scale)))

    model = Named().eval()
    model.body.requires_grad_(False)
    batch = {"x": torch.randn(6, 4), "scale": torch.ones(6, 4)}
    result = gp.shrink(model, batch, ratio=0.5, align=1)
    labelled = {**batch, "labels": torch.arange(6) % CLASSES}
    tuned = gp.tune(result, [labelled], gp.Tuning(epochs=3, lr=1e-2))
    now, then = tensors(tuned.model), tensors(result.model)
    assert torch.equal(now["body.weight"], then["body.weight"])
    assert not torch.equal(now["head.weight"], then["head.weight"])
    assert not now["body.weight"].requires_grad
