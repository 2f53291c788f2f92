"""The inventory: every public operator of PyTorch has a rule, or stands in the list with the reason why not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import operators
from operators_made import MADE

from graphprune.axes.rules import RULES


def test_every_public_name_has_a_rule_or_a_reason() -> None:
    assert not list(operators.unknown())


def test_a_rule_that_is_gone_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RULES, "aten.special_i0e")
    operators._ruled.cache_clear()
    assert list(operators.unknown()) == ["torch.special.i0e has neither a rule nor a reason"]
    operators._ruled.cache_clear()


def test_a_reason_that_nothing_needs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operators.ABSENT, "just so", "relu unheard_of")
    operators.absent.cache_clear()
    assert list(operators.unknown()) == [
        "relu has a rule, and needs no reason",
        "unheard_of is no public name of PyTorch",
    ]
    operators.absent.cache_clear()


@pytest.mark.parametrize("name", sorted(MADE))
def test_functions_are_made_of_operators_with_rules(name: str) -> None:
    assert not operators.without_rule(name)


@pytest.mark.parametrize(
    ("space", "name", "operator"),
    [
        ("torch", "arccos", "aten.acos"),
        ("torch.Tensor", "clip_", "aten.clamp"),
        ("torch.special", "expit", "aten.special_expit"),
        ("torch.linalg", "norm", "aten.linalg_norm"),
        ("torch.nn.functional", "pairwise_distance", "aten.pairwise_distance"),
        ("torch", "hsplit", "aten.tensor_split"),
        ("torch.Tensor", "storage", None),
    ],
)
def test_names_lead_to_operators(space: str, name: str, operator: str | None) -> None:
    assert operators.operator_of(space, name) == operator


def test_the_page_is_up_to_date() -> None:
    """It says of which version it is; another version has other names."""
    text = operators.PAGE.read_text()
    if f"PyTorch {torch.__version__.partition('+')[0]}:" not in text:
        pytest.skip("the page is of another version of PyTorch")
    assert text == operators.page()
