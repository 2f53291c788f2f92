"""Batches of inputs that are made for a program, from nothing but the program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.inputs import Inputs
from graphprune.capture.operators import arguments
from graphprune.capture.program import Program
from graphprune.ground.arguments import examples_in
from graphprune.ground.errors import InputError
from graphprune.synthetic.leaves import dead_leaves
from graphprune.synthetic.noise import coloured, power_noise
from graphprune.synthetic.points import clouds
from graphprune.synthetic.reading import Input, read_inputs
from graphprune.synthetic.sentences import SENTENCES
from graphprune.synthetic.signals import signals
from graphprune.synthetic.statistics import find_norms, fit_affine, moved
from graphprune.synthetic.strokes import strokes
from graphprune.synthetic.tokens import masked, texts
from graphprune.synthetic.written import Tokenizer, written

__all__ = ["Made", "make_inputs"]

FEWEST, MOST, MOST_MATCHED = 16, 512, 192  # examples; those that are shaped one by one say more each
# multiply-accumulates that one pass over all examples may take, above the fewest; texts have fewer positions each
PASS, TEXT_PASS = 1.1e11, 1.4e11
VALUES = 1e7  # numbers in all examples
MATCHING = 2e11  # multiply-accumulates of the steps towards the norms' statistics
MOST_STEPS = 200
BACKWARD = 3  # a step costs so many forward passes
BATCH = 16
PARTS, FEWEST_HELD = 5, 2  # one part is held out, of so many batches at least
ROWS = 2  # dimensions of texts: rows of tokens
LOUDNESS = (0.15, 0.75)  # where nothing says the range: deviations of examples,
OFFSET = 0.3  # and of their means
MADE_KINDS = ("image", "volume", "series", "points", "features")
TOKENS, TEXT = "tokens", "English text"  # drawn by rank, or written by people


@dataclass(frozen=True)
class Made:
    """Batches that were made.

    Args:
        batches: calls as ``(args, kwargs)``.
        kinds: name of an input → what was made for it, for messages.
        matched: whether the batch norms' statistics of training have shaped them.
    """

    batches: tuple[Inputs, ...]
    kinds: Mapping[str, str]
    matched: bool
    name = "synthetic"

    @property
    def blind(self) -> bool:
        """Whether nothing says what the model's own inputs are like; tokens and texts are like themselves."""
        return not self.matched and not self.of_tokens

    @property
    def of_tokens(self) -> bool:
        """Whether all that was made are tokens, which a model reads one by one from a table of its own."""
        return bool(self.kinds) and set(self.kinds.values()) <= {TOKENS, TEXT}

    @property
    def unwritten(self) -> bool:
        """Whether all that was made are tokens that nobody has written."""
        return set(self.kinds.values()) == {TOKENS}

    def parted(self) -> tuple[Made, Made]:
        """Most of the batches, and the last ones, which are held out to judge on."""
        seen = len(self.batches) - max(len(self.batches) // PARTS, FEWEST_HELD)
        return replace(self, batches=self.batches[:seen]), replace(self, batches=self.batches[seen:])

    def __iter__(self) -> Iterator[Inputs]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __str__(self) -> str:
        said = ", ".join(dict.fromkeys(self.kinds.values())) or "the example inputs"
        shaped = ", shaped by the batch norms' statistics" if self.matched else ""
        return f"synthetic data ({said}{shaped})"


def make_inputs(graph: DependencyGraph, seed: int = 0, tokenizer: Tokenizer | None = None) -> Made:
    """Inputs for the program of ``graph``, the same ones on every machine.

    How many there are follows from what the model costs: 16 to 512.

    Args:
        tokenizer: with it an input of tokens is English text; without it tokens are drawn.

    Raises:
        InputError: the tokenizer is not the model's, or the model reads no text.
    """
    program = graph.program
    inputs = read_inputs(program)
    leaves = program.flat_inputs(*program.example)
    made = [place for place, one in enumerate(inputs) if one.kind in MADE_KINDS]
    norms = find_norms(program) if made else []
    macs = max(graph.cost().macs, 1)
    numbers = sum(
        leaf.numel() / max(len(leaf), 1) for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()
    )
    most, price = (MOST_MATCHED if norms else MOST), (PASS if made else TEXT_PASS)
    count = int(max(FEWEST, min(most, price / macs, VALUES / max(numbers, 1))))
    size = min(BATCH, count // PARTS) if program.dynamic_batch else max(examples_in(leaves), 1)
    seen = ceil(count / size)
    generator = torch.Generator().manual_seed(seed)
    batches = [
        _batch(program, inputs, size, bool(norms), generator)
        for _ in range(seen + _held(seen))  # the last ones are held out
    ]
    if norms:
        channels = [(place, inputs[place].channels) for place in made]
        ranges = fit_affine(program, batches[0], channels, norms)
        steps = min(MOST_STEPS, int(MATCHING / (BACKWARD * macs * count)))
        batches = [
            [ranges[place](leaf) if place in ranges else leaf for place, leaf in enumerate(batch)]
            for batch in batches
        ]
        batches = [moved(program, batch, made, norms, steps) for batch in batches] if steps else batches
    kinds = {one.name: one.kind for one in inputs if one.kind != "as given"}
    if tokenizer is not None:
        place = _read_as_text(inputs, leaves)
        if place is None:
            raise InputError(
                "a tokenizer is given, and not just one input holds rows of tokens", "leave it out"
            )
        batches = _in_english(batches, inputs, place, tokenizer)
        kinds[inputs[place].name] = TEXT
    return Made(tuple(program.call_of(batch) for batch in batches), kinds, bool(norms))


def _held(seen: int) -> int:
    """How many batches are held out beside so many."""
    return max(seen // (PARTS - 1), FEWEST_HELD)


def _batch(
    program: Program, inputs: list[Input], size: int, ranged: bool, generator: torch.Generator
) -> list[Any]:
    """The leaves of one call."""
    sizes = {"batch": size} if program.dynamic_batch else {}
    given = program.flat_inputs(*program.example_at(sizes))
    found = list(given)
    for place, (one, leaf) in enumerate(zip(inputs, given, strict=True)):
        if one.kind in MADE_KINDS:
            found[place] = _values(one, tuple(leaf.shape), ranged, generator).to(leaf)
        elif one.kind == TOKENS:
            table = _table(program, one)
            found[place] = texts(tuple(leaf.shape), one.rows, table, program.model, generator).to(leaf)
    read = _read_as_text(inputs, given)
    return found if read is None else masked(found, given, read, program.model, generator)


def _read_as_text(inputs: list[Input], leaves: Sequence[Any]) -> int | None:
    """The place of the input that holds rows of tokens; None where there is none, or where several do."""
    places = [place for place, one in enumerate(inputs) if one.kind == TOKENS and leaves[place].dim() == ROWS]
    return places[0] if len(places) == 1 else None


def _in_english(
    batches: list[list[Any]], inputs: list[Input], place: int, tokenizer: Tokenizer
) -> list[list[Any]]:
    """The batches with English text in place of tokens that were drawn, and with its masks."""
    size, length = batches[0][place].shape
    count = min(len(batches), max(len(SENTENCES) // size, 1) + 1)
    encoded = written(tokenizer, count * size, length, inputs[place].rows)
    alike = [n for n, leaf in enumerate(batches[0]) if getattr(leaf, "shape", None) == (size, length)]
    said = {n: encoded[inputs[n].name] for n in alike if inputs[n].name in encoded}
    said[place] = encoded["input_ids"]
    found = []
    for start, batch in zip(range(0, count * size, size), batches, strict=False):
        rows = slice(start, start + size)
        found.append([said[n][rows].to(leaf) if n in said else leaf for n, leaf in enumerate(batch)])
    return found


def _table(program: Program, one: Input) -> Tensor | None:
    """The embeddings of an input of tokens, where its values are looked up as they are."""
    for node in program.graph.find_nodes(op="placeholder"):
        for user in node.users if node.name == one.name else ():
            weight = arguments(user).get("weight") if user.op == "call_function" else None
            held = program.tensors.get(str(getattr(weight, "target", "")))
            if held is not None and len(held) == one.rows and held.dim() == 2:
                return held
    return None


def _values(one: Input, shape: tuple[int, ...], ranged: bool, generator: torch.Generator) -> Tensor:
    """Values in the shape of an input; in a range of their own unless batch norms will find it (``ranged``)."""
    count, space = shape[0], [shape[dim] for dim in one.space]
    channels = shape[one.channels] if one.channels is not None else 1
    if one.kind == "points":
        values = clouds(count, space[0], channels, generator)
    elif one.kind == "series":
        values = signals(count, channels, space[0], generator)
    elif one.kind == "image" and ranged:
        values = dead_leaves(count, channels, space[0], space[1], generator)
    elif one.kind == "image" and one.channels is not None and channels == 1:
        values = _grey(count, space, generator)
    elif space:
        values = coloured(power_noise(count, channels, space, generator), generator)
    else:
        values = torch.randn(count, prod(shape[1:]), generator=generator)
    if not ranged and one.kind in ("image", "volume"):
        values = _varied(values, generator)
    if not space:
        return values.reshape(shape)
    kept = [dim for dim in range(1, len(shape)) if dim in one.space or dim == one.channels]
    order = [one.channels, *one.space] if one.channels is not None else list(one.space)
    values = values.reshape(count, *(shape[dim] for dim in order))
    values = values.permute(0, *(1 + order.index(dim) for dim in kept))
    return values.reshape(shape)


def _grey(count: int, space: list[int], generator: torch.Generator) -> Tensor:
    """Half of them writing, half of them noise."""
    written = strokes(count // 2, space[0], space[1], generator)
    return torch.cat([written, power_noise(count - len(written), 1, space, generator)])


def _varied(values: Tensor, generator: torch.Generator) -> Tensor:
    """Examples of many contrasts and brightnesses: nothing says in which range the model wants its values."""
    draws = [len(values), *[1] * (values.dim() - 1)]
    low, high = LOUDNESS
    loud = low * (high / low) ** torch.rand(draws, generator=generator)
    return values * loud + OFFSET * torch.randn(draws, generator=generator)
