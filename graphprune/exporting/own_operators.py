"""Operators that torch's library lacks, or translates for fixed sizes only, written with the operators of ONNX.

A row takes the node's arguments as the library does: values, numbers and lists of them. It returns the node's result,
or None where the library is to translate after all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from graphprune.exporting.conditions import CONDITIONS
from graphprune.exporting.own_call import Call, Row
from graphprune.exporting.own_creation import CREATION
from graphprune.exporting.own_order import ORDER
from graphprune.exporting.own_pooling import POOLING
from graphprune.exporting.own_recurrent import RECURRENT
from graphprune.exporting.own_resizing import RESIZING
from graphprune.exporting.own_sizes import SIZES
from graphprune.exporting.promotion import cast

__all__ = ["OWN"]

_LAST = 2**63 - 1  # behind the end of any dimension


def _batch_norm(call: Call, *args: Any, **kwargs: Any) -> Any:
    given = call.bound(args, kwargs)
    if given["training"] or given["running_mean"] is None:
        return None
    named = [given[name] for name in "input weight bias running_mean running_var momentum eps".split()]
    return call.aten("_native_batch_norm_legit_no_training.default", *named)[0]


def _as(name: str) -> Row:
    """Torch's library has it under another name."""
    return lambda call, *args, **kwargs: call.aten(name, *args, **kwargs)


def _to(call: Call, *args: Any, **kwargs: Any) -> Any:
    given = call.bound(args, kwargs)
    x, dtype = given["self"], given.get("dtype")
    # -1 stands for none
    return x if dtype in (None, -1, x.dtype) else call.op.Cast(x, to=dtype)


def _reversed_difference(call: Call, *args: Any, **kwargs: Any) -> Any:
    given = call.bound(args, kwargs)
    x, other = given["self"], _constant(call, given["other"], given["self"])
    scaled = x if given["alpha"] == 1 else call.op.Mul(x, _constant(call, given["alpha"], x))
    return call.op.Sub(other, scaled)


def _log_sigmoid(call: Call, x: Any) -> Any:
    """The library takes the logarithm of a sigmoid, which is zero where x is far below: minus infinity comes out."""
    return call.op.Neg(call.op.Softplus(call.op.Neg(x)))


def _differences(call: Call, *args: Any, **kwargs: Any) -> Any:
    """Between neighbours."""
    given, op = call.bound(args, kwargs), call.op
    around = [given[name] for name in ("prepend", "self", "append") if given[name] is not None]
    rank = len(given["self"].shape)
    dim = given["dim"] % rank
    if given["n"] != 1 or given["self"].dtype == _boolean():
        return None
    x = op.Concat(*around, axis=dim) if len(around) > 1 else around[0]
    return op.Sub(op.Slice(x, [1], [_LAST], [dim]), op.Slice(x, [0], [-1], [dim]))


def _cut(call: Call, x: Any, bounds: Sequence[int], dim: int = 0) -> Any:
    """The parts between the bounds."""
    starts, ends = [0, *bounds], [*bounds, _LAST]
    return [call.op.Slice(x, [start], [end], [dim]) for start, end in zip(starts, ends, strict=True)]


def _selected(call: Call, x: Any, mask: Any) -> Any:
    """Of the shape that both have together, which Expand to each other's shape finds, the places where the mask is."""
    op = call.op
    flat = [op.Reshape(op.Expand(one, op.Shape(other)), [-1]) for one, other in ((x, mask), (mask, x))]
    return op.Compress(*flat)


def _turned(call: Call, x: Any) -> Any:
    """All dimensions in reverse order."""
    return call.op.Transpose(x, perm=list(reversed(range(len(x.shape)))))


def _root_mean_square(call: Call, *args: Any, **kwargs: Any) -> Any:
    given, op = call.bound(args, kwargs), call.op
    x, weight, eps = given["input"], given["weight"], given["eps"]
    dtype = _types().to_torch_dtype(x.dtype)
    if dtype not in (torch.float32, torch.float64):
        return None  # smaller types are computed in larger ones
    eps = torch.finfo(dtype).eps if eps is None else eps
    dims = [-place for place in range(len(given["normalized_shape"]), 0, -1)]
    mean = op.ReduceMean(op.Mul(x, x), dims, keepdims=True)
    y = op.Div(x, op.Sqrt(op.Add(mean, _constant(call, eps, x))))
    return y if weight is None else op.Mul(y, weight)


