"""Language models of Hugging Face as they come, with a cache: right at every length of text, in PyTorch and in ONNX."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from black_box import difference, randomise, reproducible, zeroed  # noqa: F401  (a fixture)
from torch import Tensor, nn

import graphprune as gp
from models_zoo import torchvision_ops

torchvision_ops.ensure()
transformers = pytest.importorskip("transformers")

WORDS = 61
SMALL = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 310,
    "attn_implementation": "sdpa",
}
GROUPED = SMALL | {"num_key_value_heads": 2}
GPT2 = {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 310}
T5 = {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 44, "num_heads": 4, "num_layers": 2}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", GROUPED),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2 | {"bos_token_id": 0, "eos_token_id": 0}),
    "bert": ("BertConfig", "BertForMaskedLM", SMALL),
    "mistral": ("MistralConfig", "MistralForCausalLM", GROUPED | {"sliding_window": 5}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", GROUPED),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", GROUPED | {"head_dim": 8, "sliding_window": 5}),
    "opt": ("OPTConfig", "OPTForCausalLM", SMALL | {"ffn_dim": 44, "word_embed_proj_dim": 32}),
    "t5": ("T5Config", "T5ForConditionalGeneration", T5),
}
CAUSAL = ["llama", "gpt2", "mistral"]
LENGTHS = (1, 7, 64, 300)


class Norm(nn.RMSNorm):
    """A library's own norm as that of `torch.nn`, which the oracle knows."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__(
            norm.weight.shape[0], eps=getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
        )
        self.weight = norm.weight


def made(name: str, **options: Any) -> nn.Module:
    config, kind, sizes = MODELS[name]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**sizes | options)).eval()
    for path, module in list(model.named_modules()):
        if type(module).__name__.endswith(("RMSNorm", "T5LayerNorm")):
            model.set_submodule(path, Norm(module))
    return randomise(model)


def text(batch: int, length: int) -> Tensor:
    return torch.randint(1, WORDS, (batch, length))


def call(name: str, batch: int, length: int) -> dict[str, Tensor]:
    decoded = {"decoder_input_ids": text(batch, length)} if name == "t5" else {}
    return {"input_ids": text(batch, length), **decoded}


def logits(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**inputs)["logits"]
    return found


