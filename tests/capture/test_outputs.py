"""Which of a model's outputs the slim model returns."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

import graphprune as gp


class Encoder(nn.Module):
    """Returns its logits, and what lies below them in several ways."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 12)
        self.body = nn.Linear(12, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        first = torch.relu(self.stem(x))
        second = torch.relu(self.body(first))
        return {"logits": self.head(second), "hidden": (first, second), "scale": 2.0, "missing": None}


class Several(Encoder):
    def forward(self, x):
        out = super().forward(x)
        return OrderedDict(out) if x.dim() == 3 else (out["logits"], [*out["hidden"]])


def reachable(outputs):
    return {group.size for group in gp.trace(Encoder(), torch.randn(2, 6), outputs=outputs).groups}


@pytest.mark.parametrize(
    ("outputs", "widths"),
    [
        ((), set()),
        (("logits",), {12, 16}),
        (("logits", "hidden.0"), {16}),
        (("hidden.1",), {12}),
        (("hidden",), set()),
        (("hid*.0",), set()),
        (("*",), set()),
    ],
)
def test_only_the_outputs_that_are_wanted_hold_their_width(outputs, widths):
    assert reachable(outputs) == widths


@pytest.mark.parametrize(
    ("outputs", "structure"),
    [
        (("logits",), {"logits": (2, 3)}),
        (("hidden.1", "logits"), {"logits": (2, 3), "hidden": ((2, 16),)}),
        (("hidden",), {"hidden": ((2, 12), (2, 16))}),
    ],
)
def test_the_structure_stays_without_what_was_left_out(outputs, structure):
    slim = gp.shrink(Encoder(), torch.randn(2, 6), params=1.0, outputs=outputs).model
    got = torch.utils._pytree.tree_map(lambda leaf: tuple(leaf.shape), slim(torch.randn(2, 6)))
    assert got == structure


def test_tuples_are_numbered():
    slim = gp.shrink(Several(), torch.randn(2, 6), ratio=0.5, outputs=["0"]).model
    (logits,) = slim(torch.randn(4, 6))
    assert logits.shape == (4, 3)
    assert slim.stem.out_features == 6
    assert not hasattr(slim, "missing")


def test_the_wanted_outputs_are_the_models():
    model, x = Encoder().eval(), torch.randn(2, 6)
    result = gp.shrink(model, x, params=1.0, outputs=["hidden.1"])
    torch.testing.assert_close(result.model(x)["hidden"][0], model(x)["hidden"][1])


def test_what_nobody_reads_any_more_is_gone():
    slim = gp.shrink(Encoder(), torch.randn(2, 6), params=1.0, outputs=["hidden.0"]).model
    assert dict(slim.named_children()).keys() == {"stem"}


def test_a_plan_remembers_them():
    model, x = Encoder(), torch.randn(2, 6)
    result = gp.shrink(model, x, ratio=0.5, outputs=["logits"])
    again = gp.shrink(model, x, plan=gp.Plan.from_json(result.plan.to_json()))
    assert list(again.model(x)) == ["logits"]
    assert result.graft().head.in_features == 8


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (["logit"], "'logit'.*it returns logits, hidden.0, hidden.1"),
        (["scale"], "'scale'"),
        (["missing"], "'missing'"),
        ("logits", "is a text"),
    ],
)
def test_refusals(outputs, said):
    with pytest.raises(gp.InputError, match=said):
        gp.shrink(Encoder(), torch.randn(2, 6), ratio=0.5, outputs=outputs)


def test_a_single_tensor_has_no_name():
    with pytest.raises(gp.InputError, match="returns a single tensor"):
        gp.trace(nn.Linear(2, 3), torch.randn(2, 2), outputs=["logits"])


def test_they_are_chosen_when_the_model_is_traced():
    graph = gp.trace(Encoder(), torch.randn(2, 6), outputs=["logits"])
    assert gp.shrink(graph, ratio=0.5, outputs=["logits"]).plan.outputs == ("logits",)
    with pytest.raises(gp.InputError, match="traced already"):
        gp.shrink(graph, ratio=0.5, outputs=["hidden"])
