"""Two results of ``graphprune shrink`` side by side, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphprune.report.formats import COSTS

__all__ = ["comparison"]

Document = Mapping[str, Any]


def comparison(one: Document, other: Document, plans: tuple[Document, Document]) -> dict[str, Any]:
    """What two reports and their plans have in common, and where they differ.

    Returns:
        ``same_original``: whether both were cut from the same tensors' names and shapes. ``figures``: of the first
        one's original and of both. ``request``: the options that differ. ``groups``: kept units of every group, and how
        many of them are the same ones; none where the originals differ. ``checks``: how many passed, and which failed.
    """
    same = plans[0].get("model") == plans[1].get("model")
    return {
        "same_original": same,
        "figures": [*_costs(one, other), *_latency(one, other), *_evaluations(one, other)],
        "request": _requests(_part(one, "request"), _part(other, "request")),
        "groups": list(_groups(one, other, *(_part(plan, "groups") for plan in plans))) if same else [],
        "checks": [_checks(one), _checks(other)],
    }


def _part(document: Document, *path: str) -> Document:
    """A part of a document; empty where there is none."""
    for name in path:
        document = document.get(name) or {}
    return document


def _costs(one: Document, other: Document) -> Iterator[dict[str, Any]]:
    for key in ("params", "macs", "onnx_bytes"):
        name, kind = COSTS[key]
        values = [_part(one, "before").get(key), *(_part(each, "after").get(key) for each in (one, other))]
        yield _figure(name, kind, *values)


def _latency(one: Document, other: Document) -> Iterator[dict[str, Any]]:
    """Each was measured in its own run: the ratio to the original, taken in alternation, compares better."""
    timed = [_part(each, "latency") for each in (one, other)]
    if any(timed):
        slim = [each.get("slim_ms") for each in timed]
        yield _figure("latency", "milliseconds", timed[0].get("original_ms"), *slim)
        yield _figure("latency / original", "share", None, *(each.get("ratio") for each in timed))


def _evaluations(one: Document, other: Document) -> Iterator[dict[str, Any]]:
    after = [_part(each, "evaluation", "after") for each in (one, other)]
    for name in {**after[0], **after[1]}:
        before = _part(one, "evaluation", "before").get(name)
        yield _figure(name, "figure", before, *(each.get(name) for each in after))


def _figure(name: str, kind: str, original: Any, one: Any, other: Any) -> dict[str, Any]:
    ratio = other / one if one and other is not None else None
    values = {"original": original, "one": one, "other": other, "ratio": ratio}
    return {"name": name, "kind": kind, **values}


def _requests(one: Document, other: Document) -> dict[str, list[Any]]:
    return {
        name: [one.get(name), other.get(name)]
        for name in {**one, **other}
        if one.get(name) != other.get(name)
    }


def _groups(one: Document, other: Document, units: Document, others: Document) -> Iterator[dict[str, Any]]:
    reported = {**_part(other, "groups"), **_part(one, "groups")}
    for name, group in reported.items():
        size = group["size"]
        kept = [_rows(plan.get(name), size) for plan in (units, others)]
        common = [len(set(a) & set(b)) for a, b in zip(*kept, strict=False)]
        yield {
            "name": name,
            "size": size,
            "one": len(kept[0][0]),
            "other": len(kept[1][0]),
            "common": sum(common) / len(common),
            "same": kept[0] == kept[1],
        }


def _rows(units: list[Any] | None, size: int) -> list[list[int]]:
    """Kept units, one row for each place that chooses for itself; a group that a plan leaves out is whole."""
    if units is None:
        return [list(range(size))]
    return units if units and isinstance(units[0], list) else [units]


def _checks(report: Document) -> dict[str, Any]:
    checks = _part(report, "verdict").get("checks") or []
    failed = [check["name"] for check in checks if not check["passed"]]
    return {"passed": len(checks) - len(failed), "of": len(checks), "failed": failed}
