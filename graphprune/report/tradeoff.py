"""The results of a sweep beside each other: what each keeps of every cost, and what became of the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from graphprune.report.formats import COSTS, TEXTS, share_text

__all__ = [
    "SweepDocument",
    "budget_text",
    "charts",
    "knee",
    "knee_of",
    "point_of",
    "quality_of",
    "refused_point",
    "table_rows",
]

Report = Mapping[str, Any]
Row = dict[str, Any]

# cost of a point → its name, in the order of the table; a latency is a ratio already
SHARES = {
    "macs": "MACs",
    "params": "parameters",
    "onnx_bytes": "ONNX file",
    "latency": "latency",
}
SENSITIVITY = 1.0  # of Kneedle


class Point(TypedDict):
    """One budget of a sweep: what it came to, or why it cannot be met."""

    budget: float | str
    folder: NotRequired[str]
    shares: NotRequired[dict[str, float]]
    after: NotRequired[dict[str, float]]
    quality: NotRequired[float | None]
    answers: NotRequired[str]
    poor: NotRequired[bool]
    refused: NotRequired[str]


class Quality(TypedDict):
    """By what the answers are judged."""

    name: str
    kind: Literal["figure", "share"]
    original: float
    higher: bool


class SweepDocument(TypedDict):
    """sweep.json."""

    format: Literal[1]
    name: str
    versions: dict[str, str]
    kind: str
    before: dict[str, float]
    points: list[Point]
    quality: Quality | None
    knee: float | str | None
    notes: list[str]
    warning: str
    source: NotRequired[dict[str, Any]]
    seconds: NotRequired[dict[str, float]]


def point_of(report: Report, budget: float | str, folder: str, answers: str) -> Row:
    """The row of a result.

    Args:
        report: of `Result.save`.
        answers: what became of the answers, in words.
    """
    before, after = report["before"], report["after"]
    costs = [key for key in SHARES if before.get(key) and after.get(key) is not None]
    shares = {key: after[key] / before[key] for key in costs}
    made = {key: after[key] for key in costs}
    if timed := report.get("latency"):
        shares["latency"], made["latency"] = timed["ratio"], timed["slim_ms"]
    found = report.get("fidelity") or {}
    return {
        "budget": budget,
        "folder": folder,
        "shares": shares,
        "after": made,
        "answers": answers,
        "poor": bool(found.get("poor")) and not report.get("tuning"),
    }


def refused_point(budget: float | str, why: str) -> Row:
    """The row of a budget that cannot be met."""
    return {"budget": budget, "refused": why}


def quality_of(reports: Sequence[Report]) -> tuple[Row | None, list[float | None]]:
    """By what the answers are judged, and the figure of every report.

    That is the figure of the user, or of the zoo, where every result has it; else the share of answers that are the
    same; else the error of the outputs. Nothing where no data judged them.
    """
    figures = [report.get("evaluation") or {} for report in reports]
    names = [name for name in (figures[0].get("before") or {}) if name] if figures else []
    for name in names[:1]:
        if all(name in (found.get("after") or {}) for found in figures):
            row = {"name": name, "kind": "figure", "original": figures[0]["before"][name], "higher": True}
            return row, [found["after"][name] for found in figures]
    found = [report.get("fidelity") for report in reports]
    if not found or not all(found):
        return None, [None] * len(reports)
    if all(each and each["agreement"] is not None for each in found):
        row = {"name": "answers that are the same", "kind": "share", "original": 1.0, "higher": True}
        return row, [each and each["agreement"] for each in found]
    row = {"name": "error of the outputs", "kind": "share", "original": 0.0, "higher": False}
    return row, [each and each["error"] for each in found]


def knee_of(points: Sequence[Row], quality: Row | None, kind: str) -> float | str | None:
    """The budget at the knee of quality against the cost that was swept; None where the curve has none, see `knee`."""
    made = [point for point in points if point.get("quality") is not None]
    if quality is None or not made:
        return None
    cost = kind if all(kind in point["shares"] for point in made) else "macs"
    sign = 1 if quality["higher"] else -1
    curve = [(point["shares"][cost], sign * point["quality"]) for point in made]
    place = knee([*curve, (1.0, sign * quality["original"])])
    return made[place]["budget"] if place is not None and place < len(made) else None


def knee(curve: Sequence[tuple[float, float]]) -> int | None:
    """The place of the knee of a curve of (cost, quality), more of which are better; None where it has none.

    Kneedle (Satopää et al., "Finding a 'Kneedle' in a Haystack", 2011) without its smoothing, since the points are few:
    both coordinates are brought to [0, 1], and the knee is where quality is farthest above cost. It counts if that
    distance is larger than the mean step of the cost (sensitivity 1), so that a straight line has none.

    >>> knee([(0.2, 0.1), (0.4, 0.9), (0.7, 0.97), (1.0, 1.0)])
    1
    >>> knee([(0.2, 0.2), (0.5, 0.5), (1.0, 1.0)]) is None
    True
    """
    if len(curve) < 3:
        return None
    costs, qualities = zip(*curve, strict=True)
    low, wide = min(costs), max(costs) - min(costs)
    least, high = min(qualities), max(qualities) - min(qualities)
    if not wide or not high:
        return None
    above = [(quality - least) / high - (cost - low) / wide for cost, quality in curve]
    best = max(range(len(curve)), key=lambda place: above[place])
    return best if above[best] > SENSITIVITY / (len(curve) - 1) else None


def table_rows(sweep: Report) -> tuple[list[str], list[list[str]]]:
    """Titles of the columns and a row of texts for every budget; a refused one has its reason as the last text."""
    costs = [key for key in SHARES if any(key in point.get("shares", {}) for point in sweep["points"])]
    quality = sweep["quality"]
    titles = [str(sweep["kind"]), *(SHARES[key] for key in costs), *([quality["name"]] if quality else [])]
    rows = []
    for point in sweep["points"]:
        if "refused" in point:
            rows.append([budget_text(point["budget"]), point["refused"]])
            continue
        texts = [share_text(point["shares"][key]) if key in point["shares"] else "–" for key in costs]
        judged = [TEXTS[quality["kind"]](point["quality"])] if quality else []
        rows.append([budget_text(point["budget"]), *texts, *judged])
    return titles, rows


def budget_text(budget: float | str) -> str:
    """A budget as a user writes it."""
    return f"{budget:g}" if isinstance(budget, int | float) else budget


def charts(sweep: Report) -> Iterator[Row]:
    """One chart for every cost: quality against the share of it that is left, the original as the last point."""
    quality = sweep["quality"]
    if not quality:
        return
    made = [point for point in sweep["points"] if point.get("quality") is not None]
    made.sort(
        key=lambda point: float(point["shares"]["macs"])
    )  # a line follows the budgets, whatever they come to
    for key, label in SHARES.items():
        rows = [
            {
                "budget": budget_text(point["budget"]),
                "x": point["shares"][key],
                "y": point["quality"],
                "cost": TEXTS[COSTS[key][1]](point["after"][key]),
                "mark": "knee" if point["budget"] == sweep["knee"] else "budget",
            }
            for point in made
            if key in point["shares"]
        ]
        if rows:
            whole = {
                "budget": "original",
                "x": 1.0,
                "y": quality["original"],
                "cost": "",
                "mark": "original",
            }
            yield {
                "id": f"tradeoff-{key}",
                "spec": "tradeoff",
                "title": f"Against {label}",
                "x": f"{label} left",
                "y": quality["name"],
                "points": [{**row, "place": place} for place, row in enumerate([*rows, whole])],
            }
