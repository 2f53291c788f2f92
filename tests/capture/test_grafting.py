"""Slim layers in the user's own module."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

import graphprune as gp


class Detector(nn.Module):
    """A network whose result is chosen by value, which no program captures."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.mix = nn.Sequential(
            nn.Conv2d(12, 12, 3, groups=3), nn.GroupNorm(3, 12), weight_norm(nn.Conv2d(12, 8, 1))
        )
        self.scores, self.tied = nn.Conv2d(8, 2, 1), nn.Conv2d(12, 8, 1)
        self.spare = nn.Linear(3, 3)

    def network(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.scores(self.mix(x).relu() + self.tied(x)[:, :, 1:-1, 1:-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        scores = self.network(x).flatten(2)
        return [each[:, each[0] > each[0].mean()] for each in scores]


class Network(nn.Module):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> Tensor:
        return self.detector.network(x)


def test_a_detector_keeps_its_forward_and_gets_slim_layers() -> None:
    torch.manual_seed(0)
    detector = Detector().eval()
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    result = gp.shrink(Network(detector), torch.randn(2, 3, 9, 9), ratio=0.5, importance="random")
    slim: Any = result.graft().detector
    width = result.model.get_parameter("detector.stem.0.weight").shape[0]
    assert width < 12
    assert (slim.stem[0].out_channels, slim.stem[1].num_features) == (width, width)
    assert slim.mix[0].groups == result.model.get_submodule("detector.mix.0").groups
    assert slim.stem[0].weight is result.model.get_parameter("detector.stem.0.weight")
    assert slim.spare.weight.shape == (3, 3)
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(slim.network(x), result.model(x))
    assert [len(rows) for rows in slim(x)] == [2, 2]
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())
    assert detector.mix[2].weight.shape == (8, 12, 1, 1)  # still computed by its parametrisation


@pytest.mark.parametrize(
    "wrap",
    [
        lambda layer: prune.ln_structured(layer, "weight", 0.25, n=2, dim=0),
        lambda layer: prune.l1_unstructured(prune.random_unstructured(layer, "bias", 2), "weight", 0.5),
        lambda layer: nn.utils.weight_norm(layer),
        lambda layer: nn.utils.spectral_norm(layer),
    ],
    ids=["structured mask", "masks of weight and bias", "old weight_norm", "old spectral_norm"],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_weights_that_hooks_compute_become_plain(wrap: Any) -> None:
    torch.manual_seed(0)
    detector = Detector()
    wrap(detector.tied)
    detector.network(torch.randn(2, 3, 9, 9))  # the hooks leave their results on the layer
    detector.eval()
    result = gp.shrink(Network(detector), torch.randn(2, 3, 9, 9), ratio=0.5)
    slim: Any = result.graft().detector
    assert set(dict(slim.tied.named_parameters())) == {"weight", "bias"}
    assert not slim.tied._forward_pre_hooks
    assert not list(slim.tied.buffers())
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(slim.network(x), result.model(x))
    assert detector.tied._forward_pre_hooks


class Literal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x).view(-1, 8))


def test_code_that_mentions_a_width_is_named() -> None:
    result = gp.shrink(Literal(), torch.zeros(2, 6), ratio=0.5)
    with pytest.raises(gp.InputError, match=r"slim layers: .*test_grafting.py:\d+: .*view\(-1, 8\)"):
        result.graft()


class Scaled(Literal):
    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x) / self.up.out_features)


def test_code_that_computes_with_a_width_is_refused() -> None:
    torch.manual_seed(0)
    result = gp.shrink(Scaled(), torch.randn(2, 6), ratio=0.5)
    with pytest.raises(gp.InputError, match="computes otherwise with slim layers"):
        result.graft()


def test_a_detector_of_torchvision_detects_after_the_cut() -> None:
    from models_zoo.detection import DetectionNetwork, detection_inputs
    from models_zoo.sources import torchvision_model

    torch.manual_seed(0)
    detector, _, (_, size, _) = torchvision_model("ssdlite320_mobilenet_v3_large", pretrained=False)
    network = DetectionNetwork(detector)
    result = gp.shrink(network, detection_inputs(detector, 2, size), ratio=0.5, importance="random")
    slim: Any = result.graft()
    with torch.no_grad():
        (found,) = slim.detector([torch.rand(3, 200, 240)])
    assert found["boxes"].shape == (300, 4)
    assert result.after.params < 0.5 * result.before.params
