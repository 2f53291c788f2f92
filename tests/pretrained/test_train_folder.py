"""Slim folders in training: the original teaches, and the same class comes out, better than it went in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hf_folders import library, written

import graphprune as gp
from graphprune.calibration.text import perplexity


def rows(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """A language in which every third token says the next one."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(3, 40, (count, 4, 24), generator=generator)
    drawn[..., 1::3] = drawn[..., 0::3] + 40
    return [{"input_ids": batch} for batch in drawn]


def test_a_folder_is_trained_and_verified_again(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    folder = written("llama", tmp_path / "model")
    made = gp.shrink_pretrained(folder, tmp_path / "slim", params=0.8, importance="l2")
    settings = gp.Tuning(epochs=2, lr=3e-3, match="tokens", temperature=1.0)
    tuned = gp.tune_pretrained(made.folder, rows(12, 0), tmp_path / "tuned", settings)
    transformers = library()
    before, after = (
        perplexity(transformers.LlamaForCausalLM.from_pretrained(place).eval(), rows(3, 1))
        for place in (made.folder, tuned.folder)
    )
    assert after < 0.7 * before
    assert tuned.fields == made.fields
    assert tuned.report["tuning"]["steps"] == 24
    assert "It was trained after the cut." in (tuned.folder / "README.md").read_text()
    again = gp.verify_pretrained(tuned.folder)
    assert again.passed
    assert any("trained tensors have the shapes of the cut" in check.name for check in again.checks)
    with pytest.raises(gp.InputError, match="was fine-tuned"):
        gp.shrink_pretrained(folder, tuned.folder, params=0.8, importance="l2")


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(gp.InputError, match="cannot be read"):
        gp.tune_pretrained(tmp_path / "nothing", rows(1, 0))
    folder = written("llama", tmp_path / "model")
    made = gp.shrink_pretrained(folder, tmp_path / "slim", params=0.8, importance="l2")
    with pytest.raises(gp.InputError, match="write perplexity:FILE"):
        gp.tune_pretrained(made.folder, rows(1, 0), tmp_path / "tuned", evaluate="accuracy")
    with pytest.raises(gp.GraphpruneError, match="there is no folder"):
        gp.tune_pretrained(made.folder, rows(1, 0), tmp_path / "tuned", original=tmp_path / "no")
