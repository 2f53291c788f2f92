"""What a request leaves open, settled: data that are made, a repair, batches that are held out to judge the result.

Without options, several choices are tried and repaired on calibration data. Where the user has none, they are made for
the model. An importance that is named is taken at its word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from graphprune.asking.options import AUTO, SYNTHETIC, WEIGHTS
from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Calibration, Fidelity, fidelity
from graphprune.capture.program import Program
from graphprune.ground.clock import Clock
from graphprune.ground.errors import GraphpruneError, InputError, first_line
from graphprune.synthetic import Made, make_inputs

__all__ = ["Judge", "Settled", "settle", "weights_alone"]

PARTS = 8  # of a user's batches one in so many is held out
YOURS = "your calibration data"


@dataclass(frozen=True)
class Judge:
    """What a slim model is judged on: batches, what they are, and whether nothing else has seen them."""

    batches: Iterable[Any]
    data: str
    held_out: bool

    def __call__(self, program: Program, slim: Program) -> Fidelity:
        """The fidelity of a slim program."""
        return fidelity(program, slim, self.batches, self.data, self.held_out)


@dataclass(frozen=True)
class Settled:
    """A request with nothing left open.

    Args:
        judge: None where there are no data.
        plain: the request by weights alone, which is taken where "auto" finds nothing better; None where the user has
            chosen, or where a second plan would have to be timed or made in rounds.
        notes: what the user should know of it.
    """

    request: Request
    judge: Judge | None = None
    plain: Request | None = None
    notes: tuple[str, ...] = ()


def settle(graph: DependencyGraph, request: Request, clock: Clock) -> Settled:
    """The request with data and a repair where it leaves them open, and what judges the result.

    Training between rounds, a plan that is replayed and a lossless shrink need no choice by data.

    Raises:
        InputError: the calibration data do not fit the model.
    """
    is_auto = request.importance == AUTO
    if request.fast or (is_auto and (request.instead or request.between) and request.calibration is None):
        repair = request.repair or False
        if not repair:
            return Settled(weights_alone(request))
        request = replace(request, importance=WEIGHTS, repair=repair)
        is_auto = False
    wanted = request.repair if request.repair is not None else is_auto and not request.instead
    needed = bool(wanted) or is_auto
    given = request.calibration
    if (isinstance(given, str) and given == SYNTHETIC) or (given is None and needed):
        return _on_made_data(graph, request, wanted, clock)
    if given is None:
        return Settled(replace(request, repair=False))
    settled = replace(request, repair=wanted)
    if not is_auto:
        return Settled(settled, Judge(given, YOURS, held_out=False) if wanted else None)
    Calibration(given).check(graph.program)
    batches = [batch for batch, _ in Calibration(given).walk(graph.program)]
    seen = [batch for place, batch in enumerate(batches) if place % PARTS != PARTS - 1]
    held = batches[PARTS - 1 :: PARTS]
    plain = _plain(request)
    if not held:
        return Settled(settled, Judge(batches, YOURS, held_out=False), plain)
    return Settled(replace(settled, calibration=seen), Judge(held, YOURS, held_out=True), plain)


def _plain(request: Request) -> Request | None:
    if request.importance != AUTO or request.is_timed or request.rounds > 1 or request.trials:
        return None
    return weights_alone(request)


def weights_alone(request: Request) -> Request:
    """The request by weights alone, without data."""
    chosen = WEIGHTS if request.importance == AUTO else request.importance
    alone: dict[str, Any] = {"calibration": None, "repair": False, "fast": False, "loss": None}
    return replace(request, importance=chosen, **alone)


def _on_made_data(graph: DependencyGraph, request: Request, repair: Any, clock: Clock) -> Settled:
    with clock("make calibration data"):
        made, why = _made(graph, request)
    if made is not None:
        seen, held = made.parted()
        settled = replace(request, calibration=seen, repair=repair)
        return Settled(settled, Judge(held, str(made), held_out=True), _plain(request))
    if request.importance != AUTO:
        asked = "repair" if request.repair else f"importance={request.importance!r}"
        raise InputError(f"{asked} looks at data, and none can be made: {why}", "give calibration batches")
    return Settled(weights_alone(request), notes=(f"chosen by weights alone: {why}",))


def _made(graph: DependencyGraph, request: Request) -> tuple[Made | None, str]:
    """Data that the model runs on; or why there are none.

    Raises:
        InputError: the tokenizer that is given is not the model's.
    """
    program = graph.program
    outputs = [program.values[name].dtype for name in program.output_names if name in program.values]
    if not program.has_values:
        return None, "the model's tensors have no values"
    if not any("float" in dtype for dtype in outputs):
        return None, "no output of the model is floating"
    try:
        made = make_inputs(graph, request.seed, request.tokenizer)
        Calibration(made).check(program)
    except (GraphpruneError, RuntimeError, IndexError, ValueError) as error:
        if request.tokenizer is not None and isinstance(error, InputError):
            raise
        return None, f"the model does not run on data that are made ({first_line(error)})"
    return made, ""
