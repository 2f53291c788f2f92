"""Verbs whose keyword arguments are the options that `graphprune.asking.options` declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, Signature, cleandoc, signature
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from torch import nn

from graphprune.asking.naming import SYNONYMS, named
from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.casting import not_under_modes
from graphprune.face.opening import as_opened, opened
from graphprune.ground.errors import InputError
from graphprune.ground.options import declarations, helps
from graphprune.importing.reading import tidying_of

__all__ = ["Verb", "asked", "takes"]

P = ParamSpec("P")
Result = TypeVar("Result", covariant=True)
Model = nn.Module | DependencyGraph


class Verb(Protocol[P, Result]):
    """Called with a model, example inputs, and options by their names."""

    def __call__(
        self, model: Model | str | Path, example_inputs: Any = None, *args: P.args, **options: P.kwargs
    ) -> Result: ...


def takes(
    request: Callable[P, Request], asks: Callable[[Model, dict[str, Any]], Any] | None = None
) -> Callable[[Callable[[Model, Any, Any], Result]], Verb[P, Result]]:
    """Gives a function of a request the request's options as keyword arguments, in its signature and docstring.

    Args:
        asks: what the function is given in the place of a request, made of the model and the options.
    """

    def decorate(run: Callable[[Model, Any, Any], Result]) -> Verb[P, Result]:
        @wraps(run)
        def verb(model: Model | str | Path, example_inputs: Any = None, **options: Any) -> Result:
            given, inputs = opened(model, example_inputs, tidying_of(options))
            with not_under_modes(given.program.model if isinstance(given, DependencyGraph) else given):
                return run(given, inputs, (asks or asked)(given, as_opened(given, options)))

        model, inputs, _ = signature(run).parameters.values()
        options = [
            Parameter(item.name, Parameter.KEYWORD_ONLY, default=item.default, annotation=item.type)
            for item in fields(Request)
        ]
        verb.__signature__ = Signature([model, inputs.replace(default=None), *options])  # type: ignore[attr-defined]
        verb.__doc__ = _documented(run.__doc__ or "")
        return verb  # type: ignore[return-value]

    return decorate


def asked(model: Model, options: dict[str, Any]) -> Request:
    """The request of these options.

    Args:
        model: in which modules and parameters are looked up that options name.
        options: by name.

    Raises:
        InputError: there is no such option, or it is out of range.
    """
    known = [name for name, _, _ in declarations(Request)]
    for name in options:
        if name not in known:
            near = [SYNONYMS[name]] if name in SYNONYMS else get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"use any of {', '.join(known)}"
            raise InputError(f"there is no option {name!r}", remedy)
    return Request(**named(model, options))


def _documented(text: str) -> str:
    """The docstring with a line for every option below ``Args:``."""
    before, raises, after = cleandoc(text).partition("\n\nRaises:")
    return "\n".join((before, *helps(Request))) + raises + after
