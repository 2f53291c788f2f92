"""Train the zoo's `digits_resnet` and save its weights: `python -m tools.train_digits`.

Runs on one thread from a fixed seed, so that the same packages give the same weights. Takes under a minute.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from models_zoo.digits import WEIGHTS, DigitsResNet, split_digits
from models_zoo.evaluation import accuracy, predict

BATCH = 64
PEAK_RATE = 4e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate by up to 12 degrees, scale by up to 10 % and shift by up to 0.8 pixels; (N, 1, 8, 8) -> same."""
    noise = 2 * torch.rand(4, len(images), generator=generator) - 1
    angle = math.radians(12) * noise[0]
    scale = 1 + 0.1 * noise[1]
    shift = 0.8 * 2 / images.shape[-1] * noise[2:]
    rows = [
        torch.stack([scale * angle.cos(), -scale * angle.sin(), shift[0]], dim=1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), shift[1]], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def train(epochs: int, seed: int) -> nn.Module:
    """A network trained on the digits that are not held out, in eval mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    (images, labels), _ = split_digits()
    model = DigitsResNet().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * math.ceil(len(labels) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK_RATE, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            logits = model(jitter(images[rows], generator))
            loss = F.cross_entropy(logits, labels[rows], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def save(model: nn.Module, path: Path) -> None:
    """Write the weights as safetensors; a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    os.close(handle)
    try:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)
        # mkstemp's files are readable by their owner alone; weights are for every user of the checkout.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> None:
    """Train, print the held-out accuracy, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="weights file to write")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # sums in another order would give other weights
    model = train(options.epochs, options.seed)
    _, (images, labels) = split_digits()
    save(model, options.output)
    print(f"held-out accuracy {accuracy(predict(model, images), labels):.4f} on {len(labels)} digits")
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, saved as {options.output.name}")


if __name__ == "__main__":
    main()
