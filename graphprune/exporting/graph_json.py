"""A raised graph as JSON text and back, without the values of its tensors.

The text lists modules, tensors (names, shapes, dtypes, ties) and nodes. Reading it runs no code from it:
names are checked before they can reach generated code, and functions come from the allow-list in `targets`.
"""

from __future__ import annotations

import json
import keyword
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from graphprune.capture.containers import Container, NamedContainer, SlimModule
from graphprune.capture.inputs import registered_tensors
from graphprune.capture.sizes import is_guard
from graphprune.exporting.checked import check_kinds, check_printed
from graphprune.exporting.graph_document import GraphDocument
from graphprune.exporting.inventory import (
    LayerCall,
    ModuleEntry,
    TensorEntry,
    build_layer,
    check_name,
    inventory,
)
from graphprune.exporting.literals import DTYPES, Json, decode, encode
from graphprune.exporting.targets import function_name, function_named, method_named
from graphprune.ground.documents import fitted, parse_json
from graphprune.ground.errors import InputError, first_line

__all__ = ["FORMAT_VERSION", "graph_to_json", "read_graph", "stored_tensors"]

FORMAT_VERSION = 1
Values = Callable[[str, tuple[int, ...], torch.dtype], torch.Tensor]  # a tensor by name, shape and dtype


def graph_to_json(model: fx.GraphModule) -> str:
    """The structure of `model` as JSON text: everything but the values of its tensors.

    Raises:
        InputError: a function is not on the allow-list, a layer is not one of `torch.nn`'s, or an argument or
            name cannot be stored.
    """
    entries = list(inventory(model))
    document = {
        "format_version": FORMAT_VERSION,
        "class_name": type(model).__name__,
        "training": model.training,
        "training_differs": [
            name for name, module in model.named_modules() if module.training is not model.training
        ],
        "modules": [_module_record(entry) for entry in entries if entry.name],
        "tensors": [_tensor_record(tensor) for entry in entries for tensor in entry.tensors],
        "nodes": [_node_record(node, model) for node in model.graph.nodes],
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def read_graph(text: str, value: Values, operators: Collection[str] = ()) -> fx.GraphModule:
    """The model that `graph_to_json` described, with the tensor `value(name, shape, dtype)` for each untied name.

    Args:
        operators: operators outside torch that it may call, as "mylib::scale".

    Raises:
        InputError: the text is not such a description, or names a function, method or layer that may not
            stand in a stored graph; and whatever `value` raises.
    """
    try:
        return _model(_document(text), value, operators)
    except InputError:
        raise
    except Exception as error:  # whatever a damaged or hostile text makes the decoding raise
        reason = f"{type(error).__name__}: {first_line(error, 200)}"
        raise InputError(f"the stored graph is damaged: {reason}") from error


def _document(text: str) -> dict[str, Json]:
    try:
        document = parse_json(text, bits=128)  # what does not fit, torch refuses
        version = document.get("format_version") if isinstance(document, dict) else None
        if version not in (None, FORMAT_VERSION):
            raise InputError(f"it has format version {version!r}, not {FORMAT_VERSION}")
        return fitted(GraphDocument, document)
    except InputError as error:
        remedy = "read it with the version of graphprune that wrote it"
        raise InputError(f"the stored graph is damaged: {error.message}", remedy) from error


def stored_tensors(model: fx.GraphModule) -> dict[str, torch.Tensor]:
    """Every parameter and buffer once, tied ones under the name that comes first."""
    tensors = (tensor for entry in inventory(model) for tensor in entry.tensors)
    return {entry.name: entry.tensor for entry in tensors if entry.same_as is None}


def _module_record(entry: ModuleEntry) -> Json:
    if not entry.is_layer:
        return {"name": entry.name, **({"named": True} if isinstance(entry.module, NamedContainer) else {})}
    if entry.same_as is not None:
        return {"name": entry.name, "same_as": entry.same_as}
    return {
        "name": entry.name,
        "class": entry.call.class_name,
        "args": [encode(value) for value in entry.call.positional],
        "kwargs": {name: encode(value) for name, value in entry.call.keywords.items()},
    }


def _tensor_record(entry: TensorEntry) -> Json:
    record: dict[str, Json] = {"name": entry.name, "kind": "parameter" if entry.is_parameter else "buffer"}
    if not entry.is_parameter:
        record["persistent"] = entry.persistent
    if entry.same_as is not None:
        return {**record, "same_as": entry.same_as}
    tensor = entry.tensor
    return {
        **record,
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "requires_grad": tensor.requires_grad,
    }


def _node_record(node: fx.Node, model: fx.GraphModule) -> Json:
    return {
        "name": node.name,
        "op": node.op,
        "target": _target_name(node, model),
        "args": [encode(value) for value in node.args],
        "kwargs": {name: encode(value) for name, value in node.kwargs.items()},
    }


def _target_name(node: fx.Node, model: fx.GraphModule) -> str:
    if callable(node.target):
        return function_name(node.target)
    if node.op == "call_method":
        return method_named(node.target)
    if node.op == "get_attr":
        _tensor_at(model, node.target)
    return node.target


def _model(document: Json, value: Values, operators: Collection[str]) -> fx.GraphModule:
    model = SlimModule(nn.Module(), fx.Graph(), _identifier(document["class_name"]))
    for record in document["modules"]:
        _add_module(model, record)
    made_by_layers = {
        f"{name}.{local}"
        for name, module in model.named_modules()
        if name and not isinstance(module, fx.GraphModule)
        for local in registered_tensors(module, recurse=False)
    }
    restored: dict[str, torch.Tensor] = {}
    for record in document["tensors"]:
        restored[record["name"]] = _add_tensor(model, record, restored, value)
    if missing := made_by_layers - restored.keys():
        raise InputError(f"the stored graph lists no tensor {min(missing)!r}, which its layer has")
    model.train(_flag(document["training"]))
    for name in document["training_differs"]:
        model.get_submodule(name).training = not model.training
    model.graph = _graph(document["nodes"], model, operators)
    model.graph.lint()
    return model


def _add_module(model: nn.Module, record: Json) -> None:
    parent, local = _owner(model, record["name"])
    if "same_as" in record:
        module = model.get_submodule(record["same_as"])
    elif "class" in record:
        positional = tuple(decode(value, {}) for value in record["args"])
        keywords = {name: decode(value, {}) for name, value in record["kwargs"].items()}
        module = build_layer(LayerCall(record["class"], positional, keywords))
    else:
        module = NamedContainer() if "named" in record else Container()
    parent.add_module(local, module)


def _add_tensor(
    model: nn.Module, record: Json, restored: Mapping[str, torch.Tensor], value: Values
) -> torch.Tensor:
    owner, local = _owner(model, record["name"])
    is_parameter = {"parameter": True, "buffer": False}[record["kind"]]
    if "same_as" in record:
        tensor = restored[record["same_as"]]
    else:
        tensor = value(record["name"], tuple(record["shape"]), DTYPES[record["dtype"]])
        if is_parameter:
            tensor = nn.Parameter(tensor, requires_grad=_flag(record["requires_grad"]))
    expected = registered_tensors(owner, recurse=False).get(local)
    if expected is not None and expected.shape != tensor.shape:
        shapes = f"{list(tensor.shape)}, its layer asks for {list(expected.shape)}"
        raise InputError(f"tensor {record['name']!r} has shape {shapes}")
    if isinstance(tensor, nn.Parameter) is not is_parameter:
        raise InputError(f"tensor {record['name']!r} is tied to one of another kind")
    if isinstance(tensor, nn.Parameter):
        owner.register_parameter(local, tensor)
    else:
        owner.register_buffer(local, tensor, persistent=_flag(record["persistent"]))
    return tensor


def _owner(model: nn.Module, name: Any) -> tuple[nn.Module, str]:
    parent, _, local = check_name(name).rpartition(".")
    return model.get_submodule(parent), local


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"the stored graph has {value!r} where true or false belongs")
    return value


