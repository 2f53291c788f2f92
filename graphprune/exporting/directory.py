"""Result directories that are either complete or not there at all, and the JSON in them."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from graphprune.ground.documents import parse_json, read_text
from graphprune.ground.drafts import drafted, put, sweep
from graphprune.ground.errors import InputError
from graphprune.ground.files import flush, writing

__all__ = ["DEPLOYED", "SWEEP", "ensure_writable", "rows_to_json", "write_directory"]

# One of these, being a JSON object, marks a directory as ours: a result, a sweep that holds several, what was exported,
# or a kit to be timed elsewhere.
REPORT, PLAN, SWEEP, EXPORT, KIT = MARKERS = (
    "report.json",
    "plan.json",
    "sweep.json",
    "export.json",
    "kit.json",
)

DEPLOYED = "deploy"  # a folder inside of a result, with files made of it

# What a result may hold besides the files now being written. Anything else is the user's, and replacing the
# directory would delete it: `--output .` in a project folder that holds a plan must not cost the project.
RESULT_FILES = frozenset(
    {
        REPORT,
        PLAN,
        SWEEP,
        EXPORT,
        "__pycache__",
        *(f"model{kind}.onnx{more}" for kind in ("", "_fp16", "_int8") for more in ("", ".data")),
        "model.py",
        "model.safetensors",
        "report.html",
        "shrink.toml",
        "tune.toml",
    }
)

# weights of a folder of transformers, whose number follows from their size
_SHARDS = re.compile(r"model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json")

OTHER_PLACE = "choose a new or empty directory"
FORCE = f"{OTHER_PLACE}, or replace it with --force (force=True)"


def ensure_writable(target: Path, names: Iterable[str] = (), force: bool = False) -> None:
    """Refuse early, before long work, what `write_directory` would refuse; changes nothing.

    Args:
        target: the directory to be written. It may be missing, and so may its parents.
        names: further file names that a replaced result may hold, beside `RESULT_FILES`.
        force: an earlier result may be replaced even if it is lost with that.

    Raises:
        InputError: `target` is a file, or a directory with contents that are not an earlier result; or one whose
            result was trained, or that holds other files, and ``force`` is not given; or its parent is not a
            directory in which files can be made.
    """
    with writing(target):
        place = target.resolve()
        sweep(place.parent)
        if place.is_dir():
            sweep(place)
        if place.exists():
            _check_replaceable(place, RESULT_FILES.union(names), force)
        ancestor = next(parent for parent in place.parents if parent.exists())
    with writing(ancestor), drafted(ancestor / place.name):
        pass


def write_directory(target: Path, writers: Mapping[str, Callable[[Path], None]], force: bool = False) -> None:
    """Write a directory of files all at once: as a draft beside it, which then takes its place.

    On any exception, and on an interrupt, `target` is as it was before. An earlier result at `target` is
    replaced. What becomes of a run that is killed, see `graphprune.ground.drafts`.

    Args:
        target: the directory; missing parents are made.
        writers: relative file name → function that writes the file at the path it is given. They run in order
            and in one directory, so that a writer may read what an earlier one wrote, or write more files.
        force: as for `ensure_writable`.

    Raises:
        InputError: as `ensure_writable`, or a name leads out of the directory, or the disk is full. What a writer
            raises is raised.
    """
    names = {Path(name).parts[0] for name in writers if Path(name).parts}
    ensure_writable(target, names, force)
    place = target.resolve()
    with _parents(place), writing(place.parent), drafted(place) as draft, writing(target, draft):
        draft.mkdir()
        for name, write in writers.items():
            write(_inside(draft, name))
        _open_to_others(draft)
        flush(draft)
        if place.exists():  # by now another run may have put something there
            _check_replaceable(place, RESULT_FILES.union(names), force)
        put(draft, place)


def _open_to_others(draft: Path) -> None:
    """As any folder is: what safetensors writes lets nobody else read."""
    mask = _umask()
    for file in [draft, *draft.iterdir()]:
        file.chmod((0o777 if file.is_dir() else 0o666) & ~mask)


def _check_replaceable(place: Path, names: frozenset[str], force: bool) -> None:
    if not place.is_dir():
        raise InputError(f"{place} is a file", OTHER_PLACE)
    found = sorted(place.iterdir())
    if not found:
        return
    if not any(_read_object(place / marker) is not None for marker in MARKERS):
        raise InputError(f"{place} is not empty and no earlier result", OTHER_PLACE)
    own = {*_swept(place), DEPLOYED}
    inside = [entry for entry in found if entry.name in own and entry.is_dir()]
    for entry in inside:
        _check_replaceable(entry, names, force)
    known = names.union(entry.name for entry in inside)
    foreign = [entry for entry in found if entry.name not in known and not _SHARDS.fullmatch(entry.name)]
    for entry in foreign:
        if not force or entry.is_dir():
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            remedy = f"move it away, or {OTHER_PLACE if entry.is_dir() else FORCE}"
            raise InputError(
                f"{place} holds {entry.name!r}{more} beside an earlier result: it would be lost", remedy
            )
    if not force and (training := _training(place)):
        raise InputError(f"{place} holds a model that was {training}: that would be lost", FORCE)


def _swept(place: Path) -> set[str]:
    """The folders of results that a sweep has written."""
    sweep = _read_object(place / SWEEP) if (place / SWEEP).exists() else None
    points = sweep.get("points") if sweep else None
    rows = [row for row in points if isinstance(row, dict)] if isinstance(points, list) else []
    return {str(row["folder"]) for row in rows if "folder" in row}


def _training(place: Path) -> str:
    """What was done to a result that its shrink.toml does not do again in a moment; empty for nothing."""
    report = _read_object(place / REPORT) if (place / REPORT).exists() else {}
    if report is None:
        return f"made by what its {REPORT} does not say, which is damaged"
    tuning, loop, request = (report.get(name) for name in ("tuning", "loop", "request"))
    if isinstance(loop, dict) and isinstance(loop.get("rounds"), list):
        return f"fine-tuned in {len(loop['rounds'])} rounds"
    if isinstance(tuning, dict):
        return f"fine-tuned for {tuning.get('steps')} steps"
    return "trained between rounds" if isinstance(request, dict) and request.get("between") else ""


def _read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object that a file holds; None where it holds none."""
    try:
        found = parse_json(read_text(path))
    except InputError:
        return None
    return found if isinstance(found, dict) else None


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or path == folder:
        raise InputError(f"{name!r} is not a file name inside the result directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def _parents(place: Path) -> Iterator[None]:
    """Make the missing parents of `place`, and take them away again if the body fails."""
    missing = [parent for parent in place.parents if not parent.exists()]
    try:
        with writing(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for parent in missing:  # deepest first; one that someone else has filled meanwhile stays
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


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
