"""Calls of operators with arguments that do not fit, in processes that may die of it.

Every tensor ends, or begins, beside a page that cannot be touched, so that a kernel that reads or writes one number
beyond it is ended by a signal. Run as a script with names of callables as JSON on stdin, it prints those that were.
"""

from __future__ import annotations

import ctypes
import json
import math
import mmap
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import torch
from torch import Tensor

from graphprune.exporting.checked import FORMS
from graphprune.exporting.targets import function_named

PAGE = mmap.PAGESIZE
SLOTS, PAGES = 24, 5  # tensors of a call at most, and pages of one
SECONDS = 2  # for one operator
MEMORY = 6 << 30
DTYPES = (torch.float32,) * 6 + (torch.int64,) * 3 + (torch.float64, torch.bool, torch.complex64, torch.uint8)
SIZES = (1, 1, 2, 3, 3, 4, 5, 8, 0)
NUMBERS = (0, 0, 1, 1, 2, 3, -1, -1, 4, 7, -2, 100, 2**31, 2**40, -(2**63), 2**63 - 1)
FLOATS = (0.0, 1.0, 0.5, -1.0, 2.0, 1e-5, 1e30, math.inf, -math.inf, math.nan)


KINDS = {
    "Device": (torch.device("cpu"),),
    "ScalarType": DTYPES,
    "Layout": (torch.strided,),
    "MemoryFormat": (torch.contiguous_format, torch.channels_last, torch.preserve_format),
}


class Guarded:
    """Memory for the tensors of one call, each between two pages that cannot be touched."""

    def __init__(self) -> None:
        self.span = PAGE * (PAGES + 2)
        self.map = mmap.mmap(-1, self.span * SLOTS)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        for slot in range(SLOTS):
            for at in (0, self.span - PAGE):
                assert protect(ctypes.c_void_p(self.start + slot * self.span + at), PAGE, 0) == 0
        self.used = 0

    def tensor(self, values: Tensor, at_end: bool) -> Tensor:
        """The same values, in this memory; as they are where there is no room."""
        size = values.numel() * values.element_size()
        if self.used == SLOTS or not 0 < size <= PAGE * PAGES:
            return values
        first = self.used * self.span + PAGE
        self.used += 1
        offset = first + PAGE * PAGES - size if at_end else first
        held = torch.frombuffer(self.map, dtype=values.dtype, count=values.numel(), offset=offset)
        return held.copy_(values.flatten()).view(values.shape)


