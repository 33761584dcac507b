"""Feature pyramid network: maps of a backbone at every scale, each with the meaning of the coarsest.

Lin et al. 2017, arXiv:1612.03144.

    M_i = conv1x1(C_i) + upscale(M_{i+1}),   P_i = conv3x3(M_i)          nearest neighbour, to the size of M_i

Levels beyond the backbone: "pool" takes every second pixel of the last level (the paper's P6), "p6p7" adds two strided
convolutions on the last level, with a ReLU between them (RetinaNet and FCOS, arXiv:1708.02002; P3 to P7 have strides
8 to 128).
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn import Conv
from dlcore.ops.boxes import box_area

__all__ = ["FeaturePyramid", "assign_levels", "upscale"]

Extra = Literal["none", "pool", "p6p7"]
_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


def upscale(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B, h, w, C] -> [B, H, W, C] with size = (H, W), by nearest neighbour: pixel i reads floor(i h / H)."""
    for axis, target in ((1, size[0]), (2, size[1])):
        have = x.shape[axis]
        if target % have == 0:
            x = jnp.repeat(x, target // have, axis)
        else:
            x = x.take(jnp.arange(target) * have // target, axis)
    return x


def assign_levels(
    boxes: jax.Array, lowest: int, highest: int, canonical_size: float = 224.0, canonical_level: int = 4
) -> jax.Array:
    """The level k = floor(k0 + log2(sqrt(w h) / 224)) that a two-stage detector crops boxes [..., 4] from: [...] int32.

    lowest, highest: levels that there are. A box of the canonical size belongs to the canonical level; half the side
    goes one level finer.
    """
    side = jnp.sqrt(box_area(boxes))
    level = jnp.floor(canonical_level + jnp.log2(jnp.maximum(side, 1e-6) / canonical_size) + 1e-6)
    return jnp.clip(level, lowest, highest).astype(jnp.int32)


class FeaturePyramid(nn.Module):
    """Maps of a backbone, finest first -> maps of `channels` channels, finest first, with the extra levels at the end.

    Submodules are inner0, inner1, ... (1x1), layer0, layer1, ... (3x3), p6 and p7.
    """

    channels: int = 256
    extra: Extra = "none"
    dtype: Any = None

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array]) -> list[jax.Array]:
        """maps: [B, H_i, W_i, C_i], each at most as large as the one before. Raises ValueError without maps."""
        if not maps:
            raise ValueError("maps is empty; a pyramid needs at least one map of the backbone")

        def conv(name, size, stride=1):
            return Conv(
                self.channels, (size, size), stride, padding=size // 2, dtype=self.dtype, kernel_init=_INIT, name=name
            )

        inner = [conv(f"inner{i}", 1)(x) for i, x in enumerate(maps)]
        merged = [inner[-1]]
        for lateral in reversed(inner[:-1]):
            merged.insert(0, lateral + upscale(merged[0], lateral.shape[1:3]))
        levels = [conv(f"layer{i}", 3)(x) for i, x in enumerate(merged)]
        if self.extra == "pool":
            levels.append(levels[-1][:, ::2, ::2])
        elif self.extra == "p6p7":
            levels.append(conv("p6", 3, 2)(levels[-1]))
            levels.append(conv("p7", 3, 2)(nn.relu(levels[-1])))
        elif self.extra != "none":
            raise ValueError(f"extra is {self.extra!r}; it must be 'none', 'pool' or 'p6p7'")
        return levels
