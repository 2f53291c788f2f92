"""Documents of text: from text files, from JSON lines, and from tables as Hugging Face's datasets keep them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphprune.ground.errors import InputError, first_line

__all__ = ["documents"]

LONGEST = 1024  # characters of a path
TEXTS = (".txt", ".md", ".rst")  # of files in a folder
SPLITS = "dataset_dict.json"  # where a folder holds several sets
REMEDY = 'give rows such as {"text": "…"}, or {"messages": […]} for a tokenizer with a chat template'


def documents(tokenizer: Any, text: str | Path, most: int) -> Iterator[str]:
    """A text itself, or what is in a file of that name, or in all files of a folder that are known by their endings.

    Args:
        tokenizer: its chat template makes a document of "messages".
        most: characters that are read of a text file; all of them where it is negative.

    Raises:
        InputError: a file is not what it should be, or cannot be read here.
    """
    path = Path(text) if len(str(text)) < LONGEST and "\n" not in str(text) else None
    if path is None or (isinstance(text, str) and not path.exists()):
        yield str(text)
        return
    if (path / SPLITS).is_file():
        splits = sorted(item.name for item in path.iterdir() if item.is_dir())
        raise InputError(f"{path} holds several sets: {', '.join(splits)}", f"name one: {path / splits[0]}")
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.suffix in _ROWS:
            for number, row in _ROWS[file.suffix](file):
                yield _document(tokenizer, row, f"row {number} of {file}")
        elif file == path or file.suffix in TEXTS:
            yield _read(file, most)


def _read(file: Path, most: int) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(most)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no text: {error}", "give a text file in UTF-8") from error


def _document(tokenizer: Any, row: Any, where: str) -> str:
    try:
        if "messages" in row:
            said = [{key: part for key, part in m.items() if part is not None} for m in row["messages"]]
            return str(tokenizer.apply_chat_template(said, tokenize=False))
        return str(row["text"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where} gives no text: {error}", REMEDY) from error


Rows = Iterator[tuple[int, Any]]  # each with its number, from 1


def _lines(file: Path) -> Rows:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip():
                    yield number, json.loads(line)
            except ValueError as error:
                raise InputError(f"row {number} of {file} gives no text: {error}", REMEDY) from error


def _stream(file: Path) -> Rows:
    """Of an Arrow stream, which is what ``save_to_disk`` of datasets writes."""
    with _arrow(file) as arrow, arrow.ipc.open_stream(file) as batches:
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)


def _parquet(file: Path) -> Rows:
    with _arrow(file) as arrow:
        batches = arrow.parquet.ParquetFile(file).iter_batches()
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)


@contextmanager
def _arrow(file: Path) -> Iterator[Any]:
    """pyarrow, while it reads a file.

    Raises:
        InputError: it is not installed, or cannot read the file.
    """
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f"{file} is a table, and pyarrow is not installed",
            "pip install 'graphprune[tables]', or give text files",
        ) from error
    try:
        yield pyarrow
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read: {first_line(error)}", "write it again") from error


# of files with a document in each row
_ROWS: Mapping[str, Callable[[Path], Rows]] = {
    ".jsonl": _lines,
    ".arrow": _stream,
    ".parquet": _parquet,
}
