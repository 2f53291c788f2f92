"""JSON whose tables have one line per row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["rows_to_json"]


def rows_to_json(document: Mapping[str, Any]) -> str:
    """``document`` as JSON: indented, but every row of a table on one line.

    >>> print(rows_to_json({"a": 1, "rows": [{"x": [1, 2]}, {"x": [3]}]}), end="")
    {
      "a": 1,
      "rows": [
        {"x": [1, 2]},
        {"x": [3]}
      ]
    }
    """
    return _text(document, 0) + "\n"


def _text(value: Any, depth: int) -> str:
    if isinstance(value, dict) and value and depth < 2:
        rows = [f"{json.dumps(key)}: {_text(item, depth + 1)}" for key, item in value.items()]
        return _lines("{", rows, "}", depth)
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return _lines("[", [json.dumps(item) for item in value], "]", depth)
    return json.dumps(value)


def _lines(begin: str, rows: list[str], end: str, depth: int) -> str:
    indent = "  " * depth
    return begin + ",".join(f"\n{indent}  {row}" for row in rows) + f"\n{indent}{end}"
