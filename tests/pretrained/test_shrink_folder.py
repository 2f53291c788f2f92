"""A folder in, a slim one out: stock classes load it, and it says nothing but stock fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_folders import library, written
from safetensors import safe_open

import graphprune as gp
from graphprune.capture.lazy import Lazy
from graphprune.planning.plan import Plan, make_masks
from graphprune.pretrained import result as results
from graphprune.pretrained import writing
from graphprune.pretrained.result import Pretrained
from graphprune.verifying.nodes import outputs_of
from graphprune.verifying.reference import Reference
from graphprune.verifying.samples import random_inputs
from graphprune.verifying.tensors import converted, in_dtype


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folders")


def shrunk(place: Path, kind: str, **options: Any) -> tuple[Path, Pretrained]:
    """The folder of a kind, and its slim one; both are made once."""
    folder = place / kind
    if not folder.exists():
        written(kind, folder)
    out = place / f"{kind}-{'-'.join(map(str, options.values()))}"
    return folder, gp.shrink_pretrained(folder, out, force=True, **options)


def loaded(folder: Path, kind: str) -> Any:
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    assert kind.lower()[:4] in name.lower()
    model = getattr(library(), name).from_pretrained(folder, dtype=torch.float64)
    return model.eval()


def masked(folder: Path, kind: str, plan: Plan, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """What the original gives with everything that was removed held at zero, in float64."""
    model = loaded(folder, kind)
    model.config.use_cache = False
    graph = gp.trace(model, inputs, outputs=["logits"])
    leaves = [in_dtype(leaf, torch.float64) for leaf in random_inputs(graph.program, 0)]
    reference = Reference(graph, make_masks(graph, plan.groups).kept, leaves)
    zeroed = reference.zeroed(converted(graph.program.tensors, torch.float64))
    with torch.no_grad():
        return list(outputs_of(graph.program, reference.run(zeroed, torch.float64)).values())


def ids(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 120, (2, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [2, 9, 30])
def test_the_stock_class_gives_what_the_masked_original_gives(place: Path, length: int) -> None:
    folder, made = shrunk(place, "llama", params=0.7, importance="l1")
    assert made.verdict.passed
    wanted = masked(folder, "llama", made.plan, {"input_ids": ids(length)})
    with torch.no_grad():
        given = loaded(made.folder, "llama")(ids(length)).logits
    torch.testing.assert_close(given, wanted[0], rtol=1e-5, atol=1e-5)


def test_text_is_the_same_with_a_cache_as_without(place: Path) -> None:
    model = loaded(shrunk(place, "llama", params=0.7, importance="l1")[1].folder, "llama")
    texts = [
        model.generate(ids(5), max_new_tokens=8, min_new_tokens=8, do_sample=False, use_cache=cached)
        for cached in (True, False)
    ]
    assert torch.equal(*texts)
    assert model.config.use_cache  # as the folder had it, not as it was traced


def test_only_fields_that_changed_differ_in_the_configuration(place: Path) -> None:
    folder, made = shrunk(place, "llama", params=0.7, importance="l1")
    before, after = (json.loads((f / "config.json").read_text()) for f in (folder, made.folder))
    assert before.keys() == after.keys()
    different = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    assert different == {name: tuple(pair) for name, pair in made.fields.items()}
    assert different


def test_an_open_field_is_written_where_the_class_would_derive_another_number(place: Path) -> None:
    """Mixtral's head_dim is not declared, and would follow the hidden size."""
    folder, made = shrunk(place, "mixtral", params=0.75, importance="l2")
    after = json.loads((made.folder / "config.json").read_text())
    assert after["hidden_size"] < 64
    assert after["head_dim"] == 16
    wanted = masked_in_single(folder, made.plan)
    with torch.no_grad():
        model = library().MixtralForCausalLM.from_pretrained(made.folder, dtype=torch.float32).eval()
        torch.testing.assert_close(model(ids(9)).logits, wanted, rtol=1e-4, atol=1e-4)


def masked_in_single(folder: Path, plan: Plan) -> torch.Tensor:
    """Grouped products have no kernel for float64."""
    model = library().MixtralForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.config.use_cache = False
    graph = gp.trace(model, {"input_ids": ids(9)}, outputs=["logits"])
    reference = Reference(graph, make_masks(graph, plan.groups).kept, [ids(9)])
    zeroed = reference.zeroed(converted(graph.program.tensors, None))
    with torch.no_grad():
        return next(iter(outputs_of(graph.program, reference.run(zeroed, None)).values()))


