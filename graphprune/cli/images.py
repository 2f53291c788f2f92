"""Folders of images, as normalised tensors of the shape that a model takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from graphprune.ground.documents import check_regular
from graphprune.ground.errors import InputError, first_line
from graphprune.ground.options import COUNTS, FINITE, WORKERS, check_number

__all__ = ["DataOptions", "image_options", "parse_channels", "read_images"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
# of ImageNet, in RGB between 0 and 1, which most published models were trained with
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Opened = Callable[[str | Path], Any]
Transform = Callable[[Any], Any]


@dataclass(frozen=True)
class DataOptions:
    """How batches are made of images, or of arrays that hold many examples.

    Args:
        batch: examples of one step, over all processes.
        workers: processes that read images.
        mean, deviation: of every channel, for images between 0 and 1.
        augment: crop images at random, and mirror half of them.
    """

    batch: int = 32
    workers: int = 0
    mean: tuple[float, ...] = MEAN
    deviation: tuple[float, ...] = DEVIATION
    augment: bool = False

    def __post_init__(self) -> None:
        check_number("batch", self.batch, COUNTS)
        check_number("workers", self.workers, WORKERS)
        for value in self.mean:
            check_number("mean", value, FINITE)
        for value in self.deviation:
            check_number("std", value, (1e-12, 1e12))


def image_options(mean: str | None, deviation: str | None, **others: Any) -> DataOptions:
    """As ``--mean`` and ``--std`` say, see `parse_channels`, and ``others`` of the options."""
    channels = parse_channels("--mean", mean, MEAN), parse_channels("--std", deviation, DEVIATION)
    return DataOptions(mean=channels[0], deviation=channels[1], **others)


def parse_channels(option: str, text: str | None, default: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers with commas between them.

    >>> parse_channels("--mean", "0.5,0.25", default=(0.0,))
    (0.5, 0.25)

    Raises:
        InputError: they are not.
    """
    try:
        return default if text is None else tuple(map(float, text.split(",")))
    except ValueError as error:
        raise InputError(f"{option} {text!r} is no list of numbers", "write it as 0.5,0.5,0.5") from error


class _Files(Dataset[Any]):
    """Images without labels."""

    def __init__(self, paths: Sequence[Path], opened: Opened, transform: Transform) -> None:
        self.paths, self.opened, self.transform = paths, opened, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.opened(self.paths[index]))


def read_images(folder: Path, shape: Sequence[int], options: DataOptions) -> Dataset[Any]:
    """Images as tensors of ``shape`` (channels, height, width), with their class where there are folders of classes.

    Raises:
        InputError: the model takes no images, the folder holds none, or torchvision is missing. An image that is
            damaged raises one when it is read.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(
            f"the model takes {tuple(shape)}, which is no image of 1 or 3 channels",
            "give arrays, or path/to/file.py:function that returns batches",
        )
    transform = _transform(shape, options)
    # not a function within this one: processes that read images are sent it
    opened = partial(_opened, mode="RGB" if shape[0] == 3 else "L")
    if any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir()):
        return _by_class(folder, opened, transform)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(
            f"the folder {folder} holds no images", f"give files that end in {', '.join(SUFFIXES)}"
        )
    return _Files(paths, opened, transform)


def _by_class(folder: Path, opened: Opened, transform: Transform) -> Dataset[Any]:
    from torchvision.datasets import ImageFolder

    try:
        found: Dataset[Any] = ImageFolder(str(folder), transform, loader=opened)
    except FileNotFoundError as error:
        raise InputError(
            f"the folder {folder} cannot be read: {first_line(error)}",
            "give every class a folder with images in it",
        ) from error
    return found


def _opened(path: str | Path, mode: str) -> Any:
    """The image with all of its pixels, in RGB or in grey (L).

    Raises:
        InputError: it is damaged, or is none.
    """
    from PIL import Image

    try:
        check_regular(Path(path))
        with Image.open(path) as image:
            return image.convert(mode)
    except (OSError, SyntaxError, ValueError, InputError) as error:
        raise InputError(
            f"the image {path} cannot be read: {first_line(error)}", "take it out of the folder"
        ) from error


def _transform(shape: Sequence[int], options: DataOptions) -> Transform:
    """From an image to a normalised tensor of ``shape``."""
    try:
        from models_zoo.torchvision_ops import ensure

        ensure()
        from torchvision import transforms
    except ImportError as error:
        raise InputError("reading images needs torchvision", "pip install torchvision") from error
    size = list(shape[1:])
    if options.augment:
        cut = [transforms.RandomResizedCrop(size, (0.35, 1.0)), transforms.RandomHorizontalFlip()]
    else:
        cut = [transforms.Resize(max(size)), transforms.CenterCrop(size)]
    normalise = transforms.Normalize(
        *(_channels(each, shape[0]) for each in (options.mean, options.deviation))
    )
    whole: Transform = transforms.Compose([*cut, transforms.ToTensor(), normalise])
    return whole


def _channels(values: Sequence[float], channels: int) -> list[float]:
    """One value for each channel: as given, the mean of three for grey images, or the same one for all."""
    if len(values) == channels:
        return list(values)
    if channels == 1:
        return [sum(values) / len(values)]
    if len(values) == 1:
        return list(values) * channels
    raise InputError(f"{len(values)} means are given for {channels} channels", "give one, or one for each")