def onnx_logits(path: Path, *inputs: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [item.name for item in session.get_inputs()]
    feeds = {name: item.numpy() for name, item in zip(names, inputs, strict=True)}
    return torch.from_numpy(session.run(None, feeds)[0])


@pytest.mark.parametrize("name", MODELS)
def test_any_length(name: str, tmp_path: Path) -> None:
    model = made(name)
    result = gp.shrink(model, call(name, 1, 8), ratio=0.3, importance="random", outputs=["logits"])
    result.save(tmp_path / "slim", latency=False)
    masked = zeroed(model, result.plan.kept)
    assert {"batch", "sequence"} <= set(result.graph.program.sizes)
    of_dtype = "the model itself computes otherwise in float16"  # T5 clamps in that dtype alone
    notes = result.graph.program.notes
    assert all(name == "t5" and note.startswith(of_dtype) for note in notes), notes
    loaded = gp.load(tmp_path / "slim")
    for length in LENGTHS:
        inputs = call(name, 3, length)
        expected = logits(masked, inputs)
        assert difference(expected, logits(result.model, inputs)) < 1e-5, length
        assert difference(expected, logits(loaded, inputs)) < 1e-5, length
        assert difference(expected, onnx_logits(tmp_path / "slim" / "model.onnx", *inputs.values())) < 1e-4, (
            length
        )
    assert difference(logits(model, inputs), expected) > 1e-2


@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_a_mask_is_as_long_as_the_text(name: str) -> None:
    """The library looks whether it must be made longer."""
    model = made(name)

    def masked_call(batch: int, length: int) -> dict[str, Tensor]:
        mask = torch.ones(batch, length, dtype=torch.int64)
        mask[0, : length // 3] = 0
        return {"input_ids": text(batch, length), "attention_mask": mask}

    result = gp.shrink(model, masked_call(2, 8), ratio=0.3, importance="random", outputs=["logits"])
    masked = zeroed(model, result.plan.kept)
    assert result.graph.program.sizes == {"batch": 2, "sequence": 8}
    for length in LENGTHS:
        inputs = masked_call(3, length)
        assert difference(logits(masked, inputs), logits(result.model, inputs)) < 1e-5, length


def test_the_cache_is_left_out_with_a_note() -> None:
    result = gp.shrink(made("llama"), call("llama", 1, 8), ratio=0.3)
    assert list(result.model(text(2, 5))) == ["logits"]
    (note,) = result.graph.program.notes
    assert note.startswith("the output past_key_values is left out, a DynamicCache")


def test_the_cache_is_returned_when_it_is_asked_for() -> None:
    result = gp.shrink(made("llama"), call("llama", 1, 8), ratio=0.3, outputs=["logits", "past_key_values"])
    layers = result.model(text(2, 5))["past_key_values"]["layers"]
    assert [tuple(layer["keys"].shape) for layer in layers] == [(2, 2, 5, 8)] * 2


@pytest.mark.parametrize("name", ["gpt2", "bert", "opt"])
def test_learned_positions_end_where_their_table_ends(name: str) -> None:
    result = gp.shrink(made(name), call(name, 1, 8), ratio=0.3, outputs=["logits"])
    assert result.model(text(1, 310))["logits"].shape == (1, 310, WORDS)
    with pytest.raises(gp.InputError, match=r"input_ids\[1\] must be at most 310"):
        result.model(text(1, 311))


def test_an_encoder_of_sounds(tmp_path: Path) -> None:
    config = transformers.WhisperConfig(
        vocab_size=WORDS,
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=44,
        decoder_layers=1,
        decoder_attention_heads=4,
        max_source_positions=300,
        num_mel_bins=8,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = randomise(transformers.WhisperModel(config).encoder.eval())
    sound = torch.randn(1, 8, 600)
    result = gp.shrink(model, (sound,), ratio=0.3, importance="random")
    result.save(tmp_path / "slim", latency=False)
    masked = zeroed(model, result.plan.kept)
    sounds = torch.randn(3, 8, 600)
    with torch.no_grad():
        expected, given = masked(sounds)[0], result.model(sounds)["last_hidden_state"]
    assert difference(expected, given) < 1e-5
    assert difference(expected, onnx_logits(tmp_path / "slim" / "model.onnx", sounds)) < 1e-4
    # the model itself asks for this length
    with pytest.raises(gp.InputError, match="expects the mel input features to be of length 600"):
        result.model(torch.randn(1, 8, 602))


def past_of(model: nn.Module, batch: int, length: int) -> Any:
    """A cache without windows, of which a part would be dropped."""
    with torch.no_grad():
        return model(
            input_ids=text(batch, length), past_key_values=transformers.DynamicCache()
        ).past_key_values


class Step(nn.Module):
    """One step with a past that is given, and returned, as tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, past: tuple[tuple[Tensor, Tensor], ...]) -> Any:
        result = self.model(input_ids=ids, past_key_values=transformers.DynamicCache(past))
        return result.logits, tuple((layer.keys, layer.values) for layer in result.past_key_values.layers)


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("name", CAUSAL)
def test_a_past_of_any_length_as_tensors(name: str, tokens: int, tmp_path: Path) -> None:
    model = Step(made(name)).eval()

    def step(batch: int, tokens: int, length: int) -> tuple[Tensor, Any]:
        layers = past_of(model.model, batch, length).layers
        return text(batch, tokens), tuple((layer.keys, layer.values) for layer in layers)

    result = gp.shrink(model, step(1, tokens, 6), ratio=0.3, importance="random")
    result.save(tmp_path / "slim", latency=False)
    assert result.graph.program.sizes == {"batch": 1, "sequence": tokens, "past_length": 6}
    masked = zeroed(model, result.plan.kept)
    assert result.after.params < result.before.params
    for count, length in ((1, 1), (1, 2), (1, 40), (4, 9), (7, 1)):
        inputs = step(2, count, length)
        with torch.no_grad():
            expected = masked(*copy.deepcopy(inputs))
            given = result.model(*inputs)
        assert difference(expected, given) < 1e-5, (count, length)
        tensors = [item for pair in inputs[1] for item in pair]
        assert (
            difference(expected[0], onnx_logits(tmp_path / "slim" / "model.onnx", inputs[0], *tensors)) < 1e-4
        )


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_past_of_any_length_as_the_librarys_cache(name: str, tokens: int) -> None:
    model = made(name)
    example = {"input_ids": text(1, tokens), "past_key_values": past_of(model, 1, 6)}
    result = gp.shrink(model, example, ratio=0.3, importance="random")
    assert result.graph.program.sizes == {"batch": 1, "sequence": tokens, "past_key_values_length": 6}
    masked = zeroed(model, result.plan.kept)
    for count, length in ((1, 1), (1, 40), (4, 9)):
        inputs = {"input_ids": text(2, count), "past_key_values": past_of(model, 2, length)}
        given = result.model(**inputs)  # leaves the cache as it is, unlike the model
        expected = masked(**inputs)
        assert difference(expected.logits, given["logits"]) < 1e-5
        for mine, layer in zip(
            given["past_key_values"]["layers"], expected.past_key_values.layers, strict=True
        ):
            assert difference(layer.keys, mine["keys"]) < 1e-5


def test_one_token_after_another() -> None:
    """The slim model writes the text that the masked one writes, each with its own cache."""
    model = made("llama")
    example = {"input_ids": text(1, 1), "past_key_values": past_of(model, 1, 6)}
    result = gp.shrink(model, example, ratio=0.3, importance="random")
    masked = zeroed(model, result.plan.kept)
    prompt = text(1, 5)
    with torch.no_grad():
        cache = masked(input_ids=prompt).past_key_values
        expected = masked.generate(prompt, max_new_tokens=6, do_sample=False, use_cache=True, pad_token_id=0)
        token = masked(input_ids=prompt).logits[:, -1:].argmax(-1)
        written = [token]
        for _ in range(5):
            given = result.model(input_ids=token, past_key_values=cache)
            token = given["logits"][:, -1:].argmax(-1)
            for layer, new in zip(cache.layers, given["past_key_values"]["layers"], strict=True):
                layer.keys, layer.values = new["keys"], new["values"]
            written.append(token)
    assert torch.equal(torch.cat([prompt, *written], 1), expected)


def test_windows_count_what_they_have_seen() -> None:
    """The number is part of the library's cache, so at another one the program refuses."""
    model = made("mistral")

    def step(length: int) -> dict[str, Any]:
        with torch.no_grad():
            return {
                "input_ids": text(1, 3),
                "past_key_values": model(input_ids=text(1, length)).past_key_values,
            }

    result = gp.shrink(model, step(6), ratio=0.3)
    inputs = step(6)
    assert result.model(**inputs)["logits"].shape == (1, 3, WORDS)
    with pytest.raises(gp.InputError, match="cumulative_length is 9, but was 6 at capture"):
        result.model(**step(9))
