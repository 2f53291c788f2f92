"""A program as an ONNX model, node by node: every size that varies stays variable, and nothing is traced again."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.capture.operators import module_path
from graphprune.capture.program import Constant, Program
from graphprune.exporting.conditions import under_conditions
from graphprune.exporting.decomposition import taken_apart
from graphprune.exporting.forms import Form, value_forms
from graphprune.exporting.functional import functional
from graphprune.exporting.initializers import Names, stored_form
from graphprune.exporting.layer_times import LAYER
from graphprune.exporting.operator_library import LIBRARY_OPSET, OPSET, Library, Recording, library
from graphprune.exporting.own_call import Call
from graphprune.exporting.own_operators import OWN
from graphprune.exporting.promotion import same_types
from graphprune.exporting.refusals import NO_OPERATOR, quiet, where
from graphprune.ground.errors import ExportError, first_line
from graphprune.ground.garbage import collected_later

__all__ = ["translate"]

# of complex numbers the library has the second only
_COMPLEX: Mapping[Any, Any] = {torch.ops.aten.reshape.default: torch.ops.aten.view.default}
IR_VERSION = 10  # of the file format, as torch.onnx.export writes it


@collected_later()
def translate(program: Program) -> tuple[Any, Names]:
    """The `onnx_ir.Model` of a program, not optimised: initializers bear the names of its tensors.

    Raises:
        ExportError: a node has no translation, or the program cannot be an ONNX model as it is.
    """
    with quiet(), torch.no_grad():
        graph, results = under_conditions(*functional(program.graph))
        pure = dataclasses.replace(program, graph=graph)
        return _Translator(pure, results, library()).model(), _names(program)


def _names(program: Program) -> Names:
    read = [
        program.stored[str(node.target)] for node in program.graph.find_nodes(op="get_attr") if node.users
    ]
    return Names(
        frozenset(item.name for item in read if item.kind != "constant"),
        {item.name: item.ties for item in read},
    )


def _read_nodes(graph: fx.Graph) -> list[fx.Node]:
    """The operators from which outputs, and conditions on sizes, are computed; see `under_conditions`."""
    found: set[fx.Node] = set()
    left = [graph.output_node()]
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += node.all_input_nodes
    return [node for node in graph.nodes if node in found and node.op == "call_function"]


class _Translator:
    """Builds the model of a program that writes nothing in place; ``results`` are its outputs by their names."""

    def __init__(self, program: Program, results: Mapping[str, fx.Node], operators: Library) -> None:
        self.program = program
        self.results = results
        self.library = operators
        self.forms = value_forms(program)
        self.nodes: list[Any] = []
        self.functions: dict[Any, Any] = {}
        self.values: dict[fx.Node, Any] = {}
        self.taken = set(program.stored)
        self.containers = {"", *(path.rpartition(".")[0] for path in program.module_types)}

    def model(self) -> Any:
        import onnx_ir
        from onnxscript import version_converter

        inputs, initializers = self._inputs(), self._initializers()
        self._translate(_read_nodes(self.program.graph))
        outputs = self._outputs()
        functions = list(map(_as_function, self.functions.values()))
        domains = {node.domain for node in self.nodes} | {one.domain for one in functions}
        graph = onnx_ir.Graph(
            inputs,
            outputs,
            nodes=self.nodes,
            initializers=initializers,
            name="main_graph",
            opset_imports={**dict.fromkeys(domains, 1), "": LIBRARY_OPSET},
        )
        model = onnx_ir.Model(graph, ir_version=IR_VERSION, producer_name="graphprune", functions=functions)
        version_converter.convert_version(model, target_version=OPSET, fallback=True)
        return model

    # -- what goes in -------------------------------------------------------------------------------------
    def _inputs(self) -> list[Any]:
        found = []
        placeholders = list(self.program.graph.find_nodes(op="placeholder"))
        for node in placeholders:
            form = self.forms[node]
            if isinstance(form, Form):
                name = str(node.target)
                name = f"{name}_input" if name in self.program.stored else name
                self.values[node] = self.library.value(self._fresh(name))
                describe(self.values[node], form)
                found.append(self.values[node])
            else:
                self.values[node] = form
        for dimension in self.program.dimensions:
            value = self.values[placeholders[dimension.place]]
            value.shape[dimension.dim] = dimension.name or dimension.size
        return found

    def _initializers(self) -> list[Any]:
        import onnx_ir

        found = {}
        for node in self.program.graph.find_nodes(op="get_attr"):
            name = str(node.target)
            if name not in found:
                tensor = self.program.tensors[name].detach()
                found[name] = self.library.value(name)
                describe(found[name], Form(tensor.dtype, tuple(tensor.shape)))
                found[name].const_value = onnx_ir.tensor(stored_form(tensor), name=name)
            self.values[node] = found[name]
        return list(found.values())

    def _fresh(self, name: str) -> str:
        wanted, number = name, 0
        while name in self.taken:
            number += 1
            name = f"{wanted}_{number}"
        self.taken.add(name)
        return name

    # -- nodes --------------------------------------------------------------------------------------------
    def _translate(self, nodes: Iterable[fx.Node], layer: str | None = None) -> None:
        for node in nodes:
            if not node.users:
                continue
            form = self.forms.get(node)
            if isinstance(form, int | float | bool):
                self.values[node] = form  # a size that is fixed, and what is computed from it
                continue
            try:
                self._node(node, form, self._layer(node) if layer is None else layer)
            except ExportError:
                raise
            except Exception as error:  # whatever a translation raises
                cause: BaseException = error
                while cause.__cause__ is not None:
                    cause = cause.__cause__
                raise ExportError(
                    f"no translation to ONNX{where(node)}: {first_line(cause, 200)}", NO_OPERATOR
                ) from error

    def _node(self, node: fx.Node, form: Any, layer: str) -> None:
        args: Any
        args, kwargs = fx.node.map_aggregate((node.args, dict(node.kwargs)), self._argument)
        if node.target is operator.getitem and isinstance(args[0], list | tuple):
            self.values[node] = args[0][args[1]]
            return
        is_complex = self._reads_complex(node)
        target = _COMPLEX.get(node.target, node.target) if is_complex else node.target
        function = self.library.function(target, is_complex)
        call = Call(self.library, node, form)

        def make() -> Any:
            given, named = same_types(self.library, node, args, kwargs, self.forms)
            own = None if is_complex else OWN.get(node.target)
            results = None if own is None else own(call, *given, **named)
            return function(*given, **named) if results is None and function else results

        try:
            recording = self.library.record(make)
        except Exception:  # whatever a translation raises on arguments that it does not expect
            recording = None
        if recording is None or recording.results is None:
            self._apart(node, layer)
        else:
            self._add(recording, node, form, layer)

    def _layer(self, node: fx.Node) -> str:
        """The module without modules in it that the node is of; empty for what lies between such."""
        path = module_path(node)
        return "" if path in self.containers else path

    def _reads_complex(self, node: fx.Node) -> bool:
        if node.target is torch.ops.aten.sym_size.int:  # the library has it for all tensors alike
            return False
        forms = [self.forms.get(source) for source in node.all_input_nodes]
        return any(isinstance(form, Form) and form.dtype.is_complex for form in forms)

    def _argument(self, leaf: Any) -> Any:
        import onnx_ir

        if isinstance(leaf, fx.Node):
            return self.values[leaf]
        if isinstance(leaf, torch.dtype):
            return onnx_ir.tensor_adapters.from_torch_dtype(leaf)
        if isinstance(leaf, torch.device | torch.memory_format | torch.layout):
            return str(leaf)
        return leaf

    def _add(self, recording: Recording, node: fx.Node, form: Any, layer: str) -> None:
        """Takes over what was recorded for a node."""
        several = isinstance(recording.results, list | tuple)
        forms = form if several and isinstance(form, list | tuple) else [form]
        for place, value in enumerate(recording.results if several else [recording.results]):
            if getattr(value, "producer", None) and value.name is None:
                describe(value, forms[place] if place < len(forms) else None)
                value.name = self._fresh(f"{node.name}_{place}" if several else node.name)
        for made in recording.nodes:
            made.name = self._fresh(f"node_{node.name}_{made.op_type}")
            for value in made.outputs:
                if value.name is None:
                    value.name = self._fresh(f"{node.name}_{made.op_type}")
            if layer:
                made.metadata_props[LAYER] = layer
        self.nodes += recording.nodes
        self.functions.update(recording.functions)
        self.values[node] = recording.results

    def _apart(self, node: fx.Node, layer: str) -> None:
        """Translates what the node's operator is made of."""
        parts = taken_apart(self.library, node, self.forms)
        for inner, source in zip(parts.inputs, parts.sources, strict=True):
            self.values[inner] = self.values[source]
        self.forms.update(parts.forms)
        try:
            self._translate(parts.nodes, layer)
        except ExportError as error:  # it names a part, which the user does not know
            raise ExportError(f"ONNX has no operator for {node.target}{where(node)}", NO_OPERATOR) from error
        results = [self._argument(result) for result in parts.results]
        self.values[node] = results if isinstance(self.forms[node], list) else results[0]

    # -- what comes out -----------------------------------------------------------------------------------
    def _outputs(self) -> list[Any]:
        import onnx_ir

        found: list[Any] = []
        paths = pytree.tree_flatten_with_path(self.program.outputs)[0]
        for number, (path, leaf) in enumerate(paths):
            if leaf is None:
                continue
            value = self.values[self.results[leaf]] if isinstance(leaf, str) else leaf
            if not isinstance(value, onnx_ir.Value):
                shown = value.value if isinstance(value, Constant) else value
                raise ExportError(
                    f"output {number} of the model is the constant {shown!r}, not a tensor",
                    "leave that output out, or return it as a tensor",
                )
            if value.producer() is None or value in found:
                node = self.results[leaf]
                self._add(
                    self.library.record(partial(self.library.op.Identity, value)), node, self.forms[node], ""
                )
                value = self.values[node]
            found.append(value)
            self._name_output(value, path)
        return found

    def _name_output(self, value: Any, path: tuple[Any, ...]) -> None:
        """Outputs that have keys are called after them."""
        keys = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
        name = ".".join(keys)
        if keys and any(hasattr(key, "key") for key in path) and name not in self.taken:
            self.taken.add(name)
            value.name = name


def _as_function(function: Any) -> Any:
    """A function of the library as onnx_ir has it."""
    import onnx_ir

    if isinstance(function, onnx_ir.Function):
        return function
    return onnx_ir.serde.deserialize_function(function.to_function_proto())


def describe(value: Any, form: Any) -> None:
    """Writes type and sizes on a value."""
    import onnx_ir

    if isinstance(form, Form):
        dtype, sizes = form.dtype, list(form.sizes)
        if dtype.is_complex:
            dtype, sizes = dtype.to_real(), [*sizes, 2]
        value.dtype = value.dtype or onnx_ir.tensor_adapters.from_torch_dtype(dtype)
        value.shape = onnx_ir.Shape(sizes)
