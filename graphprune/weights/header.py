"""The head of a safetensors file: the length of a JSON text, and in the text where each tensor's bytes stand.

The library of that name maps a whole file into memory to read it, and holds all of a file's tensors to write it. A
shard may be larger than either is allowed to be, so the bytes are read and written here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphprune.ground.documents import LARGEST, check_regular, parse_json
from graphprune.ground.errors import InputError, WeightsError
from graphprune.weights.forms import DTYPES, Form

__all__ = ["Place", "head_of", "read_head"]

METADATA = "__metadata__"
_LENGTH = 8  # bytes that say how long the text is
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Place:
    """Where a tensor's data stand: from byte ``start`` of ``path`` on."""

    path: Path
    start: int
    form: Form


def read_head(path: Path) -> dict[str, Place]:
    """The places of all tensors of a file, whose data are not read.

    Raises:
        WeightsError: it cannot be read, is no safetensors file, or is cut off.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            if not 2 <= length <= LARGEST:
                raise InputError("it does not begin as a safetensors file does")
            text = file.read(length)
        if len(text) < length:
            raise _cut_off(_LENGTH + len(text), _LENGTH + length)
        found = dict(_places(path, parse_json(text.decode()), _LENGTH + length))
        _check_data(found.values(), _LENGTH + length, path.stat().st_size)
        return found
    except (OSError, InputError, UnicodeDecodeError) as error:
        why = error.message if isinstance(error, InputError) else getattr(error, "strerror", "") or "no text"
        raise WeightsError(f"{path} cannot be read: {why}", "download or write the file again") from error


def _cut_off(found: int, wanted: int) -> InputError:
    return InputError(f"it is cut off: it has {found:,} bytes of {wanted:,}")


def _places(path: Path, head: Any, data: int) -> Iterator[tuple[str, Place]]:
    if not isinstance(head, dict):
        raise InputError("its head is no JSON object")
    for name, item in head.items():
        if name == METADATA:
            continue
        match item:
            case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
                if dtype not in DTYPES:
                    raise InputError(f"torch has no dtype {dtype}, which {name} has")
                if all(type(size) is int and size >= 0 for size in shape):
                    form = Form(DTYPES[dtype], tuple(shape))
                    if 0 <= begin <= end == begin + form.size:
                        yield name, Place(path, data + begin, form)
                        continue
        raise InputError(f"its head is damaged at {name}")


def _check_data(places: Iterable[Place], data: int, size: int) -> None:
    """Raises InputError where tensors overlap, leave gaps, or do not fill the file."""
    end = data
    for place in sorted(places, key=lambda place: (place.start, place.form.size)):
        if place.start != end:
            raise InputError("the places of its tensors do not follow each other")
        end += place.form.size
    if size < end:
        raise _cut_off(size, end)
    if size > end:
        raise InputError(f"it has {size - end:,} bytes after the last tensor")


def head_of(forms: Mapping[str, Form], metadata: Mapping[str, str]) -> bytes:
    """The head of a file in which these tensors stand in this order.

    Raises:
        WeightsError: safetensors has no dtype for one.
    """
    head: dict[str, Any] = {METADATA: dict(metadata)}
    end = 0
    for name, form in forms.items():
        if form.dtype not in _NAMES:
            raise WeightsError(
                f"{name} has the dtype {form.dtype}, which safetensors has no name for",
                "convert it before it is written",
            )
        begin, end = end, end + form.size
        head[name] = {
            "dtype": _NAMES[form.dtype],
            "shape": list(form.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # so that data begin at a multiple of eight
    return len(text).to_bytes(_LENGTH, "little") + text
