"""Saving and loading models as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import fx, nn

from graphprune.exporting import graph_to_json, load_model, save_model
from graphprune.ground.errors import InputError

from .zoo import CASES, ConvNet, graph_from_json, tensors, traced


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

    def kind(module: nn.Module) -> str:
        """A plain module comes back as a container that can be indexed."""
        return "Container" if type(module) is nn.Module else type(module).__name__

    def inventory(of: nn.Module) -> list[Any]:
        parameters = of.named_parameters(remove_duplicate=False)
        return [
            *((n, tuple(p.shape), p.dtype, p.requires_grad) for n, p in parameters),
            *((n, tuple(b.shape), b.dtype) for n, b in of.named_buffers(remove_duplicate=False)),
            *of.state_dict(),
            *((n, kind(m), m.training) for n, m in of.named_modules(remove_duplicate=False)),
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

    def interrupted(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half of a file")
        raise KeyboardInterrupt

    monkeypatch.setattr("graphprune.exporting.store.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(traced(ConvNet()), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]
