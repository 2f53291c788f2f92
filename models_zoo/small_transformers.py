"""Small random models of the architectures in transformers, for coverage runs; nothing is downloaded.

    row = SMALL_TRANSFORMERS["llama"]
    args, kwargs = row.example_inputs(2)
    row.build()(*args, **kwargs)

Sizes of different axes differ wherever an architecture allows it, so that no two coincide by chance.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from models_zoo import torchvision_ops
from models_zoo.registry import SmallModel
from models_zoo.small_inputs import Kwargs
from models_zoo.small_language import LANGUAGE
from models_zoo.small_specs import Spec
from models_zoo.small_vision import VISION_AND_SOUND

__all__ = ["SMALL_TRANSFORMERS"]

LABELS = 5


def _transformers() -> Any:
    torchvision_ops.ensure()
    return importlib.import_module("transformers")


def _config(spec: Spec) -> Any:
    config = getattr(_transformers(), spec.config)(num_labels=LABELS, **spec.overrides)
    for part in (config, *(getattr(config, name) for name in config.sub_configs)):
        if hasattr(part, "use_cache"):
            part.use_cache = False
    return config


def _build(spec: Spec) -> nn.Module:
    config = _config(spec)
    torch.manual_seed(0)
    return getattr(_transformers(), spec.model)(config).eval()


def _example_inputs(spec: Spec, batch: int) -> tuple[tuple[Any, ...], Kwargs]:
    return (), spec.inputs(batch, _config(spec))


SMALL_TRANSFORMERS: Mapping[str, SmallModel] = MappingProxyType(
    {
        spec.name: SmallModel(spec.name, partial(_build, spec), partial(_example_inputs, spec), spec.outputs)
        for spec in (*LANGUAGE, *VISION_AND_SOUND)
    }
)
