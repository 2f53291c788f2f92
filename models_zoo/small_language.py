"""Small transformers that read and write text."""

from __future__ import annotations

from models_zoo.small_inputs import causal, pair, seq2seq, text
from models_zoo.small_specs import BART, ENCODER, LOGITS, TOKENS, Spec

__all__ = ["LANGUAGE"]

DECODER = ENCODER | {"hidden_size": 64, "intermediate_size": 88}
GROUPED = DECODER | {"num_key_value_heads": 2}
WIDE_HEADS = GROUPED | {"hidden_size": 52, "head_dim": 16}  # heads that together are wider than the model
EXPERTS = GROUPED | {"num_experts_per_tok": 2}
T5 = TOKENS | {"d_model": 52, "d_kv": 12, "d_ff": 80, "num_heads": 4, "num_layers": 2}

LANGUAGE = (
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
    Spec("t5", "T5Config", "T5ForConditionalGeneration", T5, seq2seq, LOGITS),
    Spec("mt5", "MT5Config", "MT5ForConditionalGeneration", T5, seq2seq, LOGITS),
    Spec("bart", "BartConfig", "BartForConditionalGeneration", BART, seq2seq, LOGITS),
    Spec("marian", "MarianConfig", "MarianMTModel", BART, seq2seq, LOGITS),
    Spec("pegasus", "PegasusConfig", "PegasusForConditionalGeneration", BART, seq2seq, LOGITS),
    Spec("mbart", "MBartConfig", "MBartForConditionalGeneration", BART, seq2seq, LOGITS),
)
