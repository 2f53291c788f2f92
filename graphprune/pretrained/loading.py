"""A pretrained model as a graph whose weights stay in their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphprune.capture.lazy import Lazy
from graphprune.ground.errors import InputError, WeightsError, first_line
from graphprune.pretrained.blueprint import Refused
from graphprune.pretrained.folder import CONFIG, Folder
from graphprune.verifying.tensors import in_dtype

__all__ = ["Weights", "find_weights"]


@dataclass(frozen=True)
class Weights:
    """Tensors by the names of the model's state dict, read when they are asked for.

    Args:
        tensors: in the dtype in which the model runs.
        files: name in the model → name in the files; None where the files are laid out otherwise, so that only the
            library's own loader reads them, and the whole model is in memory.
        raw: as the files have them.
        unused: names in the files that the class does not know.
    """

    tensors: Mapping[str, Tensor]
    files: Mapping[str, str] | None
    raw: Mapping[str, Tensor]
    dtype: torch.dtype
    unused: tuple[str, ...] = ()


def find_weights(folder: Folder) -> Weights:
    """The weights of a folder, each under the name that it has in the model.

    Raises:
        InputError: the class cannot be built as the configuration says.
        WeightsError: they are missing, damaged, pickles, or not those of the class.
    """
    dtype = _dtype(folder)
    try:
        model = folder.blueprint.hollow()
    except Refused as error:
        name = folder.blueprint.model.__name__
        raise InputError(
            f"{folder.path / CONFIG}: {name} cannot be built: {error}", "mend the file"
        ) from error
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    files = _file_names(folder, model, shapes)
    if files is None:
        return _loaded(folder, dtype)
    raw = Lazy(files, lambda name: folder.weights[files[name]])
    tensors = Lazy(files, lambda name: in_dtype(raw[name], dtype))
    known = set(files.values())
    return Weights(tensors, files, raw, dtype, tuple(name for name in folder.weights if name not in known))


def _dtype(folder: Folder) -> torch.dtype:
    """The dtype that the configuration names, or that of the first floating tensor."""
    named = getattr(torch, str(folder.blueprint.values.get("dtype")).removeprefix("torch."), None)
    if isinstance(named, torch.dtype):
        return named
    forms = folder.weights.forms.values()
    return next((form.dtype for form in forms if form.dtype.is_floating_point), torch.float32)


def _file_names(
    folder: Folder, model: nn.Module, shapes: Mapping[str, tuple[int, ...]]
) -> Mapping[str, str] | None:
    """Name in the model → name in the files; None where the library rearranges tensors when it loads them.

    A file may have the names of the class, or those of the bare model within it or around it.
    """
    forms, base = folder.weights.forms, f"{getattr(model, 'base_model_prefix', '')}."
    found = {}
    for name in shapes:
        spelled = next((n for n in (name, name.removeprefix(base), base + name) if n in forms), None)
        if spelled is not None and forms[spelled].shape == shapes[name]:
            found[name] = spelled
    state = model.state_dict(keep_vars=True)
    held = {id(state[name]) for name in found}
    lacking = [name for name in shapes if id(state[name]) not in held]
    if not lacking:
        return found
    ours = [name for name in lacking if not folder.blueprint.computes(name)]
    if ours and set(forms) <= set(found.values()):
        more = f" and {len(ours) - 1} more" if len(ours) > 1 else ""
        raise WeightsError(
            f"{folder.path} lacks {ours[0]}{more}, which {folder.blueprint.model.__name__} needs",
            "download the folder again, or name the class of its weights in config.json",
        )
    return None


def _loaded(folder: Folder, dtype: torch.dtype) -> Weights:
    """By the library's own loader.

    Raises:
        WeightsError: it finds tensors missing, or of other shapes.
    """
    try:
        model, found = folder.loaded(dtype, output_loading_info=True)
    except Exception as error:  # whatever the loader raises
        raise WeightsError(
            f"{folder.path} cannot be loaded: {first_line(error)}", "download the folder again"
        ) from error
    for what in ("missing_keys", "mismatched_keys", "error_msgs"):
        if found.get(what):
            first = next(iter(sorted(map(str, found[what]))))
            raise WeightsError(
                f"{folder.path} has no {first} as {folder.blueprint.model.__name__} needs it",
                "download the folder again, or name the class of its weights in config.json",
            )
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    return Weights(tensors, None, tensors, dtype, tuple(sorted(found.get("unexpected_keys", ()))))
