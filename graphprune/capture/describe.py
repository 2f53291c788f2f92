"""Describes an fx graph to the core as operations on named values."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import sympy
import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.capture.operations import Operation, Size, Value
from graphprune.capture.operators import arguments, module_path, mutates
from graphprune.capture.program import Stored

__all__ = ["Description", "describe", "is_users", "source_line", "within_package"]


class Description(NamedTuple):
    """The operations of a graph, its values by node name, and the primes that stand for sizes that are data."""

    operations: tuple[Operation, ...]
    values: dict[str, Value]
    primes: tuple[int, ...]


class _Sizes:
    """Sizes that are data as integers: every symbol is a large prime, so no factor can be mistaken for it."""

    def __init__(self) -> None:
        self.symbols: dict[sympy.Symbol, int] = {}
        self._next = 1_000_003

    def number(self, size: int | torch.SymInt) -> int:
        if isinstance(size, int):
            return size
        expression = size.node.expr
        for symbol in sorted(expression.free_symbols, key=str):
            if symbol not in self.symbols:
                self.symbols[symbol] = self._next
                self._next = int(sympy.nextprime(self._next))
        return int(expression.xreplace({s: sympy.Integer(p) for s, p in self.symbols.items()}))


def describe(graph: fx.Graph, stored: Mapping[str, Stored] | None = None) -> Description:
    """One `Operation` for each operator that makes or writes tensors. Operators that only compute sizes have none.

    Args:
        stored: the program's tensors by name, which may say positions.
    """
    sizes = _Sizes()
    values: dict[str, Value] = {}
    results: dict[fx.Node, Any] = {}
    operations: list[Operation] = []
    for node in graph.nodes:
        if node.op == "output":
            continue
        result = _values(node.name, node.meta.get("val"), sizes)
        if isinstance(result, Value) and node.op == "get_attr" and stored is not None:
            result = replace(result, positions=_positions(node, stored))
        if node.target is operator.getitem and isinstance(results.get(node.args[0]), tuple):
            result = results[node.args[0]][node.args[1]]
        elif node.op == "call_function" and ((outputs := tuple(_flat(result))) or mutates(node)):
            operations.append(_operation(node, outputs, results))
        results[node] = result
        values.update({value.name: value for value in _flat(result)})
        if isinstance(result, Value):
            values[node.name] = result
    primes = tuple(dict.fromkeys(sizes.symbols.values()))
    return Description(tuple(operations), values, primes)


_READERS = (torch.ops.aten.index.Tensor, torch.ops.aten.index_select.default)


def _positions(node: fx.Node, stored: Mapping[str, Stored]) -> tuple[int, ...]:
    """The numbers of a stored vector that is read as positions, and as nothing else."""
    item = stored[str(node.target)]
    tensor = item.tensor
    whole = tensor.dtype in (torch.int64, torch.int32) and tensor.dim() == 1 and item.kind != "parameter"
    return tuple(tensor.tolist()) if whole and all(_says_positions(node, user) for user in node.users) else ()


def _says_positions(node: fx.Node, user: fx.Node) -> bool:
    """Whether ``user`` reads other tensors at the numbers of ``node``, along one dimension."""
    alone = user.all_input_nodes.count(node) == 1 and len(user.all_input_nodes) == 2
    return alone and user.target in _READERS and user.args[0] is not node


def _values(name: str, meta: Any, sizes: _Sizes) -> Any:
    if isinstance(meta, torch.Tensor):
        dtype = str(meta.dtype).removeprefix("torch.")
        return Value(name, tuple(sizes.number(size) for size in meta.shape), dtype)
    if isinstance(meta, tuple | list):
        return tuple(_values(f"{name}.{index}", item, sizes) for index, item in enumerate(meta))
    return sizes.number(meta) if isinstance(meta, torch.SymInt) else meta


def _flat(result: Any) -> list[Value]:
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Value)]


def _operation(node: fx.Node, outputs: tuple[Value, ...], results: dict[fx.Node, Any]) -> Operation:
    return Operation(
        name=node.name,
        op=str(node.target) if isinstance(node.target, torch._ops.OpOverload) else _name(node.target),
        arguments=fx.node.map_aggregate(
            _arguments(node), lambda a: _marked(results[a]) if isinstance(a, fx.Node) else a
        ),
        outputs=outputs,
        layer=module_path(node),
        source=source_line(node),
    )


def _marked(result: Any) -> Any:
    """What a node stands for as an argument: a number is one that varies."""
    return Size(result) if type(result) is int else result


def _name(target: Any) -> str:
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', target)}"


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, defaults filled in."""
    if hasattr(node.target, "_schema"):
        return arguments(node)
    return {f"argument{index}": value for index, value in enumerate(node.args)} | dict(node.kwargs)


def source_line(node: fx.Node) -> str:
    """The innermost line of the user's code that led to ``node``: ``package/file.py:line``."""
    for line in reversed((node.meta.get("stack_trace") or "").splitlines()):
        text = line.strip()
        if text.startswith('File "'):
            path, _, rest = text[6:].partition('", line ')
            if is_users(path):
                return f"{within_package(path)}:{rest.partition(',')[0]}"
    return ""


@cache
def within_package(path: str) -> str:
    """The path from the outermost package on, as it is imported; reports are passed on, and machines differ."""
    file = Path(path)
    root = next(folder for folder in file.parents if not (folder / "__init__.py").exists())
    return file.relative_to(root).as_posix()


# code that is never the user's: torch, this package, and what torch generates
_NOT_THE_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]), "<")


def is_users(path: str) -> bool:
    """Whether a source file is the user's (or another library's), for messages."""
    return not path.startswith(_NOT_THE_USERS)
