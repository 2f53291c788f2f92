"""``--weights FILE``: the forms in which people save their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from graphprune.cli.models import resolve
from graphprune.cli.weights import load_weights, read_weights
from graphprune.ground.errors import WeightsError


def state() -> dict[str, Tensor]:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10)).state_dict()


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state().items()}


@pytest.mark.parametrize(
    "saved",
    [
        state(),
        {"state_dict": state(), "epoch": 3},
        {"model": state(), "optimizer": {"lr": 0.1}},
        {"model": {"state_dict": prefixed("module.")}},
        prefixed("module."),
        {"state_dict": {**prefixed("net."), "loss.weight": torch.ones(3)}},
        prefixed("module._orig_mod."),
        {name: tensor.half() for name, tensor in state().items()},
    ],
    ids=["plain", "state_dict", "model", "nested", "module.", "held", "_orig_mod.", "half"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts(tmp_path: Path, saved: Any, zipped: bool) -> None:
    file = tmp_path / "weights.pt"
    torch.save(saved, file, _use_new_zipfile_serialization=zipped)
    source = resolve("zoo:mlp", str(file))
    assert source.weights == str(file)
    assert source.notes == ()
    loaded = source.model.state_dict()
    for name, tensor in state().items():
        torch.testing.assert_close(loaded[name], tensor, atol=1e-3, rtol=1e-3)
        assert loaded[name].dtype == torch.float32


def test_which_of_two_parts_is_not_guessed(tmp_path: Path) -> None:
    for saved in ({**prefixed("teacher."), **prefixed("student.")}, {**state(), **prefixed("ema.")}):
        torch.save(saved, tmp_path / "weights.pt")
        with pytest.raises(WeightsError, match=r"do not fit zoo:mlp: .*4 tensors|8 tensors not in the model"):
            resolve("zoo:mlp", str(tmp_path / "weights.pt"))


def test_a_checkpoint_of_lightning_is_named(tmp_path: Path) -> None:
    file = tmp_path / "epoch.ckpt"
    saved = {"pytorch-lightning_version": "2.5.0", "state_dict": prefixed("net.")}
    torch.save({**saved, "hyper_parameters": {"path": tmp_path}}, file)
    with pytest.raises(WeightsError, match="it is a checkpoint of Lightning: where you trust it, save its"):
        resolve("zoo:mlp", str(file))
    torch.save(saved, file)
    assert torch.equal(resolve("zoo:mlp", str(file)).model.state_dict()["2.bias"], state()["2.bias"])


def test_safetensors_whatever_the_name(tmp_path: Path) -> None:
    for name in ("weights.safetensors", "weights.pt"):
        save_file(state(), tmp_path / name)
        loaded = resolve("zoo:mlp", str(tmp_path / name)).model.state_dict()
        assert all(torch.equal(loaded[key], tensor) for key, tensor in state().items())


def test_missing_batch_counters_are_forgiven(tmp_path: Path) -> None:
    model = nn.BatchNorm1d(4)
    saved = {key: value + 2 for key, value in model.state_dict().items() if key != "num_batches_tracked"}
    load_weights(model, saved, "old.pt", "net")
    assert all(torch.equal(model.state_dict()[key], value) for key, value in saved.items())


@pytest.mark.parametrize(
    "saved",
    [{}, {"state_dict": {}}, [torch.zeros(1)], torch.zeros(1), {"a": 1}, {"a": torch.zeros(1), 3: None}],
)
def test_anything_else_is_refused(tmp_path: Path, saved: Any) -> None:
    torch.save(saved, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=r"weights\.pt holds"):
        read_weights(tmp_path / "weights.pt")


def test_truncated_archive(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(state(), file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(WeightsError, match=r"weights\.pt is damaged, or no state dict: PytorchStreamReader"):
        read_weights(file)
