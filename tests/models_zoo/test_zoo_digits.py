"""The held-out split, and the tool that trains the zoo's own network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from graphprune.ground.errors import WeightsError
from models_zoo import digits, wheels


@pytest.fixture(autouse=True)
def _needs_sklearn() -> None:
    try:
        wheels.require("scikit-learn")
    except WeightsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(digits.__file__).parents[1] / "tools" / "train_digits.py"
    spec = importlib.util.spec_from_file_location("train_digits", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_split_holds_out_every_fifth_of_each_digit() -> None:
    images, labels = digits.read_digits()
    (train_images, train_labels), (held_images, held_labels) = digits.split_digits()
    assert images.shape == (1797, 1, 8, 8)
    assert (images.min().item(), images.max().item()) == (0, 1)
    assert (len(train_labels), len(held_labels)) == (len(train_images), len(held_images)) == (1442, 355)
    for digit in range(10):
        assert torch.equal(held_images[held_labels == digit], images[labels == digit][4::5])
        assert len(train_labels[train_labels == digit]) + len(images[labels == digit][4::5]) == sum(
            labels == digit
        )


def test_weights_file_is_small() -> None:
    assert digits.WEIGHTS.stat().st_size < 2_000_000


def test_one_epoch_learns_and_saves(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "weights.safetensors"
    tool.main(["--epochs", "1", "--output", str(output)])
    printed = capsys.readouterr().out
    assert float(printed.split()[2]) > 0.2  # a guess reaches 0.1
    model = digits.build()
    model.load_state_dict(load_file(output))
    assert sum(p.numel() for p in model.parameters()) == 169_834
    assert [path.name for path in output.parent.iterdir()] == ["weights.safetensors"]


def test_training_is_reproducible(tool: ModuleType) -> None:
    first, second = tool.train(1, seed=1).state_dict(), tool.train(1, seed=1).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_failed_save_leaves_the_old_file(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "weights.safetensors"
    output.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(tool, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        tool.save(digits.build(), output)
    assert output.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_jitter_keeps_shape_and_range(tool: ModuleType) -> None:
    images, _ = digits.read_digits()
    jittered = tool.jitter(images[:50], torch.Generator().manual_seed(0))
    assert jittered.shape == (50, 1, 8, 8)
    assert jittered.min() >= 0
    assert jittered.max() <= 1 + 1e-6
    assert (jittered - images[:50]).abs().max() > 0.1