class Draw:
    """Arguments of a schema: the sizes of most tensors go together, so that the first checks are passed."""

    def __init__(self, random: Random, memory: Guarded) -> None:
        self.random, self.memory = random, memory
        memory.used = 0
        self.rank = random.choice((1, 2, 2, 3, 3, 4, 4, 4, 5))
        self.shape = [random.choice(SIZES) for _ in range(self.rank)]
        self.dtype = random.choice(DTYPES)
        self.at_end = random.random() < 0.8

    def tensor(self) -> Tensor:
        choose, shape = self.random.random(), list(self.shape)
        if choose < 0.15:
            shape = shape[1:2] or shape
        elif choose < 0.25:
            shape = [self.random.choice(SIZES)]
        elif choose < 0.4:
            shape[self.random.randrange(len(shape))] = self.random.choice(SIZES)
        elif choose < 0.5:
            shape = [self.random.choice(SIZES) for _ in range(self.random.choice((0, 1, 2, 3, 4, 5)))]
        elif choose < 0.55:
            shape = shape[1:]
        elif choose < 0.6:
            shape = [self.random.choice(SIZES), *shape]
        dtype = self.dtype if self.random.random() < 0.75 else self.random.choice(DTYPES)
        return self.memory.tensor(self._values(shape, dtype), self.at_end)

    def _values(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        count = math.prod(shape)
        if dtype is torch.int64:
            pool = (0, 1, 2) if self.random.random() < 0.5 else (0, 1, 2, 3, -1, 5, 1000, 2**40, -(2**62))
        elif dtype in (torch.bool, torch.uint8):
            pool = (0, 1)
        else:
            pool = (0.1, -0.7, 1.3) if self.random.random() < 0.6 else (0.5, -3.0, 1e30, math.nan, -1e9, 2.0)
        return torch.tensor([self.random.choice(pool) for _ in range(count)]).to(dtype).reshape(shape)

    def number(self) -> int:
        return self.random.choice(NUMBERS[:9]) if self.random.random() < 0.8 else self.random.choice(NUMBERS)

    def of(self, kind: str, name: str) -> Any:
        if kind.startswith("Optional["):
            return None if self.random.random() < 0.4 else self.of(kind[9:-1], name)
        if kind.startswith("List["):
            return [self.of(kind[5:-1], name) for _ in range(self.random.choice((0, 1, 1, 2, 2, 2, 3, 3, 4)))]
        if kind == "Tensor":
            return self.tensor()
        if kind in ("int", "SymInt"):
            return self.number()
        if kind in ("float", "number", "complex"):
            return self.random.choice(FLOATS) if self.random.random() < 0.5 else float(abs(self.number()))
        if kind == "bool":
            return self.random.random() < 0.5
        if kind == "str":
            return self.random.choice(TEXTS)
        return self.random.choice(KINDS.get(kind, (None,)))

    def anything(self) -> Any:
        return self.of(self.random.choice(("Tensor",) * 5 + ("int", "int", "List[int]", "float", "bool")), "")


TEXTS = (
    "none mean sum constant reflect linear ij xy fro tanh floor trunc prod amax left right same valid L U max min gels "
    "gelsd ab,bc->ac ortho"
).split()


def overload(name: str) -> Any:
    """The operator "torch.ops.aten.packet.overload", whether or not it is allowed."""
    packet, chosen = name.removeprefix("torch.ops.aten.").split(".")
    return getattr(getattr(torch.ops.aten, packet), chosen)


def schemas(name: str) -> list[Any]:
    """Of the operators behind a callable's name."""
    if name.startswith("torch.ops.aten."):
        return [overload(name)._schema]
    packet = getattr(torch.ops.aten, name.rpartition(".")[2], None)
    packet = packet or getattr(torch.ops.aten, name.removeprefix("torch.").replace(".", "_"), None)
    if not isinstance(packet, torch._ops.OpOverloadPacket):
        return []
    return [getattr(packet, chosen)._schema for chosen in packet.overloads() if "out" not in chosen]


def called(name: str) -> Callable[..., Any]:
    if name.startswith("Tensor."):
        return lambda self, *args, **kwargs: getattr(self, name[7:])(*args, **kwargs)
    unlisted = name.startswith("torch.ops.aten.") and name not in FORMS
    return overload(name) if unlisted else function_named(name)


def arguments(draw: Draw, known: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Of one of the schemas; where there is none, of any kinds."""
    if not known:
        return [draw.tensor(), *(draw.anything() for _ in range(draw.random.randrange(6)))], {}
    args: list[Any] = []
    kwargs = {}
    for argument in draw.random.choice(known).arguments:
        if argument.has_default_value() and draw.random.random() < 0.35:
            if argument.kwarg_only:
                continue
            value = argument.default_value
        else:
            value = draw.of(str(argument.real_type), argument.name)
        if argument.kwarg_only:
            kwargs[argument.name] = value
        else:
            args.append(value)
    return args, kwargs


def attempt(name: str, calls: int, memory: Guarded) -> int:
    """Calls it with arguments that are drawn; how many calls were done without an error."""
    random, function, known, done = Random(name), called(name), schemas(name), 0
    for _ in range(calls):
        args, kwargs = arguments(Draw(random, memory), known)
        with suppress(Exception):  # what torch refuses, it refuses in many ways
            function(*args, **kwargs)
            done += 1
    return done


def fatal(names: Sequence[str], calls: int) -> Iterator[tuple[str, int]]:
    """The callables whose calls end the process, with the signal; not those that only take long."""
    at = mmap.mmap(-1, 8)  # shared with the children
    start = 0
    while start < len(names):
        child = os.fork()
        if not child:
            _in_child(names[start:], calls, at, start)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return
        start = int.from_bytes(at[:8], "little")
        if os.WTERMSIG(status) != signal.SIGALRM:
            yield names[start], os.WTERMSIG(status)
        start += 1


def _in_child(names: Sequence[str], calls: int, at: mmap.mmap, start: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    memory = Guarded()
    for place, name in enumerate(names, start):
        at[:8] = place.to_bytes(8, "little")
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        attempt(name, calls, memory)
    os._exit(0)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    torch.set_num_threads(1)
    print(json.dumps(list(fatal(asked["names"], asked["calls"]))))