def _types() -> Any:
    from onnx_ir import tensor_adapters

    return tensor_adapters


def _boolean() -> Any:
    import onnx_ir

    return onnx_ir.DataType.BOOL


def _constant(call: Call, value: Any, like: Any) -> Any:
    import onnx_ir

    if isinstance(value, onnx_ir.Value):
        return value
    return call.op.Constant(value=onnx_ir.tensor(value, dtype=like.dtype))


def _type_of(call: Call, x: Any, other: Any) -> Any:
    return x if x.dtype == other.dtype else call.op.Cast(x, to=other.dtype)


def _spread(result: int) -> Row:
    """The standard deviation or variance, and the mean."""

    def row(call: Call, *args: Any, **kwargs: Any) -> Any:
        given = call.bound(args, kwargs)
        x, dims, keep = given["self"], given["dim"], given["keepdim"]
        dims = list(range(len(x.shape))) if dims is None else list(dims)
        name = ("var.correction", "std.correction")[result]
        spread = call.aten(name, x, dims, correction=given.get("correction", _unbiased(given)), keepdim=keep)
        return [spread, call.op.ReduceMean(x, dims, keepdims=keep)]

    return row


def _unbiased(given: Mapping[str, Any]) -> int:
    return int(given.get("unbiased", True))


def _transposed_convolution(call: Call, *args: Any, **kwargs: Any) -> Any:
    given = call.bound(args, kwargs)
    stride, padding, output_padding, dilation = (
        _each(given[name], given["weight"]) for name in ("stride", "padding", "output_padding", "dilation")
    )
    tensors = given["input"], given["weight"], given["bias"]
    return call.aten(
        "convolution.default", *tensors, stride, padding, dilation, True, output_padding, given["groups"]
    )


