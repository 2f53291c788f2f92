"""Draws docs/assets/tradeoff.svg, the picture of the README: a network before and after, and its trade-off curve.

    python tools/readme_picture.py            # draws docs/assets/tradeoff.json
    python tools/readme_picture.py --measure  # shrinks digits_resnet at every budget first, and writes that file

Every figure is measured: widths, parameters and accuracies are those of the reports that `graphprune shrink` writes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
FIGURES, PICTURE = ASSETS / "tradeoff.json", ASSETS / "tradeoff.svg"
MODEL, BUDGETS, SHOWN = "zoo:digits_resnet", (0.9, 0.7, 0.5, 0.3, 0.2, 0.1), 0.3
WIDTH, HEIGHT = 860, 380
BEFORE, AFTER, INK, PALE = "#c9d3df", "#1f6feb", "#1f2328", "#8b949e"
LEFT, TOP, BAR, STEP = 145, 74, 15, 26  # of the bars
PLOT = (520, 84, 310, 210)  # left, top, width and height of the curve


def measured() -> dict[str, Any]:
    """The original and the slim models, with share of the cost, parameters, accuracy, and widths of the shown one."""
    rows: list[dict[str, float]] = []
    layers: list[dict[str, Any]] = []
    for budget in BUDGETS:
        with tempfile.TemporaryDirectory() as folder:
            options = ["--macs", str(budget), "--calibration", "zoo:digits", "--align", "1", "--no-latency"]
            command = [
                sys.executable,
                "-m",
                "graphprune.cli",
                "shrink",
                MODEL,
                *options,
                "-q",
                "-o",
                f"{folder}/slim",
            ]
            subprocess.run(command, check=True)
            report = json.loads(Path(folder, "slim", "report.json").read_text())
        found, before, after = report["evaluation"], report["before"], report["after"]
        if not rows:
            rows.append({"macs": 1.0, "params": before["params"], "accuracy": found["before"]["accuracy"]})
        share = after["macs"] / before["macs"]
        rows.append({"macs": share, "params": after["params"], "accuracy": found["after"]["accuracy"]})
        if budget == SHOWN:
            kinds = [layer for layer in report["layers"] if layer["kind"] in ("Conv2d", "Linear")]
            layers = [{"name": layer["name"], "width": layer["width"]} for layer in kinds]
    return {"model": MODEL, "shown": SHOWN, "rows": rows, "layers": layers}


def drawn(figures: dict[str, Any]) -> str:
    """The picture as SVG, on a ground of its own, so that it can be read on any page."""
    parts = [*_bars(figures), *_curve(figures)]
    style = f"font-family:system-ui,sans-serif;font-size:12px;fill:{INK}"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">',
            f"<title>{_title(figures)}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#ffffff"/>',
            f'<g style="{style}">',
            *parts,
            "</g>",
            "</svg>",
            "",
        )
    )


def _title(figures: dict[str, Any]) -> str:
    first, shown = figures["rows"][0], _shown(figures)
    return (
        f"{figures['model']} at {shown['macs']:.0%} of its multiply-accumulates: accuracy {first['accuracy']:.1%} "
        f"before, {shown['accuracy']:.1%} after, without training"
    )


def _shown(figures: dict[str, Any]) -> dict[str, float]:
    return min(figures["rows"], key=lambda row: abs(row["macs"] - figures["shown"]))


def _bars(figures: dict[str, Any]) -> Iterator[str]:
    layers, first, shown = figures["layers"], figures["rows"][0], _shown(figures)
    scale = 235 / max(layer["width"][0] for layer in layers)
    yield _text(20, 30, "The same network, narrower", bold=True)
    yield _text(20, 50, f"parameters {first['params']:,.0f} → {shown['params']:,.0f}", PALE)
    for place, layer in enumerate(layers):
        y, (before, after) = TOP + place * STEP, layer["width"]
        yield _text(LEFT - 8, y + 12, layer["name"], anchor="end")
        for width, colour in ((before, BEFORE), (after, AFTER)):
            yield f'<rect x="{LEFT}" y="{y}" width="{width * scale:.0f}" height="{BAR}" rx="3" fill="{colour}"/>'
        yield _text(LEFT + round(before * scale) + 8, y + 12, f"{before} → {after}", PALE)


def _curve(figures: dict[str, Any]) -> Iterator[str]:
    left, top, width, height = PLOT
    rows, low = figures["rows"], _floor(figures)

    def place(row: dict[str, float]) -> tuple[float, float]:
        return left + row["macs"] * width, top + (1 - (row["accuracy"] - low) / (1 - low)) * height

    yield _text(left - 40, 30, "What it costs, and what it still knows", bold=True)
    yield _text(left - 40, 50, "accuracy on held-out digits, repaired, without training", PALE)
    for share in (0.0, 0.5, 1.0):
        y = top + (1 - share) * height
        yield f'<line x1="{left}" x2="{left + width}" y1="{y}" y2="{y}" stroke="{BEFORE}"/>'
        yield _text(left - 8, y + 4, f"{low + share * (1 - low):.0%}", PALE, "end")
    for share in (0.25, 0.5, 0.75, 1.0):
        yield _text(left + share * width, top + height + 20, f"{share:.0%}", PALE, "middle")
    yield _text(left + width / 2, top + height + 40, "of the multiply-accumulates are kept", PALE, "middle")
    points = " ".join(f"{x:.0f},{y:.0f}" for x, y in map(place, rows))
    yield f'<polyline points="{points}" fill="none" stroke="{AFTER}" stroke-width="2.5"/>'
    for row in rows:
        x, y = place(row)
        chosen = row is _shown(figures)
        yield f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{6 if chosen else 4}" fill="{AFTER if chosen else "#ffffff"}" '
        yield f'stroke="{AFTER}" stroke-width="2"/>'
        if chosen:
            yield _text(x + 8, y + 26, f"{row['accuracy']:.1%} at {row['macs']:.0%}", bold=True)


def _floor(figures: dict[str, Any]) -> float:
    """A round share below all accuracies, from which the curve is drawn."""
    least = min(row["accuracy"] for row in figures["rows"])
    return max(int(least * 10) / 10 - (0.1 if least * 10 % 1 < 0.3 else 0), 0.0)


def _text(x: float, y: float, text: str, colour: str = INK, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}"{weight}>{text}</text>'


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        FIGURES.write_text(json.dumps(measured(), indent=1) + "\n")
    PICTURE.write_text(drawn(json.loads(FIGURES.read_text())), encoding="utf-8")
