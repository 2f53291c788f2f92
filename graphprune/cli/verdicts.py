"""What `graphprune verify` shows of its checks, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.text import Text

from graphprune.cli.failures import complain
from graphprune.cli.output import print_result
from graphprune.cli.request import VerifyRequest
from graphprune.ground.errors import VerificationError
from graphprune.report.tables import check_table

__all__ = ["show_checks"]


def show_checks(request: VerifyRequest, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the checks.

    Raises:
        typer.Exit: with 4, one has failed.
    """
    failed = [row for row in rows if row["passed"] is False]
    document = {"directory": str(request.directory), "passed": not failed, "checks": list(rows)}
    print_result(document, (check_table(rows), _summary(rows, len(failed))), request.json, request.quiet)
    if failed:
        complain(
            f"{request.directory}: {len(failed)} of {len(rows)} checks failed, first "
            f"{failed[0]['name']!r} — do not use this result; shrink the model again"
        )
        raise typer.Exit(VerificationError.exit_code)


def _summary(rows: Sequence[Mapping[str, Any]], failed: int) -> Text:
    passed = sum(row["passed"] is True for row in rows)
    left = sum(row["passed"] is None for row in rows)
    mark = ("NOT VERIFIED", "bold red") if failed else ("Verified", "bold green")
    return Text.assemble(mark, f": {passed} passed, {failed} failed, {left} not checked")
