"""Programs to ONNX node by node: operators of all kinds, writes in place, types, names; and the other way to ONNX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from graphprune.capture import Program, capture
from graphprune.exporting import export_onnx, onnx_file, parity
from graphprune.exporting import operator_library as private
from graphprune.exporting.forms import value_forms
from graphprune.exporting.functional import functional
from graphprune.exporting.translation import translate
from graphprune.ground.errors import ExportError

X = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))


def test_translations_are_torchs_own_though_each_is_read_alone() -> None:
    every, alone = ONNXRegistry.from_torchlib(private.OPSET), private.Translations(private.OPSET)
    assert len(every.functions) > 400
    for items in every.functions.values():
        target = items[0].fx_target
        found = alone.of(target)
        assert alone.has(target)
        assert [(item.onnx_function, item.is_complex, item.signature) for item in found] == [
            (item.onnx_function, item.is_complex, item.signature) for item in every.get_decomps(target)
        ], target
    assert not alone.has(torch.ops.aten.sspaddmm.default)
    assert alone.of(torch.ops.aten.sspaddmm.default) == []


def written(y: Tensor) -> Tensor:
    """Writes through slices and picks; what was read before keeps its values, what is read later has the new ones."""
    z, before = y.clone(), y[:, 1] + 1
    row = z[:, 1]
    z[:, 1] = z[:, 0] * 2
    z[:, :, 2:4] += 1.5
    z.transpose(1, 2)[:, 0].mul_(3)
    return z + before.unsqueeze(1) + row.unsqueeze(1)


def filled(y: Tensor) -> Tensor:
    z = torch.zeros_like(y)
    z[:, ::2] = y[:, ::2]
    z[:, 1, :, 3].fill_(2).add_(y[:, 0, :, 0])
    z.view(-1, 4, 36)[:, 3] = y[:, 3].flatten(1)
    return z


def moved(y: Tensor) -> Tensor:
    """What nobody else reads may be a copy or not: what is written into it goes nowhere else."""
    z = (y * 2).permute(0, 2, 3, 1).contiguous()
    z[..., 0] += 3
    row = (y + 1).flatten(2).reshape(len(y), -1, 12)
    row[:, 1].mul_(2)
    return torch.cat([z.flatten(1), row.flatten(1)], 1)


def waves(y: Tensor) -> Tensor:
    spectrum = torch.stft(y.flatten(1), 16, window=torch.hann_window(16), return_complex=True)
    turned = (spectrum * torch.polar(torch.ones(1), torch.ones(1))).reshape(len(y), -1)
    return torch.view_as_real(turned)


def attention(y: Tensor, **options: Any) -> Tensor:
    rows = y.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(rows, rows.flip(1), rows, **options)


OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "written": written,
    "filled": filled,
    "moved": moved,
    "waves": waves,
    "attention of three dimensions": attention,
    "causal": lambda y: attention(y, is_causal=True),
    "masked": lambda y: attention(y, attn_mask=torch.ones(36, 36).tril().bool()),
    "masked per example": lambda y: attention(y, attn_mask=torch.ones(1, 36, 36).tril()),
    "attention of five dimensions": lambda y: F.scaled_dot_product_attention(
        *(y.unflatten(1, (2, 2)).unflatten(3, (2, 3)).flatten(4),) * 3, attn_mask=torch.ones(2, 2).tril()
    ),
    "heads joined": lambda y: (
        F.scaled_dot_product_attention(y, y, y).transpose(1, 2).contiguous().view(len(y), 6, 24)
    ),
    "root mean square": lambda y: F.rms_norm(y, (6, 6), torch.ones(6, 6) * 2),
    "batch norm without weights": lambda y: F.batch_norm(y, torch.ones(4), torch.ones(4) * 2),
    "line": lambda y: F.interpolate(y.flatten(2), size=17, mode="linear"),
    "area": lambda y: F.interpolate(y, size=(4, 5), mode="area"),
    "bicubic": lambda y: F.interpolate(y, size=(9, 11), mode="bicubic"),
    "same": lambda y: F.conv2d(y, torch.ones(2, 4, 4, 3), padding="same"),
    "transposed": lambda y: F.conv_transpose2d(y, torch.ones(4, 2, 3, 3), stride=2, output_padding=1, groups=2),
    "transposed line": lambda y: F.conv_transpose1d(y.flatten(2), torch.ones(4, 2, 3), stride=2),
    "integers and floats": lambda y: y * torch.arange(6) + (y > 0) * 2 + torch.arange(6) / 4,
    "compared": lambda y: (y > torch.arange(6)) & (y != 3) | (torch.arange(6) >= 2.5),
    "each repeated": lambda y: y.repeat_interleave(len(y) + 1, 1) + y.repeat_interleave(len(y), 3).mean(),
    "each of all repeated": lambda y: y.repeat_interleave(len(y)),
    "joined": lambda y: torch.cat([y, torch.arange(6).expand(len(y), 4, 1, 6)], 2),
    "wide": lambda y: y + torch.arange(6, dtype=torch.float64),
    "subtracted from": lambda y: 3 - y + torch.rsub(y, 2, alpha=3),
    "far below": lambda y: torch.nn.functional.logsigmoid(y * 100),
    "differences": lambda y: torch.diff(y, prepend=y[..., :1] - 1, dim=-1),
    "spread": lambda y: torch.stack(torch.std_mean(y, (2, 3))) + torch.stack(torch.var_mean(y, (2, 3))),
    "selected": lambda y: torch.zeros_like(y).masked_scatter(y > 0, y) if False else y.masked_fill(y > 0, 7),
    "cut": lambda y: torch.cat(y.tensor_split([1, 4], 2)[::-1], 2),
    "added at": lambda y: torch.zeros_like(y).index_add(1, torch.tensor([0, 0, 2, 3]), y),
    "largest places": lambda y: F.max_unpool2d(*F.max_pool2d(y, 2, return_indices=True), 2),
    "largest cells": lambda y: F.adaptive_max_pool2d(y, (4, 5)),
    "mean cells": lambda y: F.adaptive_avg_pool3d(y, (3, 4, 6)),
    "mean cells of one size": lambda y: F.adaptive_avg_pool2d(y, 3),
    "folded": lambda y: F.fold(F.unfold(y, 2, stride=2), (6, 6), 2, stride=2),
    "sampled": lambda y: F.grid_sample(y, torch.tanh(y[:, :2].permute(0, 2, 3, 1)), align_corners=False),
}  # fmt: skip


class Many(nn.Module):
    """Every operator on the same features."""

    def __init__(self, wanted: dict[str, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.conv, self.wanted = nn.Conv2d(4, 4, 3, padding=1), wanted

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.conv(x)
        return {name: compute(y) for name, compute in self.wanted.items()}


def test_operators_are_what_they_are_in_pytorch(tmp_path: Path) -> None:
    model = Many(OPERATORS).eval()
    program = capture(model, X)
    assert program.dynamic_batch
    translate(program)  # not torch's exporter
    path = export_onnx(program, tmp_path / "model.onnx").path
    session = onnxruntime.InferenceSession(path)
    names = [value.name for value in session.get_outputs()]
    assert names == list(OPERATORS)
    for batch in (1, 2, 3):
        (x,), _ = program.example_at(batch)
        with torch.no_grad():
            wanted = model(x)
        found = dict(zip(names, session.run(None, {"x": x.numpy()}), strict=True))
        for name in names:
            value = torch.from_numpy(found[name])
            assert value.dtype == wanted[name].dtype, name
            torch.testing.assert_close(
                value, wanted[name], rtol=1e-4, atol=1e-4, msg=f"{name}, batch {batch}"
            )


class Picked(nn.Module):
    """How many rows there are, only the data tell."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.table = nn.Linear(6, 4), nn.Embedding(3, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.fc(x)
        chosen = y[y.sum(-1) > 0]
        places = (y.sum(-1) > 0).nonzero()
        starts = torch.ones_like(y[:, 0]).long().cumsum(0) * 4 - 4
        bags = F.embedding_bag((y > 0).long().flatten(), self.table.weight, starts, mode="mean")
        return torch.cat([chosen, chosen * 2]), places, y.masked_select(y > 0), bags


