"""A measurement on disk: a header and one line for each point, so that a run that was killed goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphprune.ground.errors import InputError

__all__ = ["Record"]

FORMAT = 1


@dataclass
class Record:
    """JSON lines at ``path``, or in memory alone. ``head`` says what is measured; ``rows`` are the points so far."""

    head: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    path: Path | None = None

    @classmethod
    def read(cls, path: Path) -> Record:
        """A file as it is; a last line that was cut off is left out.

        Raises:
            InputError: there is none, or it is something else.
        """
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
            whole = [json.loads(line) for line in lines[:-1]]
            head, rows = whole[0], whole[1:]
            if head["format"] != FORMAT or not all(row["removed"] for row in rows):
                raise ValueError(f"format {head['format']}")
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            reason = getattr(error, "strerror", None) or "it is no measurement of graphprune's"
            raise InputError(
                f"the sensitivity {path} cannot be read: {reason}", "name another file"
            ) from error
        return cls(head, rows, path)

    @classmethod
    def open(cls, path: Path | None, head: Mapping[str, Any]) -> Record:
        """A new record, or the one at ``path`` to go on with.

        Raises:
            InputError: what is there measures something else, or the file cannot be written.
        """
        head = {"format": FORMAT, **head}
        record = cls(head, path=path)
        if path is None:
            return record
        if path.exists():
            record = cls.read(path)
            if different := [key for key in head if record.head.get(key) != head[key]]:
                raise InputError(
                    f"{path} measures something else: its {', '.join(different)} differs",
                    "name another file, or remove it to measure anew",
                )
        record._write("w", (head, *record.rows))  # without what was cut off
        return record

    def add(self, row: dict[str, Any]) -> None:
        """One more point; it is on disk when this returns."""
        self.rows.append(row)
        self._write("a", [row])

    def _write(self, mode: str, rows: Iterable[Mapping[str, Any]]) -> None:
        if self.path is None:
            return
        try:
            with self.path.open(mode, encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written: {error.strerror}", "choose a writable place"
            ) from error
