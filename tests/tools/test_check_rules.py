"""The search for wrong rules: clean on ours, and it finds each kind of mistake."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from graphprune.axes.call import Call
from graphprune.axes.rules import RULES

PATH = Path(__file__).parents[2] / "tools" / "check_rules.py"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("check_rules", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["check_rules.py", *arguments])
    return tool.main()


def uncoupled(call: Call) -> None:
    """A coupling is missing."""


def pinned(call: Call) -> None:
    """Pins are needless."""
    for operand in (*call.operands(), *call.outputs):
        call.pin(operand.dims, "just so")


OUTER = RULES["aten.outer"]


def squared(call: Call) -> None:
    """A coupling is needless."""
    OUTER(call)
    if call["self"].shape == call["vec2"].shape:
        call.unify(call["self"].dims[0], call["vec2"].dims[0])


def test_our_rules_are_clean(tool, monkeypatch, capsys) -> None:
    assert run(tool, monkeypatch, "--op", "aten.linear", "--seeds", "2") == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "| operator | unsound | needless pins | needless couplings |"
    assert table[2:] == [
        "",
        "1 operators, 3 ways to call them, 2 draws: 0 unsound, 0 with needless pins, 0 with needless couplings",
    ]


def test_operators_that_read_foreign_memory_are_not_called_with_what_does_not_fit(
    tool, monkeypatch, capsys
) -> None:
    assert run(tool, monkeypatch, "--op", "aten.lstm.data", "--seeds", "1") == 0
    assert "1 operators" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("operator", "rule", "code", "row"),
    [
        ("aten.relu", uncoupled, 1, "| aten.relu | self[0]; "),
        ("aten.relu", pinned, 0, "| aten.relu | – | self[0]; self[1]; self[2] | – |"),
        ("aten.outer", squared, 0, "| aten.outer | – | – | self[0] vec2[0] out0[0] out0[1] |"),
    ],
)
def test_every_mistake_is_found(tool, monkeypatch, capsys, operator, rule, code, row) -> None:
    monkeypatch.setitem(RULES, operator, rule)
    assert run(tool, monkeypatch, "--op", operator) == code
    assert row in capsys.readouterr().out


def test_an_operator_without_a_row_is_refused(tool, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit):
        run(tool, monkeypatch, "--op", "aten.nobody")
    assert "no operator aten.nobody" in capsys.readouterr().err
