"""HRNet: branches of several resolutions side by side, which exchange their maps again and again.

Wang et al., "Deep high-resolution representation learning for visual recognition" (2019), arXiv:1908.07919.

    stem: two 3x3 convolutions of stride 2;  stage 1: bottlenecks;  stage s = 2, 3, 4: modules of s branches
    module:  x_i = basic blocks(x_i),  y_i = relu(sum_j T_ji x_j)      branch i has 2^i width channels at stride 4 2^i
    T_ji = BN conv1x1 and nearest up-sampling from a lower resolution, BN conv3x3s of stride 2 from a higher one
    head:  bottlenecks to 128, 256, 512, 1024 channels, added up by 3x3 convolutions of stride 2, then 2,048 channels

Names are timm's.
"""

import functools
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.resnet import BasicBlock, Bottleneck, conv_and_norm
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool, nearest_unpool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "TORCH_NAMES", "HRNet", "HRNetModule"]

TORCH_NAMES = ((r"^head\.", "classifier."),)
Maps = tuple[jax.Array, ...]


def _conv_norm(module: Any, x: jax.Array, train: bool, features: int, size: int, *, name: str) -> jax.Array:
    """1x1 convolution, or 3x3 of stride 2, `name`_0 and batch norm `name`_1."""
    conv, norm = conv_and_norm(module, train)
    y = conv(features, (size, size), 1 if size == 1 else 2, padding=size // 2, name=f"{name}_0")(x)
    return norm(name=f"{name}_1")(y)


class HRNetModule(CheckedFields):
    """Basic blocks on each branch, and the exchange of all maps.

    Args:
      width: channels of the first branch; each further one doubles them.
      blocks: basic blocks of each branch.
    """

    width: int
    blocks: int = 4
    dtype: Any = None
    axis_name: str | None = REPLICA
    remat: Remat = "none"

    @nn.compact
    def __call__(self, maps: Maps, train: bool) -> Maps:
        """Apply the module.

        Args:
          maps: a map [B, h / 2^i, w / 2^i, 2^i width] for each branch i.

        Returns:
          Maps of the same shapes.
        """
        block, outputs = remat(BasicBlock, self.remat, static_argnums=(2,)), []
        fields = {"dtype": self.dtype, "axis_name": self.axis_name}
        for i, x in enumerate(maps):
            for k in range(self.blocks):
                x = block(2**i * self.width, **fields, name=f"branches_{i}_{k}")(x, train)
            outputs.append(x)
        branches = range(len(maps))
        return tuple(nn.relu(sum(self._moved(outputs[j], j, i, train) for j in branches)) for i in branches)

    def _moved(self, x: jax.Array, source: int, target: int, train: bool) -> jax.Array:
        """Bring a branch's map to another branch's resolution and channels."""
        name, features = f"fuse_layers_{target}_{source}", 2**target * self.width
        if source > target:
            x = _conv_norm(self, x, train, features, 1, name=name)
            return nearest_unpool(x, 2 ** (source - target))
        for k in range(target - source):
            last = k == target - source - 1
            x = _conv_norm(self, x, train, features if last else x.shape[-1], 3, name=f"{name}_{k}")
            x = x if last else nn.relu(x)
        return x


class HRNet(Backbone):
    """An HRNet on [B, H, W, C], sides multiples of 32. Stages: stem, branch1 to branch4 (strides 4, 4, 8, 16, 32).

    Args:
      width: channels of the first branch; each further one doubles them.
      blocks: basic blocks of each branch of a module.
      modules: modules of stages 2, 3 and 4, which have so many branches.
      first_blocks: bottlenecks of stage 1.
      first_width: `features` of these.
      head_bias: whether the convolutions of the head that are no bottlenecks have biases.
    """

    num_classes: int = 1000
    width: int = 18
    blocks: int = 4
    modules: tuple[int, ...] = (1, 4, 3)
    first_blocks: Annotated[int, Range(1)] = 4
    first_width: int = 64
    head_bias: bool = True
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[Maps, dict[str, jax.Array]]:
        check_images(self, x, "conv1", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        fields = {"dtype": dtype, "axis_name": self.axis_name}
        conv, norm = (functools.partial(layer, dtype=dtype) for layer in conv_and_norm(self, train))
        for i in (1, 2):
            x = nn.relu(norm(name=f"bn{i}")(conv(64, (3, 3), 2, padding=1, name=f"conv{i}")(x)))
        x = self.perturb("stem", x)
        maps = {"stem": x}
        block = remat(Bottleneck, self.remat, static_argnums=(2,))
        for k in range(self.first_blocks):
            x = block(self.first_width, **fields, name=f"layer1_{k}")(x, train)
        branches: Maps = (x,)
        for stage, modules in enumerate(self.modules, 1):
            branches = self._transition(branches, stage, train, conv, norm)
            for k in range(modules):
                module = HRNetModule(self.width, self.blocks, remat=self.remat, **fields, name=f"stage{stage + 1}_{k}")
                branches = module(branches, train)
        names = [f"branch{i}" for i in range(1, len(branches) + 1)]
        branches = tuple(self.perturb(name, x) for name, x in zip(names, branches, strict=True))
        return branches, maps | dict(zip(names, branches, strict=True))

    def _transition(self, branches: Maps, stage: int, train: bool, conv: Any, norm: Any) -> Maps:
        """Add a branch of half the resolution; the first transition computes the first branch, too."""
        new = [(stage, 2, f"transition{stage}_{stage}_0")]
        maps_out = branches
        if stage == 1:
            new, maps_out = [(0, 1, "transition1_0"), *new], ()
        for i, stride, name in new:
            x = conv(2**i * self.width, (3, 3), stride, padding=1, name=f"{name}_0")(branches[-1])
            maps_out = (*maps_out, nn.relu(norm(name=f"{name}_1")(x)))
        return maps_out

    def _head(self, x: Maps, train: bool) -> jax.Array:
        dtype = x[0].dtype
        fields = {"dtype": dtype, "axis_name": self.axis_name}
        conv, norm = (functools.partial(layer, dtype=dtype) for layer in conv_and_norm(self, train))
        conv = functools.partial(conv, use_bias=self.head_bias)
        y = None
        for i, branch in enumerate(x):
            new = Bottleneck(32 * 2**i, **fields, name=f"incre_modules_{i}_0")(branch, train)
            if y is not None:
                name = f"downsamp_modules_{i - 1}"
                y = conv(128 * 2**i, (3, 3), 2, padding=1, name=f"{name}_0")(y)
                new = new + nn.relu(norm(name=f"{name}_1")(y))
            y = new
        y = nn.relu(norm(name="final_layer_1")(conv(2048, (1, 1), name="final_layer_0")(y)))
        return self._linear(global_avg_pool(to_acc_dtype(y)))


MODELS = {
    "hrnet_w18_small": functools.partial(HRNet, width=16, modules=(1, 1, 1), blocks=2, first_blocks=1, first_width=32),
    "hrnet_w18_small_v2": functools.partial(HRNet, modules=(1, 3, 2), blocks=2, first_blocks=2),
    **{f"hrnet_w{width}": functools.partial(HRNet, width=width) for width in (18, 30, 32, 40, 44, 48, 64)},
    **{f"hrnet_w{width}_ssld": functools.partial(HRNet, width=width, head_bias=False) for width in (18, 48)},
}
