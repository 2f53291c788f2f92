"""Text to calibrate and to judge on: the user's, in the folder's own tokens, or what the model writes itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from graphprune.asking.options import WEIGHTS
from graphprune.asking.request import Request
from graphprune.calibration.text import LENGTH, TOKENS, own_text, perplexity, text_batches
from graphprune.capture.program import Program
from graphprune.ground.clock import Clock
from graphprune.ground.documents import machine_memory
from graphprune.ground.errors import InputError, first_line
from graphprune.ground.unlogged import unlogged
from graphprune.planning import Budget
from graphprune.pretrained.examples import text_sizes
from graphprune.pretrained.folder import Folder
from graphprune.pretrained.opened import Model
from graphprune.pretrained.twin import parameters
from graphprune.scoring import Criterion
from graphprune.synthetic import SENTENCES
from graphprune.verifying.reference import Run
from graphprune.verifying.tensors import converted, in_dtype

__all__ = [
    "IMPORTANCE",
    "Text",
    "by_weights",
    "find_text",
    "judge_of",
    "judged",
    "rows_of",
    "training_data",
    "with_text",
    "writes_text",
]

IMPORTANCE = "contribution"  # docs/language.md
PERPLEXITY = "perplexity"
OWN = "text that the model wrote itself"
ENGLISH = "English sentences that come with graphprune"

JUDGED = 2  # rows of the calibration text on which perplexity is compared
WIDE = 4  # bytes of a number while the model writes, which is in single precision


@dataclass(frozen=True)
class Text:
    """Batches to calibrate on, and where they are from; None where there are none, and why.

    ``judges`` are rows of text on which the model and the slim one are compared: some of the batches, or others.
    ``lacking`` says why there are no batches where there should be some.
    """

    batches: Sequence[Any] | None
    source: str
    judges: Sequence[Any] = ()
    judged_on: str = ""
    lacking: str = ""


def with_text(
    model: Model,
    request: Request,
    named: Collection[str],
    most: float | str | None,
    evaluate: str | None,
    clock: Clock,
) -> tuple[Text, Request]:
    """The calibration data, and the request with it.

    Where no importance is named, a language model is judged by what its units add to the text, and repaired on it. A
    named one is taken at its word: no data but the user's, unless it looks at some, and no repair unless it is asked
    for.

    Args:
        named: the options that the user gave.
        most: as for `find_text`; text such as "4GB" is read.
        evaluate: "perplexity:FILE" for other text to judge on.

    Raises:
        InputError: data are needed and there are none, or they cannot be read.
    """
    memory = None if most is None else _bytes(most)
    given = request.calibration if "calibration" in named else None
    chosen = "importance" in named
    looks = not chosen or bool(request.repair) or _looks(request)
    with clock("find text"):
        text = (
            find_text(model, given, memory, request.seed)
            if looks or given is not None
            else Text(None, "none")
        )
        text = _judging(model, text, evaluate)
    if text.batches is None:
        if chosen and looks:
            raise InputError(
                f"{_asks(request)} looks at data: {text.source}",
                "give calibration text, or batches",
            )
        if chosen:
            return text, replace(request, calibration=None)
        plain = replace(request, calibration=None, importance=WEIGHTS, repair=False)
        return replace(text, lacking=text.source), plain
    more: dict[str, Any] = (
        {} if chosen else {"importance": IMPORTANCE, "repair": request.repair if "repair" in named else True}
    )
    return text, replace(request, calibration=text.batches, **more)


def by_weights(request: Request, named: Collection[str]) -> Request | None:
    """The request by weights alone, for a default that cannot judge all groups; None where the user has chosen."""
    if "importance" in named or request.importance != IMPORTANCE:
        return None
    data = request.calibration if request.repair else None
    return replace(request, importance=WEIGHTS, calibration=data)


def _judging(model: Model, text: Text, evaluate: str | None) -> Text:
    """The text with the rows that ``evaluate`` names, ``perplexity:FILE``.

    Raises:
        InputError: it is something else, or the class writes no text.
    """
    if evaluate is None:
        return text
    file = _file_of(evaluate)
    if not writes_text(model):
        raise InputError(
            f"a {model.folder.blueprint.model.__name__} predicts no next tokens", "leave evaluate out"
        )
    return replace(text, judges=rows_of(model.folder, file, _length(model)), judged_on=f"the text {file}")


def judge_of(folder: Folder, evaluate: str) -> Callable[[nn.Module], float]:
    """What gives the perplexity of a model.

    Raises:
        InputError: ``evaluate`` is not "perplexity:FILE", or the file cannot be read.
    """
    rows = rows_of(folder, _file_of(evaluate))
    return lambda model: perplexity(model, rows)


def _file_of(evaluate: str) -> str:
    kind, _, file = evaluate.partition(":")
    if kind != PERPLEXITY or not file:
        raise InputError(f"evaluate={evaluate!r:.60} is not for a folder", f"write {PERPLEXITY}:FILE.txt")
    return file


def _looks(request: Request) -> bool:
    """Whether the importance looks at data."""
    return isinstance(request.criterion, Criterion) and request.criterion.measure.collect is not None


def _asks(request: Request) -> str:
    """Which option needs data."""
    return f"importance={request.importance!r}" if _looks(request) else "repair"


def _bytes(given: float | str) -> float:
    """Memory such as "4GB", or a share of what the machine has."""
    asked = Budget.parse("memory", given)
    return asked.value if asked.absolute else asked.value * machine_memory()


def find_text(model: Model, given: Any, most: float | None, seed: int) -> Text:
    """The calibration data of a request.

    Args:
        given: batches, which are taken as they are; the path of a text file or of a folder of them; or None, for which
            a language model writes its own text, and any other model of text reads plain English.
        most: bytes of memory that may be used to have it write; what the machine has, if None.

    Raises:
        InputError: the file cannot be read, or the folder has no tokenizer.
    """
    if isinstance(given, str | Path):
        rows = rows_of(model.folder, given, _length(model))
        return Text(rows, f"the text {given}", rows[:JUDGED] if writes_text(model) else (), str(given))
    if given is not None:
        return Text(given, "the batches that were given")
    if not writes_text(model):
        return _english(model)
    needed, there = WIDE * parameters(model.shaping.shapes), most or machine_memory() / 2
    if needed > there:
        return Text(None, f"to write text of its own it takes {needed / 2**30:.1f} GiB of memory")
    writer = model.folder.loaded(torch.float32).eval()
    with unlogged():
        rows = own_text(writer, seed=seed, length=_length(model))
    return Text(rows, OWN, rows[:JUDGED], OWN)


def _english(model: Model) -> Text:
    """Sentences that come with this package, for a model that reads text and writes none."""
    kind = model.folder.blueprint.model.__name__
    if "input_ids" not in model.graph.program.example[1]:
        return Text(None, f"a {kind} writes no text of its own")
    try:
        tokenizer = _tokenizer(model.folder)
    except InputError as error:
        return Text(None, f"a {kind} writes no text of its own, and {error.message}")
    text, length = "\n".join(SENTENCES), _positions(model.folder, _length(model))
    rows = text_batches(tokenizer, text, TOKENS, min(length, len(tokenizer(text)["input_ids"])))
    return Text(rows, ENGLISH)


def _length(model: Model) -> int:
    """Tokens of a row: the example's where the length of texts is fixed."""
    ids = model.graph.program.example[1].get("input_ids")
    return LENGTH if text_sizes(model.graph.program) or ids is None else int(ids.shape[1])


