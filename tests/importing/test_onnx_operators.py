"""Every operator against the examples that ONNX itself publishes, of its newest version and of older ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from graphprune.importing.control import CONTROL
from graphprune.importing.interpreter import module_of
from graphprune.importing.node import DTYPES, RefusalError
from graphprune.importing.operators.table import OPERATORS
from graphprune.importing.values import dtype_of, is_half, tensor_from

# those in which torch computes; 0 is no tensor, and left out
TYPES = set(DTYPES) - {TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}


@cache
def cases() -> dict[str, list[Any]]:
    """ONNX's own examples of one node, by operator."""
    from onnx.backend.test.case.node import collect_testcases

    found: dict[str, list[Any]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    for case in collected:
        nodes = case.model.graph.node
        types = {
            item.type.tensor_type.elem_type for item in (*case.model.graph.input, *case.model.graph.output)
        }
        if len(nodes) == 1 and nodes[0].domain == "" and types <= TYPES:
            found.setdefault(nodes[0].op_type, []).append(case)
    return found


def fixed(
    model: onnx.ModelProto, arrays: list[Any], places: Iterable[int]
) -> tuple[onnx.ModelProto, list[Any]]:
    """The same model with the inputs at some places of its one node as initializers."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    given = dict(zip((item.name for item in model.graph.input), arrays, strict=True))
    node = model.graph.node[0]
    for name in {node.input[place] for place in places if place < len(node.input)} & set(given):
        made.graph.initializer.append(numpy_helper.from_array(given.pop(name), name))
    return made, list(given.values())


def arrays_of(data: Any) -> list[list[Any]]:
    """Inputs and outputs; some types ONNX gives as protos."""
    return [
        [numpy_helper.to_array(x) if isinstance(x, TensorProto) else np.asarray(x) for x in part]
        for part in data
    ]


def run(model: onnx.ModelProto, arrays: list[Any]) -> list[Any]:
    with torch.no_grad():
        return list(module_of(model)(*map(tensor_from, arrays)).values())


def compare(case: Any, places: Iterable[int]) -> None:
    for inputs, outputs in map(arrays_of, case.data_sets):
        for result, expected in zip(run(*fixed(case.model, inputs, places)), outputs, strict=True):
            assert tuple(result.shape) == expected.shape, case.name
            assert result.dtype == dtype_of(expected), case.name
            rounding = (1e-2, 1e-2) if is_half(expected) else (1e-3, 1e-5)
            np.testing.assert_allclose(
                result.numpy(), expected.astype(result.numpy().dtype), *rounding, err_msg=case.name
            )


# examples of what torch, or this interpreter, does not have; each raises and says so
REFUSED = set(
    """
    attention_3d_local_window attention_4d_causal_padded_kv_bf16 attention_4d_diff_heads_mask4d_padded_kv
    attention_4d_padded_kv_bf16 attention_bidirectional_window attention_local_window
    attention_local_window_ext_cache_float16_mask attention_local_window_ext_cache_rank2_mask
    attention_local_window_ext_cache_rank3_head_mask attention_local_window_ext_cache_rank4_batch_mask
    attention_local_window_gqa_rank4_mask attention_local_window_rank1_boolean_mask attention_local_window_with_past
    averagepool_2d_dilations averagepool_3d_dilations_small
    averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_False
    averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True
    averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_False
    averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True
    batchnorm_epsilon_training_mode batchnorm_example_training_mode convtranspose_output_shape
    dequantizelinear_blocked lstm_with_peepholes lppool_2d_dilations
    maxpool_with_argmax_2d_precomputed_pads maxpool_with_argmax_2d_precomputed_strides
    quantizelinear_blocked_asymmetric quantizelinear_blocked_symmetric range_bfloat16_type_positive_delta
    reduce_max_empty_set reduce_max_empty_set_bool reduce_min_empty_set
    resize_downsample_scales_cubic_align_corners resize_downsample_scales_cubic_antialias
    resize_downsample_scales_linear_align_corners resize_downsample_scales_linear_antialias
    resize_downsample_sizes_cubic_antialias resize_downsample_sizes_linear_antialias
    scan_sum scatternd_max scatternd_min scatternd_multiply
    training_dropout training_dropout_default training_dropout_default_mask training_dropout_mask
    training_dropout_zero_ratio training_dropout_zero_ratio_mask
    """.split()
)
# inputs that may not be data, beside those that are lists of numbers
COUNTED = {"Range": (0, 1, 2), "Loop": (0, 1)}
WITHOUT_EXAMPLES = {"GlobalLpPool", "SimplifiedLayerNormalization"}
# where onnxruntime, which computes what torch has not, gives -3e38 for the scores that ONNX calls infinite
SHALLOW = set(
    """
    attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal
    attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal
    """.split()
)


ONNX_OPERATORS = [name for name in (*OPERATORS, *CONTROL, "Shape", "Size") if "." not in name]


@pytest.mark.parametrize("operator", ONNX_OPERATORS)
def test_operator_gives_what_onnx_says(operator: str) -> None:
    counts = OPERATORS[operator].counts if operator in OPERATORS else ()
    assert cases().get(operator) or operator in WITHOUT_EXAMPLES
    for case in cases().get(operator, ()):
        if case.name.removeprefix("test_") in SHALLOW:
            continue
        if case.name.removeprefix("test_") in REFUSED:
            with pytest.raises(RefusalError, match=f"node .*{operator}"):
                compare(case, COUNTED.get(operator, counts))
        else:
            compare(case, COUNTED.get(operator, counts))
