"""--importance with data: --calibration and --loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import save_file

Refused = Callable[..., str]

DATA = """
import torch

def batches():
    for size in (2, 3):
        yield torch.randn(size, 6, generator=torch.Generator().manual_seed(size))

def broken():
    return 1 / 0

def energy(outputs):
    return outputs.square().sum()

def with_labels(outputs, batch):
    return outputs.square().mean() + 0 * batch.sum()

labels = [1]
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the same kind of data in every form."""
    x = torch.randn(40, 6)
    numpy.save(tmp_path / "x.npy", x.double().numpy())
    numpy.savez(tmp_path / "x.npz", x.numpy())
    numpy.savez(tmp_path / "named.npz", input=x.numpy())
    save_file({"input": x}, tmp_path / "x.safetensors")
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY")
    numpy.save(tmp_path / "pickled.npy", numpy.array([{"a": 1}], dtype=object), allow_pickle=True)
    return tmp_path


@pytest.mark.parametrize(
    "calibration", ["x.npy", "x.npz", "named.npz", "x.safetensors", "data.py:batches"], ids=str
)
def test_data_in_every_form(
    run: Callable[..., Any], net: Path, data: Path, tmp_path: Path, calibration: str
) -> None:
    options = ("--importance", "taylor:mean:max", "--calibration", data / calibration, "--params", 0.6)
    done = run("shrink", f"{net}:with_inputs", *options, "--no-latency", "--json", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    request = json.loads((tmp_path / "out" / "plan.json").read_text())["request"]
    assert request["importance"] == "taylor:mean:max"
    assert request["calibration"]
    assert request["loss"] is None


@pytest.mark.parametrize("loss", ["energy", "with_labels"])
def test_a_loss_from_a_file(
    run: Callable[..., Any], net: Path, data: Path, tmp_path: Path, loss: str
) -> None:
    options = ("--calibration", data / "x.npy", "--loss", f"{data / 'data.py'}:{loss}", "--ratio", 0.5)
    command = ("shrink", f"{net}:with_inputs", "--importance", "fisher", *options, "--no-latency", "--json")
    done = run(*command, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["request"]["loss"] == loss


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--importance", "taylor"),
            "importance 'taylor' looks at data, and there is none — give calibration",
        ),
        (("--importance", "l2:meen"), "unknown aggregate 'meen' — use one of mean"),
        (
            ("--importance", "l2", "--calibration", "x.npy"),
            "importance 'l2' looks at no data — leave calibration and loss out",
        ),
        (
            ("--importance", "wanda", "--calibration", "none.npy"),
            "there is no file none.npy — give a folder of images",
        ),
        (("--importance", "wanda", "--calibration", "x.csv"), "--calibration 'x.csv' is no file of arrays"),
        (("--importance", "wanda", "--calibration", "damaged.npy"), "damaged.npy cannot be read: "),
        (("--importance", "wanda", "--calibration", "pickled.npy"), "pickled.npy cannot be read: "),
        (("--importance", "wanda", "--calibration", "data.py:nothing"), "data.py has no 'nothing'"),
        (("--importance", "wanda", "--calibration", "data.py:labels"), "'labels', but it is no function"),
        (("--importance", "wanda", "--calibration", "data.py:broken"), "broken() fails at data.py:9: Zero"),
        (
            ("--importance", "wanda", "--calibration", "x.npy", "--loss", "data.py:energy"),
            "importance 'wanda' takes no gradients",
        ),
        (
            ("--importance", "taylor", "--calibration", "x.npy", "--loss", "energy"),
            "--loss 'energy' names no function — give path/to/file.py:function",
        ),
    ],
)
def test_refusals(
    refused: Refused,
    net: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(data)
    line = refused("shrink", f"{net}:with_inputs", "--macs", 0.5, *options, "-o", data / "out")
    assert said in line
    assert not (data / "out").exists()


def test_a_plan_needs_no_data(refused: Refused, net: Path, data: Path) -> None:
    options = ("--plan", "p.json", "--calibration", data / "x.npy")
    assert "--calibration has no effect on --plan" in refused(
        "shrink", f"{net}:with_inputs", *options, "-o", data / "out"
    )


def test_choices_can_be_tried(run: Callable[..., Any], net: Path, tmp_path: Path) -> None:
    import numpy

    numpy.save(tmp_path / "x.npy", numpy.random.default_rng(0).normal(size=(40, 6)).astype("float32"))
    start = ("shrink", f"{net}:with_inputs", "--ratio", 0.5, "--importance", "auto", "--no-latency")
    done = run(*start, "--calibration", tmp_path / "x.npy", "--repair", "-o", tmp_path / "slim")
    assert done.exit_code == 0, done.output
    more = ("--ranking", "uniform", "--calibration", "synthetic", "-o", tmp_path / "other")
    assert run(*start[:2], "--macs", 0.5, *start[4:], *more).exit_code == 0
    found = json.loads((tmp_path / "other" / "report.json").read_text())
    assert found["request"]["ranking"] == "uniform"
    assert found["fidelity"]["data"] == "synthetic data (features)"
