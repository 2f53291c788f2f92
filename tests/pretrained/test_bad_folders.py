"""Folders that are not what they should be: one line each, before any long work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hf_folders import written
from safetensors.torch import load_file, save_file

import graphprune as gp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written("llama", tmp_path / "model", shard="40KB")


def config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without_a_shard(folder: Path) -> None:
    sorted(folder.glob("*.safetensors"))[1].unlink()


def without_a_tensor(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    tensors = {name: load_file(folder / file)[name] for name, file in index.items()}
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def only_pickles(folder: Path) -> None:
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")


def of_other_code(folder: Path) -> None:
    config(folder, auto_map={"AutoModelForCausalLM": "modeling.Mine"}, architectures=["Mine"])
    (folder / "modeling.py").write_text("raise SystemExit('this code was run')")


BAD: list[tuple[Callable[[Path], Any], str]] = [
    (without_a_shard, "lacks the shard model-00002-of"),
    (without_a_tensor, "lacks model.layers.1.mlp.up_proj.weight, which LlamaForCausalLM needs"),
    (only_pickles, "pytorch_model.bin, a pickle"),
    (of_other_code, "brings code of its own .*, which is not run"),
    (lambda folder: config(folder, model_type="nothing_known"), "knows no model_type 'nothing_known'"),
    (lambda folder: config(folder, architectures=["LlamaForNothing"]), "has no class 'LlamaForNothing'"),
    (lambda folder: config(folder, quantization_config={"quant_method": "gptq"}), "are quantised"),
    (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    (lambda folder: config(folder, hidden_size=63), "hidden size"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD, ids=[message[:24] for _, message in BAD])
def test_a_bad_folder_is_refused_in_one_line(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    spoil(folder)
    with pytest.raises(gp.GraphpruneError, match=message) as caught:
        gp.shrink_pretrained(folder, tmp_path / "slim", params=0.75, importance="l2")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "slim").exists()


def test_there_is_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(gp.InputError, match="there is no folder"):
        gp.shrink_pretrained(tmp_path / "nothing", tmp_path / "slim", params=0.75)


def test_an_original_that_a_report_names_is_looked_for_here_alone(folder: Path, tmp_path: Path) -> None:
    made = gp.shrink_pretrained(folder, tmp_path / "slim", params=0.75, importance="l2")
    path = made.folder / "report.json"
    report = json.loads(path.read_text())
    path.write_text(json.dumps(report | {"source": report["source"] | {"model": "hf:some/model"}}))
    with pytest.raises(gp.InputError, match="the original is not here: there is no folder some/model"):
        gp.verify_pretrained(made.folder)
    assert gp.verify_pretrained(made.folder, folder).passed


def test_a_name_of_the_hub_without_a_network_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def offline(name: str, **asked: Any) -> str:
        assert (name, asked["revision"]) == ("some/model", "abc")
        assert "*.bin" not in asked["allow_patterns"]
        raise ConnectionError("no route to the host\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(gp.InputError, match="the Hub cannot be asked for it: no route to the host") as caught:
        gp.shrink_pretrained("some/model@abc", tmp_path / "slim", params=0.75)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latency": 0.5}, "latency is given for a folder"),
        ({"params": 0.5, "graft": True}, "the class comes back in any case"),
        ({"params": 0.5, "rounds": 3}, "rounds is given"),
        ({}, "no budget is given"),
        ({"params": 0.01}, "params=0.01 cannot be reached"),
        ({"params": 0.5, "evaluate": "accuracy"}, "write perplexity:FILE"),
        ({"params": 0.5, "calibration": "nothing.txt"}, "there is no file nothing.txt"),
        ({"params": 0.5, "max_memory": "much"}, "memory"),
        ({"parms": 0.5}, "did you mean params"),
    ],
)
def test_options_that_a_folder_has_no_place_for(
    folder: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(gp.GraphpruneError, match=message):
        gp.shrink_pretrained(folder, tmp_path / "slim", **options)


def test_another_models_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{number}": number for number in range(500)} | {"<unk>": 500}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    text = tmp_path / "text.txt"
    text.write_text("w1 w2 w3 " * 400)
    with pytest.raises(gp.InputError, match="has 501 tokens, the model knows 120"):
        gp.shrink_pretrained(folder, tmp_path / "slim", params=0.75, calibration=text)


def test_a_configuration_that_the_class_refuses(tmp_path: Path) -> None:
    folder = written("llama", tmp_path / "model")
    config(folder, hidden_act="no_such_activation")
    with pytest.raises(gp.InputError, match=r"config.json: .*no_such_activation"):
        gp.shrink_pretrained(folder, tmp_path / "slim", params=0.7)


def test_code_beside_a_class_of_transformers_is_not_run(tmp_path: Path) -> None:
    folder = written("llama", tmp_path / "model")
    of_other_code(folder)
    config(folder, architectures=["LlamaForCausalLM"])
    assert gp.inspect_pretrained(folder)["class"] == "LlamaForCausalLM"


def test_options_that_cannot_be_honoured_are_refused(tmp_path: Path) -> None:
    folder = written("llama", tmp_path / "model")
    for name in ("plan", "threads", "simplify"):
        with pytest.raises(gp.InputError, match=f"{name} is given for a folder"):
            gp.plan_pretrained(folder, params=0.8, **{name: 1})
    importance = pytest.importorskip("torch_pruning").importance.MagnitudeImportance()
    with pytest.raises(gp.InputError, match="their weights stay in files"):
        gp.plan_pretrained(folder, params=0.8, importance=importance)


def test_widths_are_multiples_of_what_was_asked(tmp_path: Path) -> None:
    folder = written("llama", tmp_path / "model")  # 40 does not divide its 88
    fields = gp.plan_pretrained(folder, params=0.85, importance="l1", align=40)["pretrained"]["fields"]
    assert fields["intermediate_size"] == (88, 40)
