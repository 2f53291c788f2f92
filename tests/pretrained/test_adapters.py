"""Slim folders trained by PEFT's adapters: merged into an ordinary folder, or kept as adapters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_folders import library, written
from test_train_folder import rows

import graphprune as gp
from graphprune.calibration.text import perplexity

SETTINGS = gp.Tuning(epochs=2, lr=2e-2, match="tokens", temperature=1.0)


def adapters() -> Any:
    library()  # which PEFT imports
    return pytest.importorskip("peft")


def slim_folder(kind: str, place: Path) -> Path:
    folder = written(kind, place / "model")
    return gp.shrink_pretrained(folder, place / "slim", params=0.8, importance="l2").folder


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slim_folder("llama", tmp_path_factory.mktemp("folders"))


def loaded(folder: Path) -> torch.nn.Module:
    return library().AutoModelForCausalLM.from_pretrained(folder).eval()


def test_adapters_are_merged_into_a_folder_of_the_class(tmp_path: Path) -> None:
    """GPT-2's layers have their weights transposed."""
    adapters()
    slim = slim_folder("gpt2", tmp_path)
    tuned = gp.tune_pretrained(slim, rows(12, 0), tmp_path / "tuned", SETTINGS, lora=4)
    before, after = map(loaded, (slim, tuned.folder))
    assert perplexity(after, rows(3, 1)) < 0.9 * perplexity(before, rows(3, 1))
    changed = dict(after.named_parameters())
    for name, value in before.named_parameters():
        moved = changed[name] - value
        rank = int(torch.linalg.matrix_rank(moved, tol=1e-5)) if moved.dim() == 2 else int(moved.any())
        layer = moved.dim() == 2 and ".h." in name
        assert 1 <= rank <= 4 if layer else rank == 0, name
    assert gp.verify_pretrained(tuned.folder).passed
    assert tuned.report["tuning"]["steps"] == 24


def test_adapters_are_kept_as_peft_reads_them(slim: Path, tmp_path: Path) -> None:
    peft = adapters()
    merged = gp.tune_pretrained(slim, rows(3, 0), tmp_path / "tuned", SETTINGS, lora=4)
    kept = gp.tune_pretrained(slim, rows(3, 0), tmp_path / "kept", SETTINGS, lora=4, keep_adapters=True)
    assert not (kept.folder / "config.json").exists()
    both = peft.PeftModel.from_pretrained(loaded(slim), kept.folder).merge_and_unload()
    state = loaded(merged.folder).state_dict()
    for name, tensor in both.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_a_run_with_adapters_goes_on_where_it_stopped(slim: Path, tmp_path: Path) -> None:
    adapters()
    settings = gp.Tuning(steps=4, lr=2e-2, match="tokens", save_every=2)
    whole = gp.tune_pretrained(slim, rows(4, 0), tmp_path / "whole", settings, lora=2)

    class Stopped(Exception):
        pass

    def stop(moment: object) -> None:
        if getattr(moment, "step", 0) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        gp.tune_pretrained(
            slim, rows(4, 0), tmp_path / "parts", settings, lora=2, checkpoint=tmp_path / "c", watch=stop
        )
    parts = gp.tune_pretrained(
        slim, rows(4, 0), tmp_path / "parts", settings, lora=2, checkpoint=tmp_path / "c"
    )
    assert parts.report["tuning"]["resumed_at"] == 2
    one, other = (loaded(made.folder).state_dict() for made in (whole, parts))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_what_adapters_cannot_do_is_refused_in_one_line(
    slim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = rows(1, 0)
    with pytest.raises(gp.InputError, match="lora=0 is not a positive whole number"):
        gp.tune_pretrained(slim, data, tmp_path / "tuned", lora=0)
    with pytest.raises(gp.InputError, match="no adapters to keep — give lora"):
        gp.tune_pretrained(slim, data, tmp_path / "tuned", keep_adapters=True)
    with pytest.raises(gp.InputError, match="name another place"):
        gp.tune_pretrained(slim, data, lora=4, keep_adapters=True)
    with pytest.raises(gp.InputError, match="trained in the class"):
        gp.tune_pretrained(slim, data, tmp_path / "tuned", gp.Tuning(features=1.0), lora=4)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(gp.InputError, match=r"adapters need PEFT: .* — pip install 'graphprune\[lora\]'"):
        gp.tune_pretrained(slim, data, tmp_path / "tuned", lora=4)
    assert not (tmp_path / "tuned").exists()
