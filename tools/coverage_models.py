"""The models of the coverage run: their names, list by list, and how each is built with random weights.

    python tools/coverage_models.py --make-timm-list     # prints TIMM_SMALLEST anew

Importing this file imports nothing heavy.
"""

from __future__ import annotations

import argparse
import copy
import logging
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from typing import Any, NamedTuple

__all__ = ["LISTS", "build", "names"]

Shape = tuple[int, ...]


class Built(NamedTuple):
    """A model in eval mode, the arguments and keywords of a call with two examples, and the outputs wanted (all)."""

    model: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[str, ...] = ()


BATCH = 2
MEASURING_ONLY = "test_*"  # timm's own models for its tests, which nobody uses

# The smallest model, by parameters, of every module of timm 1.0.31, without those for timm's own tests.
TIMM_SMALLEST = """
    beit_base_patch16_224 halonet_h1 mobileone_s1 cait_xxs24_224 coat_tiny convit_tiny convmixer_768_32
    convnext_zepto_rms cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_focus_s cspnext_tiny davit_tiny
    deepseek_vit_412m deit_tiny_patch16_224 densenet121 dla46x_c dpn48b edgenext_xx_small efficientformer_l1
    efficientformerv2_s0 mobilenetv2_035 efficientvim_m1 efficientvit_b0 efficientvit_m0
    vit_tiny_patch16_dinov3_qkvb fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny gemma4_vit_167m
    ghostnet_050 hardcorenas_b hgnetv2_b0 hiera_tiny_224 sam2_hiera_tiny hrnet_w18_small iformer_t
    inception_next_atto inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small levit_128s lowformer_b0
    mambaout_femto maxvit_pico_rw_256 poolformerv2_s12 gmlp_ti16_224 mobilenetv3_small_050 mobilenetv5_base
    mobilevit_xxs mvitv2_tiny naflexvit_base_patch16_parfac_gap nasnetalarge nest_tiny nextvit_small
    nf_regnet_b0 pit_ti_224 pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetx_002 repghostnet_050
    repvit_m1 res2next50 resnest14d resnet10t resnetv2_18 rexnet_100 selecsls42 legacy_seresnet18
    sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224
    swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_legacy_patch16_224 tresnet_m
    twins_svt_small vgg11 visformer_tiny vit_tiny_patch16_224 vit_tiny_r_s16_p8_224
    vit_srelpos_small_patch16_224 samvit_base_patch16_224 vitamin_small_224 volo_d1_224 ese_vovnet19b_slim_dw
    legacy_xception xception41p xcit_nano_12_p8_224
""".split()

TIMM_WELL_KNOWN = """
    resnet18 resnet34 resnet50 resnet101 resnet26d resnet50d wide_resnet50_2 resnext50_32x4d seresnet50 ecaresnet50d
    efficientnet_b0 efficientnet_lite0 tf_efficientnetv2_s tf_efficientnetv2_b0 mobilenetv2_100 mobilenetv3_large_100
    mobilenetv4_conv_small mobilenetv4_hybrid_medium mnasnet_100 mixnet_s vit_tiny_patch16_224 vit_small_patch16_224
    vit_base_patch16_224 vit_base_patch16_clip_224 vit_small_patch14_dinov2 vit_base_patch16_siglip_224
    deit3_small_patch16_224 beitv2_base_patch16_224 eva02_tiny_patch14_224 convnext_tiny convnextv2_tiny
    swin_small_patch4_window7_224 maxvit_tiny_tf_224 coatnet_0_rw_224 regnety_032 xception41 mixer_b16_224
    resmlp_12_224 caformer_s18 hrnet_w18 dla34 res2net50_26w_4s nf_resnet50 repvgg_b0 gernet_l cspdarknet53
    resnetv2_50 pvt_v2_b2 xcit_small_12_p16_224 mobilevit_s
""".split()

# The first pattern that fits TASK/NAME says the shape of one input; None is the published one. Smaller ones
# save time where the architecture permits them.
TORCHVISION_SHAPES: tuple[tuple[str, Shape | None], ...] = (
    ("optical_flow/*", None),
    ("segmentation/*", (3, 128, 128)),
    ("video/mvit_*", None),
    ("video/s3d", None),
    ("video/swin3d_*", (3, 8, 112, 112)),
    ("video/*", (3, 8, 64, 64)),
    ("*/vit_*", None),
    ("*/swin_*", None),
    ("*/maxvit_*", None),
    ("*/inception_v3", (3, 128, 128)),
    ("*", (3, 96, 96)),
)
TIMM_SIZES = (128, 160)  # tried in this order where an architecture names no least size


def names(which: str) -> list[str]:
    """The names of one list, with its prefix: ``timm:resnet50``."""
    return [f"{which}:{name}" for name in LISTS[which][0]()]


def build(name: str) -> Built:
    """The model with random weights, and a call of it.

    Raises:
        ValueError: the name has no prefix, or not one of a list.
        Exception: whatever a library raises where it has no such model.
    """
    which, _, rest = name.partition(":")
    if which not in LISTS:
        raise ValueError(f"{name!r} does not begin with one of {', '.join(f'{one}:' for one in LISTS)}")
    return LISTS[which][1](rest)


