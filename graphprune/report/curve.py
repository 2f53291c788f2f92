"""A sweep for the terminal: a table with a row for every budget, and the curve drawn with letters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from graphprune.report.filled import filled_table
from graphprune.report.formats import COSTS, TEXTS, share_text
from graphprune.report.tradeoff import budget_text, charts, table_rows

__all__ = ["plan_tables", "sweep_tables"]

Row = Mapping[str, Any]

WIDTH, HEIGHT = 52, 9  # letters of the picture
MARKS = {"budget": "●", "knee": "◆", "original": "○"}


def sweep_tables(sweep: Row) -> Iterator[Table | Text]:
    """The table, the picture, and what they mean."""
    titles, rows = table_rows(sweep)
    made = [[*row, _mark(sweep, row[0])] for row in rows if len(row) == len(titles)]
    yield filled_table("|>".join([*titles, ""]), made)
    yield from _refusals(sweep["points"])
    if not sweep["quality"]:
        yield Text(
            "No data judged the answers: give calibration data, or leave --importance out, for a curve"
        )
        return
    found = {str(chart["id"]): chart for chart in charts(sweep)}
    chart = found.get(f"tradeoff-{sweep['kind']}") or next(iter(found.values()))
    yield _picture(chart, TEXTS[sweep["quality"]["kind"]])
    yield Text(
        f"◆ the knee, {sweep['kind']} {budget_text(sweep['knee'])}: less costs the answers more than it saves"
        if sweep["knee"] is not None
        else "The curve has no knee"
    )


def plan_tables(found: Row) -> Iterator[Table | Text]:
    """What would be left of every cost with each budget, and what is in reach."""
    made = [point for point in found["points"] if "refused" not in point]
    costs = [key for key in COSTS if made[0]["before"].get(key)]
    titles = "|>".join([str(found["kind"]), *(COSTS[key][0] for key in costs)])
    rows = [
        [
            budget_text(point["budget"]),
            *(share_text(point["after"][key] / point["before"][key]) for key in costs),
        ]
        for point in made
    ]
    least = [share_text(made[0]["smallest"][key] / made[0]["before"][key]) for key in costs]
    yield filled_table(titles, [*rows, ["the least", *least]])
    yield from _refusals(found["points"])


def _refusals(points: Sequence[Row]) -> Iterator[Text]:
    yield from (Text(point["refused"], style="yellow") for point in points if "refused" in point)


def _mark(sweep: Row, budget: str) -> str:
    return "◆" if sweep["knee"] is not None and budget == budget_text(sweep["knee"]) else ""


def _picture(chart: Row, text: Any) -> Text:
    """Quality from the bottom to the top, cost from the left to the right; points that fall together are one."""
    points = chart["points"]
    xs, ys = ([float(point[axis]) for point in points] for axis in "xy")
    cells = [[" "] * WIDTH for _ in range(HEIGHT)]
    for point, x, y in zip(points, xs, ys, strict=True):
        row, column = HEIGHT - 1 - _place(y, ys, HEIGHT), _place(x, xs, WIDTH)
        if cells[row][column] != MARKS["knee"]:
            cells[row][column] = MARKS[point["mark"]]
    labels = {0: text(max(ys)), HEIGHT - 1: text(min(ys))}
    wide = max(map(len, labels.values()))
    lines = [f"{labels.get(row, ''):>{wide}} │{''.join(line).rstrip()}" for row, line in enumerate(cells)]
    left, right = share_text(min(xs)), share_text(max(xs))
    ends = f"{left}{chart['x']:^{WIDTH - len(left) - len(right)}}{right}"
    below = [f"{'':>{wide}} └{'─' * WIDTH}", f"{'':>{wide}}  {ends}"]
    return Text("\n".join([str(chart["y"]), *lines, *below]), no_wrap=True)


def _place(value: float, values: Sequence[float], cells: int) -> int:
    low, wide = min(values), max(values) - min(values)
    return round((value - low) / wide * (cells - 1)) if wide else cells // 2
