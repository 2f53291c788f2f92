"""Runs a model in another dtype, without data, see `graphprune.capture.dtypes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphprune.capture.dtypes import Casts, dtypes_in
from graphprune.capture.namespaces import real_types
from graphprune.capture.trial import Calls, Place
from graphprune.capture.varying import Varying

__all__ = ["casts_of"]

# the first in which the model runs as it does in its own; float16 before all, since some clamp values there alone
_OTHERS = (torch.float16, torch.bfloat16, torch.float64, torch.float32)
_GETTER = Tensor.dtype.__get__  # type: ignore[attr-defined]


def casts_of(varying: Varying, traced: Mapping[Place, int]) -> Casts | None:
    """The model's run in another dtype at the sizes ``traced``; None where it reads none, or runs in no other."""
    trial = varying.trial
    own = trial.whole
    if own is None or _GETTER not in own.calls:
        return None
    differs = ""
    for dtype in _OTHERS:
        if dtype in trial.floating:
            continue
        calls = _Dtypes()
        if trial.runs_in(dtype, traced, calls):
            if tuple(calls.made) != own.calls:
                own = trial.run(traced)  # a loop over a size has another length there
            if tuple(calls.made) == own.calls:
                note = (
                    f"the model itself computes otherwise in {differs}: cast to it, the slim model does not"
                )
                return Casts(own.calls, tuple(calls.numbers), tuple(calls.dtypes), note if differs else "")
            differs = differs or str(dtype).removeprefix("torch.")
    return None


class _Dtypes(Calls):
    """Notes the dtypes of calls, too."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[tuple[torch.dtype, ...]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        place = len(self.made)
        result = super().__torch_function__(func, types, args, kwargs)
        if len(self.made) > place:
            read = (result,) if isinstance(result, torch.dtype) else ()
            self.dtypes.append(read or tuple(dtypes_in((*map(real_types, args), *(kwargs or {}).values()))))
        return result
