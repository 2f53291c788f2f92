"""Files and texts that are damaged, foreign or hostile: refused in one line, and nothing of them runs."""

from __future__ import annotations

import functools
import json
import operator
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import fx

from graphprune.exporting import graph_to_json, load_model, save_model
from graphprune.ground.errors import InputError

from .zoo import CASES, ConvNet, graph_from_json, traced


def saved(model: fx.GraphModule, folder: Path) -> Path:
    path = folder / "model.safetensors"
    save_model(model, path)
    return path


def edited(edit: Callable[[dict[str, Any]], None]) -> str:
    document = json.loads(graph_to_json(traced(ConvNet())))
    edit(document)
    return json.dumps(document)


def first(document: dict[str, Any], op: str) -> dict[str, Any]:
    return next(node for node in document["nodes"] if node["op"] == op)


HOSTILE_TARGETS = [
    "os.system",
    "posix.system",
    "builtins.eval",
    "builtins.getattr",
    "operator.attrgetter",
    "operator.methodcaller",
    "torch.load",
    "torch.save",
    "torch.hub.load",
    "torch.jit.load",
    "torch.compile",
    "torch.from_file",
    "torch.ops.load_library",
    "torch.ops.aten.from_file.default",
    "torch.ops.aten.save.default",
    "torch.ops.aten.__class__.mro",
    "torch.ops.prims.igamma.default",
    "torch.nn.functional.boolean_dispatch",
    "",
]


@pytest.mark.parametrize("target", HOSTILE_TARGETS)
def test_functions_off_the_list_are_refused(target: str, tmp_path: Path) -> None:
    text = edited(lambda document: first(document, "call_function").update(target=target))
    with pytest.raises(InputError, match="may not stand in a stored graph"):
        graph_from_json(text)
    path = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"graphprune_graph": text, "format_version": "1"})
    with pytest.raises(InputError):
        load_model(path)


@pytest.mark.parametrize(
    "method", ["numpy", "register_hook", "__reduce_ex__", "apply_", "set_", "backward", "tofile"]
)
def test_methods_off_the_list_are_refused(method: str) -> None:
    text = edited(lambda document: first(document, "call_method").update(target=method))
    with pytest.raises(InputError, match=f"Tensor.{method} may not"):
        graph_from_json(text)


INJECTION = 'x=__import__("os")._exit(3)'


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: first(d, "placeholder").update(target=INJECTION),
        lambda d: first(d, "placeholder").update(name=INJECTION),
        lambda d: first(d, "placeholder").update(target="*args"),
        lambda d: first(d, "call_function").update(kwargs={INJECTION: 1}),
        lambda d: first(d, "call_module").update(target='stem"]+__import__("os")._exit(3)+["'),
        lambda d: first(d, "call_module").update(target="__class__"),
        lambda d: first(d, "get_attr").update(target="__class__.__init__"),
        lambda d: first(d, "get_attr").update(target='layer1")._exit("'),
        lambda d: first(d, "call_module").update(op=INJECTION),
        lambda d: d.update(class_name="A: pass\nimport os\nclass B"),
        lambda d: d["modules"][0].update(name='a"b'),
        lambda d: d["modules"][0].update(name="__class__"),
        lambda d: d["modules"][0].update(name="forward"),
        lambda d: d["modules"][0].update({"class": "Module"}),
        lambda d: d["modules"][0].update({"class": "os"}),
        lambda d: d["modules"][0].update({"class": "LazyLinear"}),
        lambda d: d["modules"][0].update(kwargs={"dtype": {"global": "os.system"}}),
        lambda d: d["modules"][0].update(args=[3, 8, {"dtype": "os"}]),
        lambda d: d["modules"][0].update(args=[3, 10**12, 3]),
    ],
)
def test_hostile_names_never_reach_generated_code(edit: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(InputError):
        graph_from_json(edited(edit))


def called(target: str, *args: Any) -> dict[str, Any]:
    kind = "call_function" if "." in target else "call_method"
    return {"op": kind, "name": "found", "target": target, "args": list(args), "kwargs": {}}


CODE = "0] or print('run') or x.shape[0"


@pytest.mark.parametrize(
    "node",
    [
        called("size", {"node": "x"}, CODE),
        called("torch.ops.aten.sym_size.int", {"node": "x"}, CODE),
        called("graphprune.limit_of", {"dtype": "float32"}, "eps or print('run')"),
        called("graphprune.read_attribute", {"node": "x"}, "shape or print('run')"),
    ],
)
def test_text_that_would_be_code_never_reaches_generated_code(node: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="where a dimension or an attribute belongs"):
        graph_from_json(edited(lambda d: d["nodes"].insert(1, node)))


def condition(*args: Any) -> Callable[[dict[str, Any]], None]:
    """A call of ``require`` with these arguments, before the output."""
    node = {"name": "checked", "op": "call_function", "target": "graphprune.require", "kwargs": {}}
    return lambda d: d["nodes"].insert(-1, {**node, "args": list(args)})


@pytest.mark.parametrize(
    "edit",
    [
        condition({"node": "x"}, {"node": "x"}),
        condition({"node": "x"}, ["a", "list"]),
        condition({"node": "x"}, None),
        condition({"node": "x"}),
        condition("x", "not a number"),
        condition({"node": "x"}, "text", "more"),
    ],
)
def test_conditions_say_text(edit: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(InputError, match="a condition that is no size, or a message that is no text"):
        graph_from_json(edited(edit))


def test_a_condition_may_stand_in_a_stored_graph() -> None:
    model = graph_from_json(edited(condition(False, "no size will do")))
    with pytest.raises(InputError, match="no size will do"):
        model(torch.zeros(1, 3, 16, 16))


def nested(levels: int) -> list[Any]:
    return functools.reduce(lambda inner, _: [inner], range(levels), [])


def layer(kind: str, args: list[int]) -> dict[str, Any]:
    return {"name": "large", "class": kind, "args": args, "kwargs": {}}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(format_version=99), "format version 99, not 1"),
        (lambda d: d.pop("nodes"), "damaged: it has no nodes"),
        (lambda d: d["nodes"].pop(), "exactly one output"),
        (lambda d: d["nodes"].insert(0, d["nodes"][1]), "unknown node"),
        (lambda d: d["nodes"].insert(1, d["nodes"][0]), "two nodes named"),
        (lambda d: d["tensors"].pop(), "lists no tensor"),
        (lambda d: d["tensors"][0].update(shape=[8, 3, 3]), "its layer asks for"),
        (lambda d: d["tensors"][0].update(dtype="float31"), "damaged"),
        (lambda d: d["tensors"][0].update(requires_grad="yes"), "true or false"),
        (lambda d: d["nodes"][1].update(args=[{"node": "x", "list": []}]), "unknown form"),
        (lambda d: d["nodes"][1].update(args=[{"pickle": "x"}]), "unknown kind"),
        (lambda d: d["nodes"][1].update(args=nested(100)), "more than 64 levels"),
        (lambda d: d["nodes"].insert(1, called("size", [1, 2], 0)), "where a dimension or an attribute"),
        (lambda d: d["modules"].append(layer("LSTM", [4, 4, 10**6])), "more than 4096 tensors"),
        (lambda d: d["modules"].append(layer("Transformer", [64, 4, 10**6])), "has the layer .* inside"),
        (lambda d: d["modules"].append(layer("Linear", [2**62, 2**62])), "cannot be built|damaged"),
        (lambda d: d["modules"].append(layer("Linear", [10**9, 10**9])), "lists no tensor"),
        (lambda d: d["modules"].append({"name": ".".join("a" * 100)}), "no.* usable"),
    ],
)
def test_damaged_graphs_are_refused(edit: Callable[[dict[str, Any]], None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        graph_from_json(edited(edit))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '"x"'])
def test_text_that_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="damaged"):
        graph_from_json(text)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exit, (3,))


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload()))


