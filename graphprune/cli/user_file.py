"""Models, data and functions from the user's own Python file, which is run because the user named it."""

from __future__ import annotations

import ast
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from graphprune.capture.inputs import Inputs, normalise_inputs
from graphprune.ground.errors import GraphpruneError, InputError

__all__ = ["call_named", "made_by_factory", "named_in", "read_function", "without_factory"]

RETURNS = "return a torch.nn.Module, or (module, example_inputs)"
FUNCTIONS = {
    "--loss": "return a number, given the outputs, or the outputs and the batch or its labels",
    "--evaluate": "return a number, given the model",
}
Function = Callable[..., Any]


def named_in(spec: str) -> tuple[Path, str] | None:
    """The file and the name that ``path/to/file.py:name`` holds; None of any other text.

    >>> file, name = named_in("data/train.py:loader")
    >>> str(file), name
    ('data/train.py', 'loader')
    >>> named_in("zoo:digits")
    """
    path, _, name = spec.rpartition(":")
    return (Path(path), name) if path.endswith(".py") else None


def read_function(option: str, spec: str | None) -> Function | None:
    """The function that ``--loss`` or ``--evaluate file.py:function`` names, if it is given. The file is run.

    Raises:
        InputError: there is no such file or function, or the file fails.
    """
    if spec is None:
        return None
    if (named := named_in(spec)) is None:
        raise InputError(f"{option} {spec!r} names no function", "give path/to/file.py:function")
    return _found(*named, FUNCTIONS[option])


def made_by_factory(path: Path, factory: str) -> tuple[nn.Module, Inputs | None]:
    """The module that ``factory()`` of the file returns, and its example inputs if it returns them too.

    Raises:
        InputError: there is no such file or factory, the user's code fails (the message names the line), or
            the factory returns something else.
    """
    made = call_named(path, factory, RETURNS)
    if isinstance(made, nn.Module):
        return made, None
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        return made[0], normalise_inputs(made[1])
    raise InputError(f"{factory}() of {path} returns {_kind(made)}, not a model", RETURNS)


def call_named(path: Path, name: str, returns: str = "return batches") -> Any:
    """Runs the file, calls its function ``name`` without arguments, and gives what that returns.

    Raises:
        InputError: there is no such file or function, or the user's code fails; the message names the line.
    """
    return _guarded(path, f"{name}()", _found(path, name, returns))


def _found(path: Path, name: str, returns: str) -> Function:
    """The function ``name`` of the file, which is run. Errors of its calls are the caller's."""
    found = getattr(_run(path), name, None)
    if not callable(found):
        what = f"has no {name!r}" if found is None else f"has {name!r}, but it is no function"
        raise InputError(f"{path} {what}", _choices(path, name, returns))
    function: Function = found
    return function


def without_factory(path: Path) -> InputError:
    """What is wrong with a path that names no factory."""
    if not path.is_file():
        return _missing(path)
    return InputError(f"MODEL {str(path)!r} does not say which function makes the model", _choices(path, ""))


def _run(path: Path) -> ModuleType:
    """Runs the file as a module of its own. No bytecode is left beside it."""
    if not path.is_file():
        raise _missing(path)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # its neighbours, as if it were run as a script
    module = ModuleType(path.stem if path.stem not in sys.modules else f"_user_{path.stem}")
    module.__file__ = str(path.resolve())
    sys.modules[module.__name__] = module  # dataclasses and pickling look their module up there
    _guarded(path, "the file", lambda: exec(compile(path.read_bytes(), str(path), "exec"), vars(module)))
    return module


def _missing(path: Path) -> InputError:
    return InputError(f"there is no file {path}", "check the path in MODEL, path/to/file.py:factory")


def _guarded(path: Path, what: str, call: Callable[[], Any]) -> Any:
    """Runs the user's code; whatever it raises becomes one line with the place."""
    try:
        return call()
    except GraphpruneError:
        raise
    except (Exception, SystemExit) as error:
        if "operator torchvision::" in str(error):
            raise _foreign_torchvision(path) from error
        place = _place(path, error)
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(
            f"{what} fails at {place}: {type(error).__name__}: {text}".rstrip(": "),
            "correct that line, or see the whole traceback with --debug",
        ) from error


def _foreign_torchvision(path: Path) -> InputError:
    """Of two packages that were not made for each other, which torchvision itself does not say."""
    versions = " beside ".join(f"{name} {version(name)}" for name in ("torchvision", "torch"))
    return InputError(
        f"{path} imports torchvision, whose operators do not load: {versions} are not made for each other",
        "install both from one index, as pytorch.org says; or begin the file with "
        "`from models_zoo import torchvision_ops; torchvision_ops.ensure()`",
    )


def _place(path: Path, error: BaseException) -> str:
    """``file:line``: the innermost line of the user's file, or where Python could not read it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f"{path}:{frames[-1].lineno}" if frames else str(path)


def _choices(path: Path, name: str, returns: str = RETURNS) -> str:
    """Names the functions that the file defines, read without running it."""
    from difflib import get_close_matches

    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError):
        body = []
    defined = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    names = [other for other in defined if not other.startswith("_")]
    near = get_close_matches(name, names, 3, 0.5) or names[:5]
    if not near:
        return f"write a function in {path.name} that takes no arguments; let it {returns}"
    return f"name a function of the file: {', '.join(f'{path}:{other}' for other in near)}"


def _kind(made: object) -> str:
    if isinstance(made, tuple):
        return f"a tuple of {', '.join(type(item).__name__ for item in made[:4]) or 'nothing'}"
    return f"a {type(made).__name__}"
