"""Writes random models statement by statement; each is run as it is written, so that shapes need no rules.

Every value exists at two batch sizes. What differs between them is a multiple of the batch, which stands as a
negative number in a shape: ``(-1, 8, 4)`` is batch × 8 × 4, and ``(-3, 8)`` is 3 · batch × 8.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from fuzz_model import NAMESPACE, Input, Model, values_in
from torch import Tensor, nn

__all__ = ["Builder", "Op", "Reject", "Shape"]

Shape = tuple[int, ...]
CHANNELS = (4, 6, 8, 8, 12, 16)
BATCHES = (2, 2, 3, 4)  # 4 is the size of channels and images too
LARGEST = 40_000  # elements of a value


class Reject(Exception):
    """A step does not fit here."""


class Builder:
    """A model in the making.

    Attributes:
        shapes: values that further steps may use, with their shapes.
        fresh: those that no step has used so far.
    """

    def __init__(self, seed: int) -> None:
        self.random, self.seed = random.Random(seed), seed
        self.batch = self.random.choice(BATCHES)
        self.inputs: list[Input] = []
        self.layers: dict[str, str] = {}
        self.steps: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        self.shapes: dict[str, Shape] = {}
        self.fresh: list[str] = []
        self.count = 0
        self.kind = ""
        self.module = nn.Module().eval()
        self.sizes = (self.batch, self.batch + 3)
        self.env: list[dict[str, Any]] = [{**NAMESPACE, "self": self.module} for _ in self.sizes]

    # --- drawing

    def choice(self, values: Sequence[Any]) -> Any:
        return self.random.choice(list(values))

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    @property
    def channels(self) -> int:
        return self.choice(CHANNELS)

    def divisor(self, size: int, *, proper: bool = False) -> int:
        """A divisor of ``size`` above 1 (and below it, if ``proper``)."""
        found = [d for d in range(2, size + 1 - proper) if size % d == 0]
        if not found:
            raise Reject
        return self.choice(found)

    def pick(self, *ranks: int, fit: Callable[[Shape], bool] | None = None, plain: bool = True) -> str:
        """A value, of late ones and of unused ones more often.

        Args:
            plain: the batch is the first size and stands nowhere else.
        """

        def fits(name: str) -> bool:
            shape = self.shapes[name]
            return (
                (not ranks or len(shape) in ranks)
                and (not plain or (shape[0] == -1 and all(size > 0 for size in shape[1:])))
                and (fit is None or fit(shape))
            )

        found = [name for name in self.shapes if fits(name)]
        if not found:
            raise Reject
        late = [name for name in found[-4:] if name in self.fresh] or found[-3:]
        return self.choice(late if self.chance(0.75) else found)

    def like(self, shape: Shape, *others: str) -> str:
        """A value of this shape."""
        return self.pick(fit=lambda found: found == shape, plain=False)

    def size(self, name: str, dim: int) -> str:
        """How code may write a size of a value: as a number, if it is none of the batch, or read from the value."""
        size = self.shapes[name][dim]
        if size > 0 and self.chance(0.75):
            return str(size)
        return f"{name}.{self.choice((f'shape[{dim}]', f'size({dim})'))}"

    # --- writing

    def input(self, shape: Shape, high: int = 0) -> str:
        item = Input(f"x{len(self.inputs)}", shape, high)
        self.inputs.append(item)
        self.place(item)
        self.shapes[item.name] = shape
        self.fresh.append(item.name)
        return item.name

    def place(self, item: Input) -> None:
        for env, size in zip(self.env, self.sizes, strict=True):
            env[item.name] = item.draw(size, torch.Generator().manual_seed(self.seed))

    def layer(self, code: str, name: str = "l") -> str:
        """Adds ``self.l3 = code`` to ``__init__`` and gives ``self.l3``; parameters are called p, buffers b."""
        name += str(len(self.layers))
        line = f"self.register_buffer('{name}', {code})" if name[0] == "b" else f"self.{name} = {code}"
        self.setup(name, line)
        return f"self.{name}"

    def setup(self, name: str, line: str) -> None:
        """Adds a line to ``__init__``."""
        exec(line, self.env[0])
        self.module.eval()
        self.layers[name] = line

    def parameter(self, *shape: int) -> str:
        return self.layer(f"nn.Parameter(torch.randn({', '.join(map(str, shape))}))", "p")

    def add(self, code: str, *after: str, pool: bool = True) -> str:
        """Adds ``v7 = code`` to ``forward``, and lines ``after``, in which ``$`` is the new value; gives its name."""
        self.count += 1
        name = f"v{self.count}"
        statement = "\n".join(line.replace("$", name) for line in (f"$ = {code}", *after))
        self.run(statement)
        if pool:
            self.shapes[name] = self.shape_of(name)
            self.fresh = [other for other in self.fresh if other not in values_in(statement)]
            self.fresh.append(name)
        self.steps[name], self.kinds[name] = statement, self.kind
        return name

    @torch.no_grad()
    def run(self, statement: str) -> None:
        for env in self.env:
            exec(statement, env)

    def shape_of(self, name: str) -> Shape:
        """Raises Reject if it is no tensor, too large, or not of numbers of a sensible size."""
        one, other = (env[name] for env in self.env)
        if not isinstance(one, Tensor) or one.numel() > LARGEST or not one.numel():
            raise Reject
        if one.is_floating_point() and not bool(one.isfinite().all() and one.abs().max() < 1e4):
            raise Reject
        shape = []
        for a, b in zip(one.shape, other.shape, strict=True):
            folded, rest = divmod(a, self.sizes[0])
            if a == b:
                shape.append(a)
            elif not rest and folded * self.sizes[1] == b:
                shape.append(-folded)
            else:
                raise Reject
        return tuple(shape)

    def attempt(self, op: Op) -> bool:
        """Whether the steps of ``op`` could be added; if not, nothing is."""
        before = (dict(self.layers), dict(self.steps), dict(self.shapes), list(self.fresh), list(self.inputs))
        self.kind = op.__name__
        try:
            op(self)
        except (Reject, RuntimeError, ValueError, IndexError, TypeError, AssertionError):
            self.layers, self.steps, self.shapes, self.fresh, self.inputs = before
            return False
        return True

    def model(self, outputs: Sequence[str]) -> Model:
        form = self.choice(("tuple", "dict")) if len(outputs) > 1 else "one"
        kinds = {name: self.kinds[name] for name in self.steps}
        return Model(
            tuple(self.inputs), self.layers, self.steps, tuple(outputs), form, self.batch, kinds, self.seed
        )


Op = Callable[[Builder], None]
