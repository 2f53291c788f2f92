"""What the original lets vary is measured; what the ONNX file does is read from its signature."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from coverage_sizes import known_dimensions, signature, varies_in, with_onnx
from coverage_table import write_table

from graphprune.capture import capture
from graphprune.capture.inputs import input_dimensions, normalise_inputs


class Masked(nn.Module):
    """Tokens and their mask have one length, which is at most a table's."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.p = nn.Embedding(9, 8), nn.Embedding(12, 8)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return (self.e(ids) + self.p.weight[: ids.shape[1]]) * mask[..., None]


class Halved(nn.Module):
    """A length that must be even."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, 2)


TOOL = Path(__file__).parents[2] / "tools" / "coverage_sizes.py"
IDS = torch.zeros(2, 7, dtype=torch.long)
CASES = {
    "a convolution": (nn.Conv2d(3, 4, 3), torch.zeros(2, 3, 8, 8), [True, False, True, True]),
    "a linear": (nn.Linear(5, 4), torch.zeros(2, 5), [True, False]),
    "an even length": (Halved(), torch.zeros(2, 6), [True, True]),
    "two inputs, one length": (Masked(), (IDS, torch.ones(2, 7)), [True] * 4),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_original_lets_vary(name: str) -> None:
    model, example, expected = CASES[name]
    inputs = normalise_inputs(example)
    every = input_dimensions(inputs, ["a", "b"][: len(inputs[0])])
    assert [varies_in(model, inputs, one, every) for one in every] == expected


def test_rows_say_what_the_program_says() -> None:
    model = nn.Sequential(nn.Linear(5, 4)).eval()
    batch, features = known_dimensions(model, capture(model, torch.zeros(2, 5)))
    assert (batch["input"], batch["size"], batch["original"], batch["name"]) == ("input[0]", 2, True, "batch")
    assert (features["original"], features["name"]) == (False, "")


def test_the_signature_of_a_file(tmp_path: Path) -> None:
    program = torch.onnx.export(
        nn.Linear(5, 4).eval(),
        (torch.zeros(2, 5),),
        dynamo=True,
        dynamic_shapes=({0: "rows"},),
        verbose=False,
    )
    program.save(tmp_path / "model.onnx")
    assert signature(tmp_path / "model.onnx") == [["rows", 5]]
    rows = [{"input": "x[0]"}, {"input": "x[1]"}]
    told = with_onnx(rows, [["rows", 5]], {"x[1]": "why"})
    assert [(row["onnx"], row["onnx_reason"]) for row in told] == [(True, ""), (False, "why")]
    assert with_onnx(rows, [["rows"]], {}) == rows, "an input is not in the file"


def test_the_page_counts_and_lists(tmp_path: Path) -> None:
    def dimension(dim: int, original: bool, name: str, onnx: bool, reason: str = "") -> dict[str, object]:
        return {
            "input": f"x[{dim}]", "size": 8, "original": original, "name": name, "multiple": 1, "reason": reason,
            "onnx": onnx, "onnx_reason": "" if onnx else "an attribute",
        }  # fmt: skip

    found = [
        dimension(0, True, "batch", True),
        dimension(1, False, "", False),
        dimension(2, True, "height", False),
        dimension(3, True, "", False, "a table has 8 rows | " + "of many words " * 30),
    ]
    write_table([{"list": "zoo", "name": "zoo:mlp", "ok": True, "dimensions": found}], tmp_path / "page.md")
    lines = (tmp_path / "page.md").read_text().splitlines()
    assert any("| 2 of 3 (66.7%) | 1 of 3 (33.3%) |" in line for line in lines if line.startswith("| zoo |"))
    assert any("| 2 of 3 | 1 of 3 |" in line for line in lines if line.startswith("| mlp |"))
    listed = lines[lines.index("## Dimensions that the original lets vary") :]
    assert "| zoo:mlp | x[2] | 8 | fixed in the ONNX file alone: an attribute |" in listed
    assert any(r"| zoo:mlp | x[3] | 8 | a table has 8 rows \| of many words" in line for line in listed)
    assert not any("…" in line for line in listed)


def test_the_quick_way() -> None:
    command = [sys.executable, "-W", "ignore", str(TOOL), "zoo:mlp", "zoo:nobody"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "zoo:mlp: 1 of 1 vary"
    assert lines[1].startswith("zoo:nobody: FAILED: InputError")
    assert lines[-1] == "all: 1 of 1 vary"
