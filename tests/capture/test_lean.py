"""What `lean.export` gives is what `torch.export` gives, in all that is read of it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import _lazy_graph_module, proxy

from graphprune.capture import lean
from graphprune.capture.describe import source_line
from graphprune.capture.operators import module_path


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.linear = nn.Linear(4, 4)
        self.register_buffer("table", torch.arange(4.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return _twice(self.linear(self.norm(x))) + self.table


def _twice(x: Tensor) -> Tensor:
    halves = x.chunk(2, dim=1)
    return torch.cat([half * 2 for half in halves], dim=1)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), nn.ReLU(inplace=True), Block())

    def forward(self, x: Tensor, *, scale: Tensor) -> dict[str, Tensor]:
        return {"y": self.blocks(x) * scale, "z": torch.tensor([1.0]) + x.nonzero().shape[0]}


ARGS, KWARGS = (torch.ones(3, 4),), {"scale": torch.ones(4)}


def _read(exported: ExportedProgram) -> Any:
    """All that the capture reads."""
    nodes = [
        (node.op, str(node.target), str(node.args), str(node.kwargs), str(node.meta.get("val")))
        for node in exported.graph.nodes
    ]
    places = [(module_path(node), source_line(node)) for node in exported.graph.nodes]
    names = list(exported.state_dict), list(exported.constants), exported.graph_signature
    return nodes, places, str(names), str(exported.call_spec)


def _line(kind: type[nn.Module]) -> str:
    """The last line of its forward."""
    lines, first = inspect.getsourcelines(kind.forward)
    return f"{Path(__file__).name}:{first + len(lines) - 1}"


def _plain() -> ExportedProgram:
    return torch.export.export(Model().eval(), ARGS, KWARGS, strict=False)


def test_the_graph_is_the_same() -> None:
    found = _read(lean.export(Model().eval(), ARGS, KWARGS))
    assert found == _read(_plain())
    assert {line for _, line in found[1]} == {"", *map(_line, (Block, Model))}


def test_a_model_of_torchs_own_has_no_line() -> None:
    exported = lean.export(nn.Linear(2, 3), (torch.ones(1, 2),), {})
    assert {source_line(node) for node in exported.graph.nodes} == {""}


def test_the_graph_runs() -> None:
    model = Model().eval()
    given = lean.export(model, ARGS, KWARGS).module()(*ARGS, **KWARGS)
    assert torch.equal(given["y"], model(*ARGS, **KWARGS)["y"])


@pytest.mark.parametrize(
    ("module", "name"),
    [(_lazy_graph_module, "_use_lazy_graph_module"), (proxy, "CapturedTraceback")],
    ids=["lazy modules", "short stacks"],
)
def test_torch_may_lack_a_name(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    expected = _read(_plain())
    if name == "CapturedTraceback":  # torch's own code needs it: it only looks as if it were missing
        monkeypatch.setattr(lean, "proxy", object())
    else:
        monkeypatch.delattr(module, name)
    assert _read(lean.export(Model().eval(), ARGS, KWARGS)) == expected


def test_all_is_put_back() -> None:
    before = proxy.CapturedTraceback
    with pytest.raises(Exception, match="reduction dim"):
        lean.export(nn.Linear(2, 3), (torch.ones(1, 5),), {})
    assert proxy.CapturedTraceback is before
    assert not _lazy_graph_module._use_lazy_graph_module_flag


def test_a_model_can_be_told_that_it_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    with lean.as_exported():
        assert torch.compiler.is_exporting()
    assert not torch.compiler.is_exporting()
    monkeypatch.delattr(torch._export.utils, "_compiling_state_context")
    with lean.as_exported():
        assert not torch.compiler.is_exporting()
