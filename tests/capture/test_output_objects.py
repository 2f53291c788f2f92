"""Outputs that are neither tensors nor containers: caches, and whatever else a class of the user's holds."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp


class Memory:
    """Holds tensors in attributes, as the cache of a language model does."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.steps = [first, second]
        self.count = 2
        self._last = second
        self.owner = self


class Silent:
    """Holds none."""

    def __init__(self) -> None:
        self.name = "silent"


@dataclass
class Answer:
    """PyTorch was not told of it."""

    logits: Tensor
    memory: object = None


class Remembers(nn.Module):
    def __init__(self, answer: object) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Linear(6, 12), nn.Linear(12, 16), nn.Linear(16, 3)
        self.answer = answer

    def forward(self, x: Tensor) -> object:
        first = self.stem(x).relu()
        second = self.body(first).relu()
        return self.answer(self.head(second), Memory(first, second))


def shrunk(answer: object, outputs: tuple[str, ...] = ()) -> gp.Result:
    torch.manual_seed(0)
    return gp.shrink(Remembers(answer), torch.randn(2, 6), ratio=0.5, outputs=outputs)


def test_an_object_is_left_out_with_a_note() -> None:
    result = shrunk(lambda logits, memory: {"logits": logits, "memory": memory, "scale": 2.0})
    assert {
        name: getattr(value, "shape", value) for name, value in result.model(torch.ones(3, 6)).items()
    } == {
        "logits": (3, 3),
        "scale": 2.0,
    }
    assert result.model.stem.out_features == 6
    (note,) = result.graph.program.notes
    assert note.startswith("the output memory is left out, a Memory")
    assert "outputs=[…, 'memory']" in note


def test_a_dataclass_that_torch_was_not_told_of_is_a_dict() -> None:
    result = shrunk(Answer)
    assert list(result.model(torch.ones(3, 6))) == ["logits"]


def test_its_tensors_are_returned_when_it_is_asked_for_by_name() -> None:
    result = shrunk(Answer, ("logits", "memory"))
    given = result.model(torch.ones(3, 6))
    assert [tuple(step.shape) for step in given["memory"]["steps"]] == [(3, 12), (3, 16)]
    assert not result.graph.program.notes


def test_one_of_its_tensors_can_be_asked_for() -> None:
    result = shrunk(Answer, ("logits", "memory.steps.1"))
    assert (result.model.stem.out_features, result.model.body.out_features) == (6, 16)


def test_it_is_returned_when_there_is_nothing_else() -> None:
    given = shrunk(lambda logits, memory: memory).model(torch.ones(3, 6))
    assert [tuple(step.shape) for step in given["steps"]] == [(3, 12), (3, 16)]


def test_an_object_without_tensors_is_left_out() -> None:
    result = shrunk(lambda logits, memory: (logits, Silent()))
    assert len(result.model(torch.ones(3, 6))) == 1
    assert result.graph.program.notes == ("the output 1 is left out, a Silent",)


@pytest.mark.parametrize(
    ("answer", "outputs", "said"),
    [
        (
            lambda logits, memory: (logits, Silent()),
            ("1",),
            "output '1' is a Silent, in which no tensors were found",
        ),
        (lambda logits, memory: Silent(), (), "the output is a Silent, in which no tensors were found"),
        (lambda logits, memory: (logits, memory), ("2",), "it returns 0, 1.steps.0, 1.steps.1"),
    ],
)
def test_refusals(answer: object, outputs: tuple[str, ...], said: str) -> None:
    with pytest.raises(gp.InputError, match=said):
        shrunk(answer, outputs)


def test_the_slim_layers_go_back_into_such_a_model() -> None:
    result = shrunk(Answer)
    assert isinstance(result.graft()(torch.ones(3, 6)), Answer)


def test_no_hook_is_left() -> None:
    model = Remembers(Answer)
    gp.trace(model, torch.randn(2, 6))
    assert not model._forward_hooks
