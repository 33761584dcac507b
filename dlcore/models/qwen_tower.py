"""The vision tower of Qwen-VL: patches of images of any sizes, packed in one sequence, with rotary rows and columns.

    x = E patch (+ positions);  x = x + MHA(norm(x)) of the patches of one frame, turned by (row, column)
    x = x + MLP(norm(x));       tokens = W_2 gelu(W_1 [m m neighbors of norm(x)])

Wang et al. 2024, arXiv:2409.12191 (Qwen2-VL: layer norms); Bai et al. 2025, arXiv:2502.13923 (Qwen2.5-VL: RMS norms,
gated perceptrons, and attention within windows in most blocks); arXiv:2511.21631 (Qwen3-VL: a table of positions that
is interpolated for each image, and DeepStack: tokens of earlier blocks, too, arXiv:2406.04334).
"""

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.nn import Dense, LayerNorm, RMSNorm
from dlcore.nn.activations import gelu, named_activation
from dlcore.nn.embed import Embed
from dlcore.nn.transformer import TransformerEncoderBlock

__all__ = ["PatchLocation", "PatchSequence", "QwenTower", "locate_patches"]


class PatchSequence(NamedTuple):
    """Images of any sizes as one sequence of patches.

    Args:
      pixel_values: [S, C F P P], patches of F frames, image after image; squares of m m neighbors follow one another.
      image_grid_thw: [N, 3] int, (frames / F, rows, columns) of the patches of each image.
    """

    pixel_values: Any
    image_grid_thw: Any


class PatchLocation(NamedTuple):
    """Where patches of a sequence lie.

    Args:
      image: [...] int, number of its image.
      time: [...] int, its frame.
      row: [...] int.
      column: [...] int.
      is_last: [...] bool, the last patch of its image.
    """

    image: jax.Array
    time: jax.Array
    row: jax.Array
    column: jax.Array
    is_last: jax.Array


def locate_patches(index: jax.Array, grids: jax.Array, merge: int = 1) -> PatchLocation:
    """Find where patches lie.

    Args:
      index: [...] int, places in the sequence.
      grids: [N, 3] int, (frames, rows, columns) of each image.
      merge: m, side of the squares of patches that follow one another.

    Returns:
      The locations.
    """
    counts = grids.prod(1)
    boundaries = jnp.cumsum(counts)
    image = jnp.clip(jnp.searchsorted(boundaries, index, side="right"), 0, len(grids) - 1)
    _, rows, columns = jnp.moveaxis(grids[image], -1, 0)
    within = index - (boundaries - counts)[image]
    time, in_frame = within // (rows * columns), within % (rows * columns)
    square, blocks = in_frame // merge**2, columns // merge
    row = square // blocks * merge + in_frame // merge % merge
    column = square % blocks * merge + in_frame % merge
    return PatchLocation(image, time, row, column, within == counts[image] - 1)