@pytest.mark.parametrize("kind", ["bert", "t5", "vit"])
def test_encoders_both_parts_and_images_come_back_in_their_class(place: Path, kind: str) -> None:
    _, made = shrunk(place, kind, params=0.75, importance="l2")
    assert made.report["after"]["params"] <= 0.76 * made.report["before"]["params"]
    loaded(made.folder, kind)
    names = [check.name for check in made.verdict.checks]
    assert any("small twin: the class with the new configuration equals the slim model" in n for n in names)
    assert "the files hold the planned slices, and what was repaired or trained" in names


def test_shards_dtype_and_what_goes_along_stay(place: Path) -> None:
    folder = written("llama", place / "half", torch.bfloat16, shard="40KB")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    (folder / "LICENSE").write_text("free")
    (folder / "pytorch_model.bin").write_bytes(b"old")
    assert len(list(folder.glob("*.safetensors"))) > 1
    made = gp.shrink_pretrained(folder, place / "half-slim", params=0.7, importance="l2")
    names = {path.name for path in made.folder.iterdir()}
    assert {"LICENSE", "tokenizer_config.json", "generation_config.json", "README.md", "plan.json"} <= names
    assert not names & {"pytorch_model.bin"}
    with safe_open(made.folder / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118
    assert json.loads((made.folder / "config.json").read_text())["dtype"] == "bfloat16"
    model = library().LlamaForCausalLM.from_pretrained(made.folder)
    assert model.dtype is torch.bfloat16


def test_a_language_model_writes_its_own_text_by_default_and_is_repaired(place: Path) -> None:
    _, made = shrunk(place, "llama", params=0.8)
    said = made.report["pretrained"]
    assert said["calibration"] == "text that the model wrote itself"
    assert made.report["request"]["importance"] == "contribution"
    assert made.report["repair"]["kept"]
    assert made.report["evaluation"]["before"]["perplexity"] > 1
    assert made.verdict.passed


def test_an_encoder_with_a_tokenizer_reads_english(place: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    folder = written("bert", place / "reader")
    words = {f"w{number}": number for number in range(100)} | {"the": 100, "a": 101}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    made = gp.shrink_pretrained(folder, place / "reader-slim", params=0.8)
    assert made.report["pretrained"]["calibration"] == "English sentences that come with graphprune"
    assert made.report["repair"]["kept"]
    assert made.verdict.passed


def test_a_named_importance_is_taken_at_its_word(place: Path) -> None:
    _, made = shrunk(place, "llama", params=0.7, importance="l1")
    assert made.report["pretrained"]["calibration"] == "none"
    assert "repair" not in made.report


def test_batches_of_ones_own_are_taken(place: Path) -> None:
    folder, _ = shrunk(place, "llama", params=0.7, importance="l1")
    batches = [{"input_ids": ids(12, seed)} for seed in range(4)]
    made = gp.shrink_pretrained(folder, place / "own", params=0.8, importance="wanda", calibration=batches)
    assert made.verdict.passed
    assert made.report["pretrained"]["calibration"] == "the batches that were given"


def test_memory_that_does_not_suffice_for_writing_text_is_said(place: Path) -> None:
    folder, _ = shrunk(place, "llama", params=0.7, importance="l1")
    made = gp.shrink_pretrained(folder, place / "less", params=0.8, max_memory="100kB")
    assert made.report["request"]["importance"] == "l2"
    assert "takes 0.0 GiB of memory" in made.report["pretrained"]["calibration"]
    with pytest.raises(gp.InputError, match="importance='wanda' looks at data: to write text"):
        gp.shrink_pretrained(folder, place / "no", params=0.8, max_memory="100kB", importance="wanda")


def test_the_configuration_can_say_it_or_it_stays(place: Path) -> None:
    _, made = shrunk(place, "gemma", params=0.8, importance="l2")
    assert "hidden_size" not in made.fields
    assert "with hidden_size the class computes otherwise" in made.held["model.embed_tokens.weight:1"]
    assert made.plan.sizes["model.embed_tokens.weight:1"] == 64


# -- planted faults ---------------------------------------------------------------------------------------------
def test_a_wrong_tensor_in_the_files_is_found_and_nothing_is_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = shrunk(place, "llama", params=0.7, importance="l1")
    right, name = results.folder_files, "model.layers.1.mlp.down_proj.weight"

    def wrong(model: Any, tensors: Lazy, *more: Any) -> Any:
        planted = Lazy(tensors, lambda n: tensors[n].flip(0) if n == name else tensors[n])
        return right(model, planted, *more)

    monkeypatch.setattr(results, "folder_files", wrong)
    with pytest.raises(
        gp.VerificationError,
        match=f"hold the planned slices, and what was repaired or trained: FAILED, 1 .* {name}",
    ):
        gp.shrink_pretrained(folder, place / "bad", params=0.7, importance="l1")
    assert not (place / "bad").exists()


def test_a_configuration_that_says_other_widths_is_found(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = shrunk(place, "llama", params=0.7, importance="l1")
    monkeypatch.setattr(writing, "config_text", lambda model, slim: (folder / "config.json").read_text())
    with pytest.raises(gp.GraphpruneError):
        gp.shrink_pretrained(folder, place / "old", params=0.7, importance="l1")
    assert not (place / "old").exists()


def test_a_width_may_become_one(place: Path) -> None:
    """One is no width elsewhere, and a field that says it has changed all the same."""
    _, made = shrunk(
        place, "electra", params=0.75, importance="l2", ratios={"electra.embeddings.word_embeddings": 0.95}
    )
    assert made.fields["embedding_size"] == (20, 1)
    loaded(made.folder, "electra")


def test_a_field_that_is_wrong_is_found_on_the_twin(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads of half the width in place of half as many: every shape is right."""
    folder, _ = shrunk(place, "t5", params=0.75, importance="l2")
    from graphprune.pretrained import proof

    right = proof.fields_at

    def wrong(numbers: Any, moves: Any, sizes: Any) -> Any:
        found = right(numbers, moves, sizes)
        if ("num_heads",) in found:
            kept, d_kv = found.pop(("num_heads",)), numbers[("d_kv",)]
            found[("d_kv",)] = d_kv * kept // numbers[("num_heads",)]
        return found

    monkeypatch.setattr(proof, "fields_at", wrong)
    with pytest.raises(gp.GraphpruneError):
        gp.shrink_pretrained(folder, place / "worse", params=0.75, importance="l2", protect=["*.wi", "*.wo"])
    assert not (place / "worse").exists()


def test_an_onnx_file_is_written_where_it_is_asked_for(place: Path) -> None:
    import onnxruntime

    folder, _ = shrunk(place, "llama", params=0.7, importance="l1")
    made = gp.shrink_pretrained(folder, place / "onnx", params=0.7, importance="l1", onnx=True)
    session = onnxruntime.InferenceSession(made.folder / "model.onnx")
    model = library().LlamaForCausalLM.from_pretrained(made.folder, dtype=torch.float32).eval()
    for rows, length in ((1, 5), (3, 12)):
        tokens = torch.randint(3, 120, (rows, length), generator=torch.Generator().manual_seed(length))
        (given,) = session.run(None, {session.get_inputs()[0].name: tokens.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(given), model(tokens).logits, rtol=1e-3, atol=1e-3)


def test_inputs_of_ones_own_are_taken(place: Path) -> None:
    """Their tokens are beyond what a narrower twin would know."""
    folder = written("llama", place / "words", vocab_size=32000, intermediate_size=384)
    inputs = {"input_ids": torch.randint(31000, 32000, (2, 11)), "attention_mask": torch.ones(2, 11).long()}
    made = gp.shrink_pretrained(
        folder, place / "words-slim", example_inputs=inputs, params=0.97, importance="l2"
    )
    assert made.verdict.passed


def test_fast_looks_at_weights_alone(place: Path) -> None:
    folder, _ = shrunk(place, "llama", params=0.7, importance="l1")
    made = gp.shrink_pretrained(folder, place / "fast", params=0.8, fast=True)
    assert made.report["request"]["importance"] == "l2"
    assert "repair" not in made.report
    with pytest.raises(gp.InputError, match="fast looks at no data"):
        gp.shrink_pretrained(folder, place / "no", params=0.8, fast=True, repair=True)
