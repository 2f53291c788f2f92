"""Weights that are computed from others at each call: folded into plain ones, exactly."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import graphprune as gp
from graphprune.capture import capture
from graphprune.capture.raising import raise_program

Wrap = Callable[[nn.Module], nn.Module]


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight - weight.mean()


def masked(layer: nn.Module) -> nn.Module:
    return prune.ln_structured(prune.l1_unstructured(layer, "weight", 0.3), "weight", 0.25, n=2, dim=0)


def registered(layer: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", Doubled())


WRAPS: dict[str, Wrap] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "weight_norm, hook": torch.nn.utils.weight_norm,
    "spectral_norm, hook": torch.nn.utils.spectral_norm,
    "masks": masked,
    "one's own": registered,
}


def network(wrap: Wrap) -> nn.Sequential:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(
            wrap(nn.Conv1d(3, 8, 3, padding=1)),
            nn.ReLU(),
            wrap(nn.Conv1d(8, 12, 3, padding=1)),
            nn.Flatten(),
            wrap(nn.Linear(84, 4)),
        ).eval()


@pytest.mark.parametrize("label", WRAPS)
def test_computed_weights_become_plain_ones(label: str) -> None:
    model, x = network(WRAPS[label]), torch.randn(3, 3, 7)
    names = list(model.state_dict())
    program = capture(model, x)
    assert sorted(program.stored) == [f"{i}.{name}" for i in (0, 2, 4) for name in ("bias", "weight")]
    plain = raise_program(program)
    torch.testing.assert_close(plain(x), model(x))
    assert isinstance(plain.get_submodule("2"), nn.Conv1d)
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("label", WRAPS)
def test_models_with_computed_weights_shrink_exactly(label: str) -> None:
    result = gp.shrink(network(WRAPS[label]), torch.randn(2, 3, 7), ratio=0.5)
    assert result.verdict.passed
    assert not result.graph.analysis.unruled
    assert result.model.get_parameter("2.weight").shape == (6, 4, 3)


def test_folded_weights_are_as_trainable_as_their_originals() -> None:
    model = network(parametrizations.weight_norm)
    for parameter in model[2].parametrizations.parameters():
        parameter.requires_grad_(False)
    program = capture(model, torch.zeros(2, 3, 7))
    trainable = {name: item.tensor.requires_grad for name, item in program.stored.items()}
    assert trainable == {name: name != "2.weight" for name in program.stored}


def test_a_weight_used_twice_is_one_weight() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(6, 8)
            self.mix = parametrizations.weight_norm(nn.Linear(8, 8))
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mix(self.mix(self.stem(x)).relu()))

    torch.manual_seed(0)
    result = gp.shrink(Twice(), torch.randn(2, 6), ratio=0.5)
    assert result.verdict.passed
    assert result.model.get_parameter("mix.weight").shape == (4, 4)


def test_what_is_computed_from_ordinary_parameters_stays_computed() -> None:
    """Weight standardisation in forward is the model's own arithmetic, to be trained through."""

    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.head = nn.Parameter(torch.randn(8, 6)), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x @ (self.weight / self.weight.norm()).T)

    program = capture(Standardised(), torch.zeros(2, 6))
    assert "weight" in program.attributes.values()
