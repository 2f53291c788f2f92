"""The picture of the README is drawn of figures that were measured."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from readme_picture import BUDGETS, FIGURES, PICTURE, SHOWN, drawn


def test_it_is_what_the_figures_say() -> None:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    text = PICTURE.read_text(encoding="utf-8")
    assert text == drawn(figures), "run python tools/readme_picture.py"
    rows = figures["rows"]
    assert len(rows) == 1 + len(BUDGETS)
    shown = min(rows, key=lambda row: abs(row["macs"] - SHOWN))
    words = " ".join(xml.fromstring(text).itertext())
    assert f"{shown['accuracy']:.1%} at {shown['macs']:.0%}" in words
    for layer in figures["layers"]:
        before, after = layer["width"]
        assert layer["name"] in words
        assert f"{before} → {after}" in words
