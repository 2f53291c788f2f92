"""Extension of griffe: the reference shows the options of ``shrink`` and ``plan``, which their source does not list.

Options are declared once, as fields of `graphprune.asking.options.Options`. The decorator ``takes`` writes them into
the signature and the docstring of a function when Python imports it. griffe reads sources only, so it is told here.
"""

from __future__ import annotations

from importlib import import_module
from inspect import getdoc
from typing import Any

import griffe

OPTIONS = "asking.options.Options"


class Verbs(griffe.Extension):
    """Gives every function that ``takes`` decorates the options as parameters, and the docstring that Python has."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Called when all files of a package are read."""
        options = [_parameter(field) for field in pkg[OPTIONS].attributes.values()]
        for module in pkg["face"].modules.values():
            for function in module.functions.values():
                if not function.is_alias and any(map(_is_taking, function.decorators)):
                    model, inputs, _ = function.parameters
                    inputs.default = "None"
                    function.parameters = griffe.Parameters(model, inputs, *options)
                    verb = getattr(import_module(module.path), function.name)
                    function.docstring.value = getdoc(verb)


def _is_taking(decorator: griffe.Decorator) -> bool:
    return str(decorator.value).startswith("takes(")


def _parameter(field: griffe.Attribute) -> griffe.Parameter:
    """A field as a keyword argument; its value is ``option(default, help, …)``."""
    assert isinstance(field.value, griffe.ExprCall)
    return griffe.Parameter(
        field.name,
        annotation=field.annotation,
        kind=griffe.ParameterKind.keyword_only,
        default=field.value.arguments[0],
    )
