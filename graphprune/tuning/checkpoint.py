"""The whole state of a run in one safetensors file: tensors, and a JSON document beside them. No pickle."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.exporting import read_tensors, write_tensors
from graphprune.ground.errors import InputError
from graphprune.ground.files import writing

__all__ = ["Checkpoint", "all_tensors", "fill", "pack_optimizer", "run_name", "unpack_optimizer"]

KEY = "graphprune_tuning"
FORMAT = 1
ANOTHER = "delete the file to start anew, or name another one"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by part (the model, the optimizer, …) and name, and everything that is no tensor, for JSON."""

    parts: Mapping[str, Mapping[str, Tensor]]
    record: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """An existing file is replaced only when the new one is complete.

        Raises:
            InputError: the file cannot be written.
        """
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **self.record}, sort_keys=True)
        tensors = {
            f"{part}/{name}": value for part, named in self.parts.items() for name, value in named.items()
        }
        write_tensors(path, tensors, {KEY: text})

    @classmethod
    def read(cls, path: Path, expected: Mapping[str, Any]) -> Checkpoint:
        """Reads a checkpoint of the run that ``expected`` describes.

        Raises:
            InputError: it is no checkpoint, or one of another model, of other settings or of other data.
        """
        found = cls.found(path)
        _compare(path, found.record["run"], expected)
        return found

    @classmethod
    def found(cls, path: Path) -> Checkpoint:
        """Reads the checkpoint of any run.

        Raises:
            InputError: it is no checkpoint.
        """
        metadata, tensors = read_tensors(path)
        try:
            record = json.loads(metadata[KEY])
            if record["format"] != FORMAT:
                raise InputError(
                    f"the checkpoint {path} has format {record['format']}, not {FORMAT}", ANOTHER
                )
            _ = record["run"]
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path} is no checkpoint of a fine-tuning", "name another file") from error
        return cls(_nested(tensors), record)

    @property
    def run(self) -> str:
        """What stands for its run, in the report of the result too."""
        return run_name(self.record["run"])


def run_name(described: Mapping[str, Any]) -> str:
    """What stands for a run: the same for the same model, settings and data."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _compare(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    if found.get("model") != expected["model"]:
        raise InputError(f"{path} is the checkpoint of another model", ANOTHER)
    names = [name for name in expected if found.get(name) != expected[name]]
    if names:
        first = names[0]
        raise InputError(
            f"the checkpoint {path} was made with {first}={found.get(first)!r}, now it is {expected[first]!r}",
            "go on with the same settings and data, or " + ANOTHER,
        )


def _nested(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by what stands before the first / of their names, and by the rest."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    return parts


def all_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, those that are in no state dict too; tied ones once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies ``tensors``, named as by `all_tensors`, into the model's own."""
    with torch.no_grad():
        for name, tensor in all_tensors(model).items():
            tensor.copy_(tensors[name])


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of an optimizer's state as ``number/key``, and the rest for JSON."""
    state = optimizer.state_dict()
    tensors, others = dict[str, Tensor](), list[list[Any]]()
    for number, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{number}/{key}"] = value
            else:
                others.append([number, key, value])
    return tensors, {"groups": state["param_groups"], "others": others}


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], record: Mapping[str, Any]
) -> None:
    """Puts back what `pack_optimizer` gave."""
    state: dict[int, dict[str, Any]] = {int(number): {**named} for number, named in _nested(tensors).items()}
    for number, key, value in record["others"]:
        state.setdefault(number, {})[key] = value
    for group in record["groups"]:
        # JSON makes lists of tuples such as Adam's betas
        lists = [key for key, value in group.items() if isinstance(value, list) and key != "params"]
        group.update({key: tuple(group[key]) for key in lists})
    optimizer.load_state_dict({"state": state, "param_groups": record["groups"]})
