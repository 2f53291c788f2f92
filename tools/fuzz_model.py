"""A random model as a list of Python statements: it can be run, printed as source, kept as JSON, and reduced."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NAMESPACE", "Input", "Model", "randomise", "values_in", "widened"]

NAMESPACE = {"torch": torch, "nn": nn, "F": F}
VALUE, ATTRIBUTE = re.compile(r"\b[vx]\d+\b"), re.compile(r"self\.(\w+)")
_numbers = count()


@dataclass(frozen=True)
class Input:
    """A tensor that ``forward`` takes.

    Args:
        shape: sizes; ``-k`` is k times the batch size.
        high: integers below it, instead of normal numbers; of 0, numbers.
    """

    name: str
    shape: tuple[int, ...]
    high: int = 0

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        sizes = [-size * batch if size < 0 else size for size in self.shape]
        if self.high:
            return torch.randint(self.high, sizes, generator=generator)
        return torch.randn(sizes, generator=generator)


@dataclass(frozen=True)
class Model:
    """Random code.

    Args:
        layers: name → the line of ``__init__`` that makes ``self.name``; lines of other names tie or register.
        steps: name of a value → the statement of ``forward`` that makes it, in order.
        outputs: what is returned, in the shape ``form``: one, tuple or dict.
        batch: of the example.
        kinds: name of a value → the kind of step, for the counts.
    """

    inputs: tuple[Input, ...]
    layers: dict[str, str]
    steps: dict[str, str]
    outputs: tuple[str, ...]
    form: str
    batch: int
    kinds: dict[str, str]
    seed: int = 0

    @property
    def source(self) -> str:
        """The module as a class ``Net``."""
        lines = ["class Net(nn.Module):", "    def __init__(self):", "        super().__init__()"]
        lines += [f"        {line}" for line in self.layers.values()]
        names = ", ".join(item.name for item in self.inputs)
        lines += ["", f"    def forward(self, {names}):"]
        for statement in self.steps.values():
            lines += [f"        {line}" for line in statement.split("\n")]
        returned = ", ".join(self.outputs)
        if self.form == "dict":
            returned = "{" + ", ".join(f'"{name}": {name}' for name in self.outputs) + "}"
        elif self.form == "tuple":
            returned = f"({returned},)"
        return "\n".join([*lines, f"        return {returned}", ""])

    def build(self) -> nn.Module:
        """A fresh module in eval mode, with random parameters and statistics that hide nothing."""
        torch.manual_seed(self.seed)
        name, namespace = f"<fuzz {next(_numbers)}>", dict(NAMESPACE)
        linecache.cache[name] = (len(self.source), None, self.source.splitlines(True), name)
        exec(compile(self.source, name, "exec"), namespace)
        return randomise(namespace["Net"](), self.seed).eval()

    def example(self, batch: int | None = None, seed: int = 0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(self.seed + 1000 * seed)
        return tuple(item.draw(batch or self.batch, generator) for item in self.inputs)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Model:
        inputs = tuple(Input(item["name"], tuple(item["shape"]), item["high"]) for item in data["inputs"])
        return cls(**{**data, "inputs": inputs, "outputs": tuple(data["outputs"])})

    def without_dead(self) -> Model:
        """The same without what no output needs."""
        needed, steps = set(self.outputs), {}
        for name, statement in reversed(self.steps.items()):
            if name in needed:
                steps[name] = statement
                needed |= values_in(statement)
        steps = dict(reversed(steps.items()))
        used = set(ATTRIBUTE.findall("\n".join(steps.values())))
        layers: dict[str, str] = {}
        for name, line in reversed(self.layers.items()):
            if set(ATTRIBUTE.findall(line)) | {name} <= used or (name in used and "." not in name):
                layers[name] = line
                used |= set(ATTRIBUTE.findall(line))
        inputs = tuple(item for item in self.inputs if item.name in needed)
        layers = dict(reversed(layers.items()))
        return replace(self, inputs=inputs, layers=layers, steps=steps)


def values_in(statements: str | Iterable[str]) -> set[str]:
    """Names of values."""
    text = statements if isinstance(statements, str) else "\n".join(statements)
    return set(VALUE.findall(text))


@torch.no_grad()
def randomise(module: nn.Module, seed: int) -> nn.Module:
    """No zero bias, no scale near zero, no statistics that do nothing."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator)

    for name, tensor in module.named_parameters():
        if tensor.dim() > 1:
            fan = tensor[0].numel() if not name.startswith("p") else 4
            tensor.copy_(normal(tensor) * fan**-0.5)
        else:
            scale = name.endswith("weight") or "_l" not in name
            tensor.copy_(0.3 * normal(tensor) + 0.8 * scale)
    for name, tensor in module.named_buffers():
        if name.endswith("running_mean"):
            tensor.copy_(0.3 * normal(tensor))
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module


def widened(item: Any) -> Any:
    """A module, or a tensor if it holds floating numbers, in float64."""
    whole = isinstance(item, Tensor) and not item.is_floating_point()
    return item if whole else item.double()
