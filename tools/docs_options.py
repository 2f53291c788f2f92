"""Extension of griffe: the reference shows options that are declared in one place and written elsewhere by Python.

An option is a field of a dataclass, ``name: type = option(default, help, …)``. When Python imports the package, the
help texts become docstrings, and the decorator ``takes`` gives `shrink` and `plan` the options as keyword arguments.
griffe reads sources and imports nothing, so it is told both here.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from inspect import getdoc
from typing import Any

import griffe

OPTIONS = "asking.options.Options"
VERBS = "face.shrink"


class Options(griffe.Extension):
    """Gives classes and functions with options the defaults, parameters and docstrings that Python has."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Called when all files of a package are read, before dataclasses get their ``__init__``."""
        for declaring in _classes(pkg):
            declared = [field for field in declaring.attributes.values() if _is_option(field)]
            for field in declared:
                field.value = field.value.arguments[0]
            if declared:
                _as_imported(declaring)
        options = [_parameter(field) for field in pkg[OPTIONS].attributes.values()]
        for verb in pkg[VERBS].members.values():
            if isinstance(verb, griffe.Function) and any(map(_takes_options, verb.decorators)):
                model, inputs, _ = verb.parameters
                inputs.default = "None"
                verb.parameters = griffe.Parameters(model, inputs, *options)
                _as_imported(verb)


def _classes(module: griffe.Module) -> Iterator[griffe.Class]:
    for member in module.members.values():
        if isinstance(member, griffe.Module):
            yield from _classes(member)
        elif isinstance(member, griffe.Class):
            yield member


def _is_option(field: griffe.Attribute) -> bool:
    return isinstance(field.value, griffe.ExprCall) and str(field.value.function) == "option"


def _takes_options(decorator: griffe.Decorator) -> bool:
    return str(decorator.value).startswith("takes(")


def _as_imported(thing: griffe.Object) -> None:
    if thing.docstring is not None:
        thing.docstring.value = getdoc(getattr(import_module(thing.module.path), thing.name)) or ""


def _parameter(field: griffe.Attribute) -> griffe.Parameter:
    kind = griffe.ParameterKind.keyword_only
    return griffe.Parameter(field.name, annotation=field.annotation, kind=kind, default=field.value)
