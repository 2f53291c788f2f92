"""Slim models behave like the modules they came from: containers, copies, TorchScript, compilation, another head."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import graphprune as gp


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.values, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.norm = nn.LayerNorm(16)
        self.mlp = nn.Sequential(
            nn.Linear(16, 32), nn.GELU(), nn.Identity(), nn.Dropout(0.1), nn.Linear(32, 16)
        )
        self.register_buffer("scale", torch.full((16,), 0.5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (layer(x).view(b, t, 4, 4).transpose(1, 2) for layer in (self.q, self.k, self.values))
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, 16)
        x = x + self.out(y) * self.scale
        return x + self.mlp(self.norm(x))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.heads = nn.ModuleDict({"a": nn.Linear(16, 5), "b": nn.Linear(16, 3)})
        self.gains = nn.ParameterList(nn.Parameter(torch.randn(16)) for _ in range(2))
        self.shifts = nn.ParameterDict({"one": nn.Parameter(torch.randn(16))})
        self.register_buffer("offset", torch.randn(16), persistent=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        x = x.mean(1) * self.gains[0] + self.gains[1] * self.shifts["one"] + self.offset
        return {name: head(x) for name, head in self.heads.items()}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0][:, -1])


def rows() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(), nn.Identity(), nn.Conv2d(16, 8, 3), nn.Flatten(),
        nn.Linear(8 * 16, 4),
    )  # fmt: skip


KINDS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "numbered": (rows, torch.zeros(2, 3, 8, 8)),
    "nested": (Network, torch.zeros(2, 3, 8, 8)),
    "recurrent": (Recurrent, torch.zeros(2, 5, 6)),
}


@cache
def original(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return KINDS[kind][0]().eval()


@cache
def slim(kind: str) -> Any:
    return gp.shrink(original(kind), KINDS[kind][1], ratio=0.5).model


def drawn(kind: str) -> Tensor:
    return torch.randn(KINDS[kind][1].shape, generator=torch.Generator().manual_seed(1))


def same(kind: str, given: Any, wanted: Any = None) -> None:
    wanted = slim(kind)(drawn(kind)) if wanted is None else wanted
    for one, two in zip(tree_leaves(given), tree_leaves(wanted), strict=True):
        torch.testing.assert_close(one, two)


def loaded(kind: str, folder: Path) -> Any:
    from graphprune import exporting

    exporting.save_model(slim(kind), folder / "model.safetensors")
    return gp.load(folder)


def pickled(model: nn.Module) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("how", ["shrunk", "loaded", "copied", "pickled"])
def test_containers_are_indexed_and_walked_as_in_the_original(how: str, tmp_path: Path) -> None:
    model, numbered = slim("nested"), slim("numbered")
    if how == "loaded":
        (tmp_path / "two").mkdir()
        model, numbered = loaded("nested", tmp_path), loaded("numbered", tmp_path / "two")
    elif how != "shrunk":
        again = copy.deepcopy if how == "copied" else pickled
        model, numbered = again(model), again(numbered)
    assert type(model).__name__ == "SlimModel"
    assert len(model.blocks) == 2
    assert [block.q for block in model.blocks] == [model.blocks[0].q, model.blocks[-1].q]
    assert model.blocks[1].mlp[4] is model.get_submodule("blocks.1.mlp.4") is model.blocks[1].mlp[-1]
    assert isinstance(model.blocks[0].mlp[4], nn.Linear)
    assert (len(model.blocks[0].mlp), len(list(model.blocks[0].mlp))) == (5, 5)  # its identity has a place
    assert model.blocks[0].mlp[:2] == [model.blocks[0].mlp[0], model.blocks[0].mlp[1]]
    assert list(model.heads) == list(model.heads.keys()) == ["a", "b"]
    assert dict(model.heads.items())["b"] is model.heads["b"] is list(model.heads.values())[1]
    assert "a" in model.heads
    assert "c" not in model.heads
    assert [gain.shape for gain in model.gains] == [model.gains[0].shape] * 2
    assert model.shifts["one"] is dict(model.named_parameters())["shifts.one"]
    assert "heads" in model
    assert model["stem"][0] is model.stem[0]
    assert isinstance(numbered[0], nn.Conv2d)
    assert (len(numbered), numbered[-1].out_features, isinstance(numbered[4], nn.Conv2d)) == (7, 4, True)
    for wrong, error in ((7, IndexError), ("c", KeyError)):
        with pytest.raises(error, match="is none of 0, 1, 2, 3, 4, 5, 6"):
            numbered[wrong]
    assert list(model.state_dict()) == list(slim("nested").state_dict())
    assert set(model.state_dict()) == set(original("nested").state_dict())
    assert dict(model.named_buffers()).keys() == dict(original("nested").named_buffers()).keys()
    same("nested", model(drawn("nested")))
    same("numbered", numbered(drawn("numbered")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # from within torch's own group_norm
def test_torchscript_compiles_and_traces_it(kind: str, tmp_path: Path) -> None:
    x = drawn(kind)
    scripted = torch.jit.script(slim(kind))
    same(kind, scripted(x))
    torch.jit.save(scripted, tmp_path / "slim.pt")
    read = torch.jit.load(tmp_path / "slim.pt")
    same(kind, read(x))
    same(kind, read(torch.cat([x, x])), slim(kind)(torch.cat([x, x])))
    same(kind, torch.jit.trace(slim(kind), x, strict=False)(x))
    with pytest.raises(Exception, match="must be"):
        scripted(
            torch.cat([x, x], 2 if kind == "recurrent" else 1)
        )  # what the slim model refuses, its script refuses


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_torch_compiles_it(kind: str, backend: str) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(
        slim(kind), backend=backend, fullgraph=kind != "recurrent"
    )  # as torch's own LSTM
    same(kind, compiled(drawn(kind)))


@pytest.mark.filterwarnings("ignore:.*_flat_weights")  # of torch's own LSTM
@pytest.mark.parametrize("kind", KINDS)
def test_torch_exports_it(kind: str) -> None:
    same(kind, torch.export.export(slim(kind), (drawn(kind),)).module()(drawn(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_written_and_read_without_code(kind: str) -> None:
    file = io.BytesIO()
    torch.save(slim(kind).state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(slim(kind))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    same(kind, other(drawn(kind)))


def test_a_copy_shares_nothing_and_trains_alone() -> None:
    model = slim("numbered")
    before = model(drawn("numbered"))
    for again in (copy.deepcopy(model), pickled(model)):
        again.train()
        again(drawn("numbered")).sum().backward()
        with torch.no_grad():
            for parameter in again.parameters():
                assert parameter.grad is not None
                parameter.sub_(parameter.grad)
        same("numbered", model(drawn("numbered")), before)
        assert all(parameter.grad is None for parameter in model.parameters())


def test_another_head_for_other_classes() -> None:
    model = copy.deepcopy(slim("numbered"))
    features = model[6].in_features
    model.add_module("6", nn.Linear(features, 7))
    assert model(drawn("numbered")).shape == (2, 7)
    trained = torch.optim.SGD(model.parameters(), 0.1)
    labels = torch.tensor([2, 6])
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(drawn("numbered")), labels)
        trained.zero_grad()
        loss.backward()
        trained.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    assert model(drawn("numbered")).argmax(1).tolist() == [2, 6]
    scripted = torch.jit.script(model.eval())
    same("numbered", scripted(drawn("numbered")), model(drawn("numbered")))
