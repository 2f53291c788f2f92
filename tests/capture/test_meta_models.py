"""Models whose tensors have no values are captured from shapes; where values decide, that is said."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import graphprune as gp
from graphprune.capture import capture
from graphprune.capture.execution import run
from graphprune.capture.lazy import standing_in


class Net(nn.Module):
    """With a table that its forward moves to where the input is, and sizes that vary."""

    def __init__(self, persistent: bool = False) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)
        self.register_buffer("table", torch.arange(8.0) / 8, persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[1], device=self.one.weight.device, dtype=torch.float32)
        hidden = self.norm(self.one(x) + self.table.to(self.one.weight.device))
        return self.two(hidden + at[:, None].cos())


def without_values(model: nn.Module) -> nn.Module:
    """Parameters on the meta device, buffers as they are."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = nn.Parameter(
                    parameter.detach().to("meta"), parameter.requires_grad
                )
    return model


EXAMPLE = torch.rand(2, 5, 6)


def test_the_graph_is_that_of_the_model_with_values() -> None:
    torch.manual_seed(0)
    model = Net()
    values = dict(model.state_dict())
    held, empty = gp.trace(model, EXAMPLE), gp.trace(without_values(model), EXAMPLE)
    assert str(empty.program.graph) == str(held.program.graph)
    assert empty.program.sizes == held.program.sizes == {"batch": 2, "sequence": 5}
    assert [group.name for group in empty.groups] == [group.name for group in held.groups]
    wanted = run(held.program.graph, held.program.tensors, [EXAMPLE])
    read = empty.with_weights(values).program
    assert torch.equal(run(read.graph, read.tensors, [EXAMPLE])[0], wanted[0])


def test_nothing_is_shrunk_without_values() -> None:
    with pytest.raises(gp.InputError, match=r"on the meta device and have no values.*load its weights"):
        gp.shrink(without_values(Net()), EXAMPLE, ratio=0.5)


def test_that_nothing_was_compared_is_noted() -> None:
    assert not capture(Net(), EXAMPLE).notes
    (note,) = capture(without_values(Net()), EXAMPLE).notes
    assert "no values to compare" in note


def test_the_model_stays_as_it_was() -> None:
    model = without_values(Net())
    before = {name: id(tensor) for name, tensor in model.named_parameters()}
    capture(model, EXAMPLE)
    assert {name: id(tensor) for name, tensor in model.named_parameters()} == before
    assert all(parameter.is_meta for parameter in model.parameters())


def test_what_no_file_holds_must_have_values() -> None:
    with torch.device("meta"):
        model, saved = Net(), Net(persistent=True)
    with pytest.raises(gp.InputError, match=r"table is on the meta device.*real buffers"):
        capture(model, EXAMPLE)
    assert capture(saved, EXAMPLE).stored["table"].tensor.is_meta


def test_computed_weights_must_have_values() -> None:
    model = Net()
    parametrizations.weight_norm(model.one)
    with pytest.raises(gp.InputError, match=r"one\.weight is on the meta device"):
        capture(without_values(model), EXAMPLE)


def test_stand_ins_take_no_memory_and_stay_tied() -> None:
    with torch.device("meta"):
        model = nn.Sequential(
            nn.Linear(100_000, 100_000, bias=False), nn.Linear(100_000, 100_000, bias=False)
        )
    model[1].weight = model[0].weight
    own = model[0].weight
    with standing_in(model, torch.device("cpu")):
        assert model[0].weight.device.type == "cpu"
        assert model[0].weight.untyped_storage().nbytes() == 4
        assert model[1].weight is model[0].weight
        assert isinstance(model[0].weight, nn.Parameter)
    assert model[0].weight is own is model[1].weight


def test_a_decision_on_the_size_of_one_example_fixes_the_batch() -> None:
    """With values, the graph is compared with the model at that size; without, the size stays the example's."""

    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            return y.expand(x.shape[0], 4) if x.shape[0] > 1 else y

    one = torch.rand(1, 6)
    assert capture(Decides(), one).sizes == {"batch": 1}
    fixed = capture(without_values(Decides()), one)
    assert fixed.sizes == {}
    assert any("captured for this batch size only" in note for note in fixed.notes)
