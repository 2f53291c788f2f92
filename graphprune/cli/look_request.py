"""What `graphprune inspect` and `graphprune explain` take, see `graphprune.cli.request`."""

# ruff: noqa: RUF009 – fields of the dataclasses are made by calls
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path

from graphprune.cli.declared import DISPLAY
from graphprune.cli.shared_options import (
    DYNAMIC,
    FEED,
    FILE,
    INPUT,
    JSON,
    MODEL,
    SHAPES,
    TRUST_CODE,
    WEIGHTS,
    as_in_shrink,
)
from graphprune.ground.options import option

__all__ = ["ExplainRequest", "InspectRequest", "LookRequest"]


@dataclass(frozen=True, kw_only=True)
class LookRequest:
    """What `inspect` and `explain` take of what `shrink` takes: the model, its inputs, and what is left alone."""

    model: str = MODEL()
    weights: str | None = WEIGHTS(
        "As for shrink; by default none, since nothing that is shown depends on them."
    )
    keep_output: Sequence[str] = as_in_shrink("outputs")
    input_shape: Sequence[str] = SHAPES()
    input: Sequence[str] = INPUT()
    feed: Path | None = FEED()
    dynamic: Sequence[str] = DYNAMIC()
    min_keep: int = as_in_shrink("min_keep")
    protect: Sequence[str] = as_in_shrink("protect")
    max_ratio: str = as_in_shrink("max_ratio")
    layer_ratio: Sequence[str] = as_in_shrink("ratios")
    tie: Sequence[str] = as_in_shrink("ties")
    keep_denormals: bool = as_in_shrink("keep_denormals")
    simplify: bool = as_in_shrink("simplify")
    cut_tables: bool = as_in_shrink("cut_tables")


@dataclass(frozen=True, kw_only=True)
class InspectRequest(LookRequest):
    """Shows what can be removed from a model, and what cannot and why."""

    EXAMPLES = (
        "graphprune inspect zoo:mtcnn_rnet",
        "graphprune inspect vit_b_16 --html vit.html",
        "graphprune inspect net.py:make --dynamic x:2=height,x:3=width",
        "graphprune inspect resnet18 --dot resnet18.dot --mermaid resnet18.mmd",
        "graphprune inspect resnet18 --protect 'layer4.*' --max-ratio 0.5",
    )

    trust_remote_code: bool = TRUST_CODE()
    html: Path | None = FILE("Write a page with the picture of it.")
    dot: Path | None = FILE("Write its layers for Graphviz.")
    graphml: Path | None = FILE("Write its layers as GraphML.")
    mermaid: Path | None = FILE("Write its layers for Mermaid.")
    json: bool = JSON()


@dataclass(frozen=True, kw_only=True)
class ExplainRequest(LookRequest):
    """Shows which layers one layer is coupled with, or the layers of a block."""

    EXAMPLES = (
        "graphprune explain resnet18 layer1.0.conv1",
        "graphprune explain resnet18 layer1.0",
        "graphprune explain resnet18 layer1.0.conv1 --paths",
    )

    layer: str = option(
        MISSING,
        "A layer, tensor, block or group, such as layer1.0.conv1 or layer1.0.",
        None,
        "LAYER",
        argument=True,
    )
    paths: bool = option(False, "Show each tensor, and the operators on the way to it.", DISPLAY)
    json: bool = JSON()
