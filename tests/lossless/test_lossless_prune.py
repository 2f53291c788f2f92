"""The flows of the tutorials of `torch.nn.utils.prune`: masks become smaller shapes wherever whole units died."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lossless_models import DIGIT, IMAGE, LeNet, Residual, lively, removed, shrunk
from torch import nn
from torch.nn.utils import prune

Masking = Callable[[nn.Module], object]


def layers(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


STRUCTURED: dict[str, Masking] = {
    "random": lambda layer: prune.random_structured(layer, "weight", 0.4, dim=0),
    "L1": lambda layer: prune.ln_structured(layer, "weight", 0.4, n=1, dim=0),
    "L2": lambda layer: prune.ln_structured(layer, "weight", 0.4, n=2, dim=0),
    "L2 of columns": lambda layer: prune.ln_structured(layer, "weight", 0.4, n=2, dim=1),
}
UNSTRUCTURED: dict[str, Masking] = {
    "random": lambda layer: prune.random_unstructured(layer, "weight", 0.4),
    "L1": lambda layer: prune.l1_unstructured(layer, "weight", 0.4),
}


@pytest.mark.parametrize("made_permanent", [False, True])
@pytest.mark.parametrize("label", STRUCTURED)
def test_structured_masks_of_lenet_go_in_full(label: str, made_permanent: bool) -> None:
    torch.manual_seed(0)
    model = lively(LeNet())
    masked = [model.conv2, model.fc1, model.fc2]
    for layer in masked:
        STRUCTURED[label](layer)
        if made_permanent:
            prune.remove(layer, "weight")
    result = shrunk(model, DIGIT)
    columns = label.endswith("columns")
    # a layer's rows are the units of its group, its columns those of the layer before; 40 % of each, rounded
    width = {"conv1": 6, "conv2": 16, "fc1": 40, "fc2": 30}
    if columns:
        assert result.model.conv1.weight.shape[0] == 6 - round(0.4 * 6)
        assert result.model.fc1.weight.shape[0] == 40 - round(0.4 * 40)
        assert result.model.fc2.weight.shape[0] == 30
    else:
        for name in ("conv2", "fc1", "fc2"):
            layer = getattr(result.model, name)
            assert layer.weight.shape[0] == width[name] - round(0.4 * width[name])
    assert result.after.params < 0.75 * result.before.params
    if not columns:
        assert all(tensor.left == 0 for tensor in result.lossless.tensors)


@pytest.mark.parametrize("label", STRUCTURED)
def test_structured_masks_of_a_residual_net(label: str) -> None:
    torch.manual_seed(0)
    model = lively(Residual())
    for block in model.blocks:
        STRUCTURED[label](block.conv2 if label.endswith("columns") else block.conv1)
    if not label.endswith("columns"):
        with (
            torch.no_grad()
        ):  # a masked convolution leaves a constant, which the next, pointwise one can take
            model.blocks[0].bn1.bias += 1
    result = shrunk(model, IMAGE)
    gone = 12 - (12 - round(0.4 * 12))
    for index in (0, 1):
        assert result.model.get_submodule(f"blocks.{index}.conv1").weight.shape[0] == 12 - gone
        assert result.model.get_submodule(f"blocks.{index}.conv2").weight.shape[1] == 12 - gone


@pytest.mark.parametrize("label", UNSTRUCTURED)
def test_unstructured_masks_leave_what_is_scattered(label: str) -> None:
    torch.manual_seed(0)
    model = lively(LeNet())
    for layer in layers(model):
        UNSTRUCTURED[label](layer)
    result = shrunk(model, DIGIT)
    assert removed(result) == {}
    zeros = {tensor.name: tensor for tensor in result.lossless.tensors}
    for name in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        weight = getattr(model, name).weight
        assert zeros[f"{name}.weight"].zeros == int((weight == 0).sum()) == round(0.4 * weight.numel())
        assert zeros[f"{name}.weight"].left == zeros[f"{name}.weight"].zeros


def test_an_unstructured_mask_that_kills_whole_units() -> None:
    """97 % of the smallest weights of all layers at once: some rows and columns die."""
    model = lively(LeNet())
    parameters = [(layer, "weight") for layer in layers(model)]
    prune.global_unstructured(parameters, pruning_method=prune.L1Unstructured, amount=0.97)
    result = shrunk(model, DIGIT)
    assert result.lossless.units > 20
    zeros = sum(tensor.zeros for tensor in result.lossless.tensors)
    gone = sum(tensor.removed for tensor in result.lossless.tensors)
    assert 0.2 * zeros < gone < zeros
    for tensor in result.lossless.tensors:
        weight = result.model.get_parameter(tensor.name)
        assert tensor.elements - tensor.elements_removed == weight.numel()
        # edits add constants to biases only, and no units repeat here
        assert tensor.left == int((weight == 0).sum())


def test_masks_on_biases_too() -> None:
    model = lively(LeNet())
    mask = torch.ones(40)
    mask[5:9] = 0
    prune.custom_from_mask(model.fc1, "bias", mask)
    prune.custom_from_mask(model.fc1, "weight", mask[:, None].expand(40, 144))
    assert removed(shrunk(model, DIGIT)) == {"fc1.weight:0": {"zero": 4}}


def test_dead_rows_of_an_output_stay_and_the_reason_is_told() -> None:
    model = lively(LeNet())
    prune.ln_structured(model.fc3, "weight", 3, n=2, dim=0)
    result = shrunk(model, DIGIT)
    (tensor,) = result.lossless.tensors
    assert (tensor.name, tensor.zeros, tensor.removed) == ("fc3.weight", 90, 0)
    assert dict(tensor.stayed) == {"an output of the model": 3}
