"""Reads slim folders as anybody does, in a process that has no graphprune: see coverage_hf.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

sys.modules["graphprune"] = None  # type: ignore[assignment]
# of the zoo one file, for torchvision beside a CPU torch; not the package, which needs graphprune
zoo = sys.modules["models_zoo"] = ModuleType("models_zoo")
zoo.__path__ = [str(Path(__file__).parents[1] / "models_zoo")]

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402

from models_zoo import torchvision_ops  # noqa: E402

torchvision_ops.ensure()
import transformers  # noqa: E402

TOKENS = 6


def error_of(model: Any, case: Path, outputs: list[str]) -> float:
    """The largest relative error of an output; infinite where it has another shape."""
    tensors = load_file(case)
    given = {name[3:]: tensor for name, tensor in tensors.items() if name.startswith("in.")}
    wanted = [tensors[f"out.{place}"] for place in range(len(tensors) - len(given))]
    with torch.no_grad():
        returned = model(
            **{n: item.to(model.dtype) if item.is_floating_point() else item for n, item in given.items()}
        )
    kept = [returned[name] for name in outputs] if outputs else list(returned.to_tuple())
    found = [item for item in kept if isinstance(item, Tensor)]
    if [item.shape for item in found] != [item.shape for item in wanted]:
        return float("inf")
    pairs = zip(found, wanted, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-300)) for a, b in pairs)


def cache_of(model: Any, case: Path) -> str:
    """Whether greedy text is the same with a cache as without; a dash where the class writes none."""
    tensors = load_file(case)
    ids = tensors.get("in.input_ids")
    if ids is None or not model.can_generate():
        return "–"
    with torch.no_grad():
        try:
            texts = [
                model.generate(
                    ids, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, use_cache=cached
                )
                for cached in (True, False)
            ]
        except (RuntimeError, ValueError, AttributeError, TypeError, IndexError) as error:
            return f"cannot write: {str(error).splitlines()[0]:.60}"
    return "same" if torch.equal(*texts) else "differs"


def main() -> None:
    for job in json.loads(Path(sys.argv[1]).read_text()):
        folder = Path(job["folder"])
        cases = sorted(folder.glob("case*.safetensors"))
        for dtype in (
            torch.float64,
            torch.float32,
        ):  # some kernels, such as grouped products, have no float64
            model = getattr(transformers, job["class"]).from_pretrained(folder / "slim", dtype=dtype).eval()
            try:
                error = max(error_of(model, case, job["outputs"]) for case in cases)
                break
            except RuntimeError:
                if dtype is torch.float32:
                    raise
        row = {"name": job["name"], "error": error, "cache": cache_of(model, cases[-1])}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
