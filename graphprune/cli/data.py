"""``--data`` and ``--calibration``: batches from a folder of images, arrays, the zoo, or the user's own Python file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from graphprune.capture import tensor_leaves
from graphprune.cli.calibration import own_share, read_arrays
from graphprune.cli.user_file import called
from graphprune.ground.errors import InputError
from graphprune.ground.processes import rank_and_count

__all__ = ["DataOptions", "image_options", "parse_channels", "read_calibration", "read_data"]

REMEDY = (
    "give a folder of images, zoo:NAME, a .npz or .safetensors file, or path/to/file.py:function of batches"
)
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
# of ImageNet, in RGB between 0 and 1, which most published models were trained with
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DataOptions:
    """How batches are made of what is not batches yet.

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


def read_data(spec: str, example: Any, options: DataOptions) -> Any:
    """The batches that ``spec`` names, for a model that takes ``example``.

    A folder holds images, which have no labels, or folders of images, one for each class in the order of their names.
    A file holds arrays, one for each input, and perhaps ``labels``. ``file.py:function`` is run, and returns batches
    or a `torch.utils.data.Dataset`.

    Raises:
        InputError: there is no such data, it cannot be read, or the user's code fails.
    """
    path, colon, name = spec.rpartition(":")
    known = _examples(spec, example, options)
    if known is not None:
        return _loader(known, options)
    if colon and path.endswith(".py"):
        found = called(Path(path), name, "return batches")
        return _loader(found, options) if isinstance(found, Dataset) else found
    if not Path(spec).exists():
        raise InputError(f"there is no data {spec}", REMEDY)
    return _loader(_Arrays(read_arrays(spec, "--data", REMEDY)), options)


def read_calibration(spec: str, example: Any, options: DataOptions) -> Any:
    """The batches that ``spec`` names as in `read_data`, as `graphprune.calibration.Calibration` takes them.

    Images and the zoo's examples are drawn in one order at every walk, so that batches differ whatever the order of
    the files. Where several processes have joined, each gets its share.

    Raises:
        InputError: as `read_data`, and where there are fewer examples than processes.
    """
    known = _examples(spec, example, options)
    if known is None:
        return own_share(spec)
    rank, count = rank_and_count()
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))[rank::count]  # type: ignore[arg-type]
    if not len(order):
        raise InputError(f"--calibration {spec} has too few examples for {count} processes", "start fewer")
    return DataLoader(Subset(known, order.tolist()), options.batch, num_workers=options.workers)


def _examples(spec: str, example: Any, options: DataOptions) -> Dataset[Any] | None:
    """The zoo's examples, or the images of a folder."""
    path, _, name = spec.rpartition(":")
    if path == "zoo":
        from models_zoo.data import read_data as read_zoo

        return TensorDataset(*read_zoo(name, _shape(example)))
    return _images(Path(spec), _shape(example), options) if Path(spec).is_dir() else None


def image_options(mean: str | None, deviation: str | None) -> DataOptions:
    """As ``--mean`` and ``--std`` say, see `parse_channels`."""
    return DataOptions(
        mean=parse_channels("--mean", mean, MEAN), deviation=parse_channels("--std", deviation, DEVIATION)
    )


def parse_channels(option: str, text: str | None, default: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers with commas between them.

    Raises:
        InputError: they are not.
    """
    try:
        return default if text is None else tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise InputError(f"{option} {text!r} is no list of numbers", "write it as 0.5,0.5,0.5") from error


def _shape(example: Any) -> tuple[int, ...]:
    """Of the first input, without the batch."""
    return tuple(tensor_leaves(example)[0].shape[1:])


def _loader(dataset: Dataset[Any], options: DataOptions) -> DataLoader[Any]:
    try:
        shuffled = len(dataset) > 0  # type: ignore[arg-type]
    except TypeError:  # a stream
        return DataLoader(dataset, options.batch, num_workers=options.workers)
    if not shuffled:
        raise InputError("the data is empty", REMEDY)
    return DataLoader(dataset, options.batch, shuffle=True, num_workers=options.workers)


class _Arrays(Dataset[Any]):
    """Rows of arrays: a tensor, a tuple of inputs, or a dict of them with or without labels."""

    def __init__(self, arrays: Any) -> None:
        lengths = {len(leaf) if leaf.dim() else 0 for leaf in tensor_leaves(arrays)}
        if len(lengths) != 1:
            raise InputError(f"the arrays of the data have {sorted(lengths)} rows", "give equally many")
        self.arrays, self.length = arrays, lengths.pop()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> Any:
        return torch.utils._pytree.tree_map_only(Tensor, lambda leaf: leaf[row], self.arrays)


class _Files(Dataset[Tensor]):
    """Images without labels."""

    def __init__(self, paths: Sequence[Path], read: Callable[[Any], Any]) -> None:
        self.paths, self.read = paths, read

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.read(_opened(self.paths[index]))


def _opened(path: str | Path) -> Any:
    """The image, with all of its pixels.

    Raises:
        InputError: it is damaged, or is none.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError) as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        raise InputError(f"the image {path} cannot be read: {reason}", "take it out of the folder") from error


def _images(folder: Path, shape: Sequence[int], options: DataOptions) -> Dataset[Any]:
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(
            f"the model takes {tuple(shape)}, which is no image of 1 or 3 channels",
            "give arrays, or path/to/file.py:function that returns batches",
        )
    read = _transform(shape, options)
    if any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir()):
        return _by_class(folder, read)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
    if not paths:
        raise InputError(
            f"the folder {folder} holds no images", f"give files that end in {', '.join(IMAGES)}"
        )
    return _Files(paths, read)


def _by_class(folder: Path, read: Callable[[Any], Any]) -> Dataset[Any]:
    from torchvision.datasets import ImageFolder

    try:
        found: Dataset[Any] = ImageFolder(str(folder), read, loader=_opened)
    except FileNotFoundError as error:
        raise InputError(
            f"the folder {folder} cannot be read: {str(error).splitlines()[0]}",
            "give every class a folder with images in it",
        ) from error
    return found


def _transform(shape: Sequence[int], options: DataOptions) -> Callable[[Any], Any]:
    """From an image to a normalised tensor of ``shape``."""
    try:
        from models_zoo.torchvision_ops import ensure

        ensure()
        from torchvision import transforms
    except ImportError as error:
        raise InputError("reading images needs torchvision", "pip install torchvision") from error
    channels, size = shape[0], list(shape[1:])
    if options.augment:
        cut = [transforms.RandomResizedCrop(size, (0.35, 1.0)), transforms.RandomHorizontalFlip()]
    else:
        cut = [transforms.Resize(max(size)), transforms.CenterCrop(size)]
    mean, deviation = (_channels(values, channels) for values in (options.mean, options.deviation))
    steps = [
        transforms.Lambda(_Mode("RGB" if channels == 3 else "L")),
        *cut,
        transforms.ToTensor(),
        transforms.Normalize(mean, deviation),
    ]
    whole: Callable[[Any], Any] = transforms.Compose(steps)
    return whole


@dataclass(frozen=True)
class _Mode:
    """Converts an image; a class, so that workers can be sent it."""

    mode: str

    def __call__(self, image: Any) -> Any:
        return image.convert(self.mode)


def _channels(values: Sequence[float], channels: int) -> list[float]:
    """As many as there are channels; of the grey mean of three, where there is one."""
    if len(values) == channels:
        return list(values)
    if channels == 1:
        return [sum(values) / len(values)]
    if len(values) == 1:
        return list(values) * channels
    raise InputError(f"{len(values)} means are given for {channels} channels", "give one, or one for each")
