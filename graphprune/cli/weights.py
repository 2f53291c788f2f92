"""``--weights FILE``: safetensors files and state dicts. Nothing is unpickled but tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from graphprune.cli.file_kinds import is_lightning
from graphprune.ground.documents import check_regular
from graphprune.ground.errors import InputError, WeightsError, first_line

__all__ = ["load_weights", "read_weights"]

State = dict[str, Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")
# DistributedDataParallel and torch.compile put these before every name
PREFIXES = ("module.", "_orig_mod.")
SHOWN = 3  # keys named in a message, of each kind
CONVERT_CHECKPOINT = (
    "it is a checkpoint of Lightning: where you trust it, save its tensors alone: "
    "torch.save(torch.load({!r}, weights_only=False)['state_dict'], 'weights.pt')"
)
CONVERT = "where you trust it, save the tensors alone: torch.save(model.state_dict(), 'weights.pt')"


def read_weights(path: Path) -> State:
    """The tensors of a weights file by name, wrappers and prefixes taken off.

    Raises:
        WeightsError: the file is missing or damaged, holds something else, or would have to be unpickled.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}", "give a file, or --weights published or none")
    return _without_prefix(_unwrapped(path, _read(path)))


def load_weights(model: nn.Module, state: Mapping[str, Tensor], name: str, spec: str) -> None:
    """Fills ``model`` with ``state``, strictly.

    Raises:
        WeightsError: keys or shapes differ; the message counts them and names the first of each kind.
    """
    expected = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    state = _of_part(state, expected)
    # batch norms count batches since PyTorch 0.4.1; older files lack the counter, and inference does too
    wrong = {
        "missing": [key for key in expected if key not in state and not key.endswith("num_batches_tracked")],
        "not in the model": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {list(state[key].shape)} instead of {list(tensor.shape)}"
            for key, tensor in expected.items()
            if key in state and state[key].shape != tensor.shape
        ],
    }
    if said := [_listed(what, items) for what, items in wrong.items() if items]:
        raise WeightsError(
            f"the weights {name} do not fit {spec}: {'; '.join(said)}",
            "give weights of the same architecture, or take --weights none",
        )
    model.load_state_dict(dict(state), strict=False)


def _of_part(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The model's part of the state of a module that holds it, as training code does, where there is one such part."""
    first = next(iter(expected), "")
    prefixes = [key.removesuffix(first) for key in state if key.endswith(f".{first}")]
    whole = [prefix for prefix in prefixes if all(f"{prefix}{name}" in state for name in expected)]
    if len(whole) != 1 or first in state:  # a teacher beside a student, or averaged weights beside the others
        return state
    return {name: state[f"{whole[0]}{name}"] for name in expected}


def _listed(what: str, items: Sequence[str]) -> str:
    tensors = "tensor" if len(items) == 1 else "tensors"
    more = ", …" if len(items) > SHOWN else ""
    return f"{len(items)} {tensors} {what} ({', '.join(items[:SHOWN])}{more})"


def _read(path: Path) -> Any:
    try:
        check_regular(path)
        with path.open("rb") as file:
            head = file.read(4)
    except (OSError, InputError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise WeightsError(f"{path} cannot be read: {why}", "check its permissions") from error
    if head.startswith(b"PK"):
        return _read_torch(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        # only now: the length that a safetensors file begins with may look like a pickle
        if head[:1] == b"\x80":
            return _read_torch(path)
        raise WeightsError(
            f"{path} is neither a complete safetensors file nor a state dict: {error}",
            "give a .safetensors file, or what torch.save(model.state_dict(), …) wrote",
        ) from error


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors; pickles are not loaded, since unpickling can run any code",
            CONVERT_CHECKPOINT.format(path) if is_lightning(path) else CONVERT,
        ) from error
    except Exception as error:  # whatever the zip reader raises
        reason = first_line(error).partition(". ")[0]
        raise WeightsError(
            f"{path} is damaged, or no state dict: {reason}",
            "give a .safetensors file, or what torch.save(model.state_dict(), …) wrote",
        ) from error


def _unwrapped(path: Path, data: Any) -> State:
    while isinstance(data, Mapping):
        inner = next((data[key] for key in WRAPPERS if isinstance(data.get(key), Mapping)), None)
        if inner is None:
            break
        data = inner
    if not isinstance(data, Mapping) or not data:
        raise WeightsError(f"{path} holds a {type(data).__name__}, not a state dict", CONVERT)
    others = [key for key, value in data.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if others:
        raise WeightsError(
            f"{path} holds {len(others)} entries that are not tensors ({str(others[0])!r} first)", CONVERT
        )
    return dict(data)


def _without_prefix(state: State) -> State:
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            return _without_prefix({key.removeprefix(prefix): value for key, value in state.items()})
    return state
