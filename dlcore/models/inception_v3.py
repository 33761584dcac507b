"""Inception v3: large kernels factorized into small ones, and those into rows and columns.

Szegedy, Vanhoucke, Ioffe, Shlens & Wojna, "Rethinking the Inception architecture for computer vision" (2015),
arXiv:1512.00567. (v3 is its v2 with RMSProp, label smoothing, the 7x7s factorized and batch norm in the auxiliary
head.)

    A (35x35):  5x5 -> 3x3, 3x3                              18 of 25 weights, the same receptive field
    C (17x17):  7x7 -> 1x7, 7x1                              14 of 49 weights
    E (8x8):    3x3 -> 1x3 beside 3x1
    B, D:       convolutions of stride 2 beside a pooling, so that the map shrinks without a bottleneck
    stem of 3x3s -> A A A -> B -> C C C C -> D -> E E -> mean -> dropout -> classes;    an auxiliary head behind the Cs

Layout, names and epsilon are torchvision's; the loss is that of `dlcore.models.googlenet.auxiliary_loss`. A keeps one
branch with a 5x5 kernel, as the published network does. Published weights need `transform_input=True`: they were
trained on pixels in [-1, 1], not standardized ones.

`inception_v3_fid` is the network of 2015 whose 2,048 averaged features published Fréchet distances (FID) are over. It
has 1,008 classes, its averages leave out the padding, and 7c takes a maximum in place of the average. Its weights are
in the file pt_inception-2015-12-05-6726825d.pth of the GitHub releases of mseitzer/pytorch-fid.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.fields import CheckedFields
from dlcore.models.googlenet import ConvNorm, InceptionNetwork, standardized_to_symmetric
from dlcore.models.inputs import check_images
from dlcore.nn import Dense, initializers
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import adaptive_avg_pool, avg_pool, global_avg_pool, max_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = [
    "MODELS",
    "AuxiliaryHead",
    "InceptionA",
    "InceptionB",
    "InceptionC",
    "InceptionD",
    "InceptionE",
    "InceptionV3",
]

TORCH_NAMES = (
    (r"(branch[\dx]+(?:dbl)?)\.(\d)\.", r"\1_\2."),
    (r"^head\.", "fc."),
    (r"^AuxLogits\.head\.", "AuxLogits.fc."),
)
POINT, ROW, COLUMN = (1, 1), (1, 7), (7, 1)


class InceptionBlock(CheckedFields):
    """The fields and the convolution that all modules share.

    Args:
      features: channels of the pooled branch in A, of the inner layers in C; unused in the others.
      width_mult: multiplier of all channels.
      pool: what the pooled branch of A, C and E takes of 3x3: average, of the map and zeros around it; inside, of the
        map alone; or max.
    """

    features: int = 0
    width_mult: float = 1.0
    pool: Literal["average", "inside", "max"] = "average"
    dtype: Any = None
    axis_name: str | None = REPLICA

    def pooled(self, x: jax.Array) -> jax.Array:
        """Pool x, [B, H, W, C], over 3x3 at stride 1."""
        check_choice("pool", self.pool, ("average", "inside", "max"))
        if self.pool == "max":
            return max_pool(x, (3, 3), padding=1)
        return avg_pool(x, (3, 3), padding=1, count_include_pad=self.pool == "average")

    def conv(self, name: str, features: int, size: tuple[int, int], x: jax.Array, train: bool, stride: int = 1):
        """Convolve x, [B, H, W, C] -> [B, H, W, features]; at stride 2 without padding."""
        padding = [(k // 2, k // 2) if stride == 1 else (0, 0) for k in size]
        return ConvNorm(
            max(1, round(self.width_mult * features)),
            size,
            stride,
            padding,
            kernel_init=initializers.normal(0.1),
            dtype=self.dtype,
            axis_name=self.axis_name,
            name=name,
        )(x, train)


class InceptionA(InceptionBlock):
    """1x1; 5x5; two 3x3s; an average."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Concatenate the branches.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, 224 + features] at `width_mult` 1.
        """
        conv = functools.partial(self.conv, train=train)
        five = conv("branch5x5_1", 48, POINT, x)
        double = conv("branch3x3dbl_2", 96, (3, 3), conv("branch3x3dbl_1", 64, POINT, x))
        branches = [
            conv("branch1x1", 64, POINT, x),
            conv("branch5x5_2", 64, (5, 5), five),
            conv("branch3x3dbl_3", 96, (3, 3), double),
            conv("branch_pool", self.features, POINT, self.pooled(x)),
        ]
        return jnp.concatenate(branches, -1)


class InceptionB(InceptionBlock):
    """Half the size: 3x3; two 3x3s; a maximum."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Concatenate the branches.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, (H - 1) // 2, (W - 1) // 2, 480 + C] at `width_mult` 1.
        """
        conv = functools.partial(self.conv, train=train)
        double = conv("branch3x3dbl_2", 96, (3, 3), conv("branch3x3dbl_1", 64, POINT, x))
        branches = [
            conv("branch3x3", 384, (3, 3), x, stride=2),
            conv("branch3x3dbl_3", 96, (3, 3), double, stride=2),
            max_pool(x, (3, 3), (2, 2)),
        ]
        return jnp.concatenate(branches, -1)


class InceptionC(InceptionBlock):
    """1x1; 1x7 and 7x1; the same twice; an average."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Concatenate the branches.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, 768] at `width_mult` 1.
        """
        conv = functools.partial(self.conv, train=train)
        seven, double = (conv(f"branch7x7{kind}_1", self.features, POINT, x) for kind in ("", "dbl"))
        seven = conv("branch7x7_2", self.features, ROW, seven)
        for i, size in enumerate((COLUMN, ROW, COLUMN), 2):
            double = conv(f"branch7x7dbl_{i}", self.features, size, double)
        branches = [
            conv("branch1x1", 192, POINT, x),
            conv("branch7x7_3", 192, COLUMN, seven),
            conv("branch7x7dbl_5", 192, ROW, double),
            conv("branch_pool", 192, POINT, self.pooled(x)),
        ]
        return jnp.concatenate(branches, -1)


class InceptionD(InceptionBlock):
    """Half the size: 3x3; 1x7, 7x1 and 3x3; a maximum."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Concatenate the branches.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, (H - 1) // 2, (W - 1) // 2, 512 + C] at `width_mult` 1.
        """
        conv = functools.partial(self.conv, train=train)
        three = conv("branch3x3_1", 192, POINT, x)
        seven = conv("branch7x7x3_2", 192, ROW, conv("branch7x7x3_1", 192, POINT, x))
        seven = conv("branch7x7x3_3", 192, COLUMN, seven)
        branches = [
            conv("branch3x3_2", 320, (3, 3), three, stride=2),
            conv("branch7x7x3_4", 192, (3, 3), seven, stride=2),
            max_pool(x, (3, 3), (2, 2)),
        ]
        return jnp.concatenate(branches, -1)


class InceptionE(InceptionBlock):
    """1x1; 1x3 beside 3x1; 3x3, and then 1x3 beside 3x1; an average."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Concatenate the branches.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, 2048] at `width_mult` 1.
        """
        conv = functools.partial(self.conv, train=train)
        three = conv("branch3x3_1", 384, POINT, x)
        double = conv("branch3x3dbl_2", 384, (3, 3), conv("branch3x3dbl_1", 448, POINT, x))
        branches = [
            conv("branch1x1", 320, POINT, x),
            conv("branch3x3_2a", 384, (1, 3), three),
            conv("branch3x3_2b", 384, (3, 1), three),
            conv("branch3x3dbl_3a", 384, (1, 3), double),
            conv("branch3x3dbl_3b", 384, (3, 1), double),
            conv("branch_pool", 192, POINT, self.pooled(x)),
        ]
        return jnp.concatenate(branches, -1)


class AuxiliaryHead(InceptionBlock):
    """A classifier on an intermediate map, 17x17 for images of 299x299; smaller maps are averaged to 5x5.

    Args:
      features: unused.
      pool: unused.
      num_classes: number of classes, the length of the logits.
      head_init: initializer of the head's kernel; zeros make the initial loss log(num_classes).
    """

    num_classes: int = 1000
    head_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Classify a map.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, num_classes], the logits, at least float32.
        """
        x = avg_pool(x, (5, 5), (3, 3)) if min(x.shape[1:3]) >= 17 else adaptive_avg_pool(x, 5)
        x = self.conv("conv0", 128, POINT, x, train)
        features = max(1, round(self.width_mult * 768))
        last = functools.partial(ConvNorm, features, (5, 5), kernel_init=initializers.normal(0.1), name="conv1")
        x = last(dtype=self.dtype, axis_name=self.axis_name)(x, train)
        x = global_avg_pool(to_acc_dtype(x))
        return Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x)


