"""MODEL: results to go on from, the hub, detectors; and what is no model, said by its content."""

from __future__ import annotations

import importlib.util
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import graphprune as gp
from graphprune.cli.file_kinds import not_a_model
from graphprune.cli.models import resolve
from graphprune.ground.errors import InputError

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


def test_shrink_goes_on_from_a_result(run: Callable[..., Any], result_folder: Path, tmp_path: Path) -> None:
    """Its budget is a share of the slim model, it knows the evaluation, and verify takes it as the original."""
    first = json.loads((result_folder / "report.json").read_text())
    again = tmp_path / "again"
    options = ("--ratio", 0.5, "--fast", "--no-latency")
    done = run("shrink", result_folder, *options, "-o", again)
    assert done.exit_code == 0, done.output
    report = json.loads((again / "report.json").read_text())
    assert report["before"]["params"] == first["after"]["params"]
    assert report["after"]["params"] < 0.5 * first["after"]["params"]
    assert report["evaluation"]["before"] == first["evaluation"]["after"]
    assert "goes on from" in " ".join(done.stdout.split())
    checked = run("verify", again, "--model", result_folder)
    assert checked.exit_code == 0, checked.output
    assert "1 not checked" in checked.stdout
    assert "read only if named: --model" in " ".join(run("verify", again).stdout.split())


def test_a_result_of_an_onnx_file_is_that_file(run: Callable[..., Any], tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
    torch.onnx.export(module, (torch.zeros(2, 6),), tmp_path / "net.onnx", dynamo=True, verbose=False)
    options = ("--ratio", 0.5, "--fast", "--no-latency")
    for model, place in ((tmp_path / "net.onnx", "one"), (tmp_path / "one", "two")):
        done = run("shrink", model, *options, "-o", tmp_path / place)
        assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "two" / "report.json").read_text())
    assert report["source"]["model"] == str(tmp_path / "one" / "model.onnx")


def test_a_result_has_its_own_weights(refused: Callable[..., str], result_folder: Path) -> None:
    said = refused("inspect", result_folder, "--weights", "other.pt")
    assert "leave it out: the result has its own" in said