def _torchvision_names() -> list[str]:
    from models_zoo import torchvision_ops

    torchvision_ops.ensure()
    from torchvision.models import list_models

    return [name for name in list_models() if not name.startswith("quantized_")]


def _torchvision(name: str) -> Built:
    from models_zoo.inputs import gaussian
    from models_zoo.sources import torchvision_model

    model, example_inputs, _ = torchvision_model(name, pretrained=False)
    from torchvision.models import get_model_builder

    task = get_model_builder(name).__module__.split(".")[2]
    if task == "detection":
        return _detection(model)
    shape = next(shape for pattern, shape in TORCHVISION_SHAPES if fnmatch(f"{task}/{name}", pattern))
    args, kwargs = (gaussian(*shape) if shape else example_inputs)(BATCH)
    return Built(model, args, kwargs)


def _detection(detector: Any) -> Built:
    """A detector's network; what decides on the values of boxes stays the user's Python."""
    from models_zoo.detection import DetectionNetwork, detection_inputs

    fixed = getattr(detector.transform, "fixed_size", None)
    size = fixed[0] if fixed else 160
    return Built(DetectionNetwork(detector).eval(), detection_inputs(detector, BATCH, size), {})


def _timm_names() -> list[str]:
    return list(dict.fromkeys([*TIMM_SMALLEST, *TIMM_WELL_KNOWN]))


def _timm(name: str) -> Built:
    from models_zoo.inputs import gaussian
    from models_zoo.sources import timm_model

    model, _, published = timm_model(name, pretrained=False)
    shapes = [*_smaller_shapes(model.pretrained_cfg, published), published]
    shape = next((shape for shape in shapes[:-1] if _runs(model, shape)), published)
    args, kwargs = gaussian(*shape)(BATCH)
    return Built(model, args, kwargs)


def _smaller_shapes(configuration: Mapping[str, Any], published: Shape) -> Iterator[Shape]:
    if configuration.get("fixed_input_size"):
        return
    least = configuration.get("min_input_size")
    for shape in [tuple(least)] if least else [(3, size, size) for size in TIMM_SIZES]:
        if shape < published:
            yield shape


def _runs(model: Any, shape: Shape) -> bool:
    """Whether the model takes this shape; tried on a copy, since models keep what they compute for a shape."""
    import torch

    try:
        with torch.no_grad():
            copy.deepcopy(model)(torch.zeros(1, *shape))
    except Exception:  # whatever the model's code raises
        return False
    return True


def _small(module: str, table: str) -> tuple[Callable[[], list[str]], Callable[[str], Built]]:
    """Names and builder of a table of `SmallModel`."""

    def rows() -> Mapping[str, Any]:
        import importlib

        return getattr(importlib.import_module(module), table)

    def build_row(name: str) -> Built:
        row = rows()[name]
        args, kwargs = row.example_inputs(BATCH)
        return Built(row.build(), args, kwargs, row.outputs)

    return lambda: list(rows()), build_row


def _zoo_names() -> list[str]:
    import models_zoo

    return list(models_zoo.names())


def _zoo(name: str) -> Built:
    import models_zoo

    args, kwargs = models_zoo.get(name).example_inputs(BATCH)
    return Built(models_zoo.load(name, "none"), args, kwargs)


LISTS: Mapping[str, tuple[Callable[[], list[str]], Callable[[str], Built]]] = {
    "torchvision": (_torchvision_names, _torchvision),
    "timm": (_timm_names, _timm),
    "transformers": _small("models_zoo.small_transformers", "SMALL_TRANSFORMERS"),
    "blocks": _small("models_zoo.blocks", "BLOCKS"),
    "zoo": (_zoo_names, _zoo),
}


def smallest_of_timm() -> Iterator[str]:
    """The smallest model of every module of timm; takes minutes."""
    from models_zoo import torchvision_ops

    torchvision_ops.ensure()
    import timm

    for module in timm.list_modules():
        sizes = {
            name: size
            for name in timm.list_models(module=module, exclude_filters=MEASURING_ONLY)
            if (size := _parameters(timm, name)) is not None
        }
        if sizes:
            yield min(sizes, key=sizes.__getitem__)


def _parameters(timm: Any, name: str) -> int | None:
    """Counted without memory where the model can be built so; None where it cannot be built at all."""
    import torch

    for device in ("meta", "cpu"):
        try:
            with torch.device(device):
                model = timm.create_model(name, pretrained=False)
            return sum(parameter.numel() for parameter in model.parameters())
        except Exception:  # whatever the model's code raises
            continue
    return None


def main() -> None:
    """Prints the names for `TIMM_SMALLEST`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--make-timm-list", action="store_true", required=True)
    parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(
        textwrap.fill(
            " ".join(smallest_of_timm()), 110, initial_indent=" " * 4, subsequent_indent=" " * 4,
            break_on_hyphens=False,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
