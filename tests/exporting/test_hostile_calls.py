"""Every operator that a stored graph may call, with arguments that do not fit: an error at most, never a signal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import fx, nn

from graphprune.exporting import load_model, save_model
from graphprune.exporting.targets import _functions, _is_safe_aten, _methods, _only_computes, function_named
from graphprune.ground.errors import InputError

from .test_store_refusals import edited, first
from .zoo import graph_from_json

SCRIPT = Path(__file__).with_name("hostile.py")


def allowed_overloads() -> list[str]:
    names = {name.removeprefix("aten::").partition(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    packets = [getattr(torch.ops.aten, name) for name in sorted(names) if _is_safe_aten(name)]
    found = (getattr(packet, overload) for packet in packets for overload in packet.overloads())
    return [f"torch.ops.{overload}" for overload in found if _only_computes(overload)]


def fatal(names: Sequence[str], calls: int) -> dict[str, int]:
    """Those of which a call ended the process, and the signal."""
    asked = json.dumps({"names": names, "calls": calls})
    done = subprocess.run(
        [sys.executable, SCRIPT], input=asked, capture_output=True, text=True, timeout=300, check=True
    )
    return dict(json.loads(done.stdout))


def test_operators_of_the_list_check_their_arguments() -> None:
    names = [*allowed_overloads(), *sorted(_functions()), *sorted(f"Tensor.{name}" for name in _methods())]
    assert len(names) > 2000
    assert fatal(names, 6) == {}


def test_operators_that_do_not_check_are_found_and_refused() -> None:
    """The judge of the test above can see what it looks for."""
    unsafe = ["_weight_norm.default", "_stack.default", "_pdist_forward.default"]
    names = [f"torch.ops.aten.{name}" for name in unsafe]
    found = fatal(names, 200)
    assert set(found) == set(names)
    assert set(found.values()) <= {signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS}
    for name in names:
        text = edited(lambda document, name=name: first(document, "call_function").update(target=name))
        with pytest.raises(InputError, match="may not stand in a stored graph"):
            graph_from_json(text)


BATCH_NORM = "torch.ops.aten._native_batch_norm_legit_no_training.default"


def test_a_batch_norm_of_one_statistic_and_many_channels_is_refused(tmp_path: Path) -> None:
    """Its kernel reads as many statistics as there are channels, wherever they are."""
    path = tmp_path / "model.safetensors"
    save_model(fx.symbolic_trace(nn.Sequential(nn.BatchNorm1d(1), nn.ReLU())), path)
    text = edited_file(path, lambda nodes: nodes[1].update(op="call_function", target=BATCH_NORM))
    with pytest.raises(InputError, match=r"_native_batch_norm_legit_no_training\.default may not stand"):
        load_model(path)
    assert BATCH_NORM in text


def edited_file(path: Path, edit: Callable[[list[dict[str, Any]]], None]) -> str:
    """Changes the nodes of a stored graph; the file's tensors stay."""
    with safe_open(path, framework="pt") as archive:
        metadata, tensors = archive.metadata(), {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    document = json.loads(metadata["graphprune_graph"])
    edit(document["nodes"])
    metadata["graphprune_graph"] = json.dumps(document)
    save_file(tensors, path, metadata=metadata)
    return metadata["graphprune_graph"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ({"dtype": 100}, "100 as its dtype"),
        ({"layout": 7}, "7 as its layout"),
        ({"dtype": {"node": "x"}}, "x as its"),
    ],
)
def test_a_number_is_no_dtype(place: dict[str, Any], value: str) -> None:
    """torch looks a bare number up as it is, and ends by a signal where there is no such dtype."""
    node = {"op": "call_function", "target": "torch.ops.aten.ones.default", "args": [[2]], "kwargs": place}
    text = edited(lambda document: document["nodes"].insert(1, {"name": "made", **node}))
    with pytest.raises(InputError, match=value):
        graph_from_json(text)


@pytest.mark.parametrize(
    "kwargs",
    [{"layout": {"layout": "sparse_coo"}}, {"dtype": {"dtype": "quint8"}}, {"device": {"device": "meta"}}],
)
def test_tensors_of_other_layouts_are_refused(kwargs: dict[str, Any]) -> None:
    """Of tensors that are sparse, quantised or without values, kernels trust what the tensors say."""
    node = {"op": "call_function", "target": "torch.zeros", "args": [[2]], "kwargs": kwargs}
    with pytest.raises(InputError, match=r"unknown layout|unknown dtype|device meta"):
        graph_from_json(edited(lambda document: document["nodes"].insert(1, {"name": "made", **node})))


def test_memory_as_it_was_does_not_come_out() -> None:
    node = {"name": "made", "op": "call_function", "target": "torch.empty", "args": [[100_000]], "kwargs": {}}

    def give_back(document: dict[str, Any]) -> None:
        document["nodes"].insert(1, node)
        document["nodes"][-1]["args"] = [{"node": "made"}]

    model = graph_from_json(edited(give_back))
    torch.full((100_000,), 7.0)  # leaves its memory behind
    assert torch.equal(model(torch.zeros(1, 3, 16, 16)), torch.zeros(100_000))


def test_lists_of_bags_are_lists() -> None:
    """The kernel itself reads beyond indices that are none."""
    bag = function_named("torch.ops.aten.embedding_bag.padding_idx")
    weight, indices, offsets = torch.randn(4, 3), torch.tensor([0, 1, 2, 3]), torch.tensor([0, 2])
    found = bag(weight, indices, offsets, False, 0, False, None, False, None)[0]
    assert torch.equal(found, torch.stack([weight[:2].sum(0), weight[2:].sum(0)]))
    empty = torch.zeros(4, 0, dtype=torch.int64)
    for wrong in ((empty, offsets), (indices, empty)):
        with pytest.raises(InputError, match="no lists"):
            bag(weight, *wrong)


def test_a_model_with_bags_is_stored_twice(tmp_path: Path) -> None:
    graph = fx.Graph()
    inputs = [graph.placeholder(name) for name in ("weight", "indices", "offsets")]
    graph.output(graph.call_function(torch.ops.aten.embedding_bag.default, tuple(inputs)))
    model = fx.GraphModule(nn.Module(), graph)
    given = torch.randn(4, 3), torch.tensor([0, 1, 2, 3]), torch.tensor([0, 2])
    wanted = model(*given)[0]
    for name in ("a", "b"):
        save_model(model, tmp_path / name)
        model = load_model(tmp_path / name)
    assert torch.equal(model(*given)[0], wanted)
