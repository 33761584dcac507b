"""Fused attention kernels of GPUs and TPUs, which `dlcore.nn.attention.dot_product_attention` chooses among.

    cuda   cuDNN's fused attention, through `jax.nn.dot_product_attention`
    tpu    the Pallas kernel `jax.experimental.pallas.ops.tpu.flash_attention`
    cpu    none

Both compute softmax(Q K^T scale + bias) V block by block (Dao et al. 2022, arXiv:2205.14135): the T x S scores are
never stored, and the softmax is in float32. A kernel takes half precision only, because `--precision=f32` promises
products in float32. What a kernel lacks falls back to the plain form, and the log says why, once for each reason:

    cuda   heads whose dimension is above 128 (256 from Hopper on) or no multiple of 8; odd lengths with a bias
    tpu    float16; masks; a bias that examples or heads share, which would be copied for each; fewer than 128 queries
           or keys; a sequence that is split over devices, or heads or examples that do not divide over theirs

Neither kernel has forward-mode or second derivatives: `attention_kernels()` without a name keeps both out of a program.
A program for a TPU holds the kernel inside a `jax.shard_map` over the axes `data` and `model` of its mesh, because XLA
does not split a Pallas kernel itself. Lengths are padded to multiples of 128, and the padded keys are hidden; the
dimension of a head is padded to 64 or a multiple of 128.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import PartitionSpec

from dlcore.choices import check_choice

__all__ = ["KERNEL_PLATFORMS", "attention_kernels", "log_plain_attention", "suitable_kernels"]

Platform = Literal["cuda", "tpu"]
Kernel = Callable[..., jax.Array]

KERNEL_PLATFORMS: dict[str, tuple[Platform, ...]] = {"gpu": ("cuda",), "tpu": ("tpu",)}
"""Arguments of `attention_kernels` for the platform of a device."""

_platforms = jax.make_user_context(None)
"""Platforms whose kernels programs may hold, a tuple; None: the default backend's."""

LANES = 128
"""Lengths and blocks of the TPU's kernel are multiples of it."""


@contextlib.contextmanager
def attention_kernels(*platforms: Platform) -> Iterator[None]:
    """Choose the platforms whose kernels the programs traced inside may hold; the default is that of this machine.

    A program still holds the kernel of a platform only where it is lowered for that platform. Name one to lower a
    program for a machine that is not at hand; name none to have no kernels.

    Args:
      *platforms: cuda or tpu.

    Yields:
      Nothing.
    """
    for platform in platforms:
        check_choice("platforms", platform, get_args(Platform))
    with _platforms(platforms):
        yield


def _allowed() -> tuple[str, ...]:
    if _platforms.value is not None:
        return _platforms.value
    return KERNEL_PLATFORMS.get(jax.default_backend(), ())


def suitable_kernels(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None,
    bias: jax.Array | None,
    *,
    scale: float | None,
    is_causal: bool,
) -> dict[str, Kernel]:
    """Choose the kernels that can compute an attention; see `dlcore.nn.attention.dot_product_attention`.

    Args:
      query: [..., T, H, D].
      key: [..., S, H, D].
      value: [..., S, H, E].
      mask: bool, True where a query may attend; broadcasts to [..., H, T, S]. None means everywhere.
      bias: added to the scaled scores; broadcasts to [..., H, T, S]. None adds nothing.
      scale: factor of the scores; None means 1 / sqrt(D).
      is_causal: hide later keys.

    Returns:
      {platform: function of (query, key, value, mask, bias)}, for `jax.lax.platform_dependent`.
    """
    arrays = query, key, value, mask, bias
    kernels = {}
    for platform in _allowed():
        kernel = functools.partial({"cuda": _cudnn, "tpu": _flash}[platform], scale=scale, is_causal=is_causal)
        if reason := _refusal(platform, kernel, arrays, is_causal):
            log_plain_attention(reason, platform)
        else:
            kernels[platform] = kernel
    return kernels


def log_plain_attention(reason: str, platform: str | None = None) -> None:
    """Log why attention is plain where a kernel could have been, once for each reason.

    Args:
      reason: why.
      platform: cuda or tpu; None: those whose kernels the program may hold.
    """
    for name in _allowed() if platform is None else (platform,):
        _log_once(f"{name}: attention is plain, without the fused kernel: {reason}")


@functools.cache
def _log_once(text: str) -> None:
    logging.info(text)


def _refusal(platform: str, kernel: Kernel, arrays: tuple, is_causal: bool) -> str | None:
    """Say why a kernel cannot compute this; None where it can."""
    query, key = arrays[:2]
    dtypes = (jnp.bfloat16, jnp.float16) if platform == "cuda" else (jnp.bfloat16,)
    if any(x.dtype not in dtypes for x in arrays[:3]):
        return f"{query.dtype}; allowed: {' or '.join(jnp.dtype(dtype).name for dtype in dtypes)}"
    if query.ndim != 4:
        return f"{query.ndim} axes; allowed: [B, T, H, D]"
    if not all(isinstance(n, int) for x in arrays[:3] for n in x.shape):
        return "the shapes are not constant"
    if is_causal and query.shape[1] != key.shape[1]:
        return "causal, with more keys than queries"
    return _cudnn_refusal(kernel, arrays) if platform == "cuda" else _flash_refusal(*arrays)