@needs_timm
def test_models_of_the_hub_come_through_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache as the hub's client leaves it; nothing is asked of any server."""
    from huggingface_hub import constants

    from models_zoo import torchvision_ops

    torchvision_ops.ensure()
    import timm

    made = timm.create_model("test_vit", num_classes=3)
    snapshot = tmp_path / "models--somebody--vit" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1")
    config = {"architecture": "test_vit", "num_classes": 3, "pretrained_cfg": {"input_size": [3, 160, 160]}}
    (snapshot / "config.json").write_text(json.dumps(config))
    save_file(made.state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    source = resolve("hf-hub:somebody/vit")
    assert source.spec == "timm:hf-hub:somebody/vit"
    assert torch.equal(source.model.state_dict()["head.weight"], made.state_dict()["head.weight"])
    folder = resolve(f"timm:local-dir:{snapshot}", "none")
    assert folder.inputs[0][0].shape == (1, 3, 160, 160)
    assert str(not_a_model(snapshot)).endswith(f"give timm:local-dir:{snapshot}")
    with pytest.raises(InputError, match=r"timm cannot make hf-hub:nobody/none: .* what is not in the cache"):
        resolve("hf-hub:nobody/none")


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_a_detector_is_one_again(run: Callable[..., Any], tmp_path: Path) -> None:
    """Its network is shrunk; the slim layers go into the detector, whose own weights may be given in a file."""
    from models_zoo.detection import DetectionNetwork
    from models_zoo.sources import torchvision_model

    name = "ssdlite320_mobilenet_v3_large"
    detector, inputs, _ = torchvision_model(name, pretrained=False)
    torch.save(detector.state_dict(), tmp_path / "mine.pt")
    options = ("--weights", tmp_path / "mine.pt", "--macs", 0.7, "--fast", "--graft", "--no-latency")
    done = run("shrink", f"torchvision:{name}", *options, "-o", tmp_path / "slim")
    assert done.exit_code == 0, done.output
    assert "without what decides on boxes" in " ".join(done.stdout.split())
    slim = gp.load(tmp_path / "slim", into=DetectionNetwork(detector)).detector
    assert type(slim) is type(detector)
    assert sum(map(torch.numel, slim.parameters())) < 0.9 * sum(map(torch.numel, detector.parameters()))
    with torch.no_grad():
        (found,) = slim(*inputs(1)[0])
    assert set(found) == {"boxes", "labels", "scores"}


def zipped(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "{}")

    return write


def checkpoint(path: Path) -> None:
    """As Lightning writes it: settings of any class beside the weights."""
    settings = {"hyper_parameters": {"path": Path("x")}, "state_dict": nn.Linear(2, 2).state_dict()}
    torch.save({"pytorch-lightning_version": "2.5.0", **settings}, path)


# name of the file, what writes it or what it holds, and what is said of it
FILES = (
    ("model.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
    ("model.onnx", b"\n<!DOCTYPE html><html>", "a web page that was saved"),
    ("model.tflite", b"\x1c\0\0\0TFL3\0", "a model of TensorFlow Lite"),
    ("model.ort", b"\x1c\0\0\0ORTM\0", "a model in onnxruntime's own format"),
    ("model.gguf", b"GGUF\x03\0", "a file of llama.cpp"),
    ("model.h5", b"\x89HDF\r\n\x1a\n", "a file of HDF5"),
    ("model.engine", b"ftrt\0\0", "an engine of TensorRT"),
    (
        "x.npy",
        lambda path: numpy.save(path, numpy.zeros(3)),
        "data, not a model — give it with --calibration",
    ),
    ("x.npz", lambda path: numpy.savez(path, numpy.zeros(3)), "data, not a model — give them with --cal"),
    ("model.xml", b'<?xml version="1.0"?><net name="x" version="11">', "a model of OpenVINO"),
    ("net.param", b"7767517\n3 3\n", "a network of ncnn"),
    ("net.ipynb", b'{"cells": []}', "a notebook"),
    ("model.keras", zipped("metadata.json", "config.json", "model.weights.h5"), "a model of Keras"),
    ("model.mar", zipped("MAR-INF/MANIFEST.json", "model.pt"), "an archive of TorchServe"),
    ("model.pt2", zipped("m/archive_format", "m/models/model.json"), "an exported program of torch.export"),
    ("model.zip", zipped("readme.txt"), "an archive — unpack it"),
    ("model.mlmodel", b"\x08\x05\x12\x10", "a model of Core ML"),
    ("graph.pb", b"\x0a\x20", "a graph of TensorFlow"),
    ("epoch.ckpt", checkpoint, "a checkpoint of Lightning, which holds weights"),
    ("whole.pt", lambda path: torch.save(nn.Linear(2, 2), path), "a pickle of a whole model"),
    (
        "old.pt",
        lambda path: torch.save(nn.Linear(2, 2), path, _use_new_zipfile_serialization=False),
        "a pickle of a whole model",
    ),
    ("some.pkl", pickle.dumps({"settings": Path("x")}), "a pickle with more than weights in it"),
    (
        "state.pt",
        lambda path: torch.save(nn.Linear(2, 2).state_dict(), path),
        "a file of weights, not a model",
    ),
    (
        "old_state.pt",
        lambda path: torch.save(nn.Linear(2, 2).state_dict(), path, _use_new_zipfile_serialization=False),
        "a file of weights, not a model",
    ),
    ("w.safetensors", lambda path: save_file(nn.Linear(2, 2).state_dict(), path), "a file of weights, not a"),
)


@pytest.mark.parametrize(("name", "holds", "said"), FILES, ids=lambda value: str(value)[:20])
def test_a_file_is_told_what_it_is(
    refused: Callable[..., str], tmp_path: Path, name: str, holds: Any, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(holds) if isinstance(holds, bytes) else holds(path)
    line = refused("inspect", path)
    assert line.startswith(f"{path} is {said.partition(' — ')[0]}") or f"{path} is " in line
    assert said in line


@pytest.mark.parametrize("kind", ["script", "trace"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_told_what_it_is(refused: Callable[..., str], tmp_path: Path, kind: str) -> None:
    module = nn.Linear(2, 2)
    made = torch.jit.script(module) if kind == "script" else torch.jit.trace(module, torch.zeros(1, 2))
    made.save(tmp_path / "model.pt")
    assert "is an archive of TorchScript" in refused("inspect", tmp_path / "model.pt")


def test_nothing_of_a_pickle_is_run(refused: Callable[..., str], tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"weight": Harm()}, tmp_path / "model.pt")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Harm(), protocol=2))
    for name in ("model.pt", "model.pkl"):
        assert "a pickle with more than weights in it" in refused("inspect", tmp_path / name)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "an empty directory"),
        ({"adapter_config.json": "{}"}, "a folder of adapters (PEFT)"),
        ({"model_index.json": "{}"}, "a pipeline of diffusers"),
        ({"saved_model.pb": ""}, "a SavedModel of TensorFlow"),
        ({"net.onnx": ""}, "a directory with an ONNX file in it — name the file: {path}/net.onnx"),
        ({"hparams.yaml": "", "metrics.csv": ""}, "a folder of logs of Lightning"),
        (
            {"net.py": ""},
            "a directory of Python files — name the function that makes the model: {path}/net.py",
        ),
        ({"model.safetensors": ""}, "a directory of weights without the model"),
        ({"thesis.txt": ""}, "a directory of no kind that holds a model"),
        ({"config.json": "{"}, "a directory of no kind that holds a model"),
    ],
)
def test_a_directory_is_told_what_it_is(
    refused: Callable[..., str], tmp_path: Path, files: dict[str, str], said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert f"{tmp_path} is {said.format(path=tmp_path)}" in refused("inspect", tmp_path)


def test_a_folder_of_transformers_needs_no_prefix(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nothing-known"}')
    assert refused("inspect", tmp_path) == refused("inspect", f"hf:{tmp_path}")


def test_what_is_not_there(refused: Callable[..., str]) -> None:
    assert "the file or directory some/where does not exist" in refused("inspect", "some/where")
    assert "hf:x is for shrink, inspect, verify and tune" in refused("explain", "hf:x", "layer")


def test_an_evaluation_alone_is_enough(run: Callable[..., Any], net: Path, tmp_path: Path) -> None:
    with net.open("a") as file:
        file.write("\ndef score(model):\n    return float(model(torch.ones(2, 6)).abs().sum())\n")
    options = ("--ratio", 0.5, "--fast", "--no-latency", "--evaluate", f"{net}:score")
    done = run("shrink", f"{net}:with_inputs", *options, "-o", tmp_path / "slim")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "slim" / "report.json").read_text())["evaluation"]
    assert found["before"]["metric"] > 0
    assert found["after"]["metric"] >= 0
