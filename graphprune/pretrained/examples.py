"""Example inputs of a pretrained class: found by the names of its arguments and the numbers of its configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.capture.program import Program
from graphprune.ground.errors import InputError, first_line
from graphprune.ground.unlogged import unlogged

__all__ = ["example_inputs", "input_names", "output_names", "task_outputs", "text_sizes"]

BATCH, TOKENS, TARGETS, SAMPLES, FRAMES = 2, 16, 9, 1600, 64
LARGEST = 2**24  # pixels of an example image
Maker = Callable[[Any], Tensor]


def input_names(model: nn.Module, config: Any) -> tuple[str, ...]:
    """The fewest arguments, of those that are known by name, with which ``forward`` runs.

    Raises:
        InputError: it runs with none of them; the message has what failed.
    """
    taken = inspect.signature(model.forward).parameters
    main = str(getattr(model, "main_input_name", "input_ids"))
    known = [name for name in _MAKERS if name in taken]
    if main not in known:
        raise InputError(
            f"the main input of {type(model).__name__} is {main!r}, which no example is known for",
            "give example_inputs, a dict of tensors",
        )
    failed = ""
    for names in _choices(main, known):
        failed = _failure(model, example_inputs(names, config))
        if not failed:
            return names
    raise InputError(
        f"{type(model).__name__} does not run on {', '.join(known)}: {failed}",
        "give example_inputs, a dict of tensors",
    )


def example_inputs(names: Iterable[str], config: Any) -> dict[str, Tensor]:
    """Examples of these arguments, two of each, on the CPU."""
    return {name: _MAKERS[name](config) for name in names}


def _choices(main: str, known: list[str]) -> Iterator[tuple[str, ...]]:
    """The main input alone, then with one more, then with two more."""
    others = [name for name in known if name != main]
    for count in range(3):
        for more in combinations(others, count):
            yield (main, *more)


def _failure(model: nn.Module, inputs: Mapping[str, Tensor]) -> str:
    try:
        output_names(model, inputs)
    except Exception as error:  # whatever the model raises
        return first_line(error)
    return ""


def output_names(model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The names of what the class returns for these inputs; on the model's device, which may be meta."""
    device = next(model.parameters()).device
    with torch.no_grad(), unlogged(), torch.device(device):
        returned = model(**{name: tensor.to(device) for name, tensor in inputs.items()})
    return tuple(map(str, returned.keys())) if isinstance(returned, Mapping) else ()


def _numbers(config: Any, names: str, default: int, place: str = "") -> Any:
    """The first of the fields that a part of the configuration has."""
    parts = [
        getattr(config, place, None),
        config,
        *(getattr(config, n, None) for n in ("text_config", "vision_config")),
    ]
    found = (getattr(part, name, None) for part in parts if part is not None for name in names.split())
    return next((value for value in found if value), default)


def _ids(config: Any, length: int) -> Tensor:
    """Tokens above the special ones, where there are so many."""
    words = _numbers(config, "vocab_size", 100, "text_config")
    generator = torch.Generator().manual_seed(0)
    return torch.randint(min(4, words - 1), words, (BATCH, length), generator=generator)


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _pixels(config: Any) -> Tensor:
    size = _numbers(config, "image_size", 64, "vision_config")
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    if height * width > LARGEST:
        raise InputError(f"the configuration says images of {height} × {width}", "give example_inputs")
    return _normal(BATCH, _numbers(config, "num_channels", 3, "vision_config"), height, width)


def _frames(config: Any) -> Tensor:
    """Mel frames; a table of positions asks for two frames each (Whisper's convolution halves them)."""
    positions = _numbers(config, "max_source_positions", 0)
    return _normal(BATCH, _numbers(config, "num_mel_bins feature_size", 80), 2 * positions or FRAMES)


_MAKERS: Mapping[str, Maker] = {
    "input_ids": lambda config: _ids(config, TOKENS),
    "decoder_input_ids": lambda config: _ids(config, TARGETS),
    "attention_mask": lambda config: torch.ones(BATCH, TOKENS, dtype=torch.long),
    "pixel_values": _pixels,
    "input_values": lambda config: _normal(BATCH, SAMPLES),
    "input_features": _frames,
    "past_values": lambda config: _normal(
        BATCH, _numbers(config, "context_length", 32), _numbers(config, "num_input_channels", 1)
    ),
}

# of what a class returns, these lead to what it is for
_ON_THE_WAY = (
    "hidden_state",
    "attentions",
    "past_key_values",
    "model_output",
    "mems",
    "cache",
    "embeds",
    "states",
)


def text_sizes(program: Program) -> tuple[str, ...]:
    """The sizes that say how long texts are: those that vary of whole numbers, but for their rows."""
    leaves = program.flat_inputs(*program.example)
    whole = [at for at in program.dimensions if at.dim and not leaves[at.place].is_floating_point()]
    return tuple(dict.fromkeys(at.name for at in whole if at.name not in ("", "batch")))


def task_outputs(names: tuple[str, ...]) -> tuple[str, ...]:
    """Of the outputs those that a class is used for; none, which stands for all, where nothing else is returned.

    What is left out may change its width with the configuration, as in any model of the class.

    >>> task_outputs(("logits", "past_key_values", "encoder_last_hidden_state"))
    ('logits',)
    >>> task_outputs(("last_hidden_state", "pooler_output"))
    ()
    """
    aims = tuple(name for name in names if not any(part in name for part in _ON_THE_WAY))
    return aims if any("logit" in name or "score" in name for name in aims) else ()
