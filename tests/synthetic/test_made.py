"""Inputs for a whole program: their range and shape come from the model, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.calibration import Calibration
from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.errors import InputError
from graphprune.synthetic import SENTENCES, make_inputs
from graphprune.synthetic.statistics import error, find_norms


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.synthetic.made.MOST_STEPS", 40)


class Vision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(x)).mean((2, 3)))


def trained_on(low: float, high: float) -> Vision:
    """With the statistics of images whose values lie in this range."""
    torch.manual_seed(0)
    model = Vision()
    for norm in (model.one[1], model.two[1]):
        norm.momentum = None
    for seed in range(8):
        noise = torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
        model(nn.functional.interpolate(low + (high - low) * noise, (16, 16), mode="bilinear"))
    return model.eval()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 1.0), (0.0, 255.0)])
def test_the_range_is_the_one_that_the_model_was_trained_on(low: float, high: float) -> None:
    model = trained_on(low, high)
    graph = gp.trace(model, torch.zeros(1, 3, 16, 16))
    made = make_inputs(graph)
    values = torch.cat([tensor_leaves(batch)[0] for batch in made])
    assert made.matched
    assert not made.blind
    assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.1 * (high - low))
    assert 0.1 * (high - low) < float(values.std()) < 0.4 * (high - low)


def test_activations_have_the_statistics_of_training() -> None:
    graph = gp.trace(trained_on(0.0, 1.0), torch.zeros(1, 3, 16, 16))
    norms = find_norms(graph.program)
    assert len(norms) == 2

    @torch.no_grad()
    def off(batch: object) -> float:
        _, leaves = next(Calibration([batch]).walk(graph.program))
        return float(error(graph.program, leaves, norms))

    (made, *_), noise = make_inputs(graph), torch.randn(16, 3, 16, 16)
    assert off(made) < 0.02 * off(noise)


def test_a_model_that_was_never_trained_says_nothing() -> None:
    made = make_inputs(gp.trace(Vision().eval(), torch.zeros(1, 3, 16, 16)))
    assert not made.matched
    assert made.blind
    assert str(made) == "synthetic data (image)"


def test_shapes_types_and_keywords_are_the_example_s() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.layer = nn.Embedding(30, 6), nn.Linear(5, 6)

        def forward(self, ids: Tensor, *, seen: Tensor, keep: Tensor) -> Tensor:
            return (self.words(ids).mean(1) + self.layer(seen)) * keep

    example = (
        (torch.zeros(2, 7, dtype=torch.int32),),
        {"seen": torch.zeros(2, 5, dtype=torch.float64), "keep": torch.tensor([[True], [False]])},
    )
    graph = gp.trace(Two().double().eval(), example)
    made = make_inputs(graph)
    assert dict(made.kinds) == {"ids": "tokens", "seen": "features"}
    for args, kwargs in made:
        assert args[0].dtype == torch.int32
        assert args[0].shape == (16, 7)
        assert int(args[0].max()) < 30
        assert kwargs["seen"].dtype == torch.float64
        assert set(kwargs["keep"].flatten().tolist()) == {True, False}
    assert make_inputs(graph).batches[0][1]["seen"].equal(made.batches[0][1]["seen"])


def test_a_part_is_held_out() -> None:
    made = make_inputs(gp.trace(Vision().eval(), torch.zeros(1, 3, 16, 16)))
    seen, held = made.parted()
    assert [*seen, *held] == [*made]
    assert len(held) >= 2
    assert sum(len(tensor_leaves(batch)[0]) for batch in seen) == 512


def test_a_fixed_batch_stays() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.reshape(4, 6)).reshape(2, 12)

    made = make_inputs(gp.trace(Fixed().eval(), torch.zeros(2, 12)))
    assert {tuple(tensor_leaves(batch)[0].shape) for batch in made} == {(2, 12)}


class Reader(nn.Module):
    """Means of the embeddings that a mask lets through."""

    def __init__(self, rows: int = 300) -> None:
        super().__init__()
        self.words, self.hidden, self.layer = nn.Embedding(rows, 16), nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        keep = attention_mask.unsqueeze(-1).float()
        mean = (self.words(input_ids) * keep).sum(1) / keep.sum(1)
        return self.layer(self.hidden(mean).relu())


def letters(texts: list[str], max_length: int, **how: Any) -> dict[str, list[list[int]]]:
    """A token for every letter."""
    assert how == {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    rows = [[ord(letter) for letter in text][:max_length] for text in texts]
    return {
        "input_ids": [row + [0] * (max_length - len(row)) for row in rows],
        "attention_mask": [[1] * len(row) + [0] * (max_length - len(row)) for row in rows],
    }


EXAMPLE = {
    "input_ids": torch.ones(2, 80, dtype=torch.long),
    "attention_mask": torch.ones(2, 80, dtype=torch.long),
}


def test_drawn_texts_have_the_lengths_that_masks_say() -> None:
    made = make_inputs(gp.trace(Reader(), EXAMPLE))
    assert made.of_tokens
    assert made.unwritten
    lengths = torch.cat([kwargs["attention_mask"].sum(1) for _, kwargs in made])
    assert int(lengths.min()) >= 20
    assert int(lengths.max()) == 80
    assert len(lengths.unique()) > 30
    for _, kwargs in made:
        padding = kwargs["attention_mask"] == 0
        assert (kwargs["attention_mask"].diff(dim=1) <= 0).all()
        assert (kwargs["input_ids"][padding] == 0).all()


def test_with_a_tokenizer_tokens_are_english() -> None:
    made = make_inputs(gp.trace(Reader(), EXAMPLE), tokenizer=letters)
    assert made.of_tokens
    assert not made.unwritten
    assert str(made) == "synthetic data (English text)"
    row = made.batches[0][1]["input_ids"][0]
    text = "".join(map(chr, row[row > 0].tolist()))
    assert SENTENCES[0].startswith(text[:40])
    texts = {tuple(row.tolist()) for _, kwargs in made for row in kwargs["input_ids"]}
    assert len(texts) > 200
    seen, held = made.parted()
    assert len(held) * 4 <= len(seen) + 4


@pytest.mark.parametrize(
    ("rows", "tokenizer", "message"),
    [
        (60, letters, "makes token 1"),
        (300, lambda texts, **how: {"ids": [[1]]}, "cannot be used: 'input_ids'"),
        (300, lambda texts, **how: letters(texts[:3], 80), "cannot be used"),
        (300, lambda texts, **how: letters(texts[:3], **how), "tokens of"),
    ],
)
def test_another_model_s_tokenizer_is_refused(rows: int, tokenizer: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gp.shrink(Reader(rows), EXAMPLE, macs=0.8, calibration="synthetic", tokenizer=tokenizer)


def test_a_tokenizer_of_a_model_of_images_is_refused() -> None:
    with pytest.raises(InputError, match="not just one input holds rows of tokens"):
        gp.shrink(Vision(), torch.zeros(1, 3, 16, 16), macs=0.8, calibration="synthetic", tokenizer=letters)


def test_a_tokenizer_beside_data_is_refused() -> None:
    with pytest.raises(InputError, match="tokenizer has no effect on calibration data"):
        gp.shrink(Reader(), EXAMPLE, macs=0.8, calibration=[EXAMPLE], tokenizer=letters)