def _padded_convolution(call: Call, *args: Any, **kwargs: Any) -> Any:
    """Of an odd padding, PyTorch puts the larger half behind."""
    given = call.bound(args, kwargs)
    x, weight = given["input"], given["weight"]
    if len(x.shape) != len(weight.shape):
        return None
    stride, dilation = (_each(given[name], weight) for name in ("stride", "dilation"))
    wide = given["padding"] == "same"
    totals = [(size - 1) * step * wide for size, step in zip(weight.shape[2:], dilation, strict=True)]
    pads = [total // 2 for total in totals] + [total - total // 2 for total in totals]
    tensors = (x, weight) if given["bias"] is None else (x, weight, given["bias"])
    return call.op.Conv(*tensors, strides=stride, pads=pads, dilations=dilation, group=given["groups"])


def _each(numbers: Sequence[int], weight: Any) -> list[int]:
    """A number for each spatial dimension of a kernel."""
    rank = len(weight.shape) - 2
    return list(numbers) * rank if len(numbers) == 1 else list(numbers)


def _reshape(call: Call, x: Any, shape: Sequence[Any]) -> Any:
    """A single size that varies follows from the others; what follows from them for PyTorch is known already."""
    sizes = [known if size == -1 else size for size, known in zip(shape, call.form.sizes, strict=True)]
    varying = [place for place, size in enumerate(sizes) if not isinstance(size, int)]
    if len(varying) != 1 or 0 in [size for size in sizes if isinstance(size, int)]:
        return None
    wanted = [-1 if place in varying else size for place, size in enumerate(sizes)]
    given = [-1 if place in varying else size for place, size in enumerate(x.shape)]
    return x if wanted == given else call.aten("view.default", x, wanted)


def _attention(call: Call, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
    """The library wants four dimensions; more are put together in front, where the mask has none of them."""
    rank, options = len(query.shape), call.bound((query, key, value, *args), kwargs)
    mask, rest = options["attn_mask"], list(options)[4:]
    same = len(key.shape) == len(value.shape) == rank
    if rank in (1, 2, 4) or not same or (mask is not None and len(mask.shape) > 3):
        return None
    if rank == 3:
        wide = [_unsqueezed(call, one) for one in (query, key, value)]
        mask = _unsqueezed(call, mask) if mask is not None and len(mask.shape) == 3 else mask
    else:
        wide = [_folded(call, one) for one in (query, key, value)]
    named = {name: options[name] for name in rest}
    result = call.aten("scaled_dot_product_attention.default", *wide, mask, **named)
    if rank == 3:
        return call.op.Squeeze(result, [0])
    shape = call.op.Concat(call.op.Shape(query, end=rank - 1), call.op.Shape(value, start=rank - 1), axis=0)
    return call.op.Reshape(result, shape)


def _folded(call: Call, value: Any) -> Any:
    """The dimensions before the last three as one."""
    import onnx_ir

    op = call.op
    shape = op.Concat(op.Constant(value_ints=[-1]), op.Shape(value, start=len(value.shape) - 3), axis=0)
    made = op.Reshape(value, shape)
    made.dtype, made.shape = value.dtype, onnx_ir.Shape([None, *value.shape[-3:]])
    return made


def _put(call: Call, x: Any, indices: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
    """Torch's library writes at places of type int64 only."""
    import onnx_ir

    narrow = [index is not None and index.dtype == onnx_ir.DataType.INT32 for index in indices]
    if not any(narrow):
        return None
    pairs = zip(indices, narrow, strict=True)
    places = [cast(call.library, index, torch.int64) if wide else index for index, wide in pairs]
    return call.aten("index_put.default", x, places, *args, **kwargs)


def _unsqueezed(call: Call, value: Any) -> Any:
    import onnx_ir

    wide = call.op.Unsqueeze(value, [0])
    wide.dtype, wide.shape = value.dtype, onnx_ir.Shape([1, *value.shape])
    return wide


OWN: Mapping[Any, Row] = {
    **SIZES,
    **CONDITIONS,
    **POOLING,
    **CREATION,
    **ORDER,
    **RECURRENT,
    **RESIZING,
    torch.ops.aten.batch_norm.default: _batch_norm,
    **{getattr(torch.ops.aten.to, name): _to for name in ("dtype", "dtype_layout", "device", "other")},
    torch.ops.aten.diff.default: _differences,
    torch.ops.aten.index_put.default: _put,
    torch.ops.aten._unsafe_index_put.default: _put,
    torch.ops.aten.type_as.default: _type_of,
    torch.ops.aten.log_sigmoid.default: _log_sigmoid,
    torch.ops.aten.rsub.Scalar: _reversed_difference,
    torch.ops.aten.rsub.Tensor: _reversed_difference,
    torch.ops.aten.masked_select.default: _selected,
    torch.ops.aten.tensor_split.indices: _cut,
    torch.ops.aten.numpy_T.default: _turned,
    torch.ops.aten.rms_norm.default: _root_mean_square,
    torch.ops.aten.reshape_as.default: _as("view_as.default"),
    torch.ops.aten.swapaxes.default: _as("transpose.int"),
    torch.ops.aten.swapdims.default: _as("transpose.int"),
    torch.ops.aten.__and__.Tensor: _as("bitwise_and.Tensor"),
    torch.ops.aten.__or__.Tensor: _as("bitwise_or.Tensor"),
    torch.ops.aten.__xor__.Tensor: _as("bitwise_xor.Tensor"),
    torch.ops.aten.conv_transpose1d.default: _transposed_convolution,
    torch.ops.aten.conv_transpose2d.input: _transposed_convolution,
    torch.ops.aten.conv_transpose3d.input: _transposed_convolution,
    torch.ops.aten.conv1d.padding: _padded_convolution,
    torch.ops.aten.conv2d.padding: _padded_convolution,
    torch.ops.aten.conv3d.padding: _padded_convolution,
    torch.ops.aten.reshape.default: _reshape,
    torch.ops.aten.view.default: _reshape,
    torch.ops.aten.scaled_dot_product_attention.default: _attention,
}
