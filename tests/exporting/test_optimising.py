"""The optimiser's rules, tried only where they can begin, give what they give when tried everywhere."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from onnxruntime import InferenceSession
from onnxscript import rewriter
from torch import Tensor, nn

from graphprune.capture import capture
from graphprune.exporting import optimising
from graphprune.exporting.onnx_file import OnnxProgram


class Halves(nn.Module):
    """Two halves of the last dimension, which a rule for two nodes joins, and what other rules look for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.relu(self.norm(self.conv(F.pad(x, (1, 1, 1, 1)))))).mean((2, 3))
        for _ in range(3):
            y = self.linear(y)
            y = torch.cat((y[:, 4:].tanh(), y[:, :4] + 0), -1).clamp(min=-1).clamp(max=1).reshape(-1, 4, 2)
            y = y.transpose(1, 2).transpose(1, 2).reshape(-1, 8)
        return y


@pytest.fixture(scope="module")
def program() -> OnnxProgram:
    torch.manual_seed(0)
    return OnnxProgram.of(capture(Halves().eval(), torch.randn(2, 3, 8, 8)))


def test_the_same_file_comes_of_it(
    program: OnnxProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = rewriter._DEFAULT_REWRITE_RULES
    program.write(tmp_path / "rooted.onnx")
    assert rewriter._DEFAULT_REWRITE_RULES is rules
    monkeypatch.setattr(optimising, "_rooted_rules", nullcontext)
    program.write(tmp_path / "everywhere.onnx")
    assert (tmp_path / "rooted.onnx").read_bytes() == (tmp_path / "everywhere.onnx").read_bytes()


def test_a_rule_is_not_tried_where_it_cannot_begin(
    program: OnnxProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[object, object]] = []

    def match(self: object, model: object, graph: object, node: object, **options: object) -> object:
        tried.append((self.root, node.op_identifier()))  # type: ignore[attr-defined]
        return own(self, model, graph, node, **options)

    matcher = type(rewriter._DEFAULT_REWRITE_RULES[0]._matcher)
    own = matcher.match
    monkeypatch.setattr(
        matcher, "root", property(lambda self: self.pattern.output_nodes[0].op_identifier()), raising=False
    )
    monkeypatch.setattr(matcher, "match", match)
    program.write(tmp_path / "model.onnx")
    assert len(tried) > 20
    assert all(root in (None, found) for root, found in tried)


class Narrowing(nn.Module):
    """Many slices, each of another value."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(20):
            x = x[:, 1:].tanh()
        return x


def test_a_rule_for_two_readers_is_not_tried_on_a_value_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would look through the whole graph for another reader, at every slice."""
    program = OnnxProgram.of(capture(Narrowing().eval(), torch.randn(2, 40)))
    matcher = type(rewriter._DEFAULT_REWRITE_RULES[0]._matcher)
    own, tried = matcher.match, []

    def match(self: object, *given: object, **options: object) -> object:
        tried.append(len(self.pattern.output_nodes))  # type: ignore[attr-defined]
        return own(self, *given, **options)

    monkeypatch.setattr(matcher, "match", match)
    program.write(tmp_path / "model.onnx")
    assert 1 in tried
    assert not [nodes for nodes in tried if nodes > 1]


class Gated(nn.Module):
    """Many values, each of which two slices read."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(20):
            x = torch.cat((x[:, 4:].tanh(), x[:, :4]), -1).relu()
        return x


def test_of_a_value_with_two_readers_only_these_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every other slice of the graph."""
    program = OnnxProgram.of(capture(Gated().eval(), torch.randn(2, 8)))
    matcher = type(rewriter._DEFAULT_REWRITE_RULES[0]._matcher)
    own, looked = matcher._multi_match, []

    def multi_match(self: object, candidate: object, *given: object, **options: object) -> object:
        looked.append(candidate)
        return own(self, candidate, *given, **options)

    monkeypatch.setattr(matcher, "_multi_match", multi_match)
    program.write(tmp_path / "model.onnx")
    assert looked
    assert len(looked) <= 2 * 2 * 20 * 2, "both slices of every value, in two rounds"


def test_another_version_of_the_library_runs_as_it_is(
    program: OnnxProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write(tmp_path / "rooted.onnx")
    monkeypatch.setattr(optimising, "_rules", lambda: rewriter._elsewhere)
    program.write(tmp_path / "model.onnx")
    assert (tmp_path / "rooted.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


class Clamps(nn.Module):
    """One value within several bounds, each held in buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        for n in range(3):
            self.register_buffer(f"least{n}", torch.tensor(-0.1 * (n + 1)))
            self.register_buffer(f"most{n}", torch.tensor(0.1 * (n + 1)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        clamps = [y.clamp(getattr(self, f"least{n}"), getattr(self, f"most{n}")) for n in range(3)]
        return torch.cat(clamps, -1)


def test_several_bounds_of_one_value_have_names_of_their_own(tmp_path: Path) -> None:
    model, x = Clamps().eval(), torch.randn(4, 8)
    OnnxProgram.of(capture(model, x)).write(tmp_path / "model.onnx")
    session = InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
    torch.testing.assert_close(found, model(x).detach())
