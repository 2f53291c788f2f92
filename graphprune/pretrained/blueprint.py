"""A class and its configuration as plain data, which can be changed field by field and built at no cost."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.ground.unlogged import unlogged

__all__ = [
    "Blueprint",
    "Place",
    "Refused",
    "Shape",
    "Shapes",
    "at",
    "filled",
    "numbers",
    "shapes_of",
    "shown",
    "tied",
]

Place = tuple[str | int, ...]  # names of fields and positions in lists: ("text_config", "hidden_size")
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

# what no width is read from, although it holds whole numbers
_NO_SIZES = ("id2label", "label2id", "architectures", "rope_parameters", "rope_scaling")

# where a class names the tensors that it computes itself
_COMPUTED = ("_keys_to_ignore_on_load_missing", "_keys_to_ignore_on_save")


class Refused(ValueError):
    """The configuration, or the class, does not take these values; its text says why."""


@dataclass(frozen=True)
class Blueprint:
    """What a model is built from.

    Args:
        model: the class of the model, such as ``LlamaForCausalLM``.
        config: the class of its configuration.
        values: the configuration, as ``config.to_dict()`` gives it.
    """

    model: Any
    config: Any
    values: Mapping[str, Any]

    def with_numbers(self, numbers: Mapping[Place, int]) -> Blueprint:
        """The same with other numbers at some places."""
        values = copy.deepcopy(dict(self.values))
        for place, number in numbers.items():
            at(values, place[:-1])[place[-1]] = number
        return replace(self, values=values)

    def configuration(self) -> Any:
        """The configuration, with no cache among the outputs.

        Raises:
            Refused: a check of the configuration fails.
        """
        with _refusing():
            made = self.config.from_dict(copy.deepcopy(dict(self.values)))
        for part in (made, *(getattr(made, name, None) for name in getattr(made, "sub_configs", ()))):
            if hasattr(part, "use_cache"):
                part.use_cache = False
        return made

    def hollow(self) -> nn.Module:
        """The model without data: all its tensors are on the meta device.

        Raises:
            Refused: it cannot be built.
        """
        from transformers.initialization import no_init_weights

        config = self.configuration()
        with _refusing(), unlogged(), torch.device("meta"), no_init_weights():
            return tied(self.model(config))

    def built(self) -> nn.Module:
        """The model with data, for evaluation, in single precision; its parameters are not initialised.

        Raises:
            Refused: it cannot be built.
        """
        from transformers.initialization import no_init_weights

        config = self.configuration()
        with _refusing(), unlogged(), no_init_weights():
            return tied(self.model(config))

    def empty(self, dtype: torch.dtype) -> nn.Module:
        """The model with parameters on the meta device, and buffers with data, which no file holds.

        Raises:
            Refused: it cannot be built.
        """
        from accelerate import init_empty_weights
        from transformers.initialization import no_init_weights

        config = self.configuration()
        with _refusing(), unlogged(), init_empty_weights(include_buffers=False), no_init_weights():
            model = self.model._from_config(config, dtype=dtype)
        return tied(model)  # within, every tie would become a parameter of its own

    def shapes(self) -> Shapes:
        """The shape of every tensor that is saved.

        Raises:
            Refused: it cannot be built.
        """
        return {name: tuple(tensor.shape) for name, tensor in self.hollow().state_dict().items()}

    def computes(self, name: str) -> bool:
        """Whether the class makes a tensor itself, such as sinusoidal positions, so that files need not have it."""
        patterns = [p for said in _COMPUTED for p in getattr(self.model, said, None) or ()]
        return any(re.search(pattern, name) for pattern in patterns)

    def missing(self) -> tuple[str, ...]:
        """Fields that are asked for while the model is built, and that the configuration does not have.

        Many classes read fields that theirs does not declare: ``getattr(config, "head_dim", None)``.
        """
        asked: dict[str, None] = {}

        def noted(_: Any, name: str) -> Any:
            asked[name] = None
            raise AttributeError(name)

        watched = type(self.config.__name__, (self.config,), {"__getattr__": noted})
        try:
            replace(self, config=watched).hollow()
        except Refused:
            return ()
        return tuple(name for name in asked if not name.startswith("_"))


def tied(model: Any) -> nn.Module:
    """With tensors that are one under several names; initialising would have done it."""
    model.tie_weights()
    return model.eval()


def filled(blueprint: Blueprint, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> nn.Module:
    """The model with these tensors of its state dict, which may lack those that are tied to others.

    Raises:
        Refused: it cannot be built.
    """
    model = blueprint.empty(dtype)
    model.load_state_dict(dict(tensors), strict=False, assign=True)
    return tied(model)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a class raises that was not made for these numbers
        raise Refused(" ".join(str(error).split()) or type(error).__name__) from error


def shapes_of(blueprint: Blueprint) -> Shapes | None:
    """The shape of every tensor that is saved; None where the class does not take these values."""
    try:
        return blueprint.shapes()
    except Refused:
        return None


def at(values: Mapping[str, Any], place: Place) -> Any:
    """What stands at a place of a configuration."""
    found: Any = values
    for key in place:
        found = found[key]
    return found


def numbers(values: Mapping[str, Any]) -> dict[Place, int]:
    """Every whole number above 1 in a configuration, by its place."""
    found: dict[Place, int] = {}

    def walk(value: Any, place: Place) -> None:
        if type(value) is int and value > 1:
            found[place] = value
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if key not in _NO_SIZES and "token_id" not in str(key):
                    walk(item, (*place, key))
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                walk(item, (*place, index))

    walk(values, ())
    return found


def shown(place: Place) -> str:
    """As it is written in Python.

    >>> shown(("vision_config", "hidden_sizes", 2))
    'vision_config.hidden_sizes[2]'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.removeprefix(".")
