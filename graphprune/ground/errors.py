"""Errors a user can act on.

Every error says what is wrong, where, and what to do about it, in one line each. The command line prints
`str(error)` and exits with `error.exit_code`; nothing in the package raises a bare exception for a mistake of
the user's.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "CaptureError",
    "ExportError",
    "GraphpruneError",
    "InputError",
    "PlanError",
    "RuleError",
    "VerificationError",
    "WeightsError",
    "first_line",
]


class GraphpruneError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: the cause, naming the layer or option concerned.
        remedy: what the user can do about it.
    """

    exit_code = 2

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} — {self.remedy}" if self.remedy else self.message


class InputError(GraphpruneError):
    """An argument, option, model name, input shape or file the user gave cannot be used."""


class WeightsError(InputError):
    """Weights are missing, unreadable or do not fit the model."""


class CaptureError(GraphpruneError):
    """The model could not be captured as a graph."""


class RuleError(GraphpruneError):
    """An operator has no rule (strict mode), or its rule does not fit the operator's shapes."""


class PlanError(GraphpruneError):
    """A plan does not fit its model: unknown tensors, empty axes, pinned axes cut."""


class BudgetError(PlanError):
    """A budget is out of reach."""


class ExportError(GraphpruneError):
    """The model could not be exported to, or run as, ONNX."""

    exit_code = 3


class VerificationError(GraphpruneError):
    """The slim model is not what was asked for. Nothing has been written."""

    exit_code = 4


def first_line(error: BaseException, limit: int | None = None) -> str:
    """What any error says, in one line of at most ``limit`` letters; of one that says nothing, its class.

    >>> first_line(ValueError("no such size\\nTraceback …")), first_line(KeyboardInterrupt())
    ('no such size', 'KeyboardInterrupt')
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)[:limit]
