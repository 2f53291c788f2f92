"""``--data``: folders of images, arrays, the zoo and the user's own loaders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import graphprune as gp
from graphprune.cli.data import read_data
from graphprune.cli.images import DataOptions

EXAMPLE = ((torch.zeros(1, 3, 8, 6),), {})
PLAIN = DataOptions(batch=4, mean=(0.5,), deviation=(0.25,))
CODE = """
import torch
from torch.utils.data import TensorDataset

def batches():
    return [torch.ones(2, 3)]

def dataset():
    return TensorDataset(torch.ones(6, 3), torch.arange(6))

def broken():
    return 1 / 0
"""


def paint(path: Path, value: int, size: tuple[int, int] = (12, 16)) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def first(loader: Any) -> Any:
    assert isinstance(loader, DataLoader)
    return next(iter(loader))


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for name, value in (("cat", 0), ("dog", 255)):
        for number in range(2):
            paint(tmp_path / name / f"{number}.png", value)
    images, labels = first(read_data(str(tmp_path), EXAMPLE, PLAIN))
    assert images.shape == (4, 3, 8, 6)
    # (0 - 0.5) / 0.25 and (1 - 0.5) / 0.25
    assert all((image == (2.0 if label else -2.0)).all() for image, label in zip(images, labels, strict=True))
    assert sorted(labels.tolist()) == [0, 0, 1, 1]


def test_images_without_labels_and_in_grey(tmp_path: Path) -> None:
    for number in range(3):
        paint(tmp_path / f"{number}.jpg", 255, (20, 30))
    (tmp_path / "notes.txt").write_text("")
    grey = ((torch.zeros(1, 1, 8, 8),), {})
    images = first(read_data(str(tmp_path), grey, DataOptions(augment=True, mean=(0.4, 0.5, 0.6))))
    assert images.shape == (3, 1, 8, 8)
    torch.testing.assert_close(images, torch.full_like(images, 0.5 / (0.229 + 0.224 + 0.225) * 3))


def test_arrays(tmp_path: Path) -> None:
    numpy.savez(tmp_path / "data.npz", x=numpy.ones((6, 3), "float32"), labels=numpy.arange(6))
    batch = first(read_data(str(tmp_path / "data.npz"), EXAMPLE, PLAIN))
    assert batch["x"].shape == (4, 3)
    assert batch["labels"].dtype == torch.int64
    numpy.save(tmp_path / "data.npy", numpy.ones((6, 3), "float32"))
    assert first(read_data(str(tmp_path / "data.npy"), EXAMPLE, PLAIN)).shape == (4, 3)


def test_the_zoos_own_data() -> None:
    images, labels = first(read_data("zoo:faces", ((torch.zeros(1, 3, 24, 24),), {}), PLAIN))
    assert images.shape == (4, 3, 24, 24)
    assert set(labels.tolist()) <= {0, 1}


def test_the_users_own_loader(tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text(CODE)
    assert [batch.shape for batch in read_data(f"{script}:batches", EXAMPLE, PLAIN)] == [(2, 3)]
    assert first(read_data(f"{script}:dataset", EXAMPLE, PLAIN))[0].shape == (4, 3)
    with pytest.raises(gp.InputError, match=r"broken\(\) fails at .*own.py:12: ZeroDivisionError"):
        read_data(f"{script}:broken", EXAMPLE, PLAIN)


@pytest.mark.parametrize("place", ["", "cats"])
def test_a_damaged_image_is_named(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir(exist_ok=True)
    whole = Image.new("RGB", (40, 40), (200, 10, 10))
    whole.save(folder / "whole.png")
    images = ((torch.zeros(1, 3, 8, 8),), {})
    for name, held in (("cut.png", (folder / "whole.png").read_bytes()[:80]), ("text.png", b"no image")):
        (folder / name).write_bytes(held)
        with pytest.raises(gp.InputError, match=f"{name} cannot be read") as caught:
            list(read_data(str(tmp_path), images, PLAIN))
        assert caught.value.remedy == "take it out of the folder"
        (folder / name).unlink()
    assert len(list(read_data(str(tmp_path), images, PLAIN))) == 1


def test_refusals(tmp_path: Path) -> None:
    numpy.savez(tmp_path / "uneven.npz", x=numpy.ones((6, 3)), labels=numpy.arange(5))
    numpy.savez(tmp_path / "empty.npz", x=numpy.ones((0, 3)), labels=numpy.arange(0))
    (tmp_path / "void").mkdir()
    (tmp_path / "classes" / "cat").mkdir(parents=True)
    (tmp_path / "text.txt").write_text("")
    flat = ((torch.zeros(1, 5),), {})
    for spec, example, message in (
        ("void", EXAMPLE, "holds no images"),
        ("classes", EXAMPLE, "cannot be read: Found no valid file for the classes cat"),
        ("void", flat, "is no image of 1 or 3 channels"),
        ("uneven.npz", EXAMPLE, r"have \[5, 6\] rows"),
        ("empty.npz", EXAMPLE, "the data is empty"),
        ("text.txt", EXAMPLE, "is no file of arrays"),
    ):
        with pytest.raises(gp.InputError, match=message) as caught:
            read_data(str(tmp_path / spec), example, PLAIN)
        assert caught.value.remedy
