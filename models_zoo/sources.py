"""Any model of torchvision or timm by its name, with example inputs of the size it was made for.

Both functions return the module in eval mode, its example inputs (batch size -> (args, kwargs)) and the shape
of one input without the batch.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import re
import socket
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.ground.errors import InputError, WeightsError, first_line
from models_zoo import torchvision_ops, wheels
from models_zoo.inputs import gaussian
from models_zoo.registry import ExampleInputs, nearest

__all__ = ["is_detector", "timm_model", "torchvision_model"]

Source = tuple[nn.Module, ExampleInputs, tuple[int, ...]]

REMEDY = "give the file with --weights FILE, or take random weights with --weights none"
PATIENCE = 30  # seconds without a byte before a download counts as failed
IMAGE_SIZE = 224  # where nothing says otherwise
DETECTION_SIZE = 320  # detectors resize inside
FRAMES = 16

# Options of models without published weights. aux_loss and transform_input are what torchvision sets together
# with those weights, so that `--weights FILE` fits and means the same; no backbone may be downloaded instead.
WITHOUT_WEIGHTS = {"aux_loss": True, "weights_backbone": None}
WITHOUT_WEIGHTS_BY_NAME = {
    "googlenet": {"transform_input": True},
    "inception_v3": {"transform_input": True},
}


def torchvision_model(name: str, pretrained: bool) -> Source:
    """A model of torchvision, of any of its tasks.

    Classifiers take (batch, 3, S, S), video models (batch, 3, frames, S, S), segmentation models
    (batch, 3, 224, 224), detectors a list of (3, S, S) images between 0 and 1, optical flow models two
    batches of images.

    Args:
        name: as `torchvision.models.list_models()` spells it.
        pretrained: take the published default weights, from torch hub's cache or by download.

    Raises:
        InputError: no such model; the error names the nearest ones.
        WeightsError: torchvision is missing, or the weights cannot be had.
    """
    wheels.require("torchvision")
    torchvision_ops.ensure()
    models = wheels.module("torchvision", "torchvision.models")
    if name not in models.list_models():
        raise InputError(f"torchvision has no model {name!r}", nearest(name, models.list_models()))
    builder, weights = models.get_model_builder(name), _default_weights(models, name)
    with _quietly():
        if pretrained:
            model = _torchvision_pretrained(builder, weights, name)
        else:
            model = builder(weights=None, **_without_weights(builder, name))
    return (model.eval(), *_torchvision_inputs(model, weights, task=_task(builder)))


def is_detector(name: str) -> bool:
    """Whether torchvision makes the model ``name`` for detection, by the place of its builder."""
    torchvision_ops.ensure()
    models = wheels.module("torchvision", "torchvision.models")
    return _task(models.get_model_builder(name)) == "detection"


def _task(builder: Callable[..., nn.Module]) -> str:
    """The name of torchvision's subpackage or file."""
    return builder.__module__.split(".")[2]


def timm_model(name: str, pretrained: bool) -> Source:
    """A model of timm, which takes (batch, 3, S, S).

    Args:
        name: as `timm.list_models()` spells it, or with a tag of published weights, "resnet50.a1_in1k"; or
            "hf-hub:OWNER/NAME" of the Hugging Face hub, or "local-dir:FOLDER", each of which has its own configuration.
        pretrained: take the published weights, from the local cache or by download.

    Raises:
        InputError: no such model or tag; the error names the nearest ones.
        WeightsError: timm is missing, or the weights cannot be had.
    """
    wheels.require("timm", "torchvision")
    torchvision_ops.ensure()
    timm = wheels.module("timm", "timm")
    if ":" in name:
        return _timm_described(timm, name, pretrained)
    published = _timm_published(timm, name)
    if pretrained and not published:
        raise WeightsError(f"timm publishes no weights of {name}", "use --weights none for random ones")
    with _quietly():
        model = _timm_pretrained(timm, name) if pretrained else timm.create_model(name, pretrained=False)
    return _timm_source(model)


def _timm_source(model: Any) -> Source:
    shape = tuple(model.pretrained_cfg["input_size"])
    return model.eval(), gaussian(*shape), shape


def _timm_described(timm: ModuleType, name: str, pretrained: bool) -> Source:
    """A model that a configuration of the hub or of a folder describes, and that needs it even for random weights."""
    try:
        with _quietly(), _offline_unless_reachable(not name.startswith("local-dir:")):
            return _timm_source(timm.create_model(name, pretrained=pretrained))
    except Exception as error:
        raise WeightsError(
            f"timm cannot make {name}: {first_line(error, 200)}",
            "check the name; what is not in the cache is downloaded, which needs a network",
        ) from error


