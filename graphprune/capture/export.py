"""`torch.export` with the user's model left as it was, errors that name the user's line, and a copy of its graph.

In the copy tensors are read by name, wrapped regions are inlined, and only the user's inputs and outputs are left.
"""

from __future__ import annotations

import contextlib
import operator
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from graphprune.capture.casting import without_autocast
from graphprune.capture.describe import is_users, source_line
from graphprune.capture.detaching import detached, following_gradients
from graphprune.capture.inputs import Inputs, fresh
from graphprune.capture.lazy import has_values, standing_in
from graphprune.capture.lean import export
from graphprune.capture.outputs import Results
from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.errors import CaptureError, GraphpruneError, InputError, first_line
from graphprune.ground.unlogged import unlogged

__all__ = [
    "UNKNOWN",
    "State",
    "copy_graph",
    "export_program",
    "left_as_it_was",
    "run_once",
    "runs",
    "what_failed",
]


def export_program(model: nn.Module, inputs: Inputs, results: Results | None = None) -> ExportedProgram:
    """Exports ``model`` in eval mode for the shapes of ``inputs``, whose values are not read.

    What it returns is in plain containers; ``results`` then knows what were objects.

    Raises:
        CaptureError: the model cannot be captured, or does not run on these inputs, see `run_once`.
    """
    with (
        left_as_it_was(model),
        standing_in(model, tensor_leaves(inputs)[0].device),
        following_gradients(model),
        unlogged(),
        (results or Results()).plain(model),
    ):
        try:
            return export(model, *inputs)
        except Exception as error:  # torch.export raises whatever the model's code or its own passes raise
            remedy = next(remedy for said, remedy in _REMEDIES.items() if said in str(error))
            raise CaptureError(f"the model cannot be captured: {what_failed(error)}", remedy) from error


@contextlib.contextmanager
def left_as_it_was(model: nn.Module, state: State | None = None) -> Iterator[Mapping[str, None]]:
    """``model`` in eval mode, without gradients, autocast and fused fast paths; afterwards as it was.

    A model may keep what it computes, as tables of positions: what a run without data has left is none of the user's.

    Args:
        state: as it was, where that was noted before.
    """
    before = state or State(model)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with torch.no_grad(), without_autocast() as casts:
            yield casts
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        before.restore()


class State:
    """What the modules of a model hold, with the items of their dicts and lists, hooks among them."""

    def __init__(self, model: nn.Module) -> None:
        self._attributes = [(vars(module), dict(vars(module))) for module in model.modules()]
        held = [value for _, attributes in self._attributes for value in attributes.values()]
        self._dicts = [(one, dict(one) if one else {}) for one in held if type(one) in (dict, OrderedDict)]
        self._lists = [(one, list(one)) for one in held if type(one) is list]

    def restore(self) -> None:
        for held, attributes in self._attributes:
            for name in held.keys() - attributes.keys():
                del held[name]
            held.update(attributes)
        for one, items in self._dicts:
            if one or items:
                one.clear()
                one.update(items)
        for listed, content in self._lists:
            listed[:] = content


def runs(model: nn.Module, inputs: Inputs) -> bool:
    """Whether the model runs on ``inputs``, which it may write into; False where it has no values to run on."""
    args, kwargs = fresh(inputs)
    if not has_values(model):
        return False
    try:
        with left_as_it_was(model), unlogged():
            model(*args, **kwargs)
    except Exception:  # whatever the model raises
        return False
    return True


def run_once(model: nn.Module, inputs: Inputs) -> None:
    """Raises InputError if the model does not run on ``inputs``; of one that has no values nothing is known."""
    if not has_values(model):
        return
    args, kwargs = fresh(inputs)
    casts: Mapping[str, None] = {}
    try:
        with left_as_it_was(model) as casts, unlogged():
            model(*args, **kwargs)
    except Exception as error:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in tensor_leaves(inputs))
        raise InputError(
            f"the model does not run on the example inputs {shapes}: {what_failed(error)}",
            "give the model and its inputs one dtype, as model.float() does: forward runs without its autocast here"
            if casts
            else "check the input shape and type (--input-shape on the command line)",
        ) from error


UNKNOWN = "not a known type"  # in what torch.export says of an output

# what torch.export says → what the user can do about it
_REMEDIES = {
    "no fake impl": "say what shapes that operator returns: torch.library.register_fake",
    "on inference tensor": "the model was made in torch.inference_mode, so it cannot be trained: give "
    "copy.deepcopy(model), copied outside it",
    UNKNOWN: "return tensors, tuples or dicts, or name the class to torch.export.register_dataclass",
    "": "write that line without a Python decision on tensor values (compute both sides and choose with "
    "torch.where), or shrink a module that runs the network without it, and use Result.graft",
}