def writes_text(model: Model) -> bool:
    """Whether the class continues texts."""
    kind = model.folder.blueprint.model
    inputs = model.graph.program.example[1]
    decoder = not model.folder.blueprint.values.get("is_encoder_decoder")
    logits = model.graph.program.wanted[:1] == ("logits",)
    return bool(decoder and logits and list(inputs) == ["input_ids"] and kind.can_generate())


def training_data(folder: Folder, text: str | Path, rows: int) -> DataLoader[Any]:
    """All rows of a text in batches of so many ``rows``, drawn in another order every time.

    Raises:
        InputError: as `rows_of`.
    """
    data = [{"input_ids": row["input_ids"][0]} for row in rows_of(folder, text, tokens=None)]
    return DataLoader(data, batch_size=rows, shuffle=True)  # type: ignore[arg-type]


def rows_of(
    folder: Folder, text: str | Path, length: int = LENGTH, tokens: int | None = TOKENS
) -> list[dict[str, Tensor]]:
    """Rows of tokens of a text file, by the folder's tokenizer; ``tokens`` as for `text_batches`.

    Raises:
        InputError: there is no such file, no tokenizer, or it is another model's.
    """
    if not Path(text).exists():
        raise InputError(f"there is no file {text}", "give a text file, a folder of them, or batches")
    return text_batches(_tokenizer(folder), text, tokens, _positions(folder, length))


def _positions(folder: Folder, length: int) -> int:
    """So many tokens, or as many as the model has positions for."""
    return min(length, _number(folder.blueprint.values, "max_position_embeddings") or length)


def _tokenizer(folder: Folder) -> Any:
    """The folder's tokenizer.

    Raises:
        InputError: there is none, or it is another model's.
    """
    from transformers import AutoTokenizer

    try:
        with unlogged():
            tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
    except Exception as error:  # whatever a tokenizer raises that is not there
        raise InputError(
            f"{folder.path} has no tokenizer: {first_line(error)}", "copy its files there, or give batches"
        ) from error
    words = _number(folder.blueprint.values, "vocab_size")
    if words is not None and len(tokenizer) > words:
        raise InputError(
            f"the tokenizer in {folder.path} has {len(tokenizer):,} tokens, the model knows {words:,}",
            "put the model's own tokenizer there",
        )
    return tokenizer


def _number(values: Mapping[str, Any], field: str) -> int | None:
    """A number of the configuration, or of its part for text."""
    parts = [values, *(part for part in values.values() if isinstance(part, Mapping))]
    return next((part[field] for part in parts if isinstance(part.get(field), int)), None)


class _Streamed(nn.Module):
    """A program as a module, in single precision, that reads each weight when it is used."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        tensors = converted(self.program.tensors, torch.float32)
        leaves = [in_dtype(input_ids, torch.float32)]
        name = self.program.output_names[0]
        run = Run(self.program.graph, tensors, leaves, torch.float32)
        return {"logits": next(value for node, value in run if node.name == name)}


def judged(before: Program, after: Program, rows: Sequence[Any]) -> tuple[float, float]:
    """Perplexity of both on the same rows of text, each weight read when it is used."""
    one, other = (perplexity(_Streamed(program), rows) for program in (before, after))
    return one, other
