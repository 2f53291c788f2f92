"""ONNX files with a past: one step after another, they write the text of the class with its cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from hf_folders import KINDS, TEXT, library, written

import graphprune as gp
from graphprune.ground.clock import Clock
from graphprune.pretrained import past
from graphprune.pretrained.folder import open_folder
from graphprune.pretrained.loading import find_weights
from graphprune.verifying import Check

STEPS = 9


def checks_of(kind: str, place: Path, dtype: torch.dtype = torch.float32) -> tuple[Check, ...]:
    folder = open_folder(written(kind, place / "model", dtype))
    return past.write_with_past(folder.blueprint, find_weights(folder).tensors, place / "step.onnx", Clock())


def text_of(file: Path, prompt: torch.Tensor, heads: int, width: int) -> torch.Tensor:
    """Greedy text, whose past begins with nothing."""
    session = onnxruntime.InferenceSession(file)
    names = [item.name for item in session.get_inputs()]
    held = [torch.zeros(len(prompt), heads, 0, width).numpy()] * (len(names) - 1)
    text = given = prompt
    for _ in range(STEPS):
        logits, *held = session.run(None, dict(zip(names, (given.numpy(), *held), strict=True)))
        given = torch.from_numpy(logits)[:, -1:].argmax(-1)
        text = torch.cat([text, given], 1)
    assert held[0].shape == (len(prompt), heads, text.shape[1] - 1, width)
    return text


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_a_slim_folder_has_a_file_with_its_past(kind: str, tmp_path: Path) -> None:
    """Gemma's windows of five tokens end before the text does."""
    folder = written(kind, tmp_path / "model")
    made = gp.shrink_pretrained(folder, tmp_path / "slim", params=0.75, importance="l2", onnx=True)
    with_past = [check for check in made.verdict.checks if check.name.startswith("with past, ")]
    assert len(with_past) >= 5
    assert any("writes the text of the class" in check.name for check in with_past)
    assert made.verdict.passed
    model = library().AutoModelForCausalLM.from_pretrained(made.folder).eval()
    model.generation_config.eos_token_id = None  # which would end a row
    prompt = torch.randint(3, 120, (3, 4), generator=torch.Generator().manual_seed(1))
    expected = model.generate(prompt, max_new_tokens=STEPS, do_sample=False, use_cache=True)
    heads, width = model.config.num_key_value_heads, model.config.head_dim
    assert torch.equal(text_of(made.folder / "model_with_past.onnx", prompt, heads, width), expected)
    assert (made.folder / "model.onnx").exists()


def test_half_precision_and_other_positions(tmp_path: Path) -> None:
    assert all(check.passed for check in checks_of("gpt2", tmp_path, torch.bfloat16))


def test_a_file_that_mixes_up_its_past_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key with the value of another token, which onnxruntime computes as PyTorch does."""
    right = past._cache

    def mixed(given: past.Past) -> Any:
        return right({n: {"key": t["key"], "value": t["value"].flip(2)} for n, t in given.items()})

    monkeypatch.setattr(past, "_cache", mixed)
    *others, text = checks_of("llama", tmp_path)
    assert all(check.passed for check in others)
    assert not text.passed


def test_what_keeps_no_keys_and_values_has_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = TEXT | {"hidden_size": 48, "state_size": 8, "num_hidden_layers": 2}
    monkeypatch.setitem(KINDS, "mamba", ("MambaConfig", "MambaForCausalLM", states))
    with pytest.raises(gp.ExportError, match="its cache is no keys and values"):
        checks_of("mamba", tmp_path)
