"""A mobile engineer's file: a classifier of torchvision's, trained on his own classes.

python mobile.py train classifier.pt
python mobile.py deployed slim  # the app's side: onnxruntime and numpy alone
"""

from __future__ import annotations

import sys

import numpy
import torch
import torch.nn.functional as F
from onnx_times import milliseconds, session
from sklearn.datasets import load_digits
from torch import Tensor, nn

from models_zoo import torchvision_ops

torchvision_ops.ensure()  # does nothing where torchvision is made for the torch beside it

from torchvision.models import resnet18  # noqa: E402

SIDE, EPOCHS, BATCH = 32, 3, 64


def make() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return resnet18(num_classes=10), torch.zeros(2, 3, SIDE, SIDE)


def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels to train on, then those that are held out."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 16
    images = F.interpolate(images, SIDE, mode="bilinear").repeat(1, 3, 1, 1)
    labels = torch.from_numpy(digits.target)
    held = torch.arange(len(labels)) % 5 == 0
    return images[~held], labels[~held], images[held], labels[held]


def images() -> list[Tensor]:
    """What his app will see, without labels."""
    return list(data()[0][:512].split(BATCH))


def accuracy(model: nn.Module) -> float:
    _, _, held, labels = data()
    with torch.no_grad():
        return float((model(held).argmax(1) == labels).float().mean())


def train(path: str) -> None:
    model, _ = make()
    inputs, labels, _, _ = data()
    steps = EPOCHS * (len(inputs) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs))[: len(inputs) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    torch.save(model.state_dict(), path)
    print(f"trained, accuracy {accuracy(model.eval()):.4f}")


def deployed(folder: str) -> None:
    _, _, held, labels = data()
    opened = session(folder)
    (answers,) = opened.run(None, {opened.get_inputs()[0].name: held.numpy()})
    found = float((answers.argmax(1) == numpy.asarray(labels)).mean())
    print(f"accuracy {found:.4f}, {milliseconds(folder, 3, SIDE, SIDE):.3f} ms an image")
    assert found > 0.9, "the deployed model answers badly"


if __name__ == "__main__":
    {"train": train, "deployed": deployed}[sys.argv[1]](*sys.argv[2:])
