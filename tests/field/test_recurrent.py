"""Recurrent layers: units are removed from every gate, from states and from whoever reads them, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from black_box import (
    parameters,
    pins,
    reproducible,  # noqa: F401  (a fixture)
    shrunk,
    sizes,
)
from torch import Tensor, nn

import graphprune as gp

KINDS = [nn.LSTM, nn.GRU, nn.RNN]
SEQUENCE = torch.zeros(2, 7, 5)


class Tagger(nn.Module):
    """Widen, read, and tell something of the last step."""

    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 16)
        self.rnn = kind(16, 12, batch_first=True, **options)
        directions = 2 if options.get("bidirectional") else 1
        self.hidden, self.head = nn.Linear(12 * directions, 20), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.rnn(self.embed(x).relu())
        return self.head(self.hidden(x[:, -1]).relu())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"num_layers": 2, "dropout": 0.3}, {"num_layers": 2, "bidirectional": True}],
    ids=["one", "without biases", "two layers", "both directions"],
)
def test_units_are_removed_from_every_gate(kind: type[nn.Module], options: dict[str, Any]) -> None:
    model = Tagger(kind, **options)
    result = shrunk(model, SEQUENCE, ratio=0.5)
    slim = result.model.rnn
    assert type(slim) is kind
    assert (slim.input_size, slim.hidden_size, slim.num_layers) == (8, 6, options.get("num_layers", 1))
    assert slim.dropout == options.get("dropout", 0.0)
    assert parameters(result.model) < 0.33 * parameters(model)


class Encoder(Tagger):
    """Reads the last states of all layers and directions."""

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.rnn(self.embed(x).relu())
        hidden = last[1] if isinstance(last, tuple) else last
        return self.head(self.hidden(hidden.transpose(0, 1)[:, -2:].flatten(1)).relu())


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_read(kind: type[nn.Module]) -> None:
    result = shrunk(Encoder(kind, bidirectional=True), SEQUENCE)
    assert sizes(result)["hidden.weight:0"] == 20
    assert type(result.model.rnn) is kind


class Translator(nn.Module):
    """A decoder that starts from the encoder's state; a state that is learned."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.embed, self.start = nn.Linear(5, 9), nn.Parameter(torch.randn(2, 1, 12))
        self.encoder, self.decoder = kind(9, 12, 2), kind(9, 12, 2, batch_first=False)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).transpose(0, 1)
        state = self.start.expand(-1, x.shape[1], -1).contiguous()
        _, last = self.encoder(x, (state, state) if isinstance(self.encoder, nn.LSTM) else state)
        x, _ = self.decoder(x, last)
        return self.head(x.transpose(0, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_states_that_are_given(kind: type[nn.Module]) -> None:
    result = shrunk(Translator(kind), SEQUENCE)
    assert {"encoder.weight_hh_l0", "decoder.weight_hh_l0", "start"} <= {
        member.tensor for group in result.graph.groups for member in group.members if group.size == 12
    }
    assert type(result.model.decoder) is kind


class Steps(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Linear(5, 9), kind(9, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in range(3):
            state = self.cell(self.embed(x[:, step]).relu(), state)
        return self.head(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_in_a_loop(kind: type[nn.Module]) -> None:
    result = shrunk(Steps(kind), SEQUENCE)
    assert type(result.model.cell) is kind
    assert sum(node.target == "cell" for node in result.model.graph.nodes) == 3


class Siamese(Tagger):
    """One layer, called twice."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).relu()
        (a, _), (b, _) = self.rnn(x), self.rnn(x.flip(1))
        return self.head(self.hidden(a[:, -1] * b[:, -1]))


def test_a_layer_that_is_called_twice() -> None:
    result = shrunk(Siamese(nn.GRU), SEQUENCE)
    assert sum(node.target == "rnn" for node in result.model.graph.nodes) == 2


class FixedBatch(Tagger):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(2, 7, 5))


def test_a_state_that_became_a_constant() -> None:
    result = shrunk(FixedBatch(nn.LSTM), SEQUENCE)
    assert not [name for name, _ in result.model.named_buffers()]


def test_cells_beside_a_projection_stay() -> None:
    model = Tagger(nn.LSTM, num_layers=2)
    model.rnn, model.hidden = nn.LSTM(16, 12, 2, batch_first=True, proj_size=6), nn.Linear(6, 20)
    result = shrunk(model, SEQUENCE, ratio=0.5)
    assert (result.model.rnn.hidden_size, result.model.rnn.proj_size) == (12, 3)
    assert any("narrower" in reason for reason in pins(result, "rnn.weight_ih_l0", 0))


@pytest.mark.parametrize("kind", KINDS)
def test_the_slim_layer_trains(kind: type[nn.Module]) -> None:
    model = shrunk(Tagger(kind, num_layers=2), SEQUENCE, ratio=0.5).model.train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(4, 7, 5)).square().mean().backward()
    optimizer.step()
    assert all(not torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_slim_layer_is_stored_and_exported(kind: type[nn.Module], tmp_path: Path) -> None:
    result = shrunk(Tagger(kind, bidirectional=True), SEQUENCE, ratio=0.5)
    result.save(tmp_path / "slim", latency=False)
    assert f"nn.{kind.__name__}(8, 6, batch_first=True, bidirectional=True)" in (
        tmp_path / "slim" / "model.py"
    ).read_text("utf-8")
    x = torch.randn(3, 7, 5)
    assert torch.equal(gp.load(tmp_path / "slim")(x), result.model(x))
