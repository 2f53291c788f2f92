"""What a model is made of: its modules and tensors, in order, with ties and persistence.

Shared by the stored form and the generated source, so that both agree on which of two names is the tie, and on the
constructor call that rebuilds a layer. There is no table of layers: a constructor parameter is looked up as the
attribute of the same name, and the call is then tried and its result compared with the layer, attribute by attribute
and tensor by tensor.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from graphprune.capture.containers import Container, NamedContainer
from graphprune.capture.inputs import registered_tensors
from graphprune.exporting.targets import layer_class, layer_class_name
from graphprune.ground.errors import InputError, first_line

__all__ = [
    "LayerCall",
    "ModuleEntry",
    "TensorEntry",
    "build_layer",
    "check_name",
    "describe_layer",
    "inventory",
]

# Quotes, backslashes, dots and line breaks would end up inside generated code.
NAME = re.compile(r"[\w\-+/: ]+(?:\.[\w\-+/: ]+)*")
DEPTH = 64  # of layers inside each other
TENSORS = 4096  # of one layer: recurrent ones have four for each of their repetitions
CONTAINERS = (
    nn.Module,
    nn.Sequential,
    nn.ModuleList,
    nn.ModuleDict,
    nn.ParameterList,
    nn.ParameterDict,
    Container,
    NamedContainer,
)


@dataclass(frozen=True)
class TensorEntry:
    """One parameter or buffer.

    Attributes:
        name: dotted name.
        tensor: the parameter or buffer itself.
        persistent: it is in `state_dict()`; always true of a parameter.
        same_as: the name under which the same tensor came before, if it is tied.
    """

    name: str
    tensor: torch.Tensor
    persistent: bool
    same_as: str | None

    @property
    def is_parameter(self) -> bool:
        """True of a parameter, false of a buffer."""
        return isinstance(self.tensor, nn.Parameter)


@dataclass(frozen=True)
class ModuleEntry:
    """One module.

    Attributes:
        name: dotted name, "" for the model itself.
        module: the module.
        is_layer: it is a layer of `torch.nn`, whose constructor makes its tensors; otherwise a plain group of layers.
            A layer can have others registered inside it, as a norm that has its activation function.
        same_as: the name under which the same layer object came before, if it did.
        tensors: its own parameters and buffers; none if the same layer came before.
    """

    name: str
    module: nn.Module
    is_layer: bool
    same_as: str | None
    tensors: tuple[TensorEntry, ...]

    @cached_property
    def call(self) -> LayerCall:
        """Of a layer: the call that rebuilds it, see `describe_layer`."""
        return describe_layer(self.module, self.name)


def check_name(name: object) -> str:
    """`name`, if it is a harmless dotted name.

    Raises:
        InputError: it is not text, or has quotes, backslashes or line breaks in it, or too many dots.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or name.count(".") > DEPTH:
        raise InputError(f"{name!r} is not a usable layer or tensor name", "rename that part of the model")
    return name


def inventory(model: fx.GraphModule) -> Iterator[ModuleEntry]:
    """The model itself and every group and layer in it, parents first, in registration order.

    Raises:
        InputError: a name could not be written into code.
    """
    # what the graph calls is a layer even if it looks like a group
    called = {str(node.target) for node in model.graph.nodes if node.op == "call_module"}
    persistent = frozenset(model.state_dict())
    first: dict[int, str] = {}

    def tied(item: object, name: str) -> str | None:
        found = first.setdefault(id(item), name)
        return found if found != name else None

    for name, module in model.named_modules(remove_duplicate=False):
        is_layer = bool(name) and (check_name(name) in called or type(module) not in CONTAINERS)
        same_as = tied(module, name) if is_layer else None
        tensors = []
        for local, tensor in registered_tensors(module, recurse=False).items() if same_as is None else ():
            full = check_name(f"{name}.{local}" if name else local)
            tensors.append(TensorEntry(full, tensor, full in persistent, tied(tensor, full)))
        yield ModuleEntry(name, module, is_layer, same_as, tuple(tensors))


@dataclass(frozen=True)
class LayerCall:
    """A constructor call such as `nn.Conv2d(3, 64, 7, stride=2, bias=False)`.

    Attributes:
        class_name: a class of `torch.nn`.
        positional: the arguments without default.
        keywords: the arguments that differ from their defaults.
    """

    class_name: str
    positional: tuple[Any, ...]
    keywords: Mapping[str, Any]


