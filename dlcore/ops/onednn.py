"""Hand 2-D convolutions on a CPU to oneDNN, a library that jaxlib contains and that XLA does not call for them.

XLA:CPU computes a convolution by Eigen. oneDNN takes less time for the forward pass and for the gradient by the input
(`experiments.bench.conv_algorithms` measures by how much). XLA's code generator knows how to call it, as the custom
call `__onednn$convolution`, but the pass that would choose it is not part of jaxlib. `use_onednn` makes the choice
where JAX lowers `lax.conv_general_dilated` for a CPU. What JAX traces, differentiates and maps stays as it is.

The call is private to XLA, its FLOPs are not in XLA's count, and a program that has it cannot be saved. So convolutions
stay with XLA under versions of jax that were not tried, in programs of several devices, in exported ones, and while JAX
keeps a compilation cache on disk. Convolutions with groups or gaps in the input stay with XLA too.
"""

import contextlib
import json
import math
import platform
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.interpreters import mlir

__all__ = ["has_onednn", "use_onednn", "without_onednn"]

CUSTOM_CALL = "__onednn$convolution"
"""Its name in a program; a trace adds it to the name of the instruction."""
TRIED = ("0.10.",)
"""Versions of jaxlib whose private call is known."""
LEAST_FLOPS, MOST_TAPS = 2**22, 49
"""Smaller convolutions and larger kernels stay with XLA: a gradient by the kernel, whose kernel is as large as the map,
is slower by oneDNN."""
_NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
_left_to_xla: ContextVar[bool] = ContextVar("left_to_xla", default=False)


def has_onednn() -> bool:
    """Tell whether oneDNN can be called here.

    Returns:
      True under the versions of jax and jaxlib that were tried, on x86 Linux.
    """
    tried = all(version(package).startswith(TRIED) for package in ("jax", "jaxlib"))
    return tried and sys.platform == "linux" and platform.machine() == "x86_64"


def use_onednn() -> None:
    """Have oneDNN compute convolutions of CPU programs that are compiled afterwards, where it is available.

    It counts for the whole process, and for convolutions of other libraries too. Calling it again changes nothing.
    """
    if has_onednn():
        mlir.register_lowering(lax.conv_general_dilated_p, _lower, platform="cpu")


@contextlib.contextmanager
def without_onednn() -> Iterator[None]:
    """Compile programs inside it as if `use_onednn` had not been called: XLA counts no FLOPs of its calls.

    Yields:
      Nothing.
    """
    token = _left_to_xla.set(True)
    try:
        yield
    finally:
        _left_to_xla.reset(token)


def _lower(ctx: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
    from jax._src.lax.convolution import _conv_general_dilated_lower

    if _is_suitable(ctx, params):
        config = json.dumps({"onednn_conv_config": _config(params)})
        return jax.ffi.ffi_lowering(CUSTOM_CALL, backend_config=config, api_version=1)(ctx, *operands)
    return _conv_general_dilated_lower(ctx, *operands, **params, expand_complex_convolutions=True)


def _is_suitable(ctx: mlir.LoweringRuleContext, params: dict[str, Any]) -> bool:
    module, (x, kernel), (y,) = ctx.module_context, ctx.avals_in, ctx.avals_out
    if _left_to_xla.get() or module.lowering_parameters.for_export or jax.config.jax_compilation_cache_dir is not None:
        return False
    if getattr(module.axis_context, "num_devices", None) != 1 or params["dimension_numbers"] != _NHWC:
        return False
    if {x.dtype, kernel.dtype, y.dtype} != {np.dtype(np.float32)} or params["out_sharding"] is not None:
        return False
    if params["feature_group_count"] > 1 or params["batch_group_count"] > 1 or max(params["lhs_dilation"]) > 1:
        return False
    taps = math.prod(kernel.shape[:2])
    flops = 2 * math.prod(y.shape) * taps * kernel.shape[2]
    return min(map(min, params["padding"])) >= 0 and taps <= MOST_TAPS and flops >= LEAST_FLOPS


def _config(params: dict[str, Any]) -> dict[str, Any]:
    """XLA's message OneDnnConvolutionConfig, of the axes (batch, channels, rows, columns) of each array."""
    (n, c, *pixels), (features, channels, *taps), (m, f, *outputs) = params["dimension_numbers"]
    low, high = zip(*params["padding"], strict=True)
    return {
        "dims": 4,
        "feature_groups": params["feature_group_count"],
        "input": {"data": {"batch_dim": n, "feature_dim": c, "spatial_dims": pixels}},
        "kernel": {"filter": {"output_feature_dim": features, "input_feature_dim": channels, "spatial_dims": taps}},
        "output": {"data": {"batch_dim": m, "feature_dim": f, "spatial_dims": outputs}},
        "window": {
            "pad_left": low,
            "pad_right": high,
            "strides": params["window_strides"],
            "window_dilations": params["rhs_dilation"],
        },
    }
