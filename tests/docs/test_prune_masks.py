"""The example of `torch.nn.utils.prune`'s flows runs, and says what is true."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "prune_masks.py"


def test_every_flow(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("prune_masks", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    results = example.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(results) == 8
    assert all(float(line.rsplit(" ", 1)[1]) <= 1e-5 for line in lines)
    zeros = {name: sum(t.zeros for t in result.lossless.tensors) for name, result in results.items()}
    left = {name: sum(t.left for t in result.lossless.tensors) for name, result in results.items()}
    for name, result in results.items():
        widths = {key: kept.shape[-1] for key, kept in result.plan.groups.items()}
        if "columns" in name:
            assert (widths["fc1.weight:0"], widths["fc2.weight:0"]) == (60, 42)
        elif name.startswith("structured"):
            # in full: half of every hidden layer, and no zero is left
            assert widths["conv1.weight:0"] == 3
            assert widths["fc1.weight:0"] == 60
            assert left[name] == 0
        elif "97 %" in name:
            assert 0 < left[name] < zeros[name]
            assert result.after.params < 0.5 * result.before.params
        else:
            # scattered zeros: no row and no column died, at 50 % of each layer or 85 % of all
            assert left[name] == zeros[name]
            assert result.after == result.before
