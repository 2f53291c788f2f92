"""A run that is killed and goes on gives the weights of one that was not, bit for bit."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_tune import exact
from tuning_models import tensors

import graphprune as gp

SCRIPT = Path(__file__).with_name("run_tune.py")


@pytest.fixture(scope="module")
def whole() -> gp.Result:
    return exact(None)


@pytest.mark.parametrize(("what", "value"), [("kill", 9), ("write", 3)])
def test_sigkill_at_any_moment(tmp_path: Path, whole: gp.Result, what: str, value: int) -> None:
    """Step 9 is in the middle of an epoch, and after a checkpoint; "write" dies before the third is renamed."""
    checkpoint = tmp_path / "state.safetensors"
    killed = subprocess.run([sys.executable, str(SCRIPT), str(checkpoint), what, str(value)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint.is_file()
    resumed = exact(checkpoint)
    assert 0 < resumed.tuning["resumed_at"] < resumed.tuning["steps"] == 12
    assert resumed.tuning["history"] == whole.tuning["history"]
    want, got = tensors(whole.model), tensors(resumed.model)
    assert want.keys() == got.keys()
    assert all(torch.equal(want[name], got[name]) for name in want)
    assert [entry.name for entry in tmp_path.iterdir()] == [checkpoint.name]  # drafts are gone


def test_a_finished_run_is_not_repeated(tmp_path: Path, whole: gp.Result) -> None:
    checkpoint = tmp_path / "state.safetensors"
    exact(checkpoint)
    again = exact(checkpoint)
    assert again.tuning["resumed_at"] == 12
    assert all(torch.equal(one, tensors(whole.model)[name]) for name, one in tensors(again.model).items())