def write_torch_archive(path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, path)


def write_legacy_torch_pickle(path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [write_pickle, write_torch_archive, write_legacy_torch_pickle])
def test_pickles_are_refused_by_name(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path)
    with pytest.raises(InputError, match=r"pickle.*can run any code, so it is refused") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_files_are_refused(kept: int, tmp_path: Path) -> None:
    path = saved(traced(ConvNet()), tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="not a complete safetensors file") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_other_unusable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_model(tmp_path / "missing.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        load_model(tmp_path)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, foreign)
    with pytest.raises(InputError, match="weights but no graph"):
        load_model(foreign)


def places(data: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested JSON data, as the keys that lead there."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*prefix, key)
        yield from places(value, (*prefix, key))


VALUES = [
    None,
    -1,
    10**30,
    1.5,
    "",
    "x",
    "a.b",
    [],
    {},
    {"node": "x"},
    {"tuple": 3},
    {"slice": [1]},
    {"dict": [1]},
]
VALUES += [
    {"dict": [[[], 1]]},
    {"device": "moon"},
    {"float": "z"},
    {"node": []},
    "self",
    "__class__",
    "forward",
]


def test_random_damage_to_a_graph_is_refused_in_one_line_or_harmless() -> None:
    text = graph_to_json(CASES["operators"].build())
    everywhere = list(places(json.loads(text)))
    random = Random(0)
    refused = []
    for _ in range(1000):
        document = json.loads(text)
        *path, last = random.choice(everywhere)
        functools.reduce(operator.getitem, path, document)[last] = random.choice(VALUES)
        try:
            assert isinstance(graph_from_json(json.dumps(document)), fx.GraphModule)
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 500
    assert not any("\n" in message for message in refused)


def test_random_damage_to_a_file_is_refused_in_one_line_or_harmless(tmp_path: Path) -> None:
    path = saved(CASES["operators"].build(), tmp_path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    random = Random(0)
    refused = []
    for _ in range(300):
        damaged = bytearray(content)
        damaged[random.randrange(header)] = random.randrange(256)
        path.write_bytes(damaged)
        try:
            assert isinstance(load_model(path), fx.GraphModule)
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 250
    assert not any("\n" in message for message in refused)


def test_weights_that_do_not_fit_the_graph_are_refused(tmp_path: Path) -> None:
    model = traced(ConvNet())
    path = saved(model, tmp_path)
    metadata = {"graphprune_graph": graph_to_json(model), "format_version": "1"}
    weights = load_file(path)
    for change, message in [
        ({"extra": torch.zeros(1)}, "holds the tensor 'extra'"),
        ({"fc.bias": torch.zeros(6)}, r"'fc.bias' as torch.float32 \[6\]"),
        ({"fc.bias": torch.zeros(5).half()}, "'fc.bias' as torch.float16"),
    ]:
        save_file({**weights, **change}, path, metadata=metadata)
        with pytest.raises(InputError, match=message):
            load_model(path)
    del weights["fc.bias"]
    save_file(weights, path, metadata=metadata)
    with pytest.raises(InputError, match=r"lacks the tensor .fc\.bias."):
        load_model(path)
    save_file(weights, path, metadata={**metadata, "format_version": "2"})
    with pytest.raises(InputError, match="format version 2, not 1"):
        load_model(path)