def describe_layer(layer: nn.Module, where: str) -> LayerCall:
    """The shortest call that rebuilds `layer`, whose dotted name is `where`.

    Raises:
        InputError: the layer's class is not one of `torch.nn`'s, or its attributes do not determine it.
    """
    class_name = layer_class_name(layer, where)
    for shorten in (True, False):
        call = _call(class_name, layer, shorten)
        if _rebuilds(call, layer):
            return _without_needless(call, layer)
    raise InputError(
        f"layer {where!r} ({class_name}) cannot be rebuilt from its attributes",
        "keep the layer's attributes in step with its tensors, or leave it as plain functions in the graph",
    )


def build_layer(call: LayerCall) -> nn.Module:
    """The layer, on the meta device: its tensors have shapes and dtypes but no values.

    Raises:
        InputError: `torch.nn` has no such class or the class refuses the arguments.
    """
    kind = layer_class(call.class_name)
    try:
        with torch.device("meta"), _few_tensors():
            return kind(*call.positional, **call.keywords)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        raise InputError(f"torch.nn.{call.class_name} cannot be built: {first_line(error)}") from error


@contextmanager
def _few_tensors() -> Iterator[None]:
    """Ends a constructor that makes too many tensors, or layers inside its own, which cannot be stored.

    A stored graph may ask for a million repetitions in one word.
    """
    made = count()

    def counted(module: nn.Module, name: str, tensor: Any) -> None:
        if next(made) > TENSORS:
            raise ValueError(f"it has more than {TENSORS} tensors")

    def alone(module: nn.Module, name: str, child: Any) -> None:
        if child is not None:
            raise ValueError(f"it has the layer {name!r} inside")

    hooks = [
        register_module_parameter_registration_hook(counted),
        register_module_buffer_registration_hook(counted),
        register_module_module_registration_hook(alone),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _call(class_name: str, layer: nn.Module, shorten: bool) -> LayerCall:
    positional, keywords = [], {}
    for name, parameter in _parameters(layer).items():
        named = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if name in ("self", "device") or name.startswith("_") or not named:
            continue
        if name != "dtype" and not hasattr(layer, name):
            continue
        value: Any = _floating_dtype(layer) if name == "dtype" else getattr(layer, name)
        if isinstance(value, torch.Tensor) or (value is None and parameter.default is True):
            value = value is not None  # the parameter is a flag, the attribute the tensor that it switches on
        value = _shortened(value) if shorten else value
        if parameter.default is inspect.Parameter.empty:
            positional.append(value)
        elif value != parameter.default:
            keywords[name] = value
    return LayerCall(class_name, tuple(positional), keywords)


def _parameters(layer: nn.Module) -> dict[str, inspect.Parameter]:
    """Of the constructor; recurrent layers hand theirs on to a base class, to which they add the mode."""
    parameters = dict(inspect.signature(type(layer).__init__).parameters)
    if isinstance(layer, nn.RNNBase):
        parameters |= inspect.signature(nn.RNNBase.__init__).parameters
        del parameters["mode"]
    if isinstance(layer, nn.RNN):
        parameters["nonlinearity"] = inspect.Parameter(
            "nonlinearity", inspect.Parameter.KEYWORD_ONLY, default="tanh"
        )
    return parameters


def _without_needless(call: LayerCall, layer: nn.Module) -> LayerCall:
    """Without keywords that follow from the others, as the stride of a pooling that equals its window."""
    for name in call.keywords:
        keywords = {other: value for other, value in call.keywords.items() if other != name}
        shorter = replace(call, keywords=keywords)
        if name != "dtype" and _rebuilds(shorter, layer):
            return _without_needless(shorter, layer)
    return call


def _floating_dtype(layer: nn.Module) -> torch.dtype | None:
    """The dtype to ask for, None where it is the default one."""
    dtypes = [tensor.dtype for tensor in registered_tensors(layer, recurse=False).values()]
    floating = [dtype for dtype in dtypes if dtype.is_floating_point or dtype.is_complex]
    return floating[0] if floating and floating[0] != torch.float32 else None


def _shortened(value: Any) -> Any:
    """`(3, 3)` as `3`, since most constructors repeat a single number themselves."""
    if isinstance(value, tuple) and value and all(item == value[0] for item in value):
        return value[0]
    return value


def _rebuilds(call: LayerCall, layer: nn.Module) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an attempt may leave out what makes another argument sensible
            copy = build_layer(call)
    except InputError:
        return False
    settings = {name: value for name, value in vars(copy).items() if name[0] != "_" and name != "training"}
    if any(vars(layer).get(name) != value for name, value in settings.items()):
        return False
    if next(copy.children(), None) is not None:  # its parts would have to be described too
        return False
    given, made = (
        {name: tensor.shape for name, tensor in registered_tensors(one, recurse=False).items()}
        for one in (layer, copy)
    )
    return made.items() <= given.items()  # a tensor of the user's own may stand beside those of the layer
