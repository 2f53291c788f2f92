"""The tensors of a folder, each read from its file when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import TypedDict

from graphprune.ground.documents import read_json
from graphprune.ground.errors import InputError, WeightsError
from graphprune.weights.forms import Form
from graphprune.weights.header import Place, read_head

__all__ = ["INDEX", "WHOLE", "Shards"]

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


class Index(TypedDict):
    """What Hugging Face writes beside several shards: the file of each tensor."""

    weight_map: dict[str, str]


class Shards(Mapping[str, Tensor]):
    """Tensors by name, in ``model.safetensors`` or in the shards that ``model.safetensors.index.json`` names.

    Each access reads the tensor anew into memory of its own, and nothing is kept. No file is mapped, so that address
    space may be scarcer than a shard is large. Heads are read and checked at once, data are not.

    Attributes:
        forms: dtypes and shapes by name, known without reading data.

    Raises:
        WeightsError: the folder has no such file, or only pickles; a shard is missing, damaged or cut off; the index
            names a tensor that its shard lacks.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._places = _places(self.folder)
        self.forms: Mapping[str, Form] = {name: place.form for name, place in self._places.items()}

    def __getitem__(self, name: str) -> Tensor:
        return _read(self._places[name])

    def __contains__(self, name: object) -> bool:
        return name in self._places  # a Mapping would read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        files = len({place.path for place in self._places.values()})
        return f"Shards({str(self.folder)!r}, tensors={len(self)}, files={files})"


def _read(place: Place) -> Tensor:
    """The tensor that stands there.

    Raises:
        WeightsError: the file is no longer as it was.
    """
    data = torch.empty(place.form.size, dtype=torch.uint8)
    try:
        with place.path.open("rb", buffering=0) as file:
            file.seek(place.start)
            left = data.numpy().data
            while left and (count := file.readinto(left)):  # one call reads two gigabytes at most
                left = left[count:]
    except OSError as error:
        raise WeightsError(
            f"{place.path} cannot be read: {error.strerror or error}", "check the disk"
        ) from error
    if left:
        raise WeightsError(
            f"{place.path} has become shorter since it was opened", "leave it as it is meanwhile"
        )
    return data.view(place.form.dtype).reshape(place.form.shape)


def _places(folder: Path) -> dict[str, Place]:
    if (folder / INDEX).is_file():
        return dict(_indexed(folder, _weight_map(folder / INDEX)))
    if (folder / WHOLE).is_file():
        return read_head(folder / WHOLE)
    found = next((file for pattern in _PICKLES for file in sorted(folder.glob(pattern))), None)
    if found is not None:
        raise WeightsError(
            f"{folder} has its weights in {found.name}, a pickle: unpickling can run any code, so it is refused",
            "convert to safetensors: model.save_pretrained(folder) of transformers writes them",
        )
    raise WeightsError(
        f"{folder} has neither {WHOLE} nor {INDEX}"
        if folder.is_dir()
        else f"{folder} is no folder with weights",
        "give a folder that save_pretrained wrote",
    )


def _weight_map(path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = read_json(path, Index)["weight_map"]
    except InputError as error:
        raise WeightsError(f"{path} cannot be read: {error.message}", "download the file again") from error
    outside = next((file for file in found.values() if Path(file).name != file), None)
    if outside is not None:
        raise WeightsError(
            f"{path} names {outside!r}, which is no file beside it", "check where it comes from"
        )
    return found


def _indexed(folder: Path, weight_map: Mapping[str, str]) -> Iterator[tuple[str, Place]]:
    heads: dict[str, dict[str, Place]] = {}
    for name, file in weight_map.items():
        if file not in heads:
            if not (folder / file).exists():
                raise WeightsError(f"{folder} lacks the shard {file}, which its index names", "download it")
            heads[file] = read_head(folder / file)
        if name not in heads[file]:
            raise WeightsError(
                f"{folder / file} lacks the tensor {name!r}, which the index says is there",
                "download index and shards again, of one version",
            )
        yield name, heads[file][name]
