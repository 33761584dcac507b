"""Hand 2-D convolutions and matrix products on a CPU to oneDNN, a library that jaxlib contains and XLA does not call.

XLA:CPU computes a convolution by Eigen and a product by YNNPACK or Eigen. oneDNN takes less time for convolutions and
their gradients by the input, and for most products: gradients of kernels, and the many small products of attention
(`experiments.bench.conv_algorithms` and `experiments.bench.matmul` measure by how much). XLA's code generator knows how
to call it, as the custom calls `__onednn$convolution` and `__onednn$matmul`, but the pass that would choose them is not
part of jaxlib. `use_onednn` makes the choice where JAX lowers `lax.conv_general_dilated` and `lax.dot_general` for a
CPU. What JAX traces, differentiates and maps stays as it is.

The calls are private to XLA, their FLOPs are not in XLA's count, and a program that has one cannot be saved. So all
stays with XLA under versions of jax that were not tried, in programs of several devices, in exported ones, and while
JAX keeps a compilation cache on disk, but for that of dlcore's commands, which leaves such programs out
(`leave_out_of_cache`). Convolutions with groups or gaps in the input, small products and those of few
rows or columns stay with XLA too. A product of the call has its operands as they lie in memory: XLA copies y for
`x @ y.T`, and does not for `jnp.einsum("md,nd->mn", x, y)`.
"""

import contextlib
import json
import math
import platform
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.core
import numpy as np
from jax import lax
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo as hlo
from jax.interpreters import mlir

__all__ = ["disable_onednn", "has_onednn", "leave_out_of_cache", "use_onednn"]

CONVOLUTION, PRODUCT = "__onednn$convolution", "__onednn$matmul"
"""Names of the calls in a program; a trace adds them to the name of the instruction."""
TRIED = ("0.10.",)
"""Versions of jaxlib whose private call is known."""
LEAST_FLOPS, MOST_TAPS = {CONVOLUTION: 2**22, PRODUCT: 2**20}, 49
"""Smaller ones and larger kernels stay with XLA: the gradient of a convolution by its kernel is one with a kernel as
large as the map, and slower by oneDNN."""
LEAST_SIDE = 32
"""Rows and columns of one product, below which nothing is won, and a copy that XLA makes for the call is dear."""
_NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
_left_to_xla: ContextVar[bool] = ContextVar("left_to_xla", default=False)


def has_onednn() -> bool:
    """Return whether oneDNN is available.

    Returns:
      True under the versions of jax and jaxlib that were tried, on x86 Linux.
    """
    tried = all(version(package).startswith(TRIED) for package in ("jax", "jaxlib"))
    return tried and sys.platform == "linux" and platform.machine() == "x86_64"


def use_onednn() -> None:
    """Have oneDNN compute convolutions and products of CPU programs compiled afterwards, where it is available.

    It counts for the whole process, and for other libraries' too. Calling it again changes nothing.
    """
    if has_onednn():
        mlir.register_lowering(lax.conv_general_dilated_p, _lower_convolution, platform="cpu")
        mlir.register_lowering(lax.dot_general_p, _lower_product, platform="cpu")


def leave_out_of_cache() -> bool:
    """Have JAX's compilation cache on disk leave out programs that call oneDNN, so that both can be used together.

    It counts for the whole process. Calling it again changes nothing.

    Returns:
      Whether it does: not under versions of jax that were not tried.
    """
    from jax._src import compiler

    if not has_onednn():
        return False
    cache_write = compiler._cache_write
    if getattr(cache_write, "leaves_out_onednn", False):
        return True

    def write_others(key: str, seconds: float, name: str, backend: Any, executable: Any, *rest: Any) -> None:
        if not any(
            call in module.to_string() for module in executable.hlo_modules() for call in (CONVOLUTION, PRODUCT)
        ):
            cache_write(key, seconds, name, backend, executable, *rest)

    write_others.leaves_out_onednn = True
    compiler._cache_write = write_others
    return True


def _saves_calls() -> bool:
    """Tell whether JAX would try to save a program that calls oneDNN."""
    from jax._src import compiler

    left_out = getattr(compiler._cache_write, "leaves_out_onednn", False)
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    return folder is not None and not left_out


@contextlib.contextmanager
def disable_onednn() -> Iterator[None]:
    """Compile programs inside it as if `use_onednn` had not been called: XLA counts no FLOPs of its calls.

    Yields:
      Nothing.
    """
    token = _left_to_xla.set(True)
    try:
        yield
    finally:
        _left_to_xla.reset(token)


def _can_call(ctx: mlir.LoweringRuleContext, params: dict[str, Any]) -> bool:
    """Tell whether the program may have calls of oneDNN, and all arrays are float32."""
    module = ctx.module_context
    if _left_to_xla.get() or module.lowering_parameters.for_export or _saves_calls():
        return False
    if getattr(module.axis_context, "num_devices", None) != 1 or params["out_sharding"] is not None:
        return False
    arrays: list[Any] = [*ctx.avals_in, *ctx.avals_out]
    return {x.dtype for x in arrays} == {np.dtype(np.float32)}