class PatchMerger(CheckedFields):
    """Join m m neighboring patches: [S, D] -> [S / (m m), features].

    Args:
      features: width of the decoder.
      merge: m.
      norm: layer or rms.
      norm_last: normalize what is joined, in location of each patch.
      dtype: dtype of the computation; None takes the parameters'.
    """

    features: int
    merge: int = 2
    norm: Literal["layer", "rms"] = "layer"
    norm_last: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Join.

        Args:
          x: [S, D].

        Returns:
          [S / (m m), features].
        """
        norm = {"layer": LayerNorm, "rms": RMSNorm}[self.norm](1e-6, dtype=self.dtype, name="norm")
        joined = self.merge**2 * x.shape[-1]
        x = norm(x.reshape(-1, joined)) if self.norm_last else norm(x).reshape(-1, joined)
        x = gelu(Dense(joined, dtype=self.dtype, name="fc1")(x))
        return Dense(self.features, dtype=self.dtype, name="fc2")(x)


class QwenTower(CheckedFields):
    """A vision transformer of packed images: `PatchSequence` of S patches -> tokens [S / (m m), features].

    Args:
      features: width of the decoder.
      patch_features: C F P P, numbers of a patch.
      depth: blocks.
      width: features of a patch's token.
      merge: m, side of the squares of patches that become one token.
      activation: of the perceptrons, by transformers' name.
      gated: multiply the perceptrons' first layer by a gate.
      norm: layer or rms.
      window: side in patches of the windows of attention; 0: all blocks attend to whole frames.
      full_blocks: blocks that attend to whole frames, from 0, where there are windows.
      table_side: side of the table of learned positions; 0: there is none.
      deepstack: blocks, from 0, whose outputs become tokens, too.
      patch_bias: the layer of patches has a bias.
      period: period of the rotary positions.
      dtype: dtype of the computation; None takes the parameters'.
    """

    features: Annotated[int, Range(1)] = 3584
    patch_features: Annotated[int, Range(1)] = 1176
    depth: Annotated[int, Range(1)] = 32
    width: Annotated[int, Range(1)] = 1280
    num_heads: Annotated[int, Range(1)] = 16
    mlp_features: Annotated[int, Range(1)] = 5120
    merge: Annotated[int, Range(1)] = 2
    activation: str = "quick_gelu"
    gated: bool = False
    norm: Literal["layer", "rms"] = "layer"
    window: Annotated[int, Range(0)] = 0
    full_blocks: Annotated[tuple[int, ...], Range(0)] = ()
    table_side: Annotated[int, Range(0)] = 0
    deepstack: Annotated[tuple[int, ...], Range(0)] = ()
    patch_bias: bool = False
    period: float = 10_000.0
    dtype: Any = None

    @nn.compact
    def __call__(self, images: PatchSequence, train: bool = False) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Read images.

        Args:
          images: N images of S patches.

        Returns:
          ([S / (m m), features], as many such arrays as `deepstack` has blocks).
        """
        patches = jnp.asarray(images.pixel_values)
        location = locate_patches(jnp.arange(len(patches)), jnp.asarray(images.image_grid_thw), self.merge)
        x = Dense(self.width, self.patch_bias, dtype=self.dtype, name="patch_embed")(patches)
        if self.table_side:
            x = x + self._positions(location, jnp.asarray(images.image_grid_thw)).astype(x.dtype)
        frame = (location.image[:, None] == location.image) & (location.time[:, None] == location.time)
        masks = {True: frame, False: frame}
        if self.window:
            row, column = location.row // self.window, location.column // self.window
            masks[False] = frame & (row[:, None] == row) & (column[:, None] == column)
        half = self.width // self.num_heads // 2
        frequencies = jnp.asarray(self.period ** (-np.arange(0, half, 2) / half), jnp.float32)
        angles = jnp.concatenate([axis[:, None] * frequencies for axis in (location.row, location.column)], -1)[:, None]
        x, more = x[None], []
        for i in range(self.depth):
            x = TransformerEncoderBlock(
                self.num_heads,
                self.mlp_features,
                pre_norm=True,
                activation=named_activation(self.activation),
                epsilon=1e-6,
                norm=self.norm,
                gated=self.gated,
                dtype=self.dtype,
                name=f"blocks_{i}",
            )(x, train, masks[not self.window or i in self.full_blocks], angles=angles)
            if i in self.deepstack:
                name = f"deepstack_{self.deepstack.index(i)}"
                more.append(PatchMerger(self.features, self.merge, norm_last=True, dtype=self.dtype, name=name)(x[0]))
        merger = PatchMerger(self.features, self.merge, self.norm, dtype=self.dtype, name="merger")
        return merger(x[0]), tuple(more)

    def _positions(self, location: PatchLocation, grids: jax.Array) -> jax.Array:
        """Interpolate the table linearly, so that corners of an image lie on those of the table; [S, width]."""
        side = self.table_side
        table = Embed(side * side, self.width, embedding_init=nn.initializers.normal(0.02), name="pos_embed")

        def neighbors(index: jax.Array, count: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
            location = index.astype(jnp.float32) * (side - 1) / jnp.maximum(count - 1, 1)
            first = jnp.clip(jnp.floor(location).astype(jnp.int32), 0, side - 1)
            return [(first, 1 - (location - first)), (jnp.minimum(first + 1, side - 1), location - first)]

        rows = neighbors(location.row, grids[location.image, 1])
        columns = neighbors(location.column, grids[location.image, 2])
        return sum((table(r * side + c) * (a * b)[:, None] for r, a in rows for c, b in columns), jnp.zeros(()))
