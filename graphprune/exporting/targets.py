"""Which functions a stored graph may call: the allow-list between names and callables.

A stored graph is data from outside. Its targets are looked up in tables built here and never by `getattr` on
an arbitrary module, so that a file cannot reach `os.system`, `torch.load` or anything else that does more
than arithmetic on tensors.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn
from torch.overrides import get_overridable_functions

from graphprune.exporting.checked import FORMS, is_checked
from graphprune.ground.arguments import (
    count_items,
    device_of,
    dtype_of,
    limit_of,
    read_attribute,
    require,
    require_same,
)
from graphprune.ground.errors import InputError

__all__ = [
    "function_name",
    "function_named",
    "layer_class",
    "layer_class_name",
    "method_named",
    "user_operator",
]

OPERATORS = (
    "abs add and_ eq floordiv ge getitem gt iadd imul invert isub itruediv le lshift lt matmul mod mul ne "
    "neg not_ or_ pos pow rshift sub truediv xor"
).split()

# functions of numbers, which are sizes
NUMBERS = "ceil exp floor log log10 log2 pow sqrt trunc".split()

# Every public tensor function counts as safe if PyTorch itself lists it as overridable (a function *of
# tensors*); these few take no tensor, or are builtins which that list leaves out.
FACTORIES = (
    "arange as_strided broadcast_shapes empty eye full linspace logspace ones rand randint randn randperm "
    "scalar_tensor tensor tril_indices triu_indices zeros"
).split()
UNLISTED_FUNCTIONAL = ("hardsigmoid", "hardswish", "sigmoid", "tanh")
NAMESPACES = ("torch", "torch.nn.functional", "torch.special", "torch.linalg", "torch.fft")

# Functions that touch storage, autograd or global state rather than compute.
REFUSED = frozenset(
    "autocast backward from_file initial_seed lobpcg manual_seed requires_grad_ resize_ resize_as_ "
    "resize_as_sparse_ retain_grad save seed set_ set_data set_grad_enabled".split()
)

# Methods of `Tensor` that are written in Python, or have no ATen operator of the same name.
PYTHON_METHODS = frozenset(
    "bfloat16 bool byte char double float half int long ndimension nelement short split unflatten".split()
)

# Underscored ATen operators are internal and some take raw workspaces; these are the ones that exported
# programs are made of.
INTERNAL_ATEN = frozenset(
    "__and__ __lshift__ __or__ __rshift__ __xor__ "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d _addmm_activation _assert_async _assert_scalar "
    "_assert_tensor_metadata _cdist_forward _convolution "
    "_fused_rms_norm _linalg_det _linalg_eigh _linalg_svd _local_scalar_dense _log_softmax _prelu_kernel "
    "_safe_softmax _scaled_dot_product_flash_attention_for_cpu "
    "_shape_as_tensor _softmax _to_copy _trilinear _unique _unique2 _unsafe_index "
    "_unsafe_view _upsample_bicubic2d_aa _upsample_bilinear2d_aa "
    "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d".split()
)

# What was in memory before must not come out of a received graph: zeros stand for tensors without values.
ZEROED = {
    "torch.empty": "torch.zeros",
    "torch.empty_like": "torch.zeros_like",
    "torch.ops.aten.empty.memory_format": "torch.ops.aten.zeros.default",
    "torch.ops.aten.empty_like.default": "torch.ops.aten.zeros_like.default",
    "torch.ops.aten.new_empty.default": "torch.ops.aten.new_zeros.default",
}

# An ATen operator is safe if numbers and tensors go in and come out; text only for these options.
TEXT_OPTIONS = frozenset(
    "approximate assert_msg driver equation indexing interpolation mode norm ord p pad_mode padding "
    "padding_side reduce rounding_mode side UPLO".split()
)
NUMERIC = re.compile(r"(?:Optional\[|List\[)*(?:Tensor|int|float|bool|number|complex|Device|Generator)\]*")
_OVERLOAD = re.compile(r"torch\.ops\.([A-Za-z]\w*)\.([A-Za-z_]\w*)\.([A-Za-z_]\w*)")


def function_name(target: Callable[..., Any]) -> str:
    """The stored name of a `call_function` target, as "operator.add" or "torch.ops.aten.view.default".

    Raises:
        InputError: the target is not on the allow-list.
    """
    if isinstance(target, torch._ops.OpOverload):
        name = f"torch.ops.{target}"
        function_named(name, {user_operator(name)})
        return name
    name = _names_of_functions().get(id(target), "")
    if not name:
        raise _refusal(f"{getattr(target, '__module__', None)}.{getattr(target, '__name__', target)}")
    return name


def user_operator(name: str) -> str:
    """ "mylib::scale" for "torch.ops.mylib.scale.default"; empty for functions and operators of torch itself."""
    match = _OVERLOAD.fullmatch(name)
    return f"{match[1]}::{match[2]}" if match and match[1] != "aten" else ""


def function_named(name: str, operators: Collection[str] = ()) -> Callable[..., Any]:
    """The callable of a stored name.

    Args:
        operators: operators outside torch that may be called as well, as "mylib::scale".

    Raises:
        InputError: the name is not on the allow-list, or its library is not imported.
    """
    name = ZEROED.get(name, name)
    if name in FORMS:
        return FORMS[name]
    if name.startswith("torch.ops."):
        return _overload(name, operators)
    if name not in _functions():
        raise _refusal(name)
    return _functions()[name]


def method_named(name: str) -> str:
    """`name` itself, if it is a method of `Tensor` that only computes.

    Raises:
        InputError: the method is not on the allow-list.
    """
    if name not in _methods():
        raise _refusal(f"Tensor.{name}")
    return name


def layer_class(name: str) -> type[nn.Module]:
    """The `torch.nn` layer class of that name.

    Raises:
        InputError: there is no such public class.
    """
    found = getattr(nn, name, None) if name in nn.modules.__all__ and not name.startswith("Lazy") else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)) or found is nn.Module:
        raise InputError(
            f"layer class {name!r} is not a torch.nn layer", "only torch.nn layers can be stored"
        )
    return found


def layer_class_name(layer: nn.Module, where: str) -> str:
    """The name under which `torch.nn` exports exactly the class of `layer`, which is called `where`.

    Raises:
        InputError: the class is the user's own or a subclass of a `torch.nn` class.
    """
    kind = type(layer)
    if getattr(nn, kind.__name__, None) is not kind:
        raise InputError(
            f"layer {where!r} is a {kind.__module__}.{kind.__name__}, not exactly a torch.nn class",
            "raise the graph to standard torch.nn layers before it is stored",
        )
    layer_class(kind.__name__)
    return kind.__name__


def _refusal(name: str) -> InputError:
    return InputError(
        f"the function {name} may not stand in a stored graph",
        "only arithmetic on tensors may: operator.*, torch.*, torch.nn.functional.* and torch.ops.aten.*",
    )


def _overload(name: str, operators: Collection[str]) -> Callable[..., Any]:
    """The operator "torch.ops.library.packet.overload"."""
    match = _OVERLOAD.fullmatch(name)
    if not match:
        raise _refusal(name)
    library, packet, overload = match.groups()
    operator = user_operator(name)
    if operator and operator not in operators:
        raise InputError(
            f"the function {name} may not stand in a stored graph, for it is not torch's",
            f'if you trust its library, import it and say load(..., operators=["{operator}"])',
        )
    found = getattr(getattr(torch.ops, library), packet, None) if operator or _is_safe_aten(packet) else None
    known = isinstance(found, torch._ops.OpOverloadPacket) and overload in found.overloads()
    if operator and not known:
        raise InputError(f"there is no operator {operator}", "import the library that registers it first")
    if not known or not (operator or _only_computes(getattr(found, overload))):
        raise _refusal(name)
    return getattr(found, overload)


def _is_safe_aten(name: str) -> bool:
    if name in REFUSED or not is_checked(name) or (name.startswith("_") and name not in INTERNAL_ATEN):
        return False
    return isinstance(getattr(torch.ops.aten, name, None), torch._ops.OpOverloadPacket)


def _only_computes(overload: torch._ops.OpOverload) -> bool:
    schema = overload._schema
    # the others are functions of TorchScript, which divide by zero; results that are given are for code, not graphs
    if overload.name() not in _dispatched() or any(argument.is_out for argument in schema.arguments):
        return False
    results = all(NUMERIC.fullmatch(str(result.type)) for result in schema.returns)
    return results and all(
        NUMERIC.fullmatch(str(argument.type))
        or (str(argument.type) in ("str", "Optional[str]") and argument.name in TEXT_OPTIONS)
        for argument in schema.arguments
    )


@functools.cache
def _dispatched() -> frozenset[str]:
    return frozenset(torch._C._dispatch_get_all_op_names())


@functools.cache
def _functions() -> dict[str, Callable[..., Any]]:
    overridable = {
        id(function) for functions in get_overridable_functions().values() for function in functions
    }
    table = {f"operator.{name}": getattr(operator, name) for name in OPERATORS}
    for function in (require, require_same, device_of, dtype_of, limit_of, read_attribute, count_items):
        table[f"graphprune.{function.__name__}"] = function
    table |= {f"math.{name}": getattr(math, name) for name in NUMBERS} | {"builtins.round": round}
    table |= {
        f"torch.{name}": getattr(torch, name) for name in ("sym_float", "sym_int", "sym_max", "sym_min")
    }
    for prefix in NAMESPACES:
        space = functools.reduce(getattr, prefix.split(".")[1:], torch)
        for name in sorted(dir(space)):
            safe = name not in REFUSED and is_checked(name)
            if id(getattr(space, name)) in overridable and not name.startswith("_") and safe:
                table[f"{prefix}.{name}"] = getattr(space, name)
    table.update({f"torch.{name}": getattr(torch, name) for name in FACTORIES})
    table.update(
        {f"torch.nn.functional.{name}": getattr(nn.functional, name) for name in UNLISTED_FUNCTIONAL}
    )
    return table


@functools.cache
def _names_of_functions() -> dict[int, str]:
    """Of several names for one function, the first."""
    return {id(function): name for name, function in reversed([*_functions().items(), *FORMS.items()])}


@functools.cache
def _methods() -> frozenset[str]:
    overridable = {id(method) for method in get_overridable_functions()[torch.Tensor]}
    public = {name for name in dir(torch.Tensor) if not name.startswith("_")}
    listed = {name for name in public if id(getattr(torch.Tensor, name)) in overridable}
    return PYTHON_METHODS.union(name for name in listed if _is_safe_aten(name))