MODULES = {
    "5b": (InceptionA, 32),
    "5c": (InceptionA, 64),
    "5d": (InceptionA, 64),
    "6a": (InceptionB, 0),
    "6b": (InceptionC, 128),
    "6c": (InceptionC, 160),
    "6d": (InceptionC, 160),
    "6e": (InceptionC, 192),
    "7a": (InceptionD, 0),
    "7b": (InceptionE, 0),
    "7c": (InceptionE, 0),
}


class InceptionV3(InceptionNetwork):
    """Inception v3 on [B, H, W, C]: modules Mixed_5b to 5d at stride 8, 6a to 6e at 16, 7a to 7c at 32.

    Args:
      modules: names from MODULES, in order; 6a and 7a halve the map. Fewer make a smaller network.
      aux: build an auxiliary head behind 6e, which only `auxiliary` evaluates.
      width_mult: multiplier of all channels.
      stem: imagenet: as published, for sides of at least 75; cifar: a 3x3 convolution of stride 1, for at least 7.
      transform_input: convert standardized pixels to [-1, 1] first, as published weights need.
      fid: pool as the network of published Fréchet distances.
    """

    num_classes: int = 1000
    modules: tuple[str, ...] = tuple(MODULES)
    aux: bool = True
    width_mult: float = 1.0
    stem: str = "imagenet"
    transform_input: bool = False
    fid: bool = False
    dropout: float = 0.5
    remat: Remat = "none"

    known_modules = MODULES

    @nn.compact
    def _forward(self, x: jax.Array, train: bool, head: bool, auxiliary: bool = False) -> tuple[jax.Array, dict, dict]:
        check_images(self, x, "Conv2d_1a_3x3/conv", smallest=75 if self.stem == "imagenet" else 7)
        dtype = compute_dtype(self.dtype, x, self.variables)
        fields = {"dtype": dtype, "axis_name": self.axis_name}
        x = standardized_to_symmetric(x) if self.transform_input else x
        x, maps = self._stem(x, train, fields)
        fields["width_mult"], auxiliaries = self.width_mult, {}
        for name in self.modules:
            kind, features = MODULES[name]
            module = remat(kind, self.remat, static_argnums=(2,))
            pool = "average" if not self.fid else "max" if name == "7c" else "inside"
            x = module(features, pool=pool, name=f"Mixed_{name}", **fields)(x, train)
            x = maps[f"Mixed_{name}"] = self.perturb(f"Mixed_{name}", x)
            if name == "6e" and self.aux and head and (auxiliary or self.is_initializing()):
                auxiliary_head = AuxiliaryHead(
                    num_classes=self.num_classes, head_init=self.head_init, name="AuxLogits", **fields
                )
                auxiliaries["aux"] = auxiliary_head(x, train)
        return self._head(x, train) if head else None, maps, auxiliaries

    def _stem(self, x: jax.Array, train: bool, fields: dict) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the input of the first module, and the maps on the way."""

        def conv(name: str, features: int, size: int, x: jax.Array, stride: int = 1, padding: int = 0) -> jax.Array:
            init, features = initializers.normal(0.1), max(1, round(self.width_mult * features))
            return ConvNorm(features, (size, size), stride, padding, kernel_init=init, name=name, **fields)(x, train)

        if self.stem == "cifar":
            return conv("Conv2d_1a_3x3", 192, 3, x, padding=1), {}
        x = conv("Conv2d_2a_3x3", 32, 3, conv("Conv2d_1a_3x3", 32, 3, x, stride=2))
        first = self.perturb("Conv2d_2b_3x3", conv("Conv2d_2b_3x3", 64, 3, x, padding=1))
        x = conv("Conv2d_3b_1x1", 80, 1, max_pool(first, (3, 3), (2, 2)))
        x = self.perturb("Conv2d_4a_3x3", conv("Conv2d_4a_3x3", 192, 3, x))
        return max_pool(x, (3, 3), (2, 2)), {"Conv2d_2b_3x3": first, "Conv2d_4a_3x3": x}


MODELS = {
    "inception_v3": functools.partial(InceptionV3),
    "inception_v3_fid": functools.partial(InceptionV3, num_classes=1008, aux=False, transform_input=True, fid=True),
}
INPUT_SHAPES = dict.fromkeys(MODELS, (299, 299, 3))
