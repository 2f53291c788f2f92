"""Two processes of torchrun give what one gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_tune import batches, harms, repaired, scores, shared
from safetensors.torch import load_file
from torch import Tensor
from tuning_models import tensors

SCRIPT = Path(__file__).with_name("run_tune.py")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], ...]:
    """What each of two processes found: the tuned tensors, and scores of its own half of the calibration."""
    output = tmp_path_factory.mktemp("two") / "found"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [str(SCRIPT), "none", "share", str(output)]
    done = subprocess.run([*torchrun, *script], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0
    return tuple(load_file(f"{output}.{rank}") for rank in (0, 1))


def test_two_processes_give_the_weights_of_one(two: tuple[dict[str, Tensor], ...]) -> None:
    """Batches of 16 in one process, of 8 and 8 in two; float32 sums in another order differ by 1e-7, and Adam
    divides small gradients by themselves, so that few steps of at most 5e-3 may drift apart by a little more."""
    assert all(torch.equal(two[0][name], tensor) for name, tensor in two[1].items())
    alone = shared()
    assert alone.tuning["processes"] == 1
    for name, tensor in tensors(alone.model).items():
        torch.testing.assert_close(two[0][name], tensor, rtol=1e-4, atol=1e-5)


def test_statistics_of_all_processes_are_added_up(two: tuple[dict[str, Tensor], ...]) -> None:
    """Each process saw two of the four batches; the sums are float64 of float32 activations."""
    for name, score in scores(batches()).items():
        torch.testing.assert_close(two[0][name], score, rtol=1e-5, atol=1e-7)
        assert score.std() > 0


def test_a_repair_of_all_processes_is_that_of_one(two: tuple[dict[str, Tensor], ...]) -> None:
    """The same rows in the same halves; what a layer is given differs by the rounding of the layers before it."""
    for name, tensor in repaired(batches()).items():
        torch.testing.assert_close(two[0][name], tensor, rtol=1e-4, atol=1e-5)


def test_sensitivity_is_that_of_all_processes(two: tuple[dict[str, Tensor], ...]) -> None:
    """Sums over two batches and two, in float64 of float32 outputs; one process wrote the file, and evaluated."""
    for name, values in harms(batches()).items():
        assert torch.equal(two[0][name], two[1][name])
        torch.testing.assert_close(two[0][name], values, rtol=1e-6, atol=0.0)
        assert values.min() > 0
        assert values.std() > 0
