"""What a path holds that is no model which can be read: said by its content, with what to give instead.

Nothing is unpickled or run: archives are listed, and pickles are read opcode by opcode.
"""

from __future__ import annotations

import json
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphprune.ground.errors import InputError

__all__ = ["holds_result", "holds_transformers", "is_lightning", "kind_of_file", "not_a_model"]

HEAD = 4096  # bytes of a file that are looked at
TEXTS = 200_000  # opcodes of a pickle that are looked at
SOURCE = "name what makes it: path/to/file.py:factory, where factory() returns the torch.nn.Module"
CONVERT = "export it to ONNX with the tools that it comes from, and give that file"
LIGHTNING = "pytorch-lightning_version"  # a key of all checkpoints of Lightning
WEIGHTS = "name the model that they belong to, and give them with --weights {path}"


@dataclass(frozen=True)
class _Kind:
    """One kind of file or directory: how it is known, what it is called, and what to do instead."""

    fits: Callable[[Any], bool]
    what: str
    remedy: str


@dataclass(frozen=True)
class _File:
    """The beginning of a file; of an archive the names in it, and what a pickle in it names."""

    path: Path
    head: bytes
    names: tuple[str, ...]
    pickled: frozenset[str]

    def starts(self, *magic: bytes) -> bool:
        return self.head.startswith(magic)

    def lists(self, *ends: str) -> bool:
        """Whether the archive has a file for each of these ends."""
        return bool(self.names) and all(any(name.endswith(end) for name in self.names) for end in ends)


