"""What `bench_accuracy` measures: models with calibration and held-out data, all from installed packages.

The zoo's models are those of `choice_tasks`. Besides there are small networks that are trained here, on mnist1d and
on two sets of time series of aeon, and EfficientNet-Lite0 with more photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import choice_tasks
import torch
from accuracy_networks import SeriesResNet, SeriesTransformer, trained
from bench_task import Task, classes, cross_entropy, examples, load, log_softmax
from photographs import crops
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from models_zoo import wheels

__all__ = ["BATCH", "TASKS", "calibration", "make_task", "training"]

STORE = Path(__file__).parents[1] / "out" / "bench_accuracy"
BATCH = 16  # calibration examples of one batch; crops of one photograph
CALIBRATED = 128  # training examples of the small networks

Split = tuple[Tensor, Tensor]


def calibration(task: Task) -> list[Any]:
    """The task's unlabelled examples in batches."""
    inputs = [example for example, _ in task.batches]
    parts = [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]
    if isinstance(inputs[0], Mapping):
        return [{name: torch.cat([part[name] for part in rows]) for name in rows[0]} for rows in parts]
    return [torch.cat(rows) for rows in parts]


def training(task: Task) -> Any:
    """What a slim model is fine-tuned on: the training data with labels, or the calibration data without."""
    if task.train is None:
        return calibration(task)
    return DataLoader(TensorDataset(*task.train), 2 * BATCH, shuffle=True)


def mnist1d() -> tuple[Split, Split]:
    """4,000 and 1,000 series of 40 numbers."""
    data = wheels.module("mnist1d", "mnist1d.data")
    made = {
        name: torch.tensor(value)
        for name, value in data.make_dataset(data.get_dataset_args()).items()
        if name[0] in "xy"
    }
    train, test = ((made[f"x{part}"].float()[:, None], made[f"y{part}"].long()) for part in ("", "_test"))
    return train, test


def series(name: str, length: int) -> tuple[Split, Split]:
    """A data set of aeon, zeros behind shorter series, each channel by its mean and deviation in training.

    The files are read as they are: aeon itself asks for numba, which holds numpy back.
    """
    folder = wheels.folder("aeon") / "datasets" / "data" / name
    parts = [_read_series(folder / f"{name}_{split}.ts", length) for split in ("TRAIN", "TEST")]
    deviation, mean = torch.std_mean(parts[0][0], dim=(0, 2), keepdim=True)
    train, test = (((inputs - mean) / deviation, labels) for inputs, labels in parts)
    return train, test


def _read_series(path: Path, length: int) -> Split:
    """A line is an example: its channels, and behind the last colon its class, counted from 1."""
    lines = path.read_text().splitlines()
    rows = [line.split(":") for line in lines if line and line[0] not in "@#"]
    inputs = torch.zeros(len(rows), len(rows[0]) - 1, length)
    for row, channels in enumerate(rows):
        for place, text in enumerate(channels[:-1]):
            numbers = torch.tensor([float(number) for number in text.split(",")])
            inputs[row, place, : len(numbers)] = numbers
    return inputs, torch.tensor([int(float(channels[-1])) - 1 for channels in rows])


def _small(
    data: Callable[[], tuple[Split, Split]],
    build: Callable[[], nn.Module],
    epochs: int,
    rate: float,
    about: str,
    name: str,
) -> Task:
    """A network trained on the first split, calibrated on a part of it, tested on the second."""
    (inputs, labels), (tests, truth) = data()
    model = trained(build, inputs, labels, epochs, rate, STORE / f"{name}.safetensors")
    picked = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(1))[:CALIBRATED]
    return Task(
        name=name,
        model=model,
        example=((inputs[:2],), {}),
        batches=examples(inputs[picked], labels[picked]),
        loss=cross_entropy,
        tests=list(tests.split(64)),
        labels=truth,
        outputs=log_softmax,
        compare=classes,
        fixed=("head",),
        data=about,
        train=(inputs, labels),
    )


PHOTOGRAPHS = (
    "astronaut rocket china flower camera coins retina immunohistochemistry moon hubble_deep_field grass brick",
    "cat coffee stereo_motorcycle",
)


def _photographs(name: str) -> Task:
    """16 random crops each of twelve photographs to calibrate, and of three others to test."""
    model, example = load(name)
    rows, tests = (
        torch.cat([crops(one, torch.Generator().manual_seed(seed), BATCH) for one in names.split()])
        for seed, names in enumerate(PHOTOGRAPHS)
    )
    with torch.no_grad():
        said = torch.cat([model(part).argmax(1) for part in rows.split(BATCH)])
    return Task(
        name=name,
        model=model,
        example=example,
        batches=examples(rows, said),
        loss=cross_entropy,
        tests=list(tests.split(BATCH)),
        labels=None,
        outputs=log_softmax,
        compare=classes,
        fixed=("_fc",),
        data=f"crops of photographs: {len(rows)} of twelve, {len(tests)} of three others",
        heavy=True,
    )


_VOWELS, _LEAVES = partial(series, "JapaneseVowels", 32), partial(series, "OSULeaf", 432)
_VOWEL_DATA = "JapaneseVowels: 128 of 270 for training, 370 others"
_LEAF_DATA = "OSULeaf: 128 of 200 for training, 242 others"

TASKS: Mapping[str, Callable[[str], Task]] = {
    "digits_resnet": choice_tasks.make_task,
    "mnist1d_cnn": partial(
        _small,
        mnist1d,
        partial(SeriesResNet, 1, 10),
        30,
        4e-3,
        "mnist1d: 128 of 4,000 for training, 1,000 others",
    ),
    "vowels_resnet": partial(_small, _VOWELS, partial(SeriesResNet, 12, 9), 60, 3e-3, _VOWEL_DATA),
    "vowels_transformer": partial(
        _small, _VOWELS, partial(SeriesTransformer, 12, 9, 32, 2), 80, 2e-3, _VOWEL_DATA
    ),
    "osuleaf_resnet": partial(_small, _LEAVES, partial(SeriesResNet, 1, 6), 120, 4e-3, _LEAF_DATA),
    "osuleaf_transformer": partial(
        _small, _LEAVES, partial(SeriesTransformer, 1, 6, 432, 16), 150, 2e-3, _LEAF_DATA
    ),
    "mtcnn_rnet": choice_tasks.make_task,
    "crepe_tiny": partial(choice_tasks.tones, tests=512),
    "minilm": choice_tasks.make_task,
    "efficientnet_lite0": _photographs,
}


def make_task(name: str) -> Task:
    """The task of that name, one of `TASKS`."""
    return TASKS[name](name)
