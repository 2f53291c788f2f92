"""Folders of transformers on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.pretrained.hf_folders import written


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = written("llama", tmp_path_factory.mktemp("hf") / "model", max_position_embeddings=2048)
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{number}": number for number in range(3, 120)} | {"<unk>": 0}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(place / "tokenizer.json"))
    (place / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return place


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(" ".join(f"w{3 + number * number % 50}" for number in range(1100)))
    return path


def test_text_calibrates_judges_and_trains(
    folder: Path, text: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    slim, tuned = tmp_path / "slim", tmp_path / "tuned"
    options = ("--calibration", text, "--evaluate", f"perplexity:{text}")
    made = run("shrink", f"hf:{folder}", "--params", 0.8, *options, "-o", slim, "--json")
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)
    assert report["pretrained"]["judged_on"] == f"the text {text}"
    assert report["evaluation"]["before"]["perplexity"] > 1
    asked = ["tune", slim, "--data", text, "--batch", 2, "--lr", 1e-3, "--evaluate", f"perplexity:{text}"]
    trained = run(*asked, "-o", tuned)
    assert trained.exit_code == 0, trained.output
    assert (tuned / "tokenizer.json").exists()
    tuning = json.loads((tuned / "report.json").read_text())["tuning"]
    assert tuning["steps"] == 2  # one walk over four rows
    assert [tuning["settings"][name] for name in ("match", "lr", "epochs")] == ["tokens", 1e-3, 1]
    assert tuning["metric"]["best"] <= tuning["metric"]["before"]
    assert run("verify", tuned).exit_code == 0
    assert "has no effect on a folder" in run("tune", slim, "--data", text, "--weights", "none").stderr
    _two_processes_train_alike([*asked, "-o", tmp_path / "two"], tuned, tmp_path / "two")


def _two_processes_train_alike(asked: list[object], one: Path, two: Path) -> None:
    """Each takes one row of every two; the first one writes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "graphprune.cli", *map(str, asked), "-q"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((two / "report.json").read_text())["tuning"]["processes"] == 2
    expected = load_file(one / "model.safetensors")
    for name, tensor in load_file(two / "model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)


def test_a_folder_is_shrunk_verified_and_planned(
    folder: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    slim = tmp_path / "slim"
    made = run("shrink", f"hf:{folder}", "--params", 0.75, "--importance", "l2", "-o", slim)
    assert made.exit_code == 0, made.output
    assert "field of config.json" in made.stdout
    assert "Verified" in made.stdout
    checked = run("verify", slim, "--json")
    assert checked.exit_code == 0, checked.output
    assert "config.json says the widths of the plan" in checked.stdout
    planned = run("shrink", f"hf:{folder}", "--params", 0.75, "--importance", "l2", "--dry-run", "--json")
    fields = json.loads(planned.stdout)["pretrained"]["fields"]
    again = run("shrink", "--config", slim / "shrink.toml", "-o", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again/model.safetensors").read_bytes() == (slim / "model.safetensors").read_bytes()
    config = json.loads((slim / "config.json").read_text())
    assert {name: after for name, (_, after) in fields.items()} == {name: config[name] for name in fields}


def test_verify_finds_a_configuration_that_was_changed(
    folder: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    slim = tmp_path / "slim"
    run("shrink", f"hf:{folder}", "--params", 0.9, "--importance", "l2", "-o", slim)
    config = json.loads((slim / "config.json").read_text())
    (slim / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5, "num_attention_heads": 2}))
    checked = run("verify", slim)
    assert checked.exit_code != 0


@pytest.mark.parametrize("option", [("--protect", "x"), ("--max-ratio", "0.5"), ("--html", "x.html")])
def test_inspect_takes_no_option_that_has_no_effect(
    folder: Path, refused: Callable[..., str], option: tuple[str, str]
) -> None:
    assert f"{option[0]} has no effect on hf:FOLDER" in refused("inspect", f"hf:{folder}", *option)


def test_inspect_says_which_fields_rule_what(folder: Path, run: Callable[..., Any]) -> None:
    seen = run("inspect", f"hf:{folder}")
    assert seen.exit_code == 0, seen.output
    assert "intermediate_size" in seen.stdout
    assert "Stays: model.layers.#.self_attn.v_proj" in seen.stdout
    document = json.loads(run("inspect", f"hf:{folder}", "--json").stdout)
    assert document["class"] == "LlamaForCausalLM"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--params", 0.5], "no directory is given"),
        (["--params", 0.5, "--weights", "none", "-o", "slim"], "--weights has no effect on hf:FOLDER"),
        (["--latency", 0.5, "-o", "slim"], "latency is given for a folder"),
        (["--params", 0.5, "--evaluate", "judge.py:f", "-o", "slim"], "write perplexity:FILE.txt"),
        (["--params", 0.5, "--calibration", "no.txt", "-o", "slim"], "there is no file no.txt"),
    ],
)
def test_what_a_folder_has_no_place_for(
    folder: Path, run: Callable[..., Any], options: list[Any], message: str
) -> None:
    made = run("shrink", f"hf:{folder}", *options)
    assert made.exit_code == 2
    assert message in " ".join(made.stderr.split())
    assert "Traceback" not in made.output


@pytest.mark.parametrize("command", [("shrink", "--macs", 0.5, "-o", "slim"), ("inspect",)])
def test_there_is_no_such_folder(run: Callable[..., Any], command: tuple[Any, ...]) -> None:
    made = run(command[0], "hf:bert", *command[1:])
    assert made.exit_code == 2
    assert "there is no folder bert — give a folder that save_pretrained" in " ".join(made.stderr.split())


def test_trust_is_for_folders(run: Callable[..., Any]) -> None:
    made = run("shrink", "zoo:digits_resnet", "--macs", 0.5, "--trust-remote-code", "-o", "slim")
    assert "--trust-remote-code is for folders of transformers" in " ".join(made.stderr.split())
    tuned = run("tune", "slim", "--data", "zoo:digits", "--lora", 4)
    assert "--lora is for folders of transformers" in " ".join(tuned.stderr.split())


@pytest.mark.parametrize("command", [("verify",), ("tune", "--data", "zoo:digits")])
def test_adapters_alone_are_no_model(
    tmp_path: Path, run: Callable[..., Any], command: tuple[str, ...]
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    made = run(command[0], tmp_path, *command[1:])
    assert made.exit_code == 2
    assert "holds adapters, and no model" in " ".join(made.stderr.split())
