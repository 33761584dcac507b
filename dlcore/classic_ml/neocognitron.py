"""Neocognitron: S-cells detect a pattern, C-cells tolerate its shifts, layer by layer.

Fukushima 1980, Biological Cybernetics 36; the form of the cells and the growth of the templates are those of Fukushima
2013, "Artificial vision by multi-layered neural networks: neocognitron and its advances", Neural Networks 37.

    S   u = |x| max(0, cos(x, t) - θ) / (1 - θ)          x: a patch over all planes below, t: a template, θ: selectivity
    C   u = sqrt(Σ_v d_v s_v)                            s: a window of one S-plane, d: a Gaussian with sum 1; strided
    growth: where no S-cell responds to an input, it becomes a template itself (add-if-silent), up to a maximum

A pattern that moves by less than the window changes S-responses but hardly C-responses, and each stage adds tolerance.
The root keeps the response to one small shift close to that to the next. No gradient is involved.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_range, check_shapes
from dlcore.ops.im2col import im2col
from dlcore.ops.precision import to_acc_dtype

__all__ = ["Stage", "c_layer", "grow_stages", "grow_templates", "neocognitron", "s_layer"]


class Stage(NamedTuple):
    """One S-layer and one C-layer.

    Args:
      templates: [size, size, planes below, planes], each of norm 1.
      selectivity: θ, in [0, 1).
      pool: side of the C-cells' window.
      stride: stride of the C-cells.
    """

    templates: jax.Array
    selectivity: float
    pool: int
    stride: int


def s_layer(u: jax.Array, templates: jax.Array, selectivity: float) -> jax.Array:
    """Compute the responses of S-cells to each patch and template; the border is zero-padded.

    Args:
      u: [N, H, W, P].
      templates: [size, size, P, Q].
      selectivity: θ, the cosine below which a cell is silent, in [0, 1).

    Returns:
      [N, H, W, Q], not negative.
    """
    _check_selectivity(selectivity)
    if u.ndim != 4 or templates.ndim != 4 or templates.shape[2] != u.shape[3]:
        raise ValueError(
            f"u.shape={u.shape} and templates.shape={templates.shape}: do not fit; "
            "allowed: [N, H, W, P] and [h, w, P, Q]"
        )
    return _s_layer(u, templates, selectivity)


def c_layer(u: jax.Array, pool: int, stride: int) -> jax.Array:
    """Compute the responses of C-cells: the root of a Gaussian-weighted mean over windows, plane by plane.

    Args:
      u: [N, H, W, Q], not negative.
      pool: side of the window.
      stride: stride of the windows.

    Returns:
      [N, ceil(H / stride), ceil(W / stride), Q].
    """
    if u.ndim != 4:
        raise ValueError(f"u.shape={u.shape}: wrong number of axes; allowed: [N, H, W, Q]")
    check_whole_number("pool", pool, 1)
    check_whole_number("stride", stride, 1)
    check_range("u", u, 0)
    return _c_layer(u, pool, stride)


def neocognitron(images: jax.Array, stages: tuple[Stage, ...]) -> list[jax.Array]:
    """Run images through the stages.

    Args:
      images: [N, H, W, C], not negative.
      stages: stages from `grow_stages`.

    Returns:
      The C-layers' responses [N, H', W', Q], stage by stage.
    """
    check_range("images", images, 0)
    responses, u = [], to_acc_dtype(images)
    for stage in stages:
        u = c_layer(s_layer(u, stage.templates, stage.selectivity), stage.pool, stage.stride)
        responses.append(u)
    return responses


def grow_templates(key: jax.Array, u: jax.Array, size: int, count: int, selectivity: float) -> tuple[jax.Array, int]:
    """Grow templates from patches in random order: a patch to which all templates are silent becomes one.

    Patches weaker than a tenth of the strongest are skipped.

    Args:
      key: PRNG key of the order.
      u: [N, H, W, P].
      size: side of a patch.
      count: largest number of templates; unused ones stay zero, and their S-cells silent.
      selectivity: θ, in [0, 1).

    Returns:
      (templates [size, size, P, count], number of grown templates).
    """
    _check_selectivity(selectivity)
    check_whole_number("size", size)
    if u.ndim != 4 or not 1 <= size <= min(u.shape[1:3]):
        raise ValueError(
            f"u.shape={u.shape} and size={size}: do not fit; allowed: [N, H, W, P] with sides of at least size"
        )
    check_whole_number("count", count, 1)
    check_finite("u", u)
    templates, number = _grow(key, im2col(u, size), count, selectivity)
    return templates.T.reshape(size, size, u.shape[3], count), int(number)


def grow_stages(
    key: jax.Array,
    images: Any,
    *,
    sizes: tuple[int, ...] = (3, 3),
    counts: tuple[int, ...] = (16, 64),
    selectivity: tuple[float, ...] = (0.7, 0.6),
    pools: tuple[int, ...] = (3, 3),
    strides: tuple[int, ...] = (1, 2),
) -> tuple[Stage, ...]:
    """Grow one stage after the other; each setting has one entry per stage.

    Args:
      key: PRNG key of the order of the patches.
      images: [N, H, W, C], not negative.
      sizes: sides of the templates.
      counts: largest numbers of templates.
      selectivity: θ, in [0, 1).
      pools: sides of the C-cells' windows.
      strides: strides of the C-cells.

    Returns:
      The stages.
    """
    settings = (sizes, counts, selectivity, pools, strides)
    lengths = [np.size(entries) for entries in settings]
    if any(np.ndim(entries) != 1 for entries in settings) or len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(
            f"sizes, counts, selectivity, pools, strides of lengths {lengths}: "
            "do not fit; allowed: one entry per stage in each"
        )
    for name, entries in (("sizes", sizes), ("counts", counts), ("pools", pools), ("strides", strides)):
        for entry in entries:
            check_whole_number(name, entry, 1)
    for theta in selectivity:
        _check_selectivity(theta)
    check_range("images", images, 0)
    stages, u = [], to_acc_dtype(images)
    for i, (size, count, theta, pool, stride) in enumerate(zip(*settings, strict=True)):
        templates, _ = grow_templates(jax.random.fold_in(key, i), u, size, count, theta)
        stages.append(Stage(templates, theta, pool, stride))
        u = c_layer(s_layer(u, templates, theta), pool, stride)
    return tuple(stages)


@jax.jit
def _s_layer(u, templates, selectivity):
    patches = im2col(u, templates.shape[:2], padding="SAME")
    flat = templates.reshape(-1, templates.shape[-1])
    flat = flat / jnp.maximum(jnp.linalg.norm(flat, axis=0), 1e-12)
    norm = jnp.linalg.norm(patches, axis=-1, keepdims=True)
    # Response above the selectivity, times the patch's norm.
    cosine = jnp.matmul(patches, flat, precision=jax.lax.Precision.HIGHEST) / jnp.maximum(norm, 1e-12)  # [N, H, W, Q]
    return norm * jnp.maximum(cosine - selectivity, 0) / (1 - selectivity)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _c_layer(u, pool, stride):
    gaussian = jnp.exp(-0.5 * jnp.square((jnp.arange(pool) - (pool - 1) / 2) / (pool / 3)))
    weight = jnp.outer(gaussian, gaussian).reshape(-1, 1) / jnp.square(gaussian.sum())
    windows = im2col(u, pool, stride, "SAME")
    windows = windows.reshape(*windows.shape[:3], pool * pool, u.shape[3])
    return jnp.sqrt((windows * weight).sum(3))


@functools.partial(jax.jit, static_argnums=2)
def _grow(key, patches, count, selectivity):
    patches = jax.random.permutation(key, patches.reshape(-1, patches.shape[-1]))
    norms = jnp.linalg.norm(patches, axis=1)
    units = patches / jnp.maximum(norms, 1e-12)[:, None]

    def add_if_silent(carry, patch):
        templates, number = carry
        unit, is_strong = patch
        # A strong patch to which no template responds becomes the next template.
        is_silent = (templates @ unit).max() <= selectivity
        add = is_silent & is_strong & (number < count)
        idx = jnp.minimum(number, count - 1)
        return (templates.at[idx].set(jnp.where(add, unit, templates[idx])), number + add), None

    start = (jnp.zeros((count, units.shape[1]), units.dtype), jnp.int32(0))
    return jax.lax.scan(add_if_silent, start, (units, norms > 0.1 * norms.max()))[0]


def _check_selectivity(selectivity: float) -> None:
    check_shapes(selectivity=(selectivity, "0 to <1"))
    check_finite("selectivity", selectivity)
