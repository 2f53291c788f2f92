"""Result directories that are either complete or not there at all, and the JSON in them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from graphprune.ground.errors import InputError

__all__ = ["ensure_writable", "rows_to_json", "write_directory"]

# One of these, being a JSON object, marks a directory as a result of ours.
MARKERS = ("report.json", "plan.json")

# What a result may hold besides the files now being written. Anything else is the user's, and replacing the
# directory would delete it: `--output .` in a project folder that holds a plan must not cost the project.
RESULT_FILES = frozenset(
    {
        *MARKERS,
        "README.md",
        "__pycache__",
        "graph.json",
        "model.onnx",
        "model.onnx.data",
        "model.py",
        "model.safetensors",
        "original.onnx",
        "original.onnx.data",
        "report.html",
        "report.md",
        "report.txt",
        "shrink.toml",
        "tune.toml",
        "slim.onnx",
        "slim.onnx.data",
    }
)

OTHER_PLACE = "choose a new or empty directory"


def ensure_writable(target: Path, names: Iterable[str] = ()) -> None:
    """Refuse early, before long work, what `write_directory` would refuse; changes nothing.

    Args:
        target: the directory to be written. It may be missing, and so may its parents.
        names: further file names that a replaced result may hold, beside `RESULT_FILES`.

    Raises:
        InputError: `target` is a file, or a directory with contents that are not an earlier result; or its
            parent is not a directory in which files can be made.
    """
    with _readable_errors(target):
        place = target.resolve()
        if place.exists():
            _check_replaceable(place, RESULT_FILES.union(names))
        ancestor = next(parent for parent in place.parents if parent.exists())
    with _readable_errors(ancestor), tempfile.TemporaryDirectory(dir=ancestor, prefix=".graphprune."):
        pass


def write_directory(target: Path, writers: Mapping[str, Callable[[Path], None]]) -> None:
    """Write a directory of files all at once: into a temporary sibling, which is then renamed.

    On any exception, and on an interrupt, `target` is as it was before. An earlier result at `target` is
    replaced.

    Args:
        target: the directory; missing parents are made.
        writers: relative file name → function that writes the file at the path it is given. They run in order
            and in one directory, so that a writer may read what an earlier one wrote, or write more files.

    Raises:
        InputError: as `ensure_writable`, or a name leads out of the directory. What a writer raises is
            raised.
    """
    ensure_writable(target, {Path(name).parts[0] for name in writers if Path(name).parts})
    place = target.resolve()
    with _parents(place):
        draft = _sibling(place)
        try:
            for name, write in writers.items():
                write(_inside(draft, name))
            with _readable_errors(place.parent):
                # a temporary directory, and what safetensors writes, let nobody else read
                draft.chmod(0o777 & ~_umask())
                for file in draft.iterdir():
                    file.chmod((0o777 if file.is_dir() else 0o666) & ~_umask())
                _swap(draft, place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _check_replaceable(place: Path, names: frozenset[str]) -> None:
    if not place.is_dir():
        raise InputError(f"{place} is a file", OTHER_PLACE)
    found = sorted(entry.name for entry in place.iterdir())
    if not found:
        return
    if not any(_is_object(place / marker) for marker in MARKERS):
        raise InputError(f"{place} is not empty and no earlier result", OTHER_PLACE)
    if foreign := [name for name in found if name not in names]:
        raise InputError(
            f"{place} holds {foreign[0]!r} beside an earlier result, which is to be replaced",
            "move it away, or " + OTHER_PLACE,
        )


def _is_object(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or path == folder:
        raise InputError(f"{name!r} is not a file name inside the result directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _swap(draft: Path, place: Path) -> None:
    """Put `draft` at `place`; what was there is set aside first, and put back if that fails."""
    if not place.exists():
        draft.rename(place)
        return
    aside = _sibling(place)
    try:
        place.rename(aside / "old")
        draft.rename(place)
    except BaseException:
        if not place.exists():
            (aside / "old").rename(place)
        raise
    finally:
        if place.exists():  # or else the earlier result is still in there
            shutil.rmtree(aside, ignore_errors=True)


def _sibling(place: Path) -> Path:
    """A new directory beside `place`, on the same disk, so that renaming is one step."""
    with _readable_errors(place.parent):
        return Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))


@contextlib.contextmanager
def _parents(place: Path) -> Iterator[None]:
    """Make the missing parents of `place`, and take them away again if the body fails."""
    missing = [parent for parent in place.parents if not parent.exists()]
    try:
        with _readable_errors(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for parent in missing:  # deepest first; one that someone else has filled meanwhile stays
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


@contextlib.contextmanager
def _readable_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"nothing can be written in {place}: {error.strerror or error}", "choose a writable directory"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def rows_to_json(document: Mapping[str, Any]) -> str:
    """``document`` as JSON: indented, but every row of a table on one line.

    >>> print(rows_to_json({"a": 1, "rows": [{"x": [1, 2]}, {"x": [3]}]}), end="")
    {
      "a": 1,
      "rows": [
        {"x": [1, 2]},
        {"x": [3]}
      ]
    }
    """
    return _text(document, 0) + "\n"


def _text(value: Any, depth: int) -> str:
    if isinstance(value, dict) and value and depth < 2:
        rows = [f"{json.dumps(key)}: {_text(item, depth + 1)}" for key, item in value.items()]
        return _lines("{", rows, "}", depth)
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return _lines("[", [json.dumps(item) for item in value], "]", depth)
    return json.dumps(value)


def _lines(begin: str, rows: list[str], end: str, depth: int) -> str:
    indent = "  " * depth
    return begin + ",".join(f"\n{indent}  {row}" for row in rows) + f"\n{indent}{end}"
