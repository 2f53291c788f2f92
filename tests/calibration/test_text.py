"""Rows of tokens from text, text that a model writes itself, and perplexity."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.calibration.text import NUCLEUS, next_token_loss, own_text, perplexity, text_batches
from graphprune.ground.errors import InputError
from models_zoo import torchvision_ops

torchvision_ops.ensure()
transformers = pytest.importorskip("transformers")

WORDS = 50


class Letters:
    """A token for each letter; 1 before every document."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [1, *(ord(letter) for letter in text)]}

    def apply_chat_template(self, messages: list[dict[str, str]], tokenize: bool) -> str:
        return "".join(f"<{message['role']}>{message['content']}" for message in messages)


def words(batches: list[dict[str, Tensor]]) -> str:
    return "".join(chr(int(token)) for batch in batches for token in batch["input_ids"][0]).replace(
        "\x01", "|"
    )


def llama(**options: Any) -> Any:
    sizes = {"hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=WORDS, num_key_value_heads=2, bos_token_id=3, eos_token_id=4, **sizes | options
    )
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(30)
    return model


# -- files ------------------------------------------------------------------------------------------------------
def test_a_text_becomes_rows_of_one_length() -> None:
    rows = text_batches(Letters(), "abcdefghijk", tokens=8, length=4)
    assert [tuple(row["input_ids"].shape) for row in rows] == [(1, 4), (1, 4)]
    assert words(rows) == "|abcdefg"
    assert words(text_batches(Letters(), "abcdefghijk", tokens=100, length=5)) == "|abcdefghi"


