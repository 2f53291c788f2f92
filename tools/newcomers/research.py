"""A researcher's own training script, which knew nothing of graphprune before.

python research.py train checkpoint.pt  # her own loop
python research.py deployed tuned       # the tuned model in onnxruntime: accuracy and time
"""

from __future__ import annotations

import sys

import numpy
import torch
import torch.nn.functional as F
from onnx_times import milliseconds, session
from sklearn.datasets import load_digits
from torch import Tensor, nn

EPOCHS, BATCH = 6, 64


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norms[1](self.second(self.norms[0](self.first(x)).relu()))


class Net(nn.Module):
    """Hers: no library has a model of this name."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.Sequential(Residual(width), nn.MaxPool2d(2), Residual(width))
        self.head = nn.Linear(width * 16, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(images).relu()).flatten(1))


def make() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Net(), torch.zeros(2, 1, 8, 8)


def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels to train on, then those that are held out."""
    digits = load_digits()
    images, labels = torch.from_numpy(digits.images).float()[:, None] / 16, torch.from_numpy(digits.target)
    held = torch.arange(len(labels)) % 5 == 0
    return images[~held], labels[~held], images[held], labels[held]


def batches() -> list[tuple[Tensor, Tensor]]:
    """What she trains on, for graphprune."""
    images, labels, _, _ = data()
    return list(zip(images.split(BATCH), labels.split(BATCH), strict=True))


def accuracy(model: nn.Module) -> float:
    _, _, images, labels = data()
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def train(path: str) -> None:
    model, _ = make()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(EPOCHS):
        for images, labels in batches():
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    torch.save({"epoch": EPOCHS, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    print(f"trained, accuracy {accuracy(model.eval()):.4f}")


def deployed(folder: str) -> None:
    _, _, images, labels = data()
    opened = session(folder)
    (answers,) = opened.run(None, {opened.get_inputs()[0].name: images.numpy()})
    found = float((answers.argmax(1) == numpy.asarray(labels)).mean())
    print(f"accuracy {found:.4f}, {milliseconds(folder, 1, 8, 8):.3f} ms an image")
    assert found > 0.95, "the deployed model answers badly"


if __name__ == "__main__":
    {"train": train, "deployed": deployed}[sys.argv[1]](*sys.argv[2:])
