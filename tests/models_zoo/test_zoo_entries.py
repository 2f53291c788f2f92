"""Every entry builds, runs, loads its weights and reaches its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models_zoo
from graphprune.ground.errors import WeightsError
from models_zoo import wheels

PARAMETERS = {
    "mlp": 238_510,
    "convnet": 657_162,
    "digits_resnet": 169_834,
    "digits_cnn_mnist": 390_410,
    "mtcnn_rnet": 100_178,
    "mtcnn_onet": 389_040,
    "efficientnet_lite0": 4_652_008,
    "crepe_tiny": 486_552,
    "crepe_full": 22_239_976,
    "minilm": 22_713_216,
}

# (entry, figure, lowest accepted, highest accepted); a little below what was measured, for other platforms.
FIGURES = [
    ("digits_resnet", "accuracy", 0.99, 1.0),
    ("digits_cnn_mnist", "accuracy", 0.87, 1.0),
    ("mtcnn_rnet", "accuracy", 1.0, 1.0),
    ("mtcnn_rnet", "margin", 0.97, 1.0),
    ("mtcnn_onet", "accuracy", 1.0, 1.0),
    ("mtcnn_onet", "margin", 0.96, 1.0),
    ("efficientnet_lite0", "accuracy", 1.0, 1.0),
    ("efficientnet_lite0", "top5", 1.0, 1.0),
    ("efficientnet_lite0", "confidence", 0.9, 1.0),
    ("crepe_tiny", "accuracy", 1.0, 1.0),
    ("crepe_tiny", "error_cents", 0.0, 6.0),
    ("crepe_full", "accuracy", 1.0, 1.0),
    ("crepe_full", "error_cents", 0.0, 6.0),
    ("minilm", "cosine", 0.99999, 1.00001),
    ("minilm", "paraphrase", 1.0, 1.0),
]
EVALUATED = sorted({name for name, *_ in FIGURES})


def available(name: str) -> models_zoo.Entry:
    entry = models_zoo.get(name)
    try:
        wheels.require(*entry.packages)
    except WeightsError as error:
        pytest.skip(str(error))
    return entry


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, float]]:
    """Figures by entry, filled as tests ask for them."""
    return {}


def tensors_of(output: Any) -> list[Tensor]:
    if isinstance(output, Mapping):
        return [value for value in output.values() if isinstance(value, Tensor)]
    return [output] if isinstance(output, Tensor) else list(output)


def test_tables_cover_the_zoo() -> None:
    assert set(PARAMETERS) == set(models_zoo.names())
    assert [n for n, entry in sorted(models_zoo.ENTRIES.items()) if entry.evaluate] == EVALUATED
    assert [n for n, entry in sorted(models_zoo.ENTRIES.items()) if entry.load_weights] == EVALUATED


@pytest.mark.parametrize("name", PARAMETERS)
def test_builds_in_eval_mode_with_random_weights(name: str) -> None:
    available(name)
    model = models_zoo.load(name, weights="none")
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", PARAMETERS)
def test_forward_at_batch_one_and_three(name: str) -> None:
    entry = available(name)
    model = entry.build()
    for batch in (1, 3):
        args, kwargs = entry.example_inputs(batch)
        with torch.no_grad():
            outputs = tensors_of(model(*args, **kwargs))
        assert outputs
        assert all(output.shape[0] == batch and output.isfinite().all() for output in outputs)


@pytest.mark.parametrize("name", PARAMETERS)
def test_example_inputs_repeat(name: str) -> None:
    entry = available(name)
    (first, first_named), (second, second_named) = entry.example_inputs(2), entry.example_inputs(2)
    assert first_named.keys() == second_named.keys()
    pairs = [*zip(first, second, strict=True), *((first_named[k], second_named[k]) for k in first_named)]
    assert pairs
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("name", EVALUATED)
def test_published_weights_replace_every_random_one(name: str) -> None:
    entry = available(name)
    model = entry.build()
    before = {key: value.clone() for key, value in model.named_parameters()}
    assert entry.load_weights is not None
    entry.load_weights(model)
    # Biases and scales of some layers start at the same value that training leaves; matrices never do.
    unchanged = [
        key for key, value in model.named_parameters() if value.ndim > 1 and value.equal(before[key])
    ]
    assert unchanged == []


@pytest.mark.parametrize(("name", "figure", "lowest", "highest"), FIGURES)
def test_figures(
    name: str, figure: str, lowest: float, highest: float, figures: dict[str, dict[str, float]]
) -> None:
    entry = available(name)
    if name not in figures:
        assert entry.evaluate is not None
        figures[name] = entry.evaluate(models_zoo.load(name))
    assert lowest <= figures[name][figure] <= highest
    assert next(iter(figures[name])) in ("accuracy", "cosine")


@pytest.mark.parametrize("name", [name for name in EVALUATED if name != "crepe_full"])
def test_random_weights_score_far_lower(name: str) -> None:
    entry = available(name)
    torch.manual_seed(0)
    assert entry.evaluate is not None
    headline = next(iter(entry.evaluate(models_zoo.load(name, weights="none")).values()))
    assert headline < 0.65


@pytest.mark.parametrize("name", [name for name in EVALUATED if name != "minilm"])
def test_weights_of_another_model_are_refused(name: str) -> None:
    entry = available(name)
    assert entry.load_weights is not None
    with pytest.raises(WeightsError, match="do not fit the model"):
        entry.load_weights(nn.Linear(2, 2))


def test_evaluate_accepts_each_way_to_return_hidden_states() -> None:
    entry = available("minilm")
    model = models_zoo.load("minilm")
    assert entry.evaluate is not None
    ways = [
        lambda **inputs: dict(model(**inputs)),
        lambda **inputs: model(**inputs).to_tuple(),
        lambda **inputs: model(**inputs).last_hidden_state.numpy(),
    ]
    assert [entry.evaluate(way)["cosine"] for way in ways] == pytest.approx([1.0] * 3, abs=1e-5)
