"""Mistakes of the user's: one message with cause and remedy, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from tuning_models import Net, data, loader, shrunk

import graphprune as gp
from graphprune.tuning.batches import Data

IMAGES, LABELS = data()
NAN = torch.full_like(IMAGES, float("nan"))


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(zip(IMAGES, LABELS, strict=True))


def fails(outputs: Tensor, batch: Any) -> Tensor:
    raise RuntimeError("no such thing")


CASES = {
    "empty list": ([], {}, "the data has no batches"),
    "empty loader": (DataLoader(TensorDataset(IMAGES[:0]), 4), {}, "the data has no batches"),
    "no loader": (IMAGES, {}, "the data is a Tensor"),
    "walked once": ((b for b in [(IMAGES, LABELS)] * 2), {"settings": gp.Tuning(steps=4)}, "only once"),
    "no length": (DataLoader(Stream(), 4), {}, "say how many steps"),
    "shapes": (
        [(IMAGES.repeat(1, 2, 1, 1), LABELS)],
        {},
        r"input x of batch 1 is torch.float32 \(48, 2, 6, 6\)",
    ),
    "a later batch": ([IMAGES, torch.zeros(3, 2, 6, 5)], {}, "input x of batch 2"),
    "integers": ([(IMAGES.int(), LABELS)], {}, "torch.int32"),
    "texts": (["a", "b"], {}, "batch 1 does not hold the model's 1 inputs"),
    "label range": ([(IMAGES, LABELS + 1)], {}, "labels run from 1 to 3, the model has 3 classes"),
    "label count": ([(IMAGES, LABELS[:, None])], {}, "are no classes of an output"),
    "float labels": ([(IMAGES, LABELS.float())], {}, "the labels are"),
    "nan inputs": ([(NAN, LABELS)], {}, "a batch holds NaN or infinity in step 1"),
    "nan loss": (
        [(IMAGES, LABELS)],
        {"loss": lambda outputs: outputs.sum() * float("nan")},
        "the loss .task. is not finite in step 1",
    ),
    "a loss that fails": ([(IMAGES, LABELS)], {"loss": fails}, "the loss fails: RuntimeError: no such thing"),
    "a constant loss": ([(IMAGES, LABELS)], {"loss": lambda y: torch.ones(())}, "does not return one number"),
    "labels that torch refuses": (
        [(IMAGES, LABELS + 1)],
        {"loss": lambda y, batch: F.cross_entropy(y, batch[1])},
        "the loss fails: IndexError",
    ),
    "nothing to learn": ([IMAGES], {"settings": gp.Tuning(distillation=0)}, "nothing to train on"),
    "evaluation": ([(IMAGES, LABELS)], {"evaluate": lambda m: None}, "the evaluation gives no number"),
    "nan evaluation": ([(IMAGES, LABELS)], {"evaluate": lambda m: float("nan")}, "the evaluation gives nan"),
    "no such layer": (
        [(IMAGES, LABELS)],
        {"settings": gp.Tuning(features=1, feature_layers=("body.*",))},
        "no layer that both models run once is called 'body",
    ),
    "half precision": ([(IMAGES, LABELS)], {"settings": gp.Tuning(precision="fp16")}, "precision 'fp16'"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_clear_error(name: str) -> None:
    batches, options, message = CASES[name]
    with pytest.raises(gp.InputError, match=message) as caught:
        gp.tune(shrunk(), batches, **options)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "lr=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"optimizer": "adam"}, "optimizer='adam' is not a choice"),
        ({"match": "l1"}, "match='l1' is not a choice"),
        ({"task": 0, "distillation": 0}, "are all 0"),
        ({"warmup": float("nan")}, "warmup=nan"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(gp.InputError, match=message):
        gp.Tuning(**settings)


def test_all_frozen() -> None:
    model = Net().eval().requires_grad_(False)
    result = gp.shrink(model, torch.randn(2, 1, 6, 6), ratio=0.5, align=1)
    with pytest.raises(gp.InputError, match="requires gradients"):
        gp.tune(result, loader())


def test_a_failure_leaves_the_checkpoint(tmp_path: Path) -> None:
    """NaN in the third batch: the checkpoint of the second step is there, and training goes on from it."""
    checkpoint, settings = tmp_path / "state.safetensors", gp.Tuning(epochs=1, save_every=1)
    good = [(IMAGES[:16], LABELS[:16]), (IMAGES[16:32], LABELS[16:32]), (IMAGES[32:], LABELS[32:])]
    with pytest.raises(gp.InputError, match="NaN or infinity in step 3"):
        gp.tune(shrunk(), [*good[:2], (NAN[32:], LABELS[32:])], settings, checkpoint=checkpoint)
    tuned = gp.tune(shrunk(), good, settings, checkpoint=checkpoint)
    assert tuned.tuning["resumed_at"] == 2
    assert tuned.tuning["steps"] == 3


def test_a_foreign_checkpoint_is_refused_and_kept(tmp_path: Path) -> None:
    checkpoint, settings = tmp_path / "state.safetensors", gp.Tuning(epochs=1)
    gp.tune(shrunk(), loader(), settings, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    torch.manual_seed(5)
    other = gp.shrink(
        Net().eval(), torch.randn(2, 1, 6, 6), ratio=0.5, align=1, importance="l2"
    )  # the same shapes, other weights
    for result, batches, changed, message in (
        (other, loader(), settings, "the checkpoint of another model"),
        (shrunk(), loader(), gp.Tuning(epochs=1, lr=1e-4), "made with lr=0.001, now it is 0.0001"),
        (shrunk(), loader(8), settings, "made with batches=3, now it is 6"),
    ):
        with pytest.raises(gp.InputError, match=message):
            gp.tune(result, batches, changed, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x80\x04K\x01.", "is a pickle"), (b"half", "not a complete safetensors"), (b"PK\x03\x04", "zip")],
)
def test_what_is_no_checkpoint(tmp_path: Path, content: bytes, message: str) -> None:
    checkpoint = tmp_path / "state.safetensors"
    checkpoint.write_bytes(content)
    with pytest.raises(gp.InputError, match=message):
        gp.tune(shrunk(), loader(), checkpoint=checkpoint)
    assert checkpoint.read_bytes() == content


def test_other_tensors_are_no_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "state.safetensors"
    save_file({"weight": torch.zeros(1)}, checkpoint)
    with pytest.raises(gp.InputError, match="is no checkpoint of a fine-tuning"):
        gp.tune(shrunk(), loader(), checkpoint=checkpoint)


def test_batches_that_cannot_be_shared_out() -> None:
    program = shrunk().graph.program
    for batches in ([(IMAGES[:15], LABELS[:15])], loader(15)):
        with pytest.raises(gp.InputError, match="cannot be shared out equally among 2 processes"):
            next(Data(batches, program, 0, 2, 0).epoch(0, 1))


def test_processes_share_each_batch() -> None:
    """The shares of two processes are the batches of one, from lists, map-style and streamed data alike."""
    program = shrunk().graph.program
    batches = [(IMAGES[:24], LABELS[:24]), (IMAGES[24:], LABELS[24:])]
    for source in (batches, loader(16), DataLoader(Stream(), 16)):
        whole = [step[0].given for step in Data(source, program, 0, 1, 3).epoch(1, 1)]
        shares = [[step[0].given for step in Data(source, program, i, 2, 3).epoch(1, 1)] for i in (0, 1)]
        assert len(shares[0]) == len(whole)
        for batch, *parts in zip(whole, *shares, strict=True):
            assert torch.equal(torch.cat([part[0] for part in parts]), batch[0])
            assert torch.equal(torch.cat([part[1] for part in parts]), batch[1])


def test_epochs_are_shuffled_anew_and_the_users_generators_stay() -> None:
    program, batches = shrunk().graph.program, loader()
    generator = torch.Generator().manual_seed(9)
    batches.sampler.generator = generator
    orders = [
        [step[0].labels.tolist() for step in Data(batches, program, 0, 1, 3).epoch(n, 1)] for n in (0, 1, 0)
    ]
    assert orders[0] == orders[2] != orders[1]
    assert batches.sampler.generator is generator
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(9).get_state())
