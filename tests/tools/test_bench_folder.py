"""The benchmark of folders runs, on a model that is small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "bench_folder.py"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is asked of Linux")
def test_a_small_folder_is_pruned_and_proved(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    command = [sys.executable, TOOL, "tiny", "--tokens", "256", "--space", "4", "--folder", tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "86,848 parameters, 64," in ran.stdout
    assert ran.stdout.count(": passed,") > 20
    assert not list(tmp_path.iterdir())
