"""Raises a program back to an ordinary `torch.fx.GraphModule` of `torch.nn` layers.

A node that is exactly a standard layer becomes that module under its original name; stored tensors that no
layer owns become attributes under theirs; everything else becomes a plain torch function or method.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from graphprune.capture.containers import SlimModule, container_at, fill_lists
from graphprune.capture.layer_specs import PLAIN, RECURRENT, WEIGHTED, LayerSpec
from graphprune.capture.objects import children, is_object
from graphprune.capture.operators import arguments, family, module_path
from graphprune.capture.program import Constant, Program
from graphprune.capture.reading import read_object
from graphprune.capture.registering import bits_of, move, register
from graphprune.capture.sizes import reads_size, repeated_guards, sizes_of_inputs
from graphprune.capture.spelling import spell
from graphprune.ground.arguments import device_of, is_constant, require_same, tensor_leaves

__all__ = ["raise_program"]


def raise_program(program: Program, class_name: str = "SlimModel", as_bits: bool = True) -> fx.GraphModule:
    """``program`` as a module: same calling convention, same names, trainable, in eval mode.

    Dataclass and mapping outputs come as dicts.

    Args:
        as_bits: constants are buffers of integers, which no cast of the module changes: the model computed them in
            their own dtype, and does so when it is cast.
    """
    return _Raiser(program, as_bits).build(class_name)


@dataclass(frozen=True)
class _Layer:
    """A module to be built: its name, its class and the constructor's arguments, and the tensors it owns."""

    path: str
    spec: LayerSpec
    kind: str
    config: Mapping[str, Any]
    tensors: Mapping[str, str]


