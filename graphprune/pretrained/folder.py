"""A folder as Hugging Face's libraries write it: a configuration, a class, weights, and files that go along."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from typing_extensions import TypedDict

from graphprune.ground.documents import read_json
from graphprune.ground.errors import InputError, first_line
from graphprune.ground.unlogged import unlogged
from graphprune.pretrained.blueprint import Blueprint
from graphprune.weights import Shards

__all__ = ["CONFIG", "Folder", "open_folder"]

CONFIG = "config.json"
_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py", "LICENSE*")
# what a run makes anew; weights in other formats would be those of the original
_OWN = (CONFIG, "README.md", "plan.json", "report.json", "report.html", "shrink.toml")
_WEIGHTS = (
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".onnx",
    ".gguf",
    ".index.json",
)


class Written(TypedDict, total=False):
    """What is read of a config.json here; transformers checks the rest."""

    model_type: str
    architectures: list[str] | None
    auto_map: dict[str, Any]
    quantization_config: dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """An opened folder.

    Args:
        path: where it is.
        written: its config.json.
        blueprint: the class, and the whole configuration with all defaults.
        trusted: the folder's own code may be run.
    """

    path: Path
    written: Mapping[str, Any]
    blueprint: Blueprint
    trusted: bool = False

    @cached_property
    def weights(self) -> Shards:
        """Its tensors by the names in its files.

        Raises:
            WeightsError: they are missing, damaged or pickles.
        """
        return Shards(self.path)

    def loaded(self, dtype: torch.dtype, **more: Any) -> Any:
        """The class with its weights in memory, by the library's own loader, which nothing is heard of."""
        with unlogged():
            return self.blueprint.model.from_pretrained(
                self.path, dtype=dtype, local_files_only=True, use_safetensors=True, **more
            )

    @property
    def companions(self) -> list[Path]:
        """Files that a slim model needs as they are: tokenizer, processor, generation configuration, code, licence."""
        return sorted(
            path
            for path in self.path.iterdir()
            if path.is_file() and path.name not in _OWN and not path.name.endswith(_WEIGHTS)
        )


def open_folder(path: str | Path, trust_remote_code: bool = False) -> Folder:
    """Reads configuration and class; no weights, and no code of the folder's own.

    Args:
        trust_remote_code: run the folder's own code, where its class is in a file of the folder.

    Raises:
        InputError: it is no such folder; its class is unknown to this version of transformers, or is code.
    """
    folder = _place(str(path))
    if not (folder / CONFIG).is_file():
        what = f"{folder} has no {CONFIG}" if folder.is_dir() else f"there is no folder {folder}"
        raise InputError(what, "give a folder that save_pretrained of transformers wrote")
    written = _document(folder / CONFIG)
    if written.get("quantization_config"):
        raise InputError(
            f"the weights in {folder} are quantised",
            "shrink the model before it is quantised, then quantise it",
        )
    if "auto_map" in written and not trust_remote_code and not _is_stock(written):
        raise InputError(
            f"{folder} brings code of its own ({str(written['auto_map'])!r:.80}), which is not run",
            "read the code, then give --trust-remote-code (trust_remote_code=True)",
        )
    return Folder(folder, written, _blueprint(folder, written, trust_remote_code), trust_remote_code)


def _is_stock(written: Mapping[str, Any]) -> bool:
    """Whether transformers has the class itself: then it runs that, whatever code the folder brings along."""
    transformers, classes = _transformers(), written.get("architectures") or []
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    return written.get("model_type") in known and bool(classes) and hasattr(transformers, str(classes[0]))


def _place(spec: str) -> Path:
    """The folder, or the Hub's ``org/name`` or ``org/name@revision`` as it is kept on this machine, fetched if need be.

    What the Hub gives stands in a folder of the commit's name, which the report records.
    """
    name, _, revision = spec.partition("@")
    if Path(spec).exists() or not _HUB.fullmatch(name):
        return Path(spec)
    from huggingface_hub import snapshot_download

    try:
        with unlogged():
            return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(_FETCHED)))
    except Exception as error:  # whatever the network, or the Hub, raises
        raise InputError(
            f"there is no folder {spec}, and the Hub cannot be asked for it: {first_line(error)}",
            "give a folder, or a name such as HuggingFaceTB/SmolLM2-135M where there is a network",
        ) from error


def _document(path: Path) -> Mapping[str, Any]:
    try:
        found = read_json(path, Written)
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error.message}", "download the file again") from error
    return found


def _blueprint(folder: Path, written: Mapping[str, Any], trusted: bool) -> Blueprint:
    transformers = _transformers()
    kind, classes = str(written.get("model_type", "")), written.get("architectures") or []
    try:
        with unlogged():
            config = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trusted
            )
    except Exception as error:  # whatever a configuration raises that does not know what is written
        known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
        if kind in known:
            raise InputError(f"{folder / CONFIG}: {' '.join(str(error).split())}", "mend the file") from error
        raise InputError(
            f"transformers {transformers.__version__} knows no model_type {kind!r:.80}",
            "install a version that does",
        ) from error
    return Blueprint(_class(folder, config, classes, trusted), type(config), config.to_dict())


def _class(folder: Path, config: Any, classes: list[str], trusted: bool) -> Any:
    """The class that the folder names, or the bare model where it names none."""
    transformers = _transformers()
    name = str(classes[0]) if classes else ""
    if trusted and name and not hasattr(transformers, name):
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        place = next((ref for ref in config.auto_map.values() if str(ref).endswith(f".{name}")), None)
        if place is not None:
            return get_class_from_dynamic_module(place, folder, local_files_only=True)
    if name:
        found = getattr(transformers, name, None)
        if not isinstance(found, type) or not issubclass(found, transformers.PreTrainedModel):
            raise InputError(
                f"transformers {transformers.__version__} has no class {name!r:.80}, which {folder} names",
                "install a version that has it",
            )
        return found
    return transformers.AutoModel._model_mapping[type(config)]


def _transformers() -> Any:
    try:
        import transformers

        _ = transformers.PreTrainedModel, transformers.AutoModel  # imported when they are asked for
    except ImportError as error:
        raise InputError(
            f"transformers cannot be imported: {first_line(error)}",
            "pip install 'graphprune[hf]'; beside a CPU torch, models_zoo.torchvision_ops.ensure() mends torchvision",
        ) from error
    if find_spec("accelerate") is None:
        raise InputError("accelerate is not installed", "pip install 'graphprune[hf]'")
    return transformers
