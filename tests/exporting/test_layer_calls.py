"""Layers as constructor calls."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.exporting.inventory import LayerCall, build_layer, describe_layer
from graphprune.ground.errors import InputError

DESCRIBED = [
    (
        nn.Conv2d(3, 8, (3, 3), padding=(1, 1), bias=False),
        LayerCall("Conv2d", (3, 8, 3), {"padding": 1, "bias": False}),
    ),
    (nn.Conv2d(4, 8, (3, 5), groups=2), LayerCall("Conv2d", (4, 8, (3, 5)), {"groups": 2})),
    (nn.Conv1d(3, 8, 3, padding="same"), LayerCall("Conv1d", (3, 8, 3), {"padding": "same"})),
    (nn.ConvTranspose2d(4, 4, 2, stride=2), LayerCall("ConvTranspose2d", (4, 4, 2), {"stride": 2})),
    (nn.Linear(2, 3, dtype=torch.float64), LayerCall("Linear", (2, 3), {"dtype": torch.float64})),
    (nn.BatchNorm2d(4, affine=False), LayerCall("BatchNorm2d", (4,), {"affine": False})),
    (
        nn.BatchNorm1d(4, eps=1e-3, momentum=None),
        LayerCall("BatchNorm1d", (4,), {"eps": 1e-3, "momentum": None}),
    ),
    (nn.LayerNorm(6, bias=False), LayerCall("LayerNorm", (6,), {"bias": False})),
    (nn.LayerNorm((4, 6)), LayerCall("LayerNorm", ((4, 6),), {})),
    (nn.GroupNorm(2, 4), LayerCall("GroupNorm", (2, 4), {})),
    (nn.RMSNorm(8, eps=1e-6), LayerCall("RMSNorm", (8,), {"eps": 1e-6})),
    (nn.Embedding(10, 4, padding_idx=0), LayerCall("Embedding", (10, 4), {"padding_idx": 0})),
    (nn.AdaptiveAvgPool2d((1, 1)), LayerCall("AdaptiveAvgPool2d", ((1, 1),), {})),
    (nn.MaxPool2d(2), LayerCall("MaxPool2d", (2,), {})),
    (nn.MaxPool2d(3, 2, 1), LayerCall("MaxPool2d", (3,), {"stride": 2, "padding": 1})),
    (nn.Dropout(0.2), LayerCall("Dropout", (), {"p": 0.2})),
    (nn.ReLU6(inplace=True), LayerCall("ReLU6", (), {"inplace": True})),
    (nn.Hardtanh(0.0, 6.0), LayerCall("Hardtanh", (), {"min_val": 0.0, "max_val": 6.0})),
    (nn.GELU("tanh"), LayerCall("GELU", (), {"approximate": "tanh"})),
    (nn.Softmax(-1), LayerCall("Softmax", (), {"dim": -1})),
    (
        nn.Upsample(scale_factor=2.0, mode="bilinear"),
        LayerCall("Upsample", (), {"scale_factor": 2.0, "mode": "bilinear"}),
    ),
    (nn.ZeroPad2d((1, 2, 1, 2)), LayerCall("ZeroPad2d", ((1, 2, 1, 2),), {})),
    (nn.Identity(), LayerCall("Identity", (), {})),
]


@pytest.mark.parametrize(("layer", "call"), DESCRIBED, ids=lambda value: getattr(value, "class_name", ""))
def test_layer_becomes_its_shortest_call(layer: nn.Module, call: LayerCall) -> None:
    assert describe_layer(layer, "layer") == call
    assert build_layer(call).extra_repr() == layer.extra_repr()


def test_attributes_out_of_step_with_tensors_are_refused() -> None:
    linear = nn.Linear(4, 4)
    linear.weight = nn.Parameter(torch.zeros(4, 3))
    with pytest.raises(InputError, match="layer 'fc' \\(Linear\\) cannot be rebuilt from its attributes"):
        describe_layer(linear, "fc")
    linear.in_features = 3
    assert describe_layer(linear, "fc").positional == (3, 4)


def test_arguments_that_the_class_refuses_are_an_input_error() -> None:
    with pytest.raises(InputError, match=r"torch\.nn\.Conv2d cannot be built: .*divisible by groups"):
        build_layer(LayerCall("Conv2d", (3, 4, 1), {"groups": 2}))
    with pytest.raises(InputError, match=r"torch\.nn\.Linear cannot be built"):
        build_layer(LayerCall("Linear", (), {}))