NO_LINE = "no line of the model's code is on the stack"


def what_failed(error: Exception, path: Callable[[str], str] = str) -> str:
    """What an error says and the innermost line of the user's code that led to it, in one line.

    Args:
        path: how the file is called; `within_package` where others read it on other machines.
    """
    where, said = "", error.message if isinstance(error, GraphpruneError) else first_line(error)
    for frame in traceback.extract_tb(error.__traceback__):
        if is_users(frame.filename):
            where = f'{path(frame.filename)}:{frame.lineno}: "{frame.line}"'
    if isinstance(error, GraphpruneError) and not where:  # it says itself where
        return said
    return f"{said} ({where or NO_LINE})"


# regions in which gradients are off or on, or in which casts are switched off
_GRADIENTS = "wrap_with_set_grad_enabled"
_WRAPPERS = (_GRADIENTS, "wrap_with_autocast")


def copy_graph(exported: ExportedProgram, first_name: Mapping[str, str]) -> tuple[fx.Graph, list[fx.Node]]:
    """The graph with stored tensors as ``get_attr`` nodes under their first names, and its input placeholders.

    Raises:
        CaptureError: a node runs graphs of its own, such as torch.cond.
    """
    signature = exported.graph_signature
    targets = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    copy = _Copy(exported.graph_module)
    placeholders: list[fx.Node] = []
    for node in exported.graph.nodes:
        if node.op == "output":
            results: Any = fx.node.map_arg(node.args[0], copy.mapping.__getitem__)
            # buffer updates come first; what the user's forward returns comes last
            count = exported.call_spec.out_spec.num_leaves
            copy.graph.output(tuple(results)[len(results) - count :])
        elif node.op == "placeholder" and node.target in targets:
            copy.attribute(node, first_name.get(targets[node.target], targets[node.target]))
        else:
            copy.add(node)
            if node.op == "placeholder":
                placeholders.append(copy.mapping[node])
    return copy.graph, placeholders


class _Copy:
    """A graph under construction; ``mapping`` goes from old nodes to new ones, or to tuples of new ones."""

    def __init__(self, owner: torch.nn.Module) -> None:
        self.owner = owner
        self.graph = fx.Graph()
        self.mapping: dict[Any, Any] = {}
        self.attributes: dict[str, fx.Node] = {}

    def attribute(self, node: fx.Node, name: str) -> None:
        """One ``get_attr`` for all reads of one tensor."""
        if name not in self.attributes:
            self.attributes[name] = self.graph.create_node("get_attr", name, name=node.name)
            self.attributes[name].meta = dict(node.meta)
        self.mapping[node] = self.attributes[name]

    def add(self, node: fx.Node) -> None:
        """Copies one node; a wrapped region is replaced by what is in it."""
        if node.op == "get_attr" and isinstance(getattr(self.owner, str(node.target), None), fx.GraphModule):
            return
        if node.op == "call_function" and _name(node) in _WRAPPERS:
            self._inline(node)
            if _name(node) == _GRADIENTS and not node.args[0]:
                self.mapping[node] = detached(self.graph, self.mapping[node])
        elif node.target is operator.getitem and isinstance(self.mapping.get(node.args[0]), tuple):
            self.mapping[node] = self.mapping[node.args[0]][node.args[1]]
        elif any(source not in self.mapping for source in node.all_input_nodes):
            raise CaptureError(
                f"{_name(node)} chooses between whole graphs at run time ({source_line(node) or node.name})",
                "compute both sides and choose with torch.where",
            )
        else:
            self.mapping[node] = self.graph.node_copy(node, self.mapping.__getitem__)

    def _inline(self, node: fx.Node) -> None:
        place = next(i for i, a in enumerate(node.args) if isinstance(a, fx.Node) and a.op == "get_attr")
        region = getattr(self.owner, str(node.args[place].target))  # type: ignore[union-attr]
        given = map(self.mapping.get, node.args[place + 1 :])
        outer, self.owner = self.owner, region
        for inner in region.graph.nodes:
            if inner.op == "placeholder":
                self.mapping[inner] = next(given)
            elif inner.op == "output":
                self.mapping[node] = fx.node.map_arg(inner.args[0], self.mapping.__getitem__)
            else:
                self.add(inner)
        self.owner = outer


def _name(node: fx.Node) -> str:
    return getattr(node.target, "__name__", "") or str(node.target)
