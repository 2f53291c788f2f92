"""Saving and loading models as data."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import fx, nn

from graphprune.errors import InputError
from graphprune.exporting import graph_from_json, graph_to_json, load_model, save_model

from .zoo import CASES, ConvNet, tensors, traced


def saved(model: fx.GraphModule, folder: Path) -> Path:
    path = folder / "model.safetensors"
    save_model(model, path)
    return path


@pytest.mark.parametrize("name", CASES)
def test_loaded_model_computes_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = case.build()
    loaded = load_model(saved(model, tmp_path))
    expected, found = model(*case.args, **case.kwargs), loaded(*case.args, **case.kwargs)
    assert [t.dtype for t in tensors(found)] == [t.dtype for t in tensors(expected)]
    assert all(torch.equal(a, b) for a, b in zip(tensors(found), tensors(expected), strict=True))
    assert loaded.code == model.code


@pytest.mark.parametrize("name", CASES)
def test_loaded_model_has_the_same_tensors(name: str, tmp_path: Path) -> None:
    model = CASES[name].build()
    loaded = load_model(saved(model, tmp_path))

    def inventory(of: nn.Module) -> list[Any]:
        parameters = of.named_parameters(remove_duplicate=False)
        return [
            *((n, tuple(p.shape), p.dtype, p.requires_grad) for n, p in parameters),
            *((n, tuple(b.shape), b.dtype) for n, b in of.named_buffers(remove_duplicate=False)),
            *of.state_dict(),
            *((n, type(m).__name__, m.training) for n, m in of.named_modules(remove_duplicate=False)),
        ]

    assert inventory(loaded) == inventory(model)
    assert all(torch.equal(a, b) for a, b in zip(loaded.buffers(), model.buffers(), strict=True))


def test_ties_are_ties_again_and_stored_once(tmp_path: Path) -> None:
    path = saved(traced(ConvNet()), tmp_path)
    loaded = load_model(path)
    assert loaded.fc.weight is loaded.fc2.weight
    assert loaded.fc.bias is not loaded.fc2.bias
    assert len({"fc.weight", "fc2.weight"} & set(load_file(path))) == 1


def test_a_layer_registered_twice_is_one_layer(tmp_path: Path) -> None:
    loaded = load_model(saved(CASES["operators"].build(), tmp_path))
    assert loaded.lift is loaded.again


def test_training_mode_and_unused_tensors_survive(tmp_path: Path) -> None:
    model = traced(ConvNet())
    model.train()
    model.layer1.get_submodule("0").bn1.eval()
    model.register_parameter("unused", nn.Parameter(torch.tensor(2.5)))
    loaded = load_model(saved(model, tmp_path))
    assert loaded.training
    assert loaded.fc.training
    assert not loaded.layer1.get_submodule("0").bn1.training
    assert loaded.unused.item() == 2.5


def test_buffers_of_layers_keep_dtype_and_persistence(tmp_path: Path) -> None:
    model = traced(ConvNet())
    bn = model.layer1.get_submodule("0").bn1
    bn.register_buffer("running_mean", bn.running_mean.double(), persistent=False)
    loaded = load_model(saved(model, tmp_path))
    assert "layer1.0.bn1.running_mean" not in loaded.state_dict()
    assert loaded.layer1.get_submodule("0").bn1.running_mean.dtype == torch.float64


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = traced(ConvNet())
    # safetensors orders metadata at random, so two in a row could agree by luck.
    assert len({saved(model, tmp_path).read_bytes() for _ in range(8)}) == 1


def test_structure_alone_is_filled_with_zeros() -> None:
    text = graph_to_json(traced(ConvNet()))
    model = graph_from_json(text)
    assert graph_to_json(model) == text
    assert all(not parameter.any() for parameter in model.parameters())
    assert model.stem.weight.device.type == "cpu"


def test_views_and_expanded_buffers_are_stored_whole(tmp_path: Path) -> None:
    model = traced(ConvNet())
    model.register_buffer("wide", torch.arange(3.0).expand(4, 3))
    model.register_buffer("turned", model.fc.weight.detach().t())
    loaded = load_model(saved(model, tmp_path))
    assert torch.equal(loaded.wide, model.wide)
    assert torch.equal(loaded.turned, model.fc.weight.t())


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


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(format_version=99), "format version 99, not 1"),
        (lambda d: d.pop("nodes"), "damaged: KeyError"),
        (lambda d: d["nodes"].pop(), "exactly one output"),
        (lambda d: d["nodes"].insert(0, d["nodes"][1]), "unknown node"),
        (lambda d: d["nodes"].insert(1, d["nodes"][0]), "two nodes named"),
        (lambda d: d["tensors"].pop(), "lists no tensor"),
        (lambda d: d["tensors"][0].update(shape=[8, 3, 3]), "its layer asks for"),
        (lambda d: d["tensors"][0].update(dtype="float31"), "damaged"),
        (lambda d: d["tensors"][0].update(requires_grad="yes"), "true or false"),
        (lambda d: d["nodes"][1].update(args=[{"node": "x", "list": []}]), "unknown form"),
        (lambda d: d["nodes"][1].update(args=[{"pickle": "x"}]), "unknown kind"),
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


class Own(nn.Linear):
    """A user's layer, which a file must not name."""


def test_what_cannot_be_stored_is_refused_when_saving(tmp_path: Path) -> None:
    own = traced(ConvNet())
    own.fc = Own(8, 5)
    with pytest.raises(InputError, match=r"layer 'fc' is a .*Own, not exactly a torch.nn class"):
        save_model(own, tmp_path / "own.safetensors")
    foreign = traced(ConvNet())
    foreign.graph.call_function(print, ())
    with pytest.raises(InputError, match=r"builtins\.print may not stand"):
        save_model(foreign, tmp_path / "foreign.safetensors")
    wide = traced(ConvNet())
    wide.register_buffer("wide", torch.zeros(2, dtype=torch.complex128))
    with pytest.raises(InputError, match="complex128"):
        save_model(wide, tmp_path / "wide.safetensors")
    with pytest.raises(InputError, match="cannot be written"):
        save_model(traced(ConvNet()), tmp_path / "missing" / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_keeps_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(traced(ConvNet()), tmp_path)
    before = path.read_bytes()

    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphprune.exporting.store._sort_header", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(traced(ConvNet()), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]