# cuDNN


_fused_attention = functools.partial(jax.nn.dot_product_attention, implementation="cudnn")


def _cudnn(query, key, value, mask, bias, *, scale, is_causal) -> jax.Array:
    mask, bias = (None if x is None else x.reshape((1,) * (4 - x.ndim) + x.shape) for x in (mask, bias))
    length, size, lengths = query.shape[1], key.shape[1], {}
    if (length % 2 or size % 2) and mask is None and bias is None:  # cuDNN's backward pass wants even lengths
        query, key, value = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (query, key, value))
        lengths["key_value_seq_lengths"] = jnp.full(key.shape[:1], size, jnp.int32)
    y = _fused_attention(query, key, value, bias, mask, scale=scale, is_causal=is_causal, **lengths)
    return y[:, :length]


def _cudnn_refusal(kernel: Kernel, arrays: tuple) -> str | None:
    """Trace the kernel and its gradient: JAX's binding says what the installed cuDNN lacks."""

    def total(arrays):
        return kernel(*arrays).astype(jnp.float32).sum()

    try:
        jax.eval_shape(jax.grad(total, allow_int=True), arrays)
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        return str(error)
    return None


# Pallas on a TPU


def _flash_refusal(query, key, value, mask, bias) -> str | None:
    batch, length, heads, _ = query.shape
    size = key.shape[1]
    if mask is not None:
        return "a mask"
    if bias is not None and bias.shape != (batch, heads, length, size):
        return "a bias that examples or heads share"
    if min(length, size) < LANES:
        return f"{min(length, size)} queries or keys; allowed: {LANES} or more"
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty and jax.default_backend() == "tpu" and jax.device_count() > 1:
        return "several devices without a mesh; allowed: jax.set_mesh"
    for axis, count in (("data", batch), ("model", heads)):
        if axis in mesh.auto_axes and count % mesh.shape[axis]:
            return f"{count} examples or heads on {mesh.shape[axis]} devices; allowed: a multiple"
    if any(mesh.shape[axis] > 1 for axis in mesh.auto_axes if axis not in ("data", "model")):
        return "a sequence that is split over devices"
    return None


def _flash(query, key, value, mask, bias, *, scale, is_causal) -> jax.Array:
    kernel = functools.partial(_flash_of_one_device, scale=scale, is_causal=is_causal)
    arrays = [query, key, value] if bias is None else [query, key, value, bias]
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.auto_axes:
        data, model = (axis if axis in mesh.auto_axes else None for axis in ("data", "model"))
        tokens, scores = PartitionSpec(data, None, model), PartitionSpec(data, model)
        specs = (*(tokens,) * 3, scores)[: len(arrays)]
        kernel = jax.shard_map(
            kernel, in_specs=specs, out_specs=tokens, axis_names=set(mesh.auto_axes), check_vma=False
        )
    return kernel(*arrays)


def _flash_of_one_device(query, key, value, bias=None, *, scale, is_causal) -> jax.Array:
    from jax.experimental.pallas.ops.tpu import flash_attention as flash  # loads Pallas

    batch, length, _, depth = query.shape
    size, features = key.shape[1], value.shape[-1]
    scale = depth**-0.5 if scale is None else scale
    padded_features = _multiple(max(depth, features), 64 if max(depth, features) <= 64 else LANES)

    def by_head(x: jax.Array) -> jax.Array:
        """[B, H, T, D], padded."""
        pad = ((0, 0), (0, 0), (0, -x.shape[1] % LANES), (0, padded_features - x.shape[-1]))
        return jnp.pad(x.swapaxes(1, 2), pad)

    query, key, value = map(by_head, (query, key, value))
    if bias is not None:  # the kernel scales the sum of products and bias: by a power of 2, which rounds no bias
        power = 2.0 ** round(math.log2(scale))
        query, scale = query * (scale / power), power
        bias = jnp.pad(bias / scale, ((0, 0), (0, 0), (0, -length % LANES), (0, -size % LANES)))
    segments = None
    if size % LANES and not is_causal:  # causal queries do not see the padded keys, which come last
        is_key = (jnp.arange(key.shape[2]) < size).astype(jnp.int32)
        segments = flash.SegmentIds(
            jnp.ones((batch, query.shape[2]), jnp.int32), jnp.broadcast_to(is_key, (batch, key.shape[2]))
        )
    blocks = _block_sizes(flash.BlockSizes, query.shape[2], key.shape[2])
    y = flash.flash_attention(query, key, value, bias, segments, causal=is_causal, sm_scale=scale, block_sizes=blocks)
    return y[:, :, :length, :features].swapaxes(1, 2)


def _multiple(n: int, unit: int) -> int:
    """Round up to a multiple."""
    return -(-n // unit) * unit


def _block_sizes(record: Any, length: int, size: int) -> Any:
    """Blocks of the largest size up to 512 that divides a padded length, forward and backward."""
    q, k = (next(block for block in (512, 384, 256, 128) if n % block == 0) for n in (length, size))
    queries = dict.fromkeys(("block_q", "block_q_major_dkv", "block_q_dkv", "block_q_dq"), q)
    keys = ("block_k_major", "block_k", "block_k_major_dkv", "block_k_dkv", "block_k_major_dq", "block_k_dq")
    return record(block_b=1, **queries, **dict.fromkeys(keys, k))