def _is_tensors(head: bytes) -> bool:
    """safetensors: the length of a JSON table, and the table."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 2**32


def _is_text(head: bytes, *words: bytes) -> bool:
    return any(word in head.lower() for word in words)


# the first that fits is named; archives go from the special to the plain
FILES = (
    _Kind(
        lambda f: f.starts(b"version https://git-lfs"),
        "a pointer of Git LFS, without the file itself",
        "fetch it with `git lfs pull`",
    ),
    _Kind(
        lambda f: f.head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")),
        "a web page that was saved in place of a download",
        "download the file again, by its raw address",
    ),
    _Kind(lambda f: f.head[4:8] == b"TFL3", "a model of TensorFlow Lite", CONVERT),
    _Kind(
        lambda f: f.head[4:8] == b"ORTM", "a model in onnxruntime's own format", "give the .onnx file of it"
    ),
    _Kind(
        lambda f: f.starts(b"GGUF"),
        "a file of llama.cpp (GGUF), whose weights are quantised",
        "give the folder of transformers that it was made of: hf:FOLDER",
    ),
    _Kind(lambda f: f.starts(b"\x89HDF\r\n"), "a file of HDF5, as Keras writes them", CONVERT),
    _Kind(lambda f: f.starts(b"ftrt"), "an engine of TensorRT", "give the .onnx file that it was built from"),
    _Kind(
        lambda f: f.starts(b"\x93NUMPY"),
        "an array of NumPy: data, not a model",
        "give it with --calibration",
    ),
    _Kind(
        lambda f: f.path.suffix == ".xml" and _is_text(f.head, b"<net "),
        "a model of OpenVINO",
        "give the .onnx file that it was made of",
    ),
    _Kind(lambda f: f.starts(b"7767517"), "a network of ncnn", "give the .onnx file that it was made of"),
    _Kind(
        lambda f: f.path.suffix == ".ipynb" and _is_text(f.head, b'"cells"'),
        "a notebook",
        "write the function that returns the model into a file: path/to/file.py:factory",
    ),
    _Kind(
        lambda f: f.lists("constants.pkl") and any("/code/" in name for name in f.names),
        "an archive of TorchScript, which holds compiled code and no module",
        f"{SOURCE}; or export it to ONNX",
    ),
    _Kind(
        lambda f: f.lists("archive_format", "models/model.json"),
        "an exported program of torch.export, which holds a graph and no module",
        f"{SOURCE}; or export it to ONNX",
    ),
    _Kind(lambda f: f.lists("config.json", "model.weights.h5"), "a model of Keras", CONVERT),
    _Kind(
        lambda f: f.lists("MAR-INF/MANIFEST.json"),
        "an archive of TorchServe",
        f"unpack it, and {SOURCE}",
    ),
    _Kind(
        lambda f: f.lists(".npy"),
        "arrays of NumPy: data, not a model",
        "give them with --calibration",
    ),
    _Kind(
        lambda f: LIGHTNING in f.pickled,
        "a checkpoint of Lightning, which holds weights and no model",
        WEIGHTS,
    ),
    _Kind(
        lambda f: any(name.startswith("torch.nn.modules.") for name in _classes(f.pickled)),
        "a pickle of a whole model, which could run any code when it is opened",
        "name what makes it, path/to/file.py:factory; for its weights, where you trust it, "
        "torch.save(model.state_dict(), 'weights.pt') and --weights weights.pt",
    ),
    _Kind(
        lambda f: bool(_classes(f.pickled)),
        "a pickle with more than weights in it, which could run any code when it is opened",
        "where you trust it, save the weights alone, torch.save(model.state_dict(), 'weights.pt'), and give them with "
        "--weights weights.pt to the model that they belong to",
    ),
    _Kind(
        lambda f: bool(f.pickled) or f.lists("data.pkl") or _is_tensors(f.head),
        "a file of weights, not a model",
        WEIGHTS,
    ),
    _Kind(lambda f: bool(f.names), "an archive", "unpack it, and name the model in it"),
    _Kind(
        lambda f: f.path.suffix in (".mlmodel", ".mlpackage"),
        "a model of Core ML",
        "give the PyTorch model or the .onnx file that it was made of",
    ),
    _Kind(lambda f: f.path.suffix == ".pb", "a graph of TensorFlow", CONVERT),
)


@dataclass(frozen=True)
class _Folder:
    """A directory: the names in it, and its config.json."""

    path: Path
    names: frozenset[str]
    config: dict[str, Any]

    def some(self, suffix: str) -> str:
        """The first file with this suffix; empty where there is none."""
        return min((name for name in self.names if name.endswith(suffix)), default="")


FOLDERS = (
    _Kind(lambda d: not d.names, "an empty directory", "check the path"),
    _Kind(
        lambda d: "adapter_config.json" in d.names and "config.json" not in d.names,
        "a folder of adapters (PEFT), without the model that they change",
        "merge them with merge_and_unload(), save that with save_pretrained, and give hf:FOLDER",
    ),
    _Kind(
        lambda d: "architecture" in d.config,
        "a folder of timm",
        "give timm:local-dir:{path}",
    ),
    _Kind(
        lambda d: "model_index.json" in d.names,
        "a pipeline of diffusers, which holds several models",
        "name one of them: path/to/file.py:factory, where factory() returns it and example inputs",
    ),
    _Kind(lambda d: "saved_model.pb" in d.names, "a SavedModel of TensorFlow", CONVERT),
    _Kind(
        lambda d: d.path.suffix == ".mlpackage",
        "a model of Core ML",
        "give the PyTorch model or the .onnx file that it was made of",
    ),
    _Kind(
        lambda d: bool(d.some(".onnx")),
        "a directory with an ONNX file in it",
        "name the file: {path}/{onnx}",
    ),
    _Kind(
        lambda d: "hparams.yaml" in d.names or "checkpoints" in d.names,
        "a folder of logs of Lightning",
        f"{SOURCE}, and give the checkpoint with --weights",
    ),
    _Kind(
        lambda d: bool(d.some(".py")),
        "a directory of Python files",
        "name the function that makes the model: {path}/{py}:factory",
    ),
    _Kind(
        lambda d: any(map(d.some, (".safetensors", ".pt", ".pth", ".bin"))),
        "a directory of weights without the model that they belong to",
        "name that model, and give one of the files with --weights",
    ),
    _Kind(
        lambda d: True,
        "a directory of no kind that holds a model",
        "give a result of graphprune, a folder that save_pretrained wrote, path/to/file.py:factory or a .onnx file",
    ),
)


def not_a_model(path: Path) -> InputError | None:
    """What is wrong with a path as MODEL, by its content; None where there is no such path, or its kind is unknown."""
    if path.is_dir():
        folder = _Folder(path, frozenset(item.name for item in path.iterdir()), _config(path))
        return _told(FOLDERS, folder, path, onnx=folder.some(".onnx"), py=folder.some(".py"))
    return kind_of_file(path)


def kind_of_file(path: Path) -> InputError | None:
    """The same of a file."""
    if not path.is_file():
        return None
    with suppress(OSError):
        return _told(FILES, _looked_at(path), path)
    return None


def is_lightning(path: Path) -> bool:
    """Whether a file is a checkpoint of Lightning."""
    return LIGHTNING in _looked_at(path).pickled


def holds_result(path: Path) -> bool:
    """Whether a directory is one that `graphprune shrink` wrote, of a model that is no folder of transformers."""
    return all((path / name).is_file() for name in ("report.json", "plan.json")) and not _config(path)


def holds_transformers(path: Path) -> bool:
    """Whether a directory is a model as save_pretrained of transformers writes it."""
    return any(key in _config(path) for key in ("model_type", "architectures"))


def _told(kinds: tuple[_Kind, ...], found: Any, path: Path, **names: str) -> InputError | None:
    for kind in kinds:
        if kind.fits(found):
            return InputError(f"{path} is {kind.what}", kind.remedy.format(path=path, **names))
    return None


def _config(path: Path) -> dict[str, Any]:
    """config.json of a directory; empty where there is none that can be read."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads((path / "config.json").read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def _looked_at(path: Path) -> _File:
    with path.open("rb") as file:
        head = file.read(HEAD)
    names: tuple[str, ...] = ()
    pickled = frozenset[str]()
    if head.startswith(b"PK"):
        with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
            names = tuple(archive.namelist())
            for name in [name for name in names if name.endswith("data.pkl")][:1]:
                with archive.open(name) as inner:
                    pickled = frozenset(_strings(inner))
    elif head[:1] == b"\x80" and not _is_tensors(head):
        with path.open("rb") as file:
            pickled = frozenset(_strings(file))
    return _File(path, head, names, pickled)


def _strings(file: Any) -> Iterator[str]:
    """What a pickle holds of text, and the classes and functions that it names. None of it is run."""
    last: list[str] = []
    with suppress(ValueError, OSError, zipfile.BadZipFile):
        # torch's older files are several pickles, one behind the other
        for _ in range(5):
            for count, (operation, value, _) in enumerate(pickletools.genops(file)):
                if count > TEXTS:
                    return
                if operation.name == "GLOBAL":
                    yield f"class:{str(value).replace(' ', '.')}"
                elif operation.name == "STACK_GLOBAL":
                    yield f"class:{'.'.join(last[-2:])}"
                elif isinstance(value, str):
                    last = [*last[-1:], value]
                    yield value


def _classes(pickled: frozenset[str]) -> list[str]:
    """Classes other than those that tensors, and tables of them, are pickled with."""
    plain = ("torch._utils.", "torch._tensor.", "collections.", "torch.", "numpy", "builtins.", "_codecs.")
    named = [item.removeprefix("class:") for item in pickled if item.startswith("class:")]
    whole = ("torch.nn.modules.", "torch.fx.", "torch.jit.")
    return [name for name in named if name.startswith(whole) or not name.startswith(plain)]
