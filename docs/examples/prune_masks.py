"""From the masks of `torch.nn.utils.prune` to a smaller model.

    python docs/examples/prune_masks.py

Every flow of the textbook is run on a LeNet: random, L1 and Ln masks, structured and unstructured, on convolutions and
linear layers, with `prune.remove` or without. `prune` only multiplies weights by zeros: the tensors keep their shapes.
`graphprune.shrink(lossless=True)` removes what the zeros have killed, and proves that the outputs stay as they were.
A line says how many of the zeros became smaller shapes, and how many had to stay because they are scattered.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import graphprune as gp

AMOUNT = 0.5  # of the rows, columns or weights that a mask sets to zero


class LeNet(nn.Module):
    """(batch, 1, 28, 28) -> (batch, 10), as in the tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 16, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


def hidden(model: LeNet) -> list[nn.Module]:
    """All layers but the last, whose rows are the outputs."""
    return [model.conv1, model.conv2, model.fc1, model.fc2]


def structured_random(model: LeNet) -> None:
    """Random rows: filters of convolutions, neurons of linear layers."""
    for layer in hidden(model):
        prune.random_structured(layer, "weight", AMOUNT, dim=0)


def structured_l1(model: LeNet) -> None:
    """The rows with the smallest L1 norms."""
    for layer in hidden(model):
        prune.ln_structured(layer, "weight", AMOUNT, n=1, dim=0)


def structured_l2(model: LeNet) -> None:
    """The rows with the smallest L2 norms."""
    for layer in hidden(model):
        prune.ln_structured(layer, "weight", AMOUNT, n=2, dim=0)


def structured_columns(model: LeNet) -> None:
    """Columns: what linear layers read of the layer before."""
    for layer in (model.fc2, model.fc3):
        prune.ln_structured(layer, "weight", AMOUNT, n=2, dim=1)


def unstructured_random(model: LeNet) -> None:
    """Single weights at random."""
    for layer in (*hidden(model), model.fc3):
        prune.random_unstructured(layer, "weight", AMOUNT)


def unstructured_l1(model: LeNet) -> None:
    """The smallest weights of each layer."""
    for layer in (*hidden(model), model.fc3):
        prune.l1_unstructured(layer, "weight", AMOUNT)


def unstructured_most(model: LeNet) -> None:
    """The smallest 97 % of each layer: so many that some rows and columns die."""
    for layer in (*hidden(model), model.fc3):
        prune.l1_unstructured(layer, "weight", 0.97)


def unstructured_global(model: LeNet) -> None:
    """The smallest 85 % of all weights together: layers with small weights lose nearly all of them."""
    weights = [(layer, "weight") for layer in (*hidden(model), model.fc3)]
    prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=0.85)


FLOWS: Mapping[str, Callable[[LeNet], None]] = {
    "structured, random": structured_random,
    "structured, L1": structured_l1,
    "structured, L2": structured_l2,
    "structured, L2, columns": structured_columns,
    "unstructured, random": unstructured_random,
    "unstructured, L1": unstructured_l1,
    "unstructured, L1, 97 %": unstructured_most,
    "unstructured, L1, global 85 %": unstructured_global,
}


def made_permanent(model: nn.Module) -> nn.Module:
    """`prune.remove` on every layer: the mask is multiplied into the weight, and forgotten."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if prune.is_pruned(layer) and hasattr(layer, "weight_mask"):
            prune.remove(layer, "weight")
    return model


def report(name: str, model: nn.Module, result: gp.Result) -> str:
    """How much of the mask became smaller shapes."""
    assert result.lossless is not None
    zeros = sum(tensor.zeros for tensor in result.lossless.tensors)
    gone = sum(tensor.removed for tensor in result.lossless.tensors)
    images = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        error = float((model(images) - result.model(images)).abs().max())
    return (
        f"{name:<30} {zeros:>6} zeros: {gone:>6} gone with their shapes, {zeros - gone:>6} left; "
        f"{result.lossless.units:>3} units, {result.before.params:,} -> {result.after.params:,} parameters, "
        f"error {error:.0e}"
    )


def main() -> dict[str, gp.Result]:
    """Runs every flow and prints a line for each; returns the results."""
    results = {}
    for name, mask in FLOWS.items():
        torch.manual_seed(0)
        model = LeNet().eval()
        mask(model)
        result = gp.shrink(model, torch.zeros(2, 1, 28, 28), lossless=True)
        print(report(name, model, result))
        same = gp.shrink(made_permanent(model), torch.zeros(2, 1, 28, 28), lossless=True)
        assert same.after == result.after, "prune.remove makes no difference"
        results[name] = result
    return results


if __name__ == "__main__":
    main()
