"""torchvision's and timm's models by name: sizes, errors, and weights without a network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor

from graphprune.ground.errors import InputError, WeightsError
from models_zoo import sources
from models_zoo.sources import timm_model, torchvision_model


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@needs("torchvision")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mobilenet_v3_small", (3, 224, 224)),
        ("inception_v3", (3, 299, 299)),
        ("swin_v2_t", (3, 256, 256)),
        ("quantized_mobilenet_v2", (3, 224, 224)),
        ("lraspp_mobilenet_v3_large", (3, 224, 224)),
        ("fcn_resnet50", (3, 224, 224)),
        ("r3d_18", (3, 16, 112, 112)),
        ("s3d", (3, 16, 224, 224)),
        ("raft_small", (3, 128, 128)),
        ("ssdlite320_mobilenet_v3_large", (3, 320, 320)),
    ],
)
def test_torchvision_model_runs_at_its_own_size(name: str, shape: tuple[int, ...]) -> None:
    model, example_inputs, found = torchvision_model(name, pretrained=False)
    assert found == shape
    assert not model.training
    args, kwargs = example_inputs(1)
    assert tuple(first_image(args).shape) == shape
    with torch.no_grad():
        assert model(*args, **kwargs) is not None


@needs("torchvision")
def test_batch_of_each_kind_of_input() -> None:
    _, images, _ = torchvision_model("ssdlite320_mobilenet_v3_large", pretrained=False)
    assert len(images(3)[0][0]) == 3
    _, pairs, _ = torchvision_model("raft_small", pretrained=False)
    assert [tuple(image.shape) for image in pairs(3)[0]] == [(3, 3, 128, 128)] * 2


@needs("torchvision")
def test_random_segmentation_and_inception_models_are_built_as_published() -> None:
    segmentation, _, _ = torchvision_model("fcn_resnet50", pretrained=False)
    assert any(name.startswith("aux_classifier.") for name in segmentation.state_dict())
    assert getattr(torchvision_model("inception_v3", pretrained=False)[0], "transform_input", None) is True


@needs("torchvision")
def test_unknown_torchvision_model_names_the_nearest() -> None:
    with pytest.raises(InputError, match="torchvision has no model 'resnte18' — did you mean resnet18 or"):
        torchvision_model("resnte18", pretrained=True)


@needs("torchvision")
def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError) as raised:
        torchvision_model("squeezenet1_1", pretrained=True)
    assert str(raised.value) == (
        "the published weights of squeezenet1_1 (squeezenet1_1-b8a52dc0.pth) could not be taken from the"
        " cache or downloaded: <urlopen error no network> — give the file with --weights FILE, or take random"
        " weights with --weights none"
    )


@needs("torchvision")
def test_weights_in_the_cache_need_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    stored = torchvision_model("squeezenet1_1", pretrained=False)[0].state_dict()
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(stored, cache / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    loaded = torchvision_model("squeezenet1_1", pretrained=True)[0].state_dict()
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)


@needs("torchvision")
def test_broken_weights_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save({"unknown": torch.zeros(1)}, cache / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"squeezenet1_1-b8a52dc0\.pth"):
        torchvision_model("squeezenet1_1", pretrained=True)


@needs("timm", "torchvision")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("test_resnet", (3, 160, 160)),
        ("test_vit.r160_in1k", (3, 160, 160)),
        ("mobilenetv3_small_050", (3, 224, 224)),
    ],
)
def test_timm_model_runs_at_its_own_size(name: str, shape: tuple[int, ...]) -> None:
    model, example_inputs, found = timm_model(name, pretrained=False)
    assert found == shape
    args, kwargs = example_inputs(2)
    with torch.no_grad():
        assert model(*args, **kwargs).shape == (2, 1000)


@needs("timm", "torchvision")
def test_unknown_timm_model_and_tag_name_the_nearest() -> None:
    with pytest.raises(InputError, match="timm has no model 'resnte18' — did you mean resnet18 or"):
        timm_model("resnte18", pretrained=False)
    with pytest.raises(
        InputError, match=r"timm has no weights 'a1_in2k' of resnet18 — did you mean resnet18\.a1_in1k"
    ):
        timm_model("resnet18.a1_in2k", pretrained=False)


@needs("timm", "torchvision")
def test_timm_model_without_published_weights() -> None:
    import timm

    bare = next(name for name in timm.list_models() if not timm.get_pretrained_cfg(name).has_weights)
    with pytest.raises(WeightsError, match=f"timm publishes no weights of {bare} — use --weights none"):
        timm_model(bare, pretrained=True)


@needs("timm", "torchvision", "huggingface_hub")
def test_timm_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "get_session", lambda: SimpleNamespace(head=refuse))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    offline = huggingface_hub.constants.HF_HUB_OFFLINE
    with pytest.raises(WeightsError) as raised:
        timm_model("test_resnet", pretrained=True)
    assert raised.value.message.startswith(
        "the published weights of test_resnet (timm/test_resnet.r160_in1k)"
    )
    assert raised.value.remedy == sources.REMEDY
    assert offline == huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.mark.parametrize(("source", "package"), [(torchvision_model, "torchvision"), (timm_model, "timm")])
def test_missing_package_names_the_pip_command(
    source: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(WeightsError, match=f"the package {package} is not installed — pip install {package}"):
        source("resnet18", pretrained=False)


def first_image(args: tuple[Any, ...]) -> Tensor:
    """The first image of the first argument: a batch, or a list of images."""
    return args[0][0]


@needs("torchvision")
def test_a_detector_of_two_stages_asks_for_its_boxes() -> None:
    from models_zoo.detection import DetectionNetwork
    from models_zoo.sources import is_detector

    detector, _, _ = torchvision_model("fasterrcnn_mobilenet_v3_large_320_fpn", pretrained=False)
    with torch.no_grad(), pytest.raises(InputError, match="takes boxes beside the images"):
        DetectionNetwork(detector)(torch.zeros(1, 3, 64, 64))
    assert is_detector("ssdlite320_mobilenet_v3_large")
    assert not is_detector("resnet18")
