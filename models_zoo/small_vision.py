"""Small transformers and convolutional networks that look and listen."""

from __future__ import annotations

from models_zoo.small_inputs import (
    image,
    image_points,
    image_text,
    picture,
    series,
    spectrogram,
    waveform,
)
from models_zoo.small_specs import BART, ENCODER, LAYERS, LOGITS, TOKENS, Spec

__all__ = ["VISION_AND_SOUND"]

PAIRS = ("logits_per_image", "logits_per_text")
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

VISION_AND_SOUND = (
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
    Spec("clip", "CLIPConfig", "CLIPModel", CLIP, image_text, PAIRS),
    Spec("siglip", "SiglipConfig", "SiglipModel", SIGLIP, image_text, PAIRS),
    Spec("blip", "BlipConfig", "BlipForConditionalGeneration", BLIP, image_text, LOGITS),
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
        ("logits", "pred_boxes"),
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