def test_documents_of_a_folder_follow_one_another(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.txt").write_text("abc")
    (tmp_path / "inner" / "c.md").write_text("ghi")
    (tmp_path / "b.bin").write_bytes(b"\xff\xfe")
    chat = {"messages": [{"role": "user", "content": "d"}]}
    lines = [json.dumps(chat), "", json.dumps({"text": "ef"})]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    expected = "|abc|<user>d|ef|ghi"
    for path in (tmp_path, str(tmp_path)):
        assert words(text_batches(Letters(), path, tokens=19, length=19)) == expected
    assert words(text_batches(Letters(), tmp_path / "a.txt", tokens=4, length=2)) == "|abc"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("short.txt", b"ab", "short.txt has 3 tokens, and a row takes 8"),
        ("bytes.txt", b"\xff\xfe\xfd", "bytes.txt is no text"),
        ("other.jsonl", b'{"prompt": "x"}', "row 1 of .*other.jsonl gives no text: 'text'"),
        ("broken.jsonl", b"\n{", "row 2 of .*broken.jsonl gives no text"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        text_batches(Letters(), tmp_path / name, tokens=8, length=8)


CHAT = [{"role": "user", "content": "d", "tool_calls": None}]


class Strict(Letters):
    """Templates of the library look whether a message has a part, whatever it is."""

    def apply_chat_template(self, messages: list[dict[str, str]], tokenize: bool) -> str:
        assert all("tool_calls" not in message for message in messages)
        return super().apply_chat_template(messages, tokenize)


def test_tables_of_datasets_are_read_row_by_row(tmp_path: Path) -> None:
    """Arrow streams, as save_to_disk writes them, and Parquet files."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    plain, chat = (pa.Table.from_pylist([{name: row}]) for name, row in (("text", "ab"), ("messages", CHAT)))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "state.json").write_text("{}")
    for number, table in enumerate((plain, chat)):
        file = tmp_path / "set" / f"data-{number:05}-of-00002.arrow"
        with pa.ipc.new_stream(str(file), table.schema) as writer:
            writer.write_table(table)
        parquet.write_table(table, tmp_path / f"{number}.parquet")
    assert words(text_batches(Strict(), tmp_path / "set", tokens=11, length=11)) == "|ab|<user>d"
    (tmp_path / "set" / "data-00000-of-00002.arrow").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"data-00000-of-00002\.arrow cannot be read"):
        text_batches(Strict(), tmp_path / "set")
    assert words(text_batches(Strict(), tmp_path / "1.parquet", tokens=8, length=8)) == "|<user>d"
    parquet.write_table(plain.rename_columns(["body"]), tmp_path / "1.parquet")
    with pytest.raises(InputError, match=r"row 1 of .*1\.parquet gives no text: 'text' — give rows such as"):
        text_batches(Strict(), tmp_path / "1.parquet")


def test_a_folder_of_several_sets_is_not_mixed(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(InputError, match="holds several sets: test, train — name one"):
        text_batches(Letters(), tmp_path)


@pytest.mark.parametrize("name", ["a.arrow", "a.parquet"])
def test_a_table_asks_for_pyarrow(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pyarrow is not installed — pip install 'graphprune\[tables\]'"):
        text_batches(Letters(), tmp_path)


def test_a_path_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"missing\.txt is no text"):
        text_batches(Letters(), Path("missing.txt"))


# -- the model's own text -----------------------------------------------------------------------------------------
def test_a_model_writes_the_same_text_for_the_same_seed() -> None:
    model, state = llama(), torch.get_rng_state()
    one, two, other = (own_text(model, tokens=48, seed=seed, length=12) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert [tuple(row["input_ids"].shape) for row in one] == [(1, 12)] * 4
    together = [torch.cat([row["input_ids"] for row in rows]) for rows in (one, two, other)]
    assert torch.equal(together[0], together[1])
    assert not torch.equal(together[0], together[2])
    assert together[0][:, 0].tolist() == [3, 4, 3, 4]  # its special tokens in turn
    assert together[0].unique().numel() > 10


def test_what_it_writes_is_what_it_expects() -> None:
    """The mean surprise of its samples is that of the likeliest words that have 95 % of the probability together."""
    model = llama()
    own = own_text(model, tokens=40 * 64, seed=0, length=40)
    ids = torch.cat([row["input_ids"] for row in own])
    with torch.no_grad():
        logits = model(ids).logits[:, 1:-1]  # behind the random word at the start
    logits[..., 4] = -1e9  # no text ends
    logs, order = logits.log_softmax(-1).sort(-1)
    likely = logs.exp().cumsum(-1) > 1 - NUCLEUS
    among = torch.where(likely, logs.exp(), 0)
    expected = float(-(among / among.sum(-1, keepdim=True) * logs).sum(-1).mean())
    places = (order == ids[:, 2:, None]).nonzero(as_tuple=True)
    assert likely[places].all()
    assert float(-logs[places].mean()) == pytest.approx(expected, abs=0.1)
    random = perplexity(model, [torch.randint(WORDS, ids.shape)])
    assert perplexity(model, own) < 0.5 * random


def test_who_writes_no_text_is_refused() -> None:
    for model in (nn.Linear(2, 2), transformers.BertModel(transformers.BertConfig(num_hidden_layers=1))):
        with pytest.raises(InputError, match="cannot write text of its own"):
            own_text(model)


# -- perplexity ---------------------------------------------------------------------------------------------------
def test_perplexity_is_that_of_the_library_and_of_a_slim_model() -> None:
    model = llama(use_cache=False).train()
    ids = torch.randint(WORDS, (3, 9))
    with torch.no_grad():
        expected = math.exp(float(model(ids, labels=ids).loss))
    assert perplexity(model, [ids]) == pytest.approx(expected, rel=1e-5)
    assert perplexity(model, [{"input_ids": row} for row in ids.split(1)]) == pytest.approx(
        expected, rel=1e-5
    )
    assert model.training
    graph = gp.trace(model, {"input_ids": ids[:2]}, outputs=["logits"])
    slim = gp.shrink(graph, None, ratio=0.0).model
    assert perplexity(slim, [ids]) == pytest.approx(expected, rel=1e-4)


def test_what_is_masked_is_not_predicted() -> None:
    model, ids = llama(), torch.randint(WORDS, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    with torch.no_grad():
        logs = model(ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    expected = math.exp(-float(torch.cat([logs[0], logs[1, :3]]).mean()))
    assert perplexity(model, [{"input_ids": ids, "attention_mask": mask}]) == pytest.approx(
        expected, rel=1e-5
    )
    with pytest.raises(InputError, match="no token to predict"):
        perplexity(model, [ids[:, :1]])


def test_the_loss_is_for_criteria_with_gradients() -> None:
    model, ids = llama(use_cache=False), torch.randint(WORDS, (2, 9))
    graph = gp.trace(model, {"input_ids": ids}, outputs=["logits"])
    batches = [{"input_ids": ids}]
    found = gp.Criterion("taylor", "first", "none", batches, next_token_loss)(graph, graph.program.tensors, 0)
    weight = model.model.layers[0].mlp.gate_proj.weight
    model(ids, labels=ids).loss.backward()
    expected = (weight * weight.grad).sum(1).abs().detach().double()
    torch.testing.assert_close(found["model.layers.0.mlp.gate_proj.weight:0"], expected, rtol=1e-3, atol=1e-7)
