"""U-Net: down by pooling, up by transposed convolutions, and the fine maps joined to the coarse ones of their size.

Ronneberger, Fischer & Brox, "U-Net: convolutional networks for biomedical image segmentation" (2015), arXiv:1505.04597.

    down:  d_0 = two convs of the image,  d_k = two convs of pool(d_{k-1})
    up:    u_K = d_K,  u_k = two convs of [d_k, up(u_{k+1})],  logits = conv1x1(u_0)

The coarse maps know what is there, the fine ones where its edge is; without the joined maps (skips=False) the edge must
be told through the coarsest map. Two deviations from the paper: convolutions pad by zeros, so that maps keep their size
and none is cropped, and each is followed by a normalization. Any image size: padded to a multiple of 2^K inside, the
logits cut back. `max_unpool` is SegNet's way up (Badrinarayanan et al. 2015, arXiv:1511.00561): values return to where
the maxima came from, so that edges survive without joined maps; the way down must be by `pool` then.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.models.inputs import check_images
from dlcore.nn import Conv, ConvTranspose
from dlcore.nn.precision import compute_dtype
from dlcore.ops import max_pool
from dlcore.ops.replica import REPLICA
from dlcore.ops.unpooling import max_pool_with_indices, max_unpool, nearest_unpool
from dlcore.segmentation.maps import ConvNormRelu, Norm, crop_to, enlarge, pad_to_multiple, score

__all__ = ["UNet"]


class UNet(nn.Module):
    """A U-Net on [B, H, W, C'].

    Args:
      num_classes: C.
      widths: channels at each size, the finest first; each further size is half the one before.
      stem_stride: stem stride of the first convolution; 2 computes at half the size, and the logits are enlarged: a
        quarter of the cost, and edges to a pixel or so.
      convs: 3x3 convolutions at each size, on the way down and on the way up.
      down: pool, by the maximum of 2x2; or strided, by a 3x3 convolution of stride 2.
      up: transposed, a 2x2 convolution; nearest, repeated pixels and a 1x1 convolution; or max_unpool.
      skips: join the maps of the way down to those of the way up.
      norm: batch or group.
    """

    num_classes: int
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    stem_stride: Annotated[int, Range(1, 4)] = 1
    convs: Annotated[int, Range(1)] = 2
    down: Literal["pool", "strided"] = "pool"
    up: Literal["transposed", "nearest", "max_unpool"] = "transposed"
    skips: bool = True
    norm: Norm = "batch"
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify every pixel: [B, H, W, C'], images of any size -> [B, H, W, C] logits, at least float32."""
        check_choice("norm", self.norm, Norm)
        check_choice("down", self.down, ("pool", "strided"))
        check_choice("up", self.up, ("transposed", "nearest", "max_unpool"))
        if self.up == "max_unpool" and self.down != "pool":
            raise ValueError(f"down={self.down!r}: nothing to unpool; allowed with up='max_unpool': pool")
        check_images(self, x, "down0_0/0", smallest=1)
        size, dtype = x.shape[1:3], compute_dtype(self.dtype, x, self.variables)
        shape = {"norm": self.norm, "dtype": dtype, "axis_name": self.axis_name}

        def block(x: jax.Array, width: int, name: str, stride: int = 1) -> jax.Array:
            for i in range(self.convs):
                x = ConvNormRelu(width, stride=1 if i else stride, **shape, name=f"{name}_{i}")(x, train)
            return x

        # Every level must halve.
        x = pad_to_multiple(x, self.stem_stride * 2 ** (len(self.widths) - 1))
        padded = x.shape[1:3]
        # Contracting path; each map is kept for its skip connection.
        maps, pool_indices = [], []
        for k, width in enumerate(self.widths):
            if k and self.down == "strided":
                x = ConvNormRelu(width, stride=2, **shape, name=f"shrink{k}")(x, train)
            elif k and self.up == "max_unpool":
                x, indices = max_pool_with_indices(x, 2)
                pool_indices.append(indices)
            elif k:
                x = max_pool(x, (2, 2), (2, 2))
            x = block(x, width, f"down{k}", 1 if k else self.stem_stride)
            maps.append(x)
        # Expanding path: upsample, concatenate the skip connection, convolve.
        for k in reversed(range(len(self.widths) - 1)):
            width = self.widths[k]
            if self.up == "transposed":
                x = ConvTranspose(width, (2, 2), 2, padding=0, dtype=dtype, name=f"up{k}")(x)
            else:
                x = Conv(width, (1, 1), dtype=dtype, name=f"up{k}")(x)
                x = nearest_unpool(x) if self.up == "nearest" else max_unpool(x, pool_indices[k])
            x = jnp.concatenate([maps[k], x], -1) if self.skips else x
            x = block(x, width, f"join{k}")
        # The classifier, then the size of the input.
        return crop_to(enlarge(score(self.num_classes, "classifier", x), padded), size)
