"""Small random models of the architectures in transformers, for coverage runs; nothing is downloaded.

    row = SMALL_TRANSFORMERS["llama"]
    args, kwargs = row.example_inputs(2)
    row.build()(*args, **kwargs)

Sizes of different axes differ wherever an architecture allows it, so that no two coincide by chance.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from models_zoo import torchvision_ops
from models_zoo.registry import SmallModel
from models_zoo.small_inputs import (
    Kwargs,
    causal,
    image,
    image_points,
    image_text,
    pair,
    picture,
    seq2seq,
    series,
    spectrogram,
    text,
    waveform,
)

__all__ = ["SMALL_TRANSFORMERS"]

LABELS = 5


class Spec(NamedTuple):
    """A row as it is written below: what to configure, what to build, and what it is called with."""

    name: str
    config: str
    model: str
    overrides: Mapping[str, Any]
    inputs: Callable[[int, Any], Kwargs]


TOKENS = {"vocab_size": 120, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LAYERS = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80}
ENCODER = TOKENS | LAYERS | {"max_position_embeddings": 40}
DECODER = ENCODER | {"hidden_size": 64, "intermediate_size": 88}
GROUPED = DECODER | {"num_key_value_heads": 2}
WIDE_HEADS = GROUPED | {"hidden_size": 52, "head_dim": 16}  # heads that together are wider than the model
EXPERTS = GROUPED | {"num_experts_per_tok": 2}
T5 = TOKENS | {"d_model": 52, "d_kv": 12, "d_ff": 80, "num_heads": 4, "num_layers": 2}
BART = TOKENS | {
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 80,
    "decoder_ffn_dim": 88,
    "max_position_embeddings": 40,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
VISION = LAYERS | {"image_size": 40, "patch_size": 8}
SWIN = {"image_size": 64, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}
CONVNET = {"hidden_sizes": (12, 20, 28, 36), "depths": (1, 1, 2, 1)}
PYRAMID = {
    "image_size": 64,
    "hidden_sizes": (12, 20, 32, 40),
    "num_attention_heads": (1, 2, 4, 5),
    "depths": (1, 1, 1, 1),
}
RESIDUAL = {"embedding_size": 12, "hidden_sizes": (16, 24, 32, 40), "depths": (1, 1, 2, 1)}
AUDIO = (
    TOKENS
    | LAYERS
    | {
        "conv_dim": (20, 24, 28),
        "conv_stride": (5, 2, 2),
        "conv_kernel": (10, 3, 3),
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        "apply_spec_augment": False,
    }
)
DETECTION = {
    "d_model": 48,
    "num_queries": 9,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 80,
    "decoder_ffn_dim": 88,
}
ALL_STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN_BACKBONE = SWIN | {
    "model_type": "swin",
    "embed_dim": 12,
    "depths": (1, 1, 1, 1),
    "num_heads": (1, 2, 3, 4),
    "window_size": 2,
    "out_features": ALL_STAGES,
}
SAM = {
    "vision_config": VISION
    | {"image_size": 64, "output_channels": 32, "num_pos_feats": 16, "window_size": 3}
    | {"global_attn_indexes": (1,), "mlp_dim": 80},
    "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 56, "num_attention_heads": 4}
    | {"iou_head_hidden_dim": 36},
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 8},
}
RT_DETR = DETECTION | {
    "d_model": 64,
    "backbone_config": RESIDUAL | {"model_type": "rt_detr_resnet", "out_features": ALL_STAGES[1:]},
    "encoder_in_channels": (24, 32, 40),
    "encoder_hidden_dim": 56,
    "decoder_in_channels": (56, 56, 56),
    "num_denoising": 0,
}
MASK2FORMER = {"backbone_config": SWIN_BACKBONE, "feature_size": 64, "hidden_dim": 64}
MASK2FORMER |= {"mask_feature_size": 28, "encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 4}
MASK2FORMER |= {"encoder_feedforward_dim": 80, "dim_feedforward": 88, "num_queries": 9}
MASKFORMER = {
    "backbone_config": SWIN_BACKBONE,
    "decoder_config": DETECTION | {"model_type": "detr"},
    "fpn_feature_size": 64,
    "mask_feature_size": 28,
}
CLIP_TEXT, CLIP_VISION = ENCODER, VISION | {"hidden_size": 56, "intermediate_size": 72}
CLIP = {"text_config": CLIP_TEXT, "vision_config": CLIP_VISION, "projection_dim": 28}
SIGLIP = {"text_config": CLIP_TEXT | {"projection_size": 56}, "vision_config": CLIP_VISION}
BLIP = CLIP | {"text_config": CLIP_TEXT | {"encoder_hidden_size": 56, "sep_token_id": 3}}

SPECS = (
    Spec("bert", "BertConfig", "BertForSequenceClassification", ENCODER, pair),
    Spec("bert_masked_lm", "BertConfig", "BertForMaskedLM", ENCODER, text),
    Spec("roberta", "RobertaConfig", "RobertaForMaskedLM", ENCODER, text),
    Spec(
        "distilbert",
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        TOKENS | {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 80, "max_position_embeddings": 40},
        text,
    ),
    Spec("albert", "AlbertConfig", "AlbertForMaskedLM", ENCODER | {"embedding_size": 20}, text),
    Spec(
        "electra", "ElectraConfig", "ElectraForSequenceClassification", ENCODER | {"embedding_size": 20}, text
    ),
    Spec(
        "deberta_v2",
        "DebertaV2Config",
        "DebertaV2ForSequenceClassification",
        ENCODER
        | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 9}
        | {"position_buckets": 6, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
        | {"conv_kernel_size": 3, "conv_act": "gelu", "position_biased_input": False},
        text,
    ),
    Spec("mpnet", "MPNetConfig", "MPNetForSequenceClassification", ENCODER, text),
    Spec(
        "modernbert",
        "ModernBertConfig",
        "ModernBertForMaskedLM",
        ENCODER | {"cls_token_id": 1, "sep_token_id": 2, "local_attention": 4},
        text,
    ),
    Spec("fnet", "FNetConfig", "FNetForSequenceClassification", ENCODER, causal),
    Spec(
        "funnel",
        "FunnelConfig",
        "FunnelForMaskedLM",
        {"vocab_size": 120, "block_sizes": (1, 1), "num_decoder_layers": 1, "d_model": 52}
        | {"n_head": 4, "d_head": 12, "d_inner": 80},
        text,
    ),
    Spec(
        "xlnet",
        "XLNetConfig",
        "XLNetForSequenceClassification",
        TOKENS | {"d_model": 48, "n_layer": 2, "n_head": 4, "d_inner": 80, "use_mems_eval": False},
        text,
    ),
    Spec(
        "gpt2",
        "GPT2Config",
        "GPT2LMHeadModel",
        TOKENS | {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_inner": 80, "n_positions": 40},
        causal,
    ),
    Spec("gpt_neox", "GPTNeoXConfig", "GPTNeoXForCausalLM", DECODER, causal),
    Spec(
        "gpt_neo",
        "GPTNeoConfig",
        "GPTNeoForCausalLM",
        TOKENS
        | {"hidden_size": 48, "num_layers": 2, "num_heads": 4, "intermediate_size": 80, "window_size": 4}
        | {"attention_types": [[["global", "local"], 1]], "max_position_embeddings": 40},
        causal,
    ),
    Spec("opt", "OPTConfig", "OPTForCausalLM", DECODER | {"ffn_dim": 88, "word_embed_proj_dim": 20}, text),
    Spec(
        "bloom",
        "BloomConfig",
        "BloomForCausalLM",
        TOKENS | {"hidden_size": 48, "n_layer": 2, "n_head": 4},
        text,
    ),
    Spec("llama", "LlamaConfig", "LlamaForCausalLM", GROUPED, causal),
    Spec("llama_classifier", "LlamaConfig", "LlamaForSequenceClassification", GROUPED, text),
    Spec("mistral", "MistralConfig", "MistralForCausalLM", GROUPED | {"sliding_window": 5}, text),
    Spec("mixtral", "MixtralConfig", "MixtralForCausalLM", EXPERTS | {"num_local_experts": 5}, causal),
    Spec("qwen2", "Qwen2Config", "Qwen2ForCausalLM", GROUPED, causal),
    Spec("qwen3", "Qwen3Config", "Qwen3ForCausalLM", WIDE_HEADS, causal),
    Spec(
        "qwen2_moe",
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        EXPERTS | {"num_experts": 5, "moe_intermediate_size": 36, "shared_expert_intermediate_size": 44},
        causal,
    ),
    Spec("gemma2", "Gemma2Config", "Gemma2ForCausalLM", WIDE_HEADS | {"sliding_window": 5}, causal),
    Spec("gemma3", "Gemma3TextConfig", "Gemma3ForCausalLM", WIDE_HEADS | {"sliding_window": 5}, causal),
    Spec("phi3", "Phi3Config", "Phi3ForCausalLM", GROUPED, causal),
    Spec("phi", "PhiConfig", "PhiForCausalLM", DECODER, causal),
    Spec("falcon", "FalconConfig", "FalconForCausalLM", DECODER | {"ffn_hidden_size": 88}, causal),
    Spec(
        "falcon_grouped",
        "FalconConfig",
        "FalconForCausalLM",
        DECODER | {"ffn_hidden_size": 88, "new_decoder_architecture": True, "num_kv_heads": 2},
        causal,
    ),
    Spec("stablelm", "StableLmConfig", "StableLmForCausalLM", GROUPED, causal),
    Spec("olmo2", "Olmo2Config", "Olmo2ForCausalLM", GROUPED, causal),
    Spec("cohere", "CohereConfig", "CohereForCausalLM", GROUPED, causal),
    Spec("granite", "GraniteConfig", "GraniteForCausalLM", GROUPED, causal),
    Spec("smollm3", "SmolLM3Config", "SmolLM3ForCausalLM", GROUPED | {"no_rope_layer_interval": 2}, causal),
    Spec("starcoder2", "Starcoder2Config", "Starcoder2ForCausalLM", GROUPED, causal),
    Spec(
        "mamba",
        "MambaConfig",
        "MambaForCausalLM",
        TOKENS
        | {"hidden_size": 48, "num_hidden_layers": 2, "state_size": 8, "time_step_rank": 6, "conv_kernel": 3},
        causal,
    ),
    Spec("t5", "T5Config", "T5ForConditionalGeneration", T5, seq2seq),
    Spec("mt5", "MT5Config", "MT5ForConditionalGeneration", T5, seq2seq),
    Spec("bart", "BartConfig", "BartForConditionalGeneration", BART, seq2seq),
    Spec("marian", "MarianConfig", "MarianMTModel", BART, seq2seq),
    Spec("pegasus", "PegasusConfig", "PegasusForConditionalGeneration", BART, seq2seq),
    Spec("mbart", "MBartConfig", "MBartForConditionalGeneration", BART, seq2seq),
    Spec("vit", "ViTConfig", "ViTForImageClassification", VISION, image),
    Spec("deit", "DeiTConfig", "DeiTForImageClassificationWithTeacher", VISION, image),
    Spec(
        "beit",
        "BeitConfig",
        "BeitForImageClassification",
        VISION | {"use_relative_position_bias": True},
        image,
    ),
    Spec("swin", "SwinConfig", "SwinForImageClassification", SWIN, image),
    Spec("swinv2", "Swinv2Config", "Swinv2ForImageClassification", SWIN, image),
    Spec("convnext", "ConvNextConfig", "ConvNextForImageClassification", CONVNET | {"image_size": 64}, image),
    Spec(
        "convnextv2",
        "ConvNextV2Config",
        "ConvNextV2ForImageClassification",
        CONVNET | {"image_size": 64},
        image,
    ),
    Spec("dinov2", "Dinov2Config", "Dinov2ForImageClassification", VISION, image),
    Spec(
        "dinov2_with_registers",
        "Dinov2WithRegistersConfig",
        "Dinov2WithRegistersForImageClassification",
        VISION | {"num_register_tokens": 3, "use_swiglu_ffn": True},
        image,
    ),
    Spec(
        "segformer",
        "SegformerConfig",
        "SegformerForSemanticSegmentation",
        PYRAMID | {"decoder_hidden_size": 28},
        picture,
    ),
    Spec(
        "mobilevit",
        "MobileViTConfig",
        "MobileViTForImageClassification",
        {"image_size": 64, "hidden_sizes": (24, 32, 40), "neck_hidden_sizes": (8, 12, 16, 20, 28, 36, 44)},
        image,
    ),
    Spec(
        "mobilevitv2",
        "MobileViTV2Config",
        "MobileViTV2ForImageClassification",
        {"image_size": 64, "width_multiplier": 0.25, "base_attn_unit_dims": (96, 160, 224)}
        | {"n_attn_blocks": (1, 1, 1)},
        image,
    ),
    Spec(
        "mobilenet_v2",
        "MobileNetV2Config",
        "MobileNetV2ForImageClassification",
        {"image_size": 64, "depth_multiplier": 0.35},
        image,
    ),
    Spec("resnet", "ResNetConfig", "ResNetForImageClassification", RESIDUAL, picture),
    Spec("regnet", "RegNetConfig", "RegNetForImageClassification", RESIDUAL | {"groups_width": 8}, picture),
    Spec(
        "efficientnet",
        "EfficientNetConfig",
        "EfficientNetForImageClassification",
        {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.5, "hidden_dim": 320},
        image,
    ),
    Spec("pvt_v2", "PvtV2Config", "PvtV2ForImageClassification", PYRAMID, image),
    Spec(
        "levit",
        "LevitConfig",
        "LevitForImageClassification",
        {"image_size": 128, "hidden_sizes": (32, 48, 64), "num_attention_heads": (2, 3, 4)}
        | {"depths": (1, 1, 1), "key_dim": (8, 8, 8)},
        image,
    ),
    Spec(
        "cvt",
        "CvtConfig",
        "CvtForImageClassification",
        {"embed_dim": (12, 24, 36), "num_heads": (1, 2, 3), "depth": (1, 2, 3)},
        picture,
    ),
    Spec(
        "hiera",
        "HieraConfig",
        "HieraForImageClassification",
        {"image_size": (64, 64), "embed_dim": 12, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)},
        image,
    ),
    Spec("clip", "CLIPConfig", "CLIPModel", CLIP, image_text),
    Spec("siglip", "SiglipConfig", "SiglipModel", SIGLIP, image_text),
    Spec("blip", "BlipConfig", "BlipForConditionalGeneration", BLIP, image_text),
    Spec(
        "whisper",
        "WhisperConfig",
        "WhisperForConditionalGeneration",
        BART | {"num_mel_bins": 20, "max_source_positions": 30, "max_target_positions": 24},
        spectrogram,
    ),
    Spec("wav2vec2", "Wav2Vec2Config", "Wav2Vec2ForCTC", AUDIO, waveform),
    Spec(
        "hubert",
        "HubertConfig",
        "HubertForCTC",
        AUDIO | {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
        waveform,
    ),
    Spec("sam", "SamConfig", "SamModel", SAM, image_points),
    Spec(
        "detr",
        "DetrConfig",
        "DetrForObjectDetection",
        DETECTION | {"backbone_config": RESIDUAL | {"model_type": "resnet", "out_features": ALL_STAGES}},
        picture,
    ),
    Spec("rt_detr", "RTDetrConfig", "RTDetrForObjectDetection", RT_DETR, picture),
    Spec(
        "yolos",
        "YolosConfig",
        "YolosForObjectDetection",
        VISION | {"image_size": (40, 48), "num_detection_tokens": 7},
        image,
    ),
    Spec(
        "dpt",
        "DPTConfig",
        "DPTForDepthEstimation",
        VISION
        | {"image_size": 48, "num_hidden_layers": 4, "backbone_out_indices": (0, 1, 2, 3)}
        | {"neck_hidden_sizes": (12, 20, 28, 36), "fusion_hidden_size": 24},
        image,
    ),
    Spec("mask2former", "Mask2FormerConfig", "Mask2FormerForUniversalSegmentation", MASK2FORMER, picture),
    Spec("maskformer", "MaskFormerConfig", "MaskFormerForInstanceSegmentation", MASKFORMER, picture),
    Spec(
        "patchtst",
        "PatchTSTConfig",
        "PatchTSTForClassification",
        {"num_input_channels": 5, "context_length": 32, "patch_length": 8, "patch_stride": 8}
        | {"num_hidden_layers": 2, "d_model": 48, "num_attention_heads": 4, "ffn_dim": 80, "num_targets": 6},
        series,
    ),
)


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
        spec.name: SmallModel(spec.name, partial(_build, spec), partial(_example_inputs, spec))
        for spec in SPECS
    }
)
