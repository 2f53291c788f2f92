"""The zoo's data: shapes, labels, and that nothing of an evaluation is among it where that is promised."""

from __future__ import annotations

import pytest
import torch

import models_zoo
from graphprune.ground.errors import InputError
from models_zoo.data import DATA, PHOTOGRAPHS, read_data
from models_zoo.digits import split_digits

SHAPES = {"digits": (1, 8, 8), "faces": (3, 24, 24), "photographs": (3, 32, 40)}


@pytest.mark.parametrize("name", DATA)
def test_shapes_and_labels(name: str) -> None:
    inputs, *labels = read_data(name, SHAPES[name])
    assert inputs.shape[1:] == SHAPES[name]
    assert inputs.dtype == torch.float32
    assert all(len(found) == len(inputs) and found.dtype == torch.int64 for found in labels)
    assert torch.equal(inputs, read_data(name, SHAPES[name])[0])


def test_nothing_of_an_evaluation() -> None:
    held_out = {row.numpy().tobytes() for row in split_digits()[1][0]}
    assert not any(row.numpy().tobytes() in held_out for row in read_data("digits", SHAPES["digits"])[0])
    assert not {"cat", "chelsea", "coffee"} & set(PHOTOGRAPHS)


def test_both_classes_and_the_models_preprocessing() -> None:
    images, labels = read_data("faces", SHAPES["faces"])
    assert labels.bincount().tolist() == [50, 50]
    with torch.no_grad():
        probabilities = models_zoo.load("mtcnn_rnet")(images)[-1]
    assert torch.equal(probabilities.argmax(1), labels)


def test_refusals() -> None:
    for name, shape, message in (
        ("digit", (1, 8, 8), "the zoo has no data 'digit'"),
        ("digits", (3, 8, 8), "not of the shape that the model takes"),
        ("photographs", (16,), "not of the shape that the model takes"),
    ):
        with pytest.raises(InputError, match=message):
            read_data(name, shape)
