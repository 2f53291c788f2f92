"""Public names of PyTorch that no captured graph holds as an operator with a rule, and why: reason → names.

A name stands for itself in every namespace that has it. `tools/operators.py` reads this table.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ABSENT"]

ABSENT: Mapping[str, str] = {
    "it computes no tensor: a question about a tensor, its type or its memory": """
        allclose as_subclass broadcast_shapes can_cast const_data_ptr data_ptr dense_dim dim dim_order element_size
        equal get_device is_coalesced is_complex is_conj is_contiguous is_distributed is_floating_point is_inference
        is_neg is_nonzero is_pinned is_same_size is_set_to is_shared is_signed is_storage is_tensor ndimension nelement
        numel promote_types result_type size sparse_dim storage storage_offset storage_type stride typename
        untyped_storage q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qscheme
    """,
    "a value becomes a number of Python, which torch.export refuses": """
        apply_ gaussian_nll_loss item map_ map2_ numpy tolist
    """,
    "arithmetic on sizes, which the capture follows as numbers": """
        sym_constrain_range sym_constrain_range_for_size sym_float sym_fresh_size sym_int sym_ite sym_max sym_min
        sym_not sym_sqrt sym_sum
    """,
    "a tensor made of Python's numbers, which is a constant of the graph": """
        as_tensor asarray from_dlpack from_file from_numpy frombuffer new new_tensor tensor to_dlpack
    """,
    "it draws random numbers, which the capture refuses: give them as an input": """
        binomial cauchy_ exponential_ geometric_ gumbel_softmax log_normal_ multinomial normal normal_ native_dropout
        poisson rand rand_like randint randint_like randn randn_like random_ randperm uniform_ lobpcg pca_lowrank
        svd_lowrank
    """,
    "sparse tensors, which torch.export does not trace": """
        ccol_indices ccol_indices_copy coalesce col_indices col_indices_copy crow_indices crow_indices_copy dsmm hsmm
        hspmm indices indices_copy resize_as_sparse_ row_indices row_indices_copy saddmm smm sparse_bsc_tensor
        sparse_bsr_tensor sparse_compressed_tensor sparse_coo_tensor sparse_csc_tensor sparse_csr_tensor sparse_mask
        sparse_resize_ sparse_resize_and_clear_ spmm sspaddmm to_dense to_padded_tensor to_sparse to_sparse_bsc
        to_sparse_bsr to_sparse_coo to_sparse_csc to_sparse_csr values values_copy
    """,
    "quantised tensors: prune before quantising": """
        choose_qparams_optimized dequantize empty_quantized fbgemm_linear_fp16_weight
        fbgemm_linear_fp16_weight_fp32_activation fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation
        fbgemm_linear_quantize_weight fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix
        fused_moving_avg_obs_fake_quant int_repr quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic
        quantized_batch_norm quantized_gru quantized_gru_cell quantized_lstm quantized_lstm_cell quantized_max_pool1d
        quantized_max_pool2d quantized_max_pool3d quantized_rnn_relu_cell quantized_rnn_tanh_cell scaled_grouped_mm
        scaled_mm
    """,
    "the kernel of one backend, which PyTorch chooses below the exported operator": """
        batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_elemt batch_norm_gather_stats
        batch_norm_gather_stats_with_counts batch_norm_stats batch_norm_update_stats cudnn_affine_grid_generator
        cudnn_batch_norm cudnn_convolution cudnn_convolution_add_relu cudnn_convolution_relu
        cudnn_convolution_transpose cudnn_grid_sampler miopen_batch_norm miopen_convolution
        miopen_convolution_add_relu miopen_convolution_relu miopen_convolution_transpose miopen_ctc_loss
        miopen_depthwise_convolution miopen_rnn mkldnn_adaptive_avg_pool2d mkldnn_convolution
        mkldnn_linear_backward_weights mkldnn_max_pool2d mkldnn_max_pool3d mkldnn_rnn_layer native_batch_norm
        native_group_norm native_layer_norm native_norm to_mkldnn
    """,
    "what torch's functionalisation makes of views; models call the view": """
        alias_copy as_strided_copy detach_copy diagonal_copy expand_copy narrow_copy permute_copy select_copy
        slice_copy slice_inverse split_copy split_with_sizes_copy squeeze_copy t_copy transpose_copy unbind_copy
        unfold_copy unsqueeze_copy view_as_complex_copy view_as_real_copy view_copy
    """,
    "it changes memory, gradients or the tables of a layer, not what is computed": """
        backward embedding_renorm_ module_load pin_memory record_stream register_hook
        register_post_accumulate_grad_hook reinforce requires_grad_ resize resize_ resize_as resize_as_
        retain_grad set_ share_memory_
    """,
    "graphs within graphs, which the capture refuses: compute both sides and choose with torch.where": """
        cond while_loop vmap
    """,
    "removed from PyTorch: it raises": "eig lstsq matrix_rank solve symeig",
    "one number of all that there is, for comparing runs": "hash_tensor",
    "results of sizes that are data, several in lists": "histogramdd",
    "a helper of torch.nn.functional itself": """
        assert_int_or_pair boolean_dispatch handle_torch_function has_torch_function has_torch_function_unary
        has_torch_function_variadic
    """,
    "another device: a graph is captured on one": "cuda ipu mtia xpu",
    "no operator: settings, types, files and compilers of PyTorch": """
        are_deterministic_algorithms_enabled autocast_decrement_nesting autocast_increment_nesting classproperty
        clear_autocast_cache compile compiled_with_cxx11_abi cudnn_is_acceptable fork get_autocast_cpu_dtype
        get_autocast_dtype get_autocast_gpu_dtype get_autocast_ipu_dtype get_autocast_xla_dtype get_default_device
        get_default_dtype get_deterministic_debug_mode get_device_module get_file_path get_float32_matmul_precision
        get_num_interop_threads get_num_threads get_rng_state import_ir_module import_ir_module_from_buffer
        init_num_threads initial_seed is_anomaly_check_nan_enabled is_anomaly_enabled is_autocast_cache_enabled
        is_autocast_cpu_enabled is_autocast_enabled is_autocast_ipu_enabled is_autocast_xla_enabled
        is_deterministic_algorithms_warn_only_enabled is_grad_enabled is_inference_mode_enabled is_vulkan_available
        is_warn_always_enabled load manual_seed merge_type_from_type_comment parse_ir parse_schema parse_type_comment
        prepare_multiprocessing_environment profiler_allow_cudagraph_cupti_lazy_reinit_cuda12 save seed
        set_anomaly_enabled set_autocast_cache_enabled set_autocast_cpu_dtype set_autocast_cpu_enabled
        set_autocast_dtype set_autocast_enabled set_autocast_gpu_dtype set_autocast_ipu_dtype
        set_autocast_ipu_enabled set_autocast_xla_dtype set_autocast_xla_enabled set_default_device
        set_default_dtype set_default_tensor_type set_deterministic_debug_mode set_float32_matmul_precision
        set_flush_denormal set_num_interop_threads set_num_threads set_printoptions set_rng_state set_warn_always
        thread_safe_generator type unify_type_list use_deterministic_algorithms wait
    """,
}
