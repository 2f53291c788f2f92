"""A vision engineer's file: a detector of torchvision's, trained on made scenes of squares and discs.

python detect.py train detector.pt          # her own training
python detect.py deployed slim detector.pt  # the slim detector finds boxes; the file is timed in onnxruntime
"""

from __future__ import annotations

import sys
from collections import OrderedDict

import torch
from onnx_times import milliseconds
from torch import Tensor, nn

import graphprune as gp
from models_zoo import torchvision_ops
from models_zoo.detection import DetectionNetwork, detection_inputs

torchvision_ops.ensure()  # does nothing where torchvision is made for the torch beside it

from torchvision.models.detection.anchor_utils import DefaultBoxGenerator  # noqa: E402
from torchvision.models.detection.ssd import SSD  # noqa: E402
from torchvision.ops import box_iou  # noqa: E402

SIDE, CLASSES = 96, 3  # nothing, square, disc
STEPS, BATCH = 220, 16


def block(inputs: int, outputs: int, stride: int = 2) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Backbone(nn.Module):
    """Features at an eighth and a sixteenth of the image."""

    out_channels = (64, 96)

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(block(3, 24), block(24, 48), block(48, 64), block(64, 64, stride=1))
        self.coarse = nn.Sequential(block(64, 96), block(96, 96, stride=1))

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        fine = self.fine(images)
        return OrderedDict(fine=fine, coarse=self.coarse(fine))


def detector() -> SSD:
    torch.manual_seed(0)
    boxes = DefaultBoxGenerator([[1], [1]], scales=[0.2, 0.35, 0.5])
    made = SSD(Backbone(), boxes, (SIDE, SIDE), CLASSES, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return made.eval()


def network() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """What graphprune shrinks: backbone and head, without what decides on boxes."""
    made = detector()
    return DetectionNetwork(made), detection_inputs(made, 2, SIDE)


def scenes(count: int, seed: int) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Images between 0 and 1 with one to three figures on noise, and their boxes and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.rand(count, 3, SIDE, SIDE, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    targets = []
    for image in images:
        boxes, labels = [], []
        for _ in range(int(torch.randint(1, 4, (), generator=generator))):
            size = int(torch.randint(18, 40, (), generator=generator))
            top, left = torch.randint(0, SIDE - size, (2,), generator=generator).tolist()
            label = int(torch.randint(1, 3, (), generator=generator))
            centre = size / 2 - 0.5
            inside = (rows - top - centre).abs().maximum((columns - left - centre).abs()) <= size / 2
            if label == 2:
                inside = (rows - top - centre) ** 2 + (columns - left - centre) ** 2 <= (size / 2) ** 2
            image[:, inside] = 0.5 + 0.5 * torch.rand(3, 1, generator=generator)
            boxes.append([left, top, left + size, top + size])
            labels.append(label)
        targets.append({"boxes": torch.tensor(boxes).float(), "labels": torch.tensor(labels)})
    return images, targets


def batches() -> list[Tensor]:
    """Images as the network takes them, to choose and to repair by."""
    return list((2 * scenes(128, seed=2)[0] - 1).split(16))


def recall(made: SSD) -> float:
    """The share of figures that are found: a box with the right label that overlaps by half."""
    images, targets = scenes(64, seed=1)
    found = total = 0
    with torch.no_grad():
        answers = made(list(images))
    for answer, target in zip(answers, targets, strict=True):
        sure = answer["scores"] > 0.5
        boxes, labels = answer["boxes"][sure], answer["labels"][sure]
        overlaps = box_iou(target["boxes"], boxes) * (target["labels"][:, None] == labels)
        found += int((overlaps.amax(1) > 0.5).sum()) if len(boxes) else 0
        total += len(target["labels"])
    return found / total


def found(model: nn.Module) -> float:
    """The recall of a detector with this network, for --evaluate."""

    class Head(nn.Module):
        def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
            return self.outputs

    made = detector()
    head = Head()
    made.head = head

    class Whole(nn.Module):
        out_channels = Backbone.out_channels

        def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
            head.outputs = model(images)["head"]
            return OrderedDict(
                fine=torch.zeros(1, 1, SIDE // 8, SIDE // 8), coarse=torch.zeros(1, 1, SIDE // 16, SIDE // 16)
            )

    made.backbone = Whole()
    return recall(made)


def train(path: str) -> None:
    made = detector().train()
    optimizer = torch.optim.AdamW(made.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for step in range(STEPS):
        images, targets = scenes(BATCH, seed=100 + step)
        optimizer.zero_grad()
        sum(made(list(images), targets).values()).backward()
        optimizer.step()
        schedule.step()
    torch.save({"model": DetectionNetwork(made).state_dict()}, path)
    print(f"trained, recall {recall(made.eval()):.3f}")


def deployed(folder: str, weights: str) -> None:
    original = detector()
    DetectionNetwork(original).load_state_dict(torch.load(weights, weights_only=True)["model"])
    slim = gp.load(folder, into=DetectionNetwork(original)).detector
    before, after = recall(original), recall(slim)
    took = milliseconds(folder, 3, SIDE, SIDE)
    print(f"recall of {type(slim).__name__} {before:.3f} → {after:.3f}, {took:.3f} ms an image")
    assert before > 0.8, "the original does not find much"
    assert after > before - 0.1, "the slim detector finds less"


if __name__ == "__main__":
    {"train": train, "deployed": deployed}[sys.argv[1]](*sys.argv[2:])