def _lower_convolution(ctx: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
    from jax._src.lax.convolution import _conv_general_dilated_lower

    if _can_call(ctx, params) and _is_suitable(ctx, params):
        config = json.dumps({"onednn_conv_config": _config(params)})
        return jax.ffi.ffi_lowering(CONVOLUTION, backend_config=config, api_version=1)(ctx, *operands)
    return _conv_general_dilated_lower(ctx, *operands, **params, expand_complex_convolutions=True)


def _is_suitable(ctx: mlir.LoweringRuleContext, params: dict[str, Any]) -> bool:
    arrays: list[Any] = [*ctx.avals_in, *ctx.avals_out]
    _, kernel, y = arrays
    if params["dimension_numbers"] != _NHWC or max(params["lhs_dilation"]) > 1:
        return False
    if params["feature_group_count"] > 1 or params["batch_group_count"] > 1:
        return False
    taps = math.prod(kernel.shape[:2])
    flops = 2 * math.prod(y.shape) * taps * kernel.shape[2]
    return min(map(min, params["padding"])) >= 0 and taps <= MOST_TAPS and flops >= LEAST_FLOPS[CONVOLUTION]


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


def _lower_product(ctx: mlir.LoweringRuleContext, a: Any, b: Any, **params: Any) -> Any:
    from jax._src.lax.lax import _dot_general_lower

    left, right = _operands(ctx, (a, b), params["dimension_numbers"])
    if not (_can_call(ctx, params) and _is_large(left, right, params)):
        return _dot_general_lower(ctx, a, b, **params, platform="cpu")
    batch, rows, columns = left.size(left.batch), left.size(left.free), right.size(right.free)
    if left.is_summed_first() and right.is_summed_first():  # a gradient: JAX transposes it, and two transposes cancel
        y = _multiply(ctx, right.matrices(), left.matrices(), True, False, (batch, columns, rows))
        y = hlo.transpose(y, ir.DenseI64ArrayAttr.get([0, 2, 1]))
    else:
        transposed = left.is_summed_first(), not right.is_summed_first()
        y = _multiply(ctx, left.matrices(), right.matrices(), *transposed, (batch, rows, columns))
    return [_reshape(y, ctx.avals_out[0].shape)]


def _operands(ctx: mlir.LoweringRuleContext, values: Sequence[Any], dimension_numbers: Any) -> list["_Operand"]:
    operands = []
    for value, aval, summed, batch in zip(values, ctx.avals_in, *dimension_numbers, strict=True):
        free = tuple(axis for axis in range(aval.ndim) if axis not in {*summed, *batch})
        operands.append(_Operand(value, aval.shape, batch, free, summed))
    return operands


def _is_large(left: "_Operand", right: "_Operand", params: dict[str, Any]) -> bool:
    """Tell whether both operands are matrices whose product is worth a call, in float32's own precision."""
    rows, columns = left.size(left.free), right.size(right.free)
    flops = 2 * left.size(left.batch) * rows * columns * left.size(left.summed)
    is_plain = params["precision"] is None or isinstance(params["precision"], tuple)
    least = LEAST_SIDE if left.size(left.batch) == 1 else 2
    return is_plain and min(rows, columns) >= least and flops >= LEAST_FLOPS[PRODUCT]


class _Operand(NamedTuple):
    """An operand of a product: a value of the program, and which of its axes are batched, free and summed."""

    value: Any
    shape: tuple[int, ...]
    batch: tuple[int, ...]
    free: tuple[int, ...]
    summed: tuple[int, ...]

    def size(self, axes: Sequence[int]) -> int:
        return math.prod(self.shape[axis] for axis in axes)

    def is_summed_first(self) -> bool:
        """Return whether it lies in memory as [batch, summed, free]."""
        long_axes = [axis for axis in (*self.batch, *self.summed, *self.free) if self.shape[axis] > 1]
        return long_axes == sorted(long_axes)

    def matrices(self) -> Any:
        """Return the value as [batch, summed, free] where it lies so in memory, else as [batch, free, summed]."""
        inner = (self.summed, self.free) if self.is_summed_first() else (self.free, self.summed)
        groups = (self.batch, *inner)
        order = [axis for group in groups for axis in group]
        long_axes = [axis for axis in order if self.shape[axis] > 1]
        value = (
            self.value if long_axes == sorted(long_axes) else hlo.transpose(self.value, ir.DenseI64ArrayAttr.get(order))
        )
        return _reshape(value, [self.size(group) for group in groups])


def _reshape(x: Any, shape: Sequence[int]) -> Any:
    return hlo.reshape(ir.RankedTensorType.get(list(shape), ir.F32Type.get()), x)


def _multiply(ctx: Any, a: Any, b: Any, transpose_a: bool, transpose_b: bool, shape: tuple[int, ...]) -> Any:
    """Matrices [B, ., .] -> [B, M, N]; a batch of one as one product."""
    shapes = [ir.RankedTensorType(x.type).shape for x in (a, b)] + [list(shape)]
    if shape[0] == 1:
        shapes = [sizes[1:] for sizes in shapes]
        a, b = _reshape(a, shapes[0]), _reshape(b, shapes[1])
    arrays = [jax.core.ShapedArray(sizes, np.float32) for sizes in shapes]
    ctx = ctx.replace(avals_in=arrays[:2], avals_out=arrays[2:])
    config = json.dumps({"onednn_matmul_config": {"transpose_a": transpose_a, "transpose_b": transpose_b}})
    return _reshape(jax.ffi.ffi_lowering(PRODUCT, backend_config=config, api_version=1)(ctx, a, b)[0], shape)