def test_sizes_that_data_decide_leave_the_batch_free(tmp_path: Path) -> None:
    program = capture(Picked().eval(), torch.randn(2, 6))
    program = dataclasses.replace(
        program,
        dimensions=tuple(
            dataclasses.replace(at, name="" if at.dim else "batch") for at in program.dimensions
        ),
    )
    file = export_onnx(program, tmp_path / "model.onnx")
    assert file.fixed == {}
    assert program.model is not None
    rows = parity(file.path, program.model, program.example, [{"batch": size} for size in (1, 2, 9)])
    assert [row.sizes for row in rows] == [{"batch": 1}, {"batch": 2}, {"batch": 9}]
    assert max(row.max_rel for row in rows) < 1e-5


def test_a_graph_that_writes_nothing_stays_as_it_is() -> None:
    graph = capture(nn.Linear(3, 2).eval(), torch.ones(2, 3)).graph
    same, results = functional(graph)
    assert same is graph
    assert set(results.values()) == set(graph.nodes)


class Parts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        one, other = y.chunk(2, 1)
        one.add_(other)
        return y


class Unsure(nn.Module):
    """A view where the sizes are one, else a copy; and what it may be a view of is read later."""

    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        z = y.transpose(1, 2).contiguous()
        z[:, 0].mul_(2)
        return z.transpose(1, 2) + y