class _Raiser:
    def __init__(self, program: Program, as_bits: bool) -> None:
        self.program = program
        self.as_bits = as_bits
        self.root = nn.Module()
        self.new = fx.Graph()
        self.mapping: dict[fx.Node, Any] = {}
        self.built: set[str] = set()
        self.devices: dict[torch.device, fx.Node] = {}
        self.constants = {s.name: s.tensor for s in program.stored.values() if s.kind == "constant"}
        places = {(program.inputs[item.place], item.dim): item.name for item in program.dimensions}
        self.size_names = {place: name for place, name in places.items() if name}
        self.layers = self._recognise()

    # -- which nodes are layers ---------------------------------------------------------------------------
    def _recognise(self) -> dict[fx.Node, _Layer]:
        layers: dict[fx.Node, _Layer] = {}
        taken: dict[str, _Layer] = {}
        for node in self.program.graph.nodes:
            if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
                continue
            layer = self._layer(node, taken)
            if layer is not None and taken.setdefault(layer.path, layer) == layer:
                layers[node] = layer
        return layers

    def _layer(self, node: fx.Node, taken: Mapping[str, _Layer]) -> _Layer | None:
        bound = arguments(node)
        weighted = RECURRENT.get(str(node.target)) or WEIGHTED.get(family(node))
        if weighted is not None:
            return self._weighted(weighted, bound)
        spec = PLAIN.get(family(node))
        if spec is None:
            return None
        path = module_path(node)
        if any(iskeyword(part) for part in path.split(".")):
            path = ""  # torch.fx cannot write it into a program
        bound["rank"] = _rank(bound)
        kind, config = spec.class_name(bound), spec.config(bound)
        if config is None or _varies(config):
            return None
        if path and self.program.module_types.get(path) == kind:
            return _Layer(path, spec, kind, config, {})
        if spec.always and bound.get("p"):
            return _Layer(self._fresh(path, spec.always, taken), spec, kind, config, {})
        return None

    def _weighted(self, spec: LayerSpec, bound: Mapping[str, Any]) -> _Layer | None:
        """A layer if all its tensors are stored under one name and nothing else is asked of them."""
        given = {local: node for local, node in spec.owned(bound).items() if isinstance(node, fx.Node)}
        held = {local: str(node.target) for local, node in given.items() if node.op == "get_attr"}
        if not held or len(held) != len(given):
            return None
        shaped = self._with_shapes(bound)
        kind, config = spec.class_name(shaped), spec.config(shaped)
        if config is None or _varies(config):
            return None
        local, tensor = next(iter(held.items()))
        for path in self._paths(tensor, local, kind):
            if all(f"{path}.{local}" in self.program.stored[tensor].names for local, tensor in held.items()):
                return _Layer(path, spec, kind, config, held)
        return None

    def _with_shapes(self, bound: Mapping[str, Any]) -> dict[str, Any]:
        """Stored tensors instead of the nodes that read them, and the ``rank`` of the first tensor."""
        tensors = self.program.tensors
        shaped = fx.node.map_arg(
            dict(bound), lambda node: tensors[str(node.target)] if node.op == "get_attr" else node
        )
        return {**shaped, "rank": _rank(bound)}

    def _paths(self, tensor: str, local: str, kind: str) -> list[str]:
        """Modules that own ``tensor``; one of the wanted type first (tied tensors have several owners)."""
        names = self.program.stored[tensor].names
        paths = [name.removesuffix(f".{local}") for name in names if name.endswith(f".{local}")]
        return sorted(paths, key=lambda path: self.program.module_types.get(path) != kind)

    def _fresh(self, path: str, label: str, taken: Mapping[str, _Layer]) -> str:
        names = set(self.program.module_types) | set(taken)
        base = f"{path}.{label}" if path else label
        return next(name for n in range(len(names) + 1) if (name := f"{base}_{n}") not in names)

    # -- building -----------------------------------------------------------------------------------------
    def build(self, class_name: str) -> fx.GraphModule:
        self._inputs()
        # a call of a wrong size is to be refused before some layer stumbles over it
        first = sizes_of_inputs(self.program.graph)
        self._device()
        repeated = repeated_guards(self.program.graph)
        for node in dict.fromkeys((*first, *self.program.graph.nodes)):
            if node in repeated:
                continue
            if node.op == "get_attr":
                self._attribute(node)
            elif node.op == "call_function":
                self.mapping[node] = self._call(node)
        self._output()
        fill_lists(self.root, self.program.module_types)
        module = SlimModule(self.root, self.new, class_name)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module.eval()

    def _inputs(self) -> None:
        """The original parameters; nested arguments are taken apart in the graph, constant ones must stay so."""
        args, kwargs = self.program.arguments
        nodes = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        examples = dict(zip(self.program.parameters, self.program.example[0], strict=True))
        examples |= self.program.example[1]
        named = dict(zip(self.program.parameters, args, strict=True))
        named |= dict(sorted(kwargs.items(), key=lambda item: not tensor_leaves(examples[item[0]])))
        for index, (name, structure) in enumerate(named.items()):
            later = list(named)[index:]
            constant = not any(tensor_leaves(examples[other]) for other in later)
            default = examples[name] if constant else inspect.Signature.empty
            placeholder = self.new.placeholder(name, default_value=default)
            self._take_apart(placeholder, name, structure, examples[name], nodes)
            if is_constant(examples[name]):
                self.new.call_function(require_same, (name, placeholder, examples[name]))

    def _take_apart(
        self, node: fx.Node, name: str, structure: Any, example: Any, nodes: Mapping[str, fx.Node]
    ) -> None:
        if is_object(example):
            read = read_object(node, name, example)
            for place, leaf in zip(structure, tree_leaves(example), strict=True):
                self.mapping[nodes[self.program.inputs[place]]] = read[id(leaf)]
        elif isinstance(structure, int):
            self.mapping[nodes[self.program.inputs[structure]]] = node
        elif isinstance(structure, Mapping | list | tuple):
            for key, item in children(structure):
                part = self.new.call_function(operator.getitem, (node, key))
                self._take_apart(part, f"{name}.{key}", item, example[key], nodes)

    def _attribute(self, node: fx.Node) -> None:
        path = str(node.target)
        if all(user in self.layers and node not in tree_leaves(self._given(user)) for user in node.users):
            return  # the layers have it
        for user in node.users:
            if user in self.layers:
                self._ensure(self.layers[user])
        parent, _, name = path.rpartition(".")
        stored = self.program.stored[path]
        bits = bits_of(stored.tensor) if self.as_bits and stored.kind == "constant" else None
        register(self._container(parent), name, stored if bits is None else stored.with_tensor(bits))
        read = self.new.get_attr(path)
        dtype = stored.tensor.dtype
        self.mapping[node] = read if bits is None else self.new.call_method("view", (read, dtype))

    def _call(self, node: fx.Node) -> Any:
        layer = self.layers.get(node)
        if layer is None:
            return self._item(node) or self._size(node) or self._spelled(node)
        self._ensure(layer)
        given = fx.node.map_arg(self._given(node), self.mapping.__getitem__)
        return layer.spec.results(self.new.call_module(layer.path, given))

    def _item(self, node: fx.Node) -> fx.Node | None:
        """One of the several results of a layer, if ``node`` takes it."""
        source, index = node.args if node.target is operator.getitem else (None, None)
        results = self.mapping[source] if isinstance(source, fx.Node) else None
        return results[index] if isinstance(results, tuple) and isinstance(index, int) else None

    def _device(self) -> None:
        """The device of the first tensor, where some operator names it: then its tensors follow the inputs."""
        leaves = self.program.flat_inputs(*self.program.example)
        for name, leaf in zip(self.program.inputs, leaves, strict=True):
            if isinstance(leaf, torch.Tensor):
                named = [each for n in self.program.graph.nodes for each in tree_leaves((n.args, n.kwargs))]
                if leaf.device in named:
                    source = next(n for n in self.mapping if n.name == name)
                    self.devices[leaf.device] = self.new.create_node(
                        "call_function", device_of, (self.mapping[source],), name="input_device"
                    )
                return

    def _spelled(self, node: fx.Node) -> Any:
        result = spell(self.new, node, self.mapping)
        if isinstance(result, fx.Node) and self.devices:
            result.args, result.kwargs = fx.node.map_aggregate(
                (result.args, dict(result.kwargs)),
                lambda leaf: self.devices.get(leaf, leaf) if isinstance(leaf, torch.device) else leaf,
            )
        return result

    def _size(self, node: fx.Node) -> fx.Node | None:
        """The size of an input's dimension under the name of that dimension, if ``node`` reads it."""
        source, dim = node.args if reads_size(node) else (None, None)
        if not isinstance(source, fx.Node) or not isinstance(dim, int):
            return None
        name = self.size_names.get((source.name, dim))
        args = (self.mapping[source], dim)
        return self.new.create_node("call_method", "size", args, name=name) if name else None

    def _given(self, node: fx.Node) -> tuple[Any, ...]:
        """What the layer that ``node`` became is called with."""
        return self.layers[node].spec.inputs(arguments(node), self.constants)

    def _ensure(self, layer: _Layer) -> None:
        """Builds the layer, unless it is there."""
        if layer.path in self.built:
            return
        self.built.add(layer.path)
        parent, _, name = layer.path.rpartition(".")
        tensors = {local: self.program.stored[tensor] for local, tensor in layer.tensors.items()}
        with torch.device("meta"):
            module: nn.Module = getattr(nn, layer.kind)(**layer.config)
        for local, stored in tensors.items():
            register(module, local, stored)
        counter = self.program.stored.get(f"{layer.path}.num_batches_tracked")
        if "num_batches_tracked" in module._buffers:
            device = next((stored.tensor.device for stored in tensors.values()), "cpu")
            zero = torch.tensor(0, device=device)
            module.num_batches_tracked = counter.tensor if counter is not None else zero
        owner = self._container(parent)
        if name in owner._modules:
            move(owner.get_submodule(name), module)
        owner.add_module(name, module)

    def _container(self, path: str) -> nn.Module:
        return container_at(self.root, path, self.program.module_types)

    def _output(self) -> None:
        results = {n.name: self.mapping[n] for n in self.program.graph.output_node().all_input_nodes}

        def filled(leaf: Any) -> Any:
            if isinstance(leaf, Constant):
                return leaf.value
            return results[leaf] if isinstance(leaf, str) else leaf

        self.new.output(tree_map(filled, self.program.outputs))


def _rank(bound: Mapping[str, Any]) -> int:
    """The number of dimensions of the first tensor."""
    return int(next(value.meta["val"].dim() for value in bound.values() if isinstance(value, fx.Node)))


def _varies(config: Mapping[str, Any]) -> bool:
    """Whether a layer would be built with a size that is known only when it is called."""
    return any(isinstance(leaf, fx.Node) for leaf in tree_leaves(dict(config)))
