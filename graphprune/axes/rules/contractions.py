"""Operators that multiply and sum: layers with weights, matrix products, attention, look-ups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from graphprune.axes.algebra import Axis
from graphprune.axes.call import Call, Operand
from graphprune.axes.rules.table import Table, each, stays
from graphprune.axes.signature import Signature

__all__ = ["RULES"]

_LOOKED_UP = "rows are looked up by index"

_MATMUL = {
    (1, 1): Signature("k, k ->", ("self", "other"), loops="k"),
    (1, 2): Signature("k, ... k j -> ... j", ("self", "other"), loops="... k j"),
    (2, 1): Signature("... i k, k -> ... i", ("self", "other"), loops="... k i"),
    (2, 2): Signature("... i k, ... k j -> ... i j", ("self", "other"), loops="... i k j"),
}


def convolution(call: Call) -> None:
    """A convolution. With kernel 1, stride 1 and no padding, positions stand for themselves."""
    steps = [*call["weight"].shape[2:], *call["stride"]]
    padding = call["padding"]
    pointwise = set(steps) == {1} and (isinstance(padding, str) or not any(padding))
    space, result = ("s+", "s+") if pointwise else ("x*", "y*")
    _convolve(call, f"(g i) {space}, (g o) i k*, (g o) -> (g o) {result}", f"g i o k* {result}")


def transposed_convolution(call: Call) -> None:
    """Every input position is spread over a window."""
    _convolve(call, "(g i) x*, (g i) o k*, (g o) -> (g o) y*", "g i o k* x*")


def _convolve(call: Call, text: str, loops: str) -> None:
    """The first dimension is the batch, if there is one."""
    if len(call["input"].dims) == len(call["weight"].dims):
        text, loops = f"b {text.replace('-> ', '-> b ')}", f"b {loops}"
    Signature(text, ("input", "weight", "bias"), {"g": "groups"}, loops)(call)


def added_product(product: Signature, call: Call) -> None:
    """A product, and a tensor that broadcasts into it."""
    product(call)
    call.broadcast([call["self"]], call.output.dims)


def _contracted(call: Call, first: Operand, second: Operand, pairs: Sequence[tuple[int, int]]) -> None:
    """The sum over pairs of dimensions; those that are left of the first tensor stand before those of the second."""
    left = [f"a{dim}" for dim in range(len(first.dims))]
    right = [f"b{dim}" for dim in range(len(second.dims))]
    for place, (one, other) in enumerate(pairs):
        left[one] = right[other] = f"k{place}"
    kept = [name for name in (*left, *right) if not name.startswith("k")]
    text = f"{' '.join(left)}, {' '.join(right)} -> {' '.join(kept)}"
    loops = " ".join(dict.fromkeys((*left, *right)))
    Signature(text, ("self", "other"), loops=loops)(call)


def tensordot(call: Call) -> None:
    """Pairs of dimensions are summed."""
    first, second = call["self"], call["other"]
    summed = [
        call.dimensions(one, call[name]) if call[name] else []
        for one, name in ((first, "dims_self"), (second, "dims_other"))
    ]
    _contracted(call, first, second, list(zip(*summed, strict=True)))


def inner(call: Call) -> None:
    """The last dimensions of both are summed; a number multiplies."""
    first, second = call["self"], call["other"]
    if first.dims and second.dims:
        _contracted(call, first, second, [(len(first.dims) - 1, len(second.dims) - 1)])
    else:
        call.broadcast((first, second), call.output.dims)


def chain(call: Call) -> None:
    """Several matrices, the first and the last perhaps vectors; multiply-accumulates are those from left to right."""
    tensors = list(call.operands(("tensors",)))
    names = [f"m{place}" for place in range(len(tensors) + 1)]
    operands = [names[place : place + 2] for place in range(len(tensors))]
    if len(tensors[0].dims) == 1:
        operands[0] = operands[0][1:]
    if len(tensors[-1].dims) == 1:
        operands[-1] = operands[-1][:1]
    ends = [names[0]] * (len(tensors[0].dims) == 2) + [names[-1]] * (len(tensors[-1].dims) == 2)
    arguments = tuple(f"operand{place}" for place in range(len(tensors)))
    call.arguments.update(zip(arguments, tensors, strict=True))
    Signature(f"{', '.join(map(' '.join, operands))} -> {' '.join(ends)}", arguments)(call)
    axes = [tensors[0].dims[0] if len(tensors[0].dims) == 2 else None, *(t.dims[0] for t in tensors[1:])]
    axes.append(tensors[-1].dims[1] if len(tensors[-1].dims) == 2 else None)
    first, *inner = axes
    for one, other in pairwise(inner):
        call.loops.append(tuple(axis for axis in (first, one, other) if axis is not None))


def kron(call: Call) -> None:
    """Every number of the first tensor times the second tensor: each dimension is ``(a b)``."""
    rank = len(call.output.dims)
    one = call.equations.atom(1)
    left, right = (
        (one,) * (rank - len(operand.dims)) + operand.dims for operand in (call["self"], call["other"])
    )
    for result, *pair in zip(call.output.dims, left, right, strict=True):
        call.unify(result, call.equations.product(pair))
    for operand in (call["self"], call["other"]):  # every copy of a tensor has the same units
        call.across.extend(
            (axis, other) for axis in operand.dims for other in operand.dims if axis is not other
        )


def trace(call: Call) -> None:
    """The sum along the diagonal."""
    rows, columns = call["self"].dims
    if rows.size == columns.size:
        call.unify(rows, columns)
    else:
        call.pin((rows, columns), "a diagonal is taken")


def all_distances(call: Call) -> None:
    """The distance of every row from every later one."""
    call.pin((call["self"].dims[0], call.output.dims[0]), "each row is compared with every other")
    call.lined_up(call["self"], [0])


def any_convolution(call: Call) -> None:
    """The operator behind all convolutions, whose arguments say which one it is."""
    (transposed_convolution if call["transposed"] else convolution)(call)


def bags(call: Call) -> None:
    """Rows that are looked up, and summed, averaged or compared in bags; the other results tell which."""
    weight, result, *others = call["weight"], *call.outputs
    rest = [operand for operand in call.operands() if operand is not weight]
    call.pin((weight.dims[0], *(axis for operand in rest for axis in operand.dims)), _LOOKED_UP)
    call.unify(result.dims[1], weight.dims[1])
    call.pin(result.dims[0], _LOOKED_UP)
    for other in others:
        if len(other.dims) == 2 and other.shape == result.shape:  # the places of the largest
            call.unify_all(other.dims, result.dims)
        else:
            call.pin(other.dims, _LOOKED_UP)


def matmul(call: Call) -> None:
    """``torch.matmul`` with its four cases of vectors and matrices."""
    ranks = (min(len(call["self"].dims), 2), min(len(call["other"].dims), 2))
    _MATMUL[ranks](call)


def einsum(call: Call) -> None:
    """The equation is the signature."""
    equation = call["equation"].replace(" ", "").replace("...", "…")
    left, arrow, right = equation.partition("->")
    operands = left.split(",")
    if not arrow:
        letters = sorted(letter for letter in set(left) if letter.isalpha() and left.count(letter) == 1)
        right = "".join(["…"] * ("…" in left) + letters)
    # a letter of one operand alone, not in the result, is summed before anything is multiplied
    letters_used = sorted({letter for letter in left if letter.isalpha()})
    names = [a for a in letters_used if a in right or sum(a in operand for operand in operands) > 1]
    loops = " ".join([*names, "..."] if "…" in left else names)
    text = ",".join(map(_spaced, operands)) + "->" + _spaced(right)
    arguments = tuple(f"operand{index}" for index in range(len(operands)))
    call.arguments.update(zip(arguments, call["tensors"], strict=True))
    Signature(text, arguments, loops=loops if len(operands) > 1 else "")(call)


def _spaced(letters: str) -> str:
    return " ".join("..." if letter == "…" else letter for letter in letters)


def attention(call: Call) -> None:
    """Scaled dot-product attention. Keys and values may have fewer heads than queries (``enable_gqa``).

    Widths are summed for every pair of positions, and the softmax runs over the keys' positions. A causal mask
    counts positions of queries and keys from the start: as many of both are one axis, else they are pinned.
    """
    query, key, value = call["query"], call["key"], call["value"]
    call.unify_all(call.output.dims, (*query.dims[:-1], value.dims[-1]))
    call.unify(key.dims[-2], value.dims[-2])
    call.unify(query.dims[-1], key.dims[-1])
    for operand in (key, value):
        _heads(call, query.dims[:-2], operand.dims[:-2])
    if call.get("is_causal"):
        _causal(call, query.dims[-2], key.dims[-2])
    mask = call.get("attn_mask")
    if mask is not None:
        call.broadcast([mask], (*query.dims[:-1], key.dims[-2]))
    call.across.extend((axis, key.dims[-2]) for axis in (*query.dims, value.dims[-1]) if axis.size > 1)
    call.across.append((query.dims[-1], query.dims[-2]))
    for width in (query.dims[-1], value.dims[-1]):
        call.loops.append((*query.dims[:-1], key.dims[-2], width))


def _causal(call: Call, query: Axis, key: Axis) -> None:
    if query.size == key.size:
        call.unify(query, key)
    else:
        call.pin((query, key), "a causal mask counts positions")


def _heads(call: Call, query: tuple[Axis, ...], other: tuple[Axis, ...]) -> None:
    """Each of the fewer heads serves a run of query heads: ``(g r)``."""
    for q, k in zip(query[::-1], other[::-1], strict=False):
        if q.size == k.size:
            call.unify(q, k)
        elif k.size != 1:
            repeated = call.equations.atom(q.size // k.size)
            call.unify(q, call.equations.product((k, repeated)))


_GROUPED = Signature("n i, e i o, k -> n o", ("input", "weight", "offs"), loops="n i o")


def grouped_product(call: Call) -> None:
    """Runs of rows, one for each of several matrices; ``offs`` says where the runs end."""
    _GROUPED(call)
    first = (call[name].dims[0] for name in _GROUPED.arguments)
    call.pin(first, "which rows belong to which matrix is data")


RULES: Table = {
    "aten.linear": Signature("... i, o i, o -> ... o", ("input", "weight", "bias"), loops="... i o"),
    "aten.bilinear": Signature(
        "... i, ... j, o i j, o -> ... o", ("input1", "input2", "weight", "bias"), loops="... i j o"
    ),
    "aten.mm": Signature("i k, k j -> i j", ("self", "mat2"), loops="i j k"),
    "aten.bmm": Signature("b i k, b k j -> b i j", ("self", "mat2"), loops="b i j k"),
    "aten.mv": Signature("i k, k -> i", ("self", "vec"), loops="i k"),
    "aten.dot": Signature("k, k ->", ("self", "tensor"), loops="k"),
    "aten.vdot": Signature("k, k ->", ("self", "other"), loops="k"),
    "aten.outer": Signature("i, j -> i j", ("self", "vec2"), loops="i j"),
    "aten.embedding": Signature("x* d, s+ -> s+ d", ("weight", "indices"), window=_LOOKED_UP),
    "aten.embedding_bag": bags,
    "aten.cdist": Signature("... i k, ... j k -> ... i j", ("x1", "x2"), loops="... i j k"),
    **each("conv1d conv2d conv3d", convolution),
    **each("conv_transpose1d conv_transpose2d conv_transpose3d", transposed_convolution),
    "aten.matmul": matmul,
    "aten.addmm": partial(added_product, Signature("i k, k j -> i j", ("mat1", "mat2"), loops="i j k")),
    "aten.baddbmm": partial(
        added_product, Signature("b i k, b k j -> b i j", ("batch1", "batch2"), loops="b i j k")
    ),
    "aten.addbmm": partial(
        added_product, Signature("b i k, b k j -> i j", ("batch1", "batch2"), loops="b i j k")
    ),
    "aten.addmv": partial(added_product, Signature("i k, k -> i", ("mat", "vec"), loops="i k")),
    "aten.addr": partial(added_product, Signature("i, j -> i j", ("vec1", "vec2"), loops="i j")),
    "aten.tensordot": tensordot,
    "aten.inner": inner,
    "aten.linalg_multi_dot": chain,
    "aten.kron": kron,
    "aten.trace": trace,
    "aten.pdist": all_distances,
    "aten.convolution": any_convolution,
    "aten.conv_tbc": Signature(
        "x* b i, k* i o, o -> y* b o", ("self", "weight", "bias"), loops="b k* i o y*"
    ),
    "aten.einsum": einsum,
    "aten.scaled_dot_product_attention": attention,
    "transformers.grouped_mm_fallback": grouped_product,
    # its kernel refuses most widths, and to be verified in double precision
    "aten._grouped_mm": stays("its kernel takes rows of 16 bytes, or a multiple, only"),
}