def test_what_may_be_a_view_is_refused_where_somebody_else_reads_it() -> None:
    with pytest.raises(ExportError, match="writes in place into what another"):
        translate(capture(Unsure().eval(), torch.ones(2, 4, 3)))


def test_writes_that_cannot_be_followed_are_refused_with_the_line() -> None:
    with pytest.raises(ExportError, match=r"writes in place into what another .*test_translation\.py:\d+"):
        translate(capture(Parts().eval(), torch.ones(2, 4)))


def test_forms_say_what_varies() -> None:
    program = capture(nn.Sequential(nn.Linear(3, 2), nn.Flatten(0)).eval(), torch.ones(2, 3))
    forms = {node.name: form for node, form in value_forms(program).items()}
    assert forms["linear"].sizes == ("batch", 2)
    (flat,) = (form for form in forms.values() if getattr(form, "sizes", ()) == (None,))
    assert len(set(flat.seen)) > 2, "twice the batch"
    assert flat.dtype == torch.float32


class Outputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, weight: Tensor) -> dict[str, Any]:
        y = weight * self.weight
        return {
            "logits": y,
            "again": y,
            "given": weight,
            "own": self.weight,
            "nothing": None,
            "pair": [y + 1],
        }


def test_outputs_bear_the_models_names_and_inputs_never_those_of_tensors(tmp_path: Path) -> None:
    program = capture(Outputs().eval(), torch.ones(2, 3))
    file = export_onnx(program, tmp_path / "model.onnx")
    assert file.output_names == ("logits", "again", "given", "own", "pair.0")
    assert file.input_names == ("weight_input",)
    assert program.model is not None
    assert all(row.max_abs == 0 for row in parity(file.path, program.model, program.example))


# -- the other way -----------------------------------------------------------------------------------------------


def image_program() -> Program:
    program = capture(nn.Conv2d(3, 4, 3).eval(), torch.randn(1, 3, 8, 8))
    named = {2: "height", 3: "width"}
    dimensions = tuple(dataclasses.replace(at, name=named.get(at.dim, at.name)) for at in program.dimensions)
    return dataclasses.replace(program, dimensions=dimensions)


def test_without_torchs_library_the_batch_alone_varies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> Any:
        raise ImportError("cannot import name '_building'")

    monkeypatch.setattr(private, "_private", gone)
    program = image_program()
    file = export_onnx(program, tmp_path / "model.onnx")
    assert set(file.fixed) == {"input[2]", "input[3]"}
    assert all("keeps its ONNX operators elsewhere: cannot import name" in why for why in file.fixed.values())
    (value,) = onnx.load(file.path).graph.input
    assert [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] == [
        "batch",
        3,
        8,
        8,
    ]
    assert program.model is not None
    assert all(row.max_rel < 1e-5 for row in parity(file.path, program.model, program.example))


def test_where_neither_way_works_the_first_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(text: str) -> Callable[..., Any]:
        def failing(*_: Any) -> Any:
            raise ExportError(text)

        return failing

    monkeypatch.setattr(onnx_file, "translate", fail("the first"))
    monkeypatch.setattr(onnx_file, "convert", fail("the second"))
    with pytest.raises(ExportError, match="the first"):
        export_onnx(image_program(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
