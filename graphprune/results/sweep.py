"""What a sweep returns: a result for every budget, and the folder that holds them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from graphprune import exporting
from graphprune.asking.record import as_options
from graphprune.asking.toml import settings_text, spelled
from graphprune.exporting import SWEEP
from graphprune.ground.clock import Clock, Progress, headed
from graphprune.ground.errors import BudgetError, ExportError
from graphprune.ground.files import write_text
from graphprune.profiling import Profile, profile
from graphprune.report.answers import answers, warning
from graphprune.report.page import lacks_packages, render_sweep
from graphprune.report.tradeoff import budget_text, knee_of, point_of, quality_of, refused_point
from graphprune.results.result import Result

__all__ = ["Point", "Sweep"]

Extra = Callable[[Result], Mapping[str, Any]]


@dataclass(frozen=True)
class Point:
    """One budget of a sweep.

    Attributes:
        budget: as it was asked for, a share or an amount with its unit.
        result: what met it; None where it cannot be met.
        refused: why it cannot be met.
    """

    budget: float | str
    result: Result | None = None
    refused: BudgetError | None = None


@dataclass(frozen=True)
class Sweep:
    """Several results of one model, made with one analysis.

    Attributes:
        kind: the budget that was given several values, such as "macs".
        points: one for each value, in their order.
        seconds: wall seconds of the stages that all share.
    """

    kind: str
    points: tuple[Point, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        said = (f"{budget_text(point.budget)}: {point.result or point.refused}" for point in self.points)
        return f"Sweep({self.kind}, {'; '.join(said)})"

    def save(
        self,
        directory: str | Path,
        latency: bool = True,
        progress: Progress = lambda stage: None,
        extra: Extra = lambda result: {},
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        force: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Writes a folder for every budget that was met, as `Result.save` does, and what holds them together.

        That is sweep.json with a row for every budget, report.html with their curve, and shrink.toml. The original is
        exported and profiled once. The folder appears when all is done. `pick` makes one of the results of it.

        Returns what stands in sweep.json.

        Args:
            directory: as for `Result.save`; likewise ``latency``, ``progress`` and ``force``.
            extra: a result → what its report shall hold besides, such as ``{"evaluation": {"before": {"accuracy":
                0.99}, "after": {"accuracy": 0.98}}}``, by whose first figure the results are then compared.
            settings: as for `Result.save`; the budget in them is replaced by that of every result.
            source: where the original is from, and the command that made the sweep, for sweep.json.

        Raises:
            InputError, VerificationError: as `Result.save`.
        """
        place = Path(directory)
        exporting.ensure_writable(place, force=force)
        saving = _Saving(self, place, latency, Clock(progress), extra, settings or {}, source)
        exporting.write_directory(place, saving.files(), force)
        return saving.document

    @property
    def results(self) -> dict[str, Result]:
        """Folder → the result that is written there."""
        return {self.folder(point): point.result for point in self.points if point.result is not None}

    def folder(self, point: Point) -> str:
        """The name of a result's folder, such as "macs-0.5"."""
        return f"{self.kind}-{budget_text(point.budget)}"


@dataclass
class _Saving:
    """The files of one sweep; reports are gathered as they are written.

    Args:
        place: where the sweep will lie when all is done.
    """

    sweep: Sweep
    place: Path
    latency: bool
    clock: Clock
    extra: Extra
    settings: Mapping[str, Mapping[str, Any]]
    source: Mapping[str, Any] | None
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    shared: Profile | None = None
    document: dict[str, Any] = field(default_factory=dict)

    def files(self) -> dict[str, Callable[[Path], None]]:
        """Name → what writes it, in the order in which they are to be written."""
        points = [point for point in self.sweep.points if point.result is not None]
        page = {"report.html": lambda path: write_text(path, render_sweep(self.document))}
        return {
            **{self.sweep.folder(point): partial(self.write_result, point) for point in points},
            "shrink.toml": self.write_settings,
            SWEEP: self.write_document,
            **(page if lacks_packages() is None else {}),  # every result says what is missing
        }

    def write_result(self, point: Point, path: Path) -> None:
        """Writes the folder of one budget."""
        assert point.result is not None
        result = replace(point.result, profile=self._profile(point.result))
        told = headed(self.clock.progress, f"{self.sweep.kind} {budget_text(point.budget)}")
        here = {self.sweep.kind: point.budget, "output": str(self.place / path.name)}
        settings = {name: {**options, **here} for name, options in self.settings.items()}
        extra = self.extra(point.result)
        self.reports[path.name] = result.save(path, self.latency, told, extra, settings=settings)

    def _profile(self, result: Result) -> Profile | None:
        """The original's, once for all."""
        if result.profile is None and self.shared is None and self.latency:
            batch = result.batch if result.graph.program.dynamic_batch else 1
            with suppress(ExportError), self.clock("export the original"):  # every result notes what fails
                self.shared = profile(result.graph, result.threads, batch, export_dtype=result.export_dtype)
        return result.profile or self.shared

    def write_settings(self, path: Path) -> None:
        """What makes the whole sweep again."""
        asked = next(iter(self.sweep.results.values())).plan.request
        said = self.settings.get("shrink") or spelled(as_options(asked))
        values = ",".join(budget_text(point.budget) for point in self.sweep.points)
        write_text(path, settings_text({**said, self.sweep.kind: values}))

    def write_document(self, path: Path) -> None:
        """Writes sweep.json."""
        self.document.update(self._document())
        write_text(path, exporting.rows_to_json(self.document))

    def _document(self) -> dict[str, Any]:
        reports = list(self.reports.values())
        quality, figures = quality_of(reports)
        judged = dict(zip(self.reports, figures, strict=True))
        points = []
        for point in self.sweep.points:
            name = self.sweep.folder(point)
            if name in self.reports:
                report = self.reports[name]
                row = point_of(report, point.budget, name, answers(report))
                points.append({**row, "quality": judged[name]})
            else:
                points.append(refused_point(point.budget, str(point.refused)))
        seconds = Counter({**self.sweep.seconds, **self.clock.seconds})
        for report in reports:
            seconds.update(report["seconds"])
        notes = dict.fromkeys(note for report in reports for note in report["notes"])
        return {
            "format": 1,
            "name": reports[0]["name"],
            "versions": reports[0]["versions"],
            "kind": self.sweep.kind,
            "before": reports[0]["before"],
            "points": points,
            "quality": quality,
            "knee": knee_of(points, quality, self.sweep.kind),
            "notes": list(notes),
            "warning": warning({"source": self.source or {}}),
            **({"source": dict(self.source)} if self.source else {}),
            "seconds": dict(seconds),
        }