def _default_weights(models: ModuleType, name: str) -> Any:
    """The default entry of the model's weights; the float ones where the default is quantized."""
    default = models.get_model_weights(name).DEFAULT
    return default.meta.get("unquantized", default)


def _without_weights(builder: Callable[..., nn.Module], name: str) -> dict[str, Any]:
    accepted = inspect.signature(builder).parameters
    options = {option: value for option, value in WITHOUT_WEIGHTS.items() if option in accepted}
    return options | WITHOUT_WEIGHTS_BY_NAME.get(name, {})


def _torchvision_pretrained(builder: Callable[..., nn.Module], weights: Any, name: str) -> nn.Module:
    file = Path(urllib.parse.urlparse(weights.url).path).name
    try:
        _fetch(weights.url, Path(torch.hub.get_dir()) / "checkpoints" / file)
        return builder(weights=weights, progress=False)
    except Exception as error:
        raise WeightsError(_unavailable(name, file, error), REMEDY) from error


def _fetch(url: str, path: Path) -> None:
    """Download into torch hub's cache, unless it is there; the digits at the name's end are its checksum."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    checksum = re.search(r"-([a-f0-9]+)\.", path.name)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        torch.hub.download_url_to_file(url, str(path), checksum[1] if checksum else None, progress=False)
    finally:
        socket.setdefaulttimeout(before)


def _unavailable(name: str, file: str, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"the published weights of {name} ({file}) could not be taken from the cache or downloaded: {reason}"
    )


def _torchvision_inputs(model: nn.Module, weights: Any, task: str) -> tuple[ExampleInputs, tuple[int, ...]]:
    """Example inputs and input shape, by task, see `_task`."""
    crop = getattr(weights.transforms(), "crop_size", None) or [IMAGE_SIZE]
    # A vision transformer takes the size it was built for, which differs with and without weights.
    size = getattr(model, "image_size", crop[0])
    if task == "detection":
        size = _detection_size(model)
        return _image_lists(size), (3, size, size)
    if task == "optical_flow":
        height, width = weights.meta["min_size"]
        return _image_pairs(height, width), (3, height, width)
    shape = (3, FRAMES, size, size) if task == "video" else (3, size, size)
    return gaussian(*shape), shape


def _detection_size(model: nn.Module) -> int:
    """The one size of an SSD, which its transform names; else a size that the detector resizes inside."""
    fixed = getattr(model.get_submodule("transform"), "fixed_size", None)
    return fixed[0] if fixed else DETECTION_SIZE


def _image_lists(size: int) -> ExampleInputs:
    def example_inputs(batch: int) -> tuple[tuple[list[Tensor]], dict[str, Any]]:
        generator = torch.Generator().manual_seed(0)
        return (list(torch.rand(batch, 3, size, size, generator=generator)),), {}

    return example_inputs


def _image_pairs(height: int, width: int) -> ExampleInputs:
    def example_inputs(batch: int) -> tuple[tuple[Tensor, Tensor], dict[str, Any]]:
        generator = torch.Generator().manual_seed(0)
        first, second = 2 * torch.rand(2, batch, 3, height, width, generator=generator) - 1
        return (first, second), {}

    return example_inputs


def _timm_published(timm: ModuleType, name: str) -> bool:
    """Whether timm publishes weights under that name; InputError where it has no such model or tag."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise InputError(f"timm has no model {name!r}", nearest(name, timm.list_models()))
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise InputError(f"timm has no weights {tag!r} of {architecture}", nearest(name, tagged))
    return bool(timm.get_pretrained_cfg(name).has_weights)


def _timm_pretrained(timm: ModuleType, name: str) -> Any:
    published = timm.get_pretrained_cfg(name)
    try:
        with _offline_unless_reachable():
            return timm.create_model(name, pretrained=True)
    except Exception as error:
        file = f"{published.hf_hub_id or published.url}"
        raise WeightsError(_unavailable(name, file, error), REMEDY) from error


@contextmanager
def _offline_unless_reachable(needed: bool = True) -> Iterator[None]:
    """One look whether the model hub answers, where it is needed; its own client tries for most of a minute."""
    hub = importlib.import_module("huggingface_hub")
    before = hub.constants.HF_HUB_OFFLINE
    try:
        if needed and not before:
            hub.get_session().head(hub.constants.ENDPOINT, timeout=PATIENCE)
    except Exception:
        hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.constants.HF_HUB_OFFLINE = before


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence what the libraries say while they build; all that matters is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