def _identifier(name: Any) -> str:
    """`name`, if it may be written into the code that fx generates and runs."""
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"the stored graph has the unusable identifier {name!r}")
    return name


def _graph(records: Json, model: nn.Module, operators: Collection[str]) -> fx.Graph:
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for record in records:
        name = _identifier(record["name"])
        if name in nodes:
            raise InputError(f"the stored graph has two nodes named {name!r}")
        # A default value of an input is a constant, so no earlier node may stand in it.
        known: Mapping[str, fx.Node] = {} if record["op"] == "placeholder" else nodes
        target = _target(record, model, operators)
        args = tuple(decode(value, known) for value in record["args"])
        kwargs = {_identifier(key): decode(value, known) for key, value in record["kwargs"].items()}
        check_kinds(target, args, kwargs)
        nodes[name] = graph.create_node(record["op"], target, args, kwargs, name=name)
        check_printed(nodes[name])
    if any(is_guard(node) and not _is_condition(node) for node in graph.nodes):
        raise InputError("the stored graph has a condition that is no size, or a message that is no text")
    if [node.op for node in graph.nodes].count("output") != 1:
        raise InputError("the stored graph has not exactly one output")
    return graph


def _is_condition(node: fx.Node) -> bool:
    """Whether the node calls ``require(holds, message)`` as capture does."""
    holds, message = node.args if len(node.args) == 2 and not node.kwargs else (None, None)
    return isinstance(holds, fx.Node | bool) and isinstance(message, str)


def _target(record: Json, model: nn.Module, operators: Collection[str]) -> str | Callable[..., Any]:
    op, target = record["op"], record["target"]
    if op == "call_function":
        return function_named(target, operators)
    if op == "call_method":
        return method_named(target)
    if op in ("call_module", "get_attr"):
        found = model.get_submodule if op == "call_module" else partial(_tensor_at, model)
        found(check_name(target))
        return target
    if op in ("placeholder", "output"):
        return _identifier(target)
    raise InputError(f"the stored graph has a node of the unknown kind {op!r}")


def _tensor_at(model: nn.Module, name: str) -> torch.Tensor:
    parent, _, local = name.rpartition(".")
    found = registered_tensors(model.get_submodule(parent), recurse=False).get(local)
    if found is None:
        raise InputError(f"{name!r} is neither a parameter nor a buffer", "register it with register_buffer")
    return found
