"""Position encodings: sines of the position, a learned table, or a bias on the attention between two positions.

    sinusoidal    PE(p, 2i) = sin(p / 10000^(2i / D)),   PE(p, 2i + 1) = cos(p / 10000^(2i / D))        added to x
    learned       x_p + E_p,  E: [1 + N, D] for N patches behind a class token
    relative      softmax(Q K^T / sqrt(D) + B),  B_h(i, j) = T_h[y_i - y_j, x_i - x_j]        for an M x M window
    buckets       B_h(i, j) = T_h[bucket(j - i)],  one bucket for each small distance, then wider ones       (T5)

Without them attention does not depend on the order of tokens. PE(p + k) is a fixed linear function of PE(p): each pair
of channels is rotated by an angle that depends on k alone. A learned table is resized to another grid by bicubic
interpolation, as torch does (`interpolate(mode="bicubic", align_corners=False)`), except for prefix tokens. The
relative bias depends on the offset alone, so it does not change when the window moves.

Vaswani et al. 2017, arXiv:1706.03762; Dosovitskiy et al. 2020, arXiv:2010.11929; Liu et al. 2021, arXiv:2103.14030;
Raffel et al. 2019, arXiv:1910.10683 (buckets).
"""

import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number, is_whole_number
from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.attention import Initializer
from dlcore.nn.dense import Dense
from dlcore.ops.checks import check_shapes
from dlcore.ops.im2col import pair_of
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.resize import resize

__all__ = [
    "ContinuousPositionBias",
    "LearnedPositions",
    "RelativePositionBias",
    "RelativePositionBuckets",
    "grid_positions",
    "interpolate_offsets",
    "interpolate_positions",
    "relative_buckets",
    "sinusoidal_encoding",
    "sinusoidal_encoding_2d",
]


def sinusoidal_encoding(positions: int | jax.Array, features: int, max_period: float = 10_000.0) -> jax.Array:
    """Sinusoidal position encoding: sines and cosines of geometrically spaced frequencies, in turn.

    Args:
      positions: [...], or a number N for 0 to N - 1.
      features: D, an even number.
      max_period: the wavelength of the last two channels approaches 2 pi times this.

    Returns:
      [..., features], at least float32.
    """
    check_whole_number("features", features)
    if features < 2 or features % 2:
        raise ValueError(f"features={features}: not pairs of sine and cosine; allowed: even numbers from 2")
    check_shapes(max_period=(max_period, "> 0"))
    if isinstance(positions, int | float):
        check_whole_number("positions", positions, 0)
        positions = jnp.arange(positions)
    positions = jnp.asarray(positions)
    acc_dtype = acc_dtype_of(positions.dtype)
    frequencies = max_period ** (-np.arange(0, features, 2) / features)
    angles = positions[..., None].astype(acc_dtype) * jnp.asarray(frequencies, acc_dtype)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1).reshape(*angles.shape[:-1], features)


def sinusoidal_encoding_2d(
    height: int,
    width: int,
    features: int,
    max_period: float = 10_000.0,
    num_rows: jax.Array | None = None,
    num_columns: jax.Array | None = None,
    shift: float = 0.0,
) -> jax.Array:
    """Sinusoidal encoding of the pixels of a map (DETR): half of the channels for the row, half for the column.

    Rows 1 to h are spread over 0 to 2 pi, and columns alike, so that maps of all sizes have the same range. Of padded
    maps only the rows and columns of the image are; those of the padding go on beyond.

    Args:
      height: h, rows.
      width: w, columns.
      features: D, a multiple of 4.
      max_period: see `sinusoidal_encoding`.
      num_rows: [B], rows of each image; None for h.
      num_columns: [B], columns of each image; None for w.
      shift: taken off each row and column; 0.5 for their centers (Deformable DETR).

    Returns:
      [h, w, D] float32; [B, h, w, D] where the images have rows and columns of their own.
    """
    check_shapes(height=(height, "int >= 1"), width=(width, "int >= 1"))
    check_whole_number("features", features)
    if features < 4 or features % 4:
        raise ValueError(f"features={features}: not two halves of sines and cosines; allowed: multiples of 4")
    check_shapes(shift=(shift, "finite"))
    counts = (
        (height, height if num_rows is None else num_rows[:, None]),
        (width, width if num_columns is None else num_columns[:, None]),
    )
    rows, columns = (
        sinusoidal_encoding(
            2 * np.pi * (jnp.arange(1, n + 1, dtype=jnp.float32) - shift) / (num_valid + 1e-6),
            features // 2,
            max_period,
        )
        for n, num_valid in counts
    )  # [..., h, D / 2], [..., w, D / 2]
    shape = *rows.shape[:-2], height, width, features // 2
    columns = columns if columns.ndim == 2 else columns[:, None]
    return jnp.concatenate([jnp.broadcast_to(rows[..., None, :], shape), jnp.broadcast_to(columns, shape)], -1)


def grid_positions(rows: int, columns: int, features: int, scales: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Embed the cells of a grid: sines then cosines of the column, then of the row.

    Args:
      rows: rows of the grid.
      columns: columns of the grid.
      features: D, a multiple of 4.
      scales: what the number of a row, and of a column, is multiplied with.

    Returns:
      [rows columns, D] float32, row by row.
    """
    check_shapes(rows=(rows, "int >= 1"), columns=(columns, "int >= 1"), features=(features, "int >= 4"))
    if features % 4:
        raise ValueError(f"features={features}: not four waves; allowed: multiples of 4")
    check_shapes(scales=(scales, "2 finite"))
    frequencies = 10_000.0 ** (-np.arange(features // 4) / (features // 4))

    def encode(position: np.ndarray) -> np.ndarray:
        angles = position.reshape(-1, 1) * frequencies
        return np.concatenate([np.sin(angles), np.cos(angles)], 1)

    row, column = np.mgrid[:rows, :columns]
    return np.concatenate([encode(column * scales[1]), encode(row * scales[0])], 1).astype(np.float32)


def interpolate_positions(
    table: jax.Array,
    grid: tuple[int, int],
    new_grid: tuple[int, int],
    num_prefix_tokens: int = 0,
    *,
    antialias: bool = False,
    method: str = "bicubic",
) -> jax.Array:
    """Resize a learned table of positions to another grid, as torch.

    Args:
      table: [..., num_prefix_tokens + h w, D].
      grid: (h, w) of the table.
      new_grid: (h', w') of the result.
      num_prefix_tokens: rows in front of the grid, such as the class token's, which do not change.
      antialias: resize as `dlcore.ops.resize` with antialias, which timm does.
      method: of `dlcore.ops.resize`, such as bicubic or bilinear.

    Returns:
      [..., num_prefix_tokens + h' w', D].
    """
    grid, new_grid = pair_of("grid", grid), pair_of("new_grid", new_grid)
    check_whole_number("num_prefix_tokens", num_prefix_tokens, 0)
    if table.ndim < 2 or table.shape[-2] != num_prefix_tokens + grid[0] * grid[1]:
        raise ValueError(f"{table.shape=}: does not fit {grid=}; allowed: {num_prefix_tokens} + h w rows")
    if tuple(grid) == tuple(new_grid):
        return table
    prefix, patches = table[..., :num_prefix_tokens, :], table[..., num_prefix_tokens:, :]
    patches = resize(patches.reshape(*table.shape[:-2], *grid, table.shape[-1]), new_grid, method, antialias=antialias)
    return jnp.concatenate([prefix, patches.reshape(*table.shape[:-2], -1, table.shape[-1])], -2)


class LearnedPositions(CheckedModule):
    """Learned positions: add a vector to each token, the parameter `embedding: [1, num_prefix_tokens + h w, D]`.

    Args:
      grid: (h, w), rows and columns of patches.
      num_prefix_tokens: tokens in front of the patches, such as the class token.
      embedding_init: initializer of the table.
      antialias: interpolate with antialias, see `interpolate_positions`.
      method: of interpolation, see there.
    """

    grid: tuple[int, int]
    num_prefix_tokens: Annotated[int, Range(0)] = 0
    embedding_init: Initializer = nn.initializers.normal(0.02)
    antialias: bool = False
    method: Annotated[str, "if changed"] = "bicubic"

    @nn.compact
    def __call__(self, x: jax.Array, grid: tuple[int, int] | None = None) -> jax.Array:
        """Add the positions.

        Args:
          x: [B, num_prefix_tokens + h' w', D].
          grid: (h', w') of x, to which the table is interpolated; None means the field's.

        Returns:
          The shape of x.
        """
        rows, columns = pair_of("grid", self.grid)
        grid = (rows, columns) if grid is None else pair_of("grid", grid)
        if x.shape[-2] != self.num_prefix_tokens + grid[0] * grid[1]:
            raise ValueError(f"{x.shape=}: does not fit {grid=}; allowed: {self.num_prefix_tokens} + h w tokens")
        shape = (1, self.num_prefix_tokens + rows * columns, x.shape[-1])
        table = self.param("embedding", self.embedding_init, shape)
        fields = {"antialias": self.antialias, "method": self.method}
        table = interpolate_positions(table, (rows, columns), grid, self.num_prefix_tokens, **fields)
        return x + table.astype(x.dtype)


def interpolate_offsets(
    table: jax.Array, window: tuple[int, ...], new_window: tuple[int, ...], class_token: bool = False
) -> jax.Array:
    """Resize a table of relative position biases to another window by bilinear interpolation, as transformers' BEiT.

    Args:
      table: [(2 h - 1)(2 w - 1), H], see `RelativePositionBias`; 3 rows more with a class token.
      window: (h, w) of the table.
      new_window: (h', w') of the result.
      class_token: the table has the three rows of a class token, which do not change.

    Returns:
      [(2 h' - 1)(2 w' - 1), H], and the 3 rows of a class token.
    """
    window, new_window = pair_of("window", window), pair_of("new_window", new_window)
    check_shapes(table=(table, f"{(2 * window[0] - 1) * (2 * window[1] - 1) + 3 * class_token} H"))
    if tuple(window) == tuple(new_window):
        return table
    sides, new_sides = ([2 * n - 1 for n in size] for size in (window, new_window))
    offsets, rest = jnp.split(table, [sides[0] * sides[1]])
    offsets = resize(offsets.reshape(*sides, table.shape[-1]), new_sides, "bilinear")
    return jnp.concatenate([offsets.reshape(-1, table.shape[-1]), rest])


class RelativePositionBias(CheckedModule):
    """Relative position bias (Swin): one learned bias for each head and each offset of two pixels of a window.

    Parameter `embedding: [(2 M - 1)^2, num_heads]` for an M x M window, [(2 P - 1)(2 M - 1)^2, num_heads] for one of P
    frames of M x M (Video Swin). A class token (BEiT) has three more rows: of the token on pixels, of pixels on the
    token, and of the token on itself.

    Args:
      window: (rows, columns), or (frames, rows, columns).
      embedding_init: initializer of the table.
      class_token: a token stands in front of the pixels.
    """

    window: tuple[int, ...]
    num_heads: Count
    embedding_init: Initializer = nn.initializers.normal(0.02)
    class_token: bool = False

    @nn.compact
    def __call__(self, window: tuple[int, int] | None = None) -> jax.Array:
        """Look up the bias of every pair of pixels.

        Args:
          window: (rows, columns) to which the table of offsets of images is interpolated; None means the field's.

        Returns:
          [num_heads, N, N] with the window's N pixels in row order, queries before keys; with a class token, it is
          before the pixels, [num_heads, 1 + N, 1 + N].
        """
        sides = self.window
        if np.shape(sides) not in ((2,), (3,)) or not all(is_whole_number(side) and side >= 1 for side in sides):
            raise ValueError(f"window={sides}: no window; allowed: two or three whole numbers of at least 1")
        rows = math.prod(2 * side - 1 for side in sides) + 3 * self.class_token
        table = self.param("embedding", self.embedding_init, (rows, self.num_heads))
        if window is not None:
            table = interpolate_offsets(table, self.window, window, self.class_token)
            sides = window
        entry: Any = 0
        for side, position in zip(sides, np.indices(sides).reshape(len(sides), -1), strict=True):
            entry = entry * (2 * side - 1) + position[:, None] - position[None, :] + side - 1
        if self.class_token:
            entry = np.pad(entry, ((1, 0), (1, 0)))
            entry[0], entry[:, 0], entry[0, 0] = len(table) - 3, len(table) - 2, len(table) - 1
        return table[entry].transpose(2, 0, 1)


class ContinuousPositionBias(CheckedModule):
    """Relative position bias (Swin V2): a perceptron of the offset of two pixels of a window, on a logarithmic scale.

        B_h(i, j) = 16 sigmoid(W_2 relu(W_1 (s(y_i - y_j), s(x_i - x_j)) + b_1))_h
        s(d) = sign(d) log_2(1 + 8 |d| / (M - 1)) / 3,   from -log_2(9) / 3 to log_2(9) / 3 in a window of M x M

    Larger windows ask for offsets just beyond. Submodules `hidden` and `out` (no bias). Liu et al. 2021,
    arXiv:2111.09883.

    Args:
      window: (rows, columns).
      reference: M, side of the window of an earlier training, whose scale of offsets stays; None means the window's.
      hidden_features: units of the perceptron.
    """

    window: tuple[int, int]
    num_heads: Count
    reference: Count | None = None
    hidden_features: Count = 512
    dtype: Any = None

    @nn.compact
    def __call__(self) -> jax.Array:
        """Compute the bias of every pair of pixels.

        Returns:
          [num_heads, N, N] with the window's N pixels in row order, queries before keys.
        """
        height, width = pair_of("window", self.window)
        offsets = np.stack(np.meshgrid(np.arange(1 - height, height), np.arange(1 - width, width), indexing="ij"), -1)
        limits = np.array([max((self.reference or side) - 1, 1) for side in self.window])
        scaled = np.sign(offsets) * np.log2(1 + np.abs(8 * offsets / limits)) / 3
        h = nn.relu(Dense(self.hidden_features, dtype=self.dtype, name="hidden")(jnp.asarray(scaled, jnp.float32)))
        table = Dense(self.num_heads, use_bias=False, dtype=self.dtype, name="out")(h)
        y, x = (c.reshape(-1) for c in np.indices(self.window))
        down, right = (c[:, None] - c[None, :] + n - 1 for c, n in ((y, height), (x, width)))
        return 16 * nn.sigmoid(table[down, right]).transpose(2, 0, 1)


def relative_buckets(
    offset: jax.Array, num_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True
) -> jax.Array:
    """Sort the offsets of keys from queries into buckets, as T5 does.

    The first half of the buckets hold one distance each; those of the other half widen geometrically, and the last
    holds all from about `max_distance` on.

    Args:
      offset: [...] int, position of the key less that of the query.
      num_buckets: all buckets; if bidirectional half of them are for keys behind the query.
      max_distance: where the last bucket would begin if the buckets went on.
      bidirectional: tell keys ahead from keys behind; otherwise those after the query share bucket 0 with itself.

    Returns:
      [...] int32, from 0 to num_buckets - 1.
    """
    check_shapes(offset=(offset, "int ..."))
    check_whole_number("num_buckets", num_buckets)
    check_whole_number("max_distance", max_distance)
    size = num_buckets // 2 if bidirectional else num_buckets
    exact = size // 2
    if exact < 1 or max_distance <= exact:
        raise ValueError(f"{num_buckets=}, {max_distance=}: not buckets; allowed: from {4 if bidirectional else 2}")
    wider = exact * (max_distance / exact) ** (np.arange(size - exact) / (size - exact))
    first = np.concatenate([np.arange(1, exact), np.ceil(wider - 1e-6)])  # the least distance of buckets 1, 2, ...
    distance = jnp.abs(offset) if bidirectional else jnp.maximum(-offset, 0)
    bucket = (distance[..., None] >= jnp.asarray(first, jnp.int32)).sum(-1, dtype=jnp.int32)
    return bucket + size * (offset > 0) if bidirectional else bucket


class RelativePositionBuckets(CheckedModule):
    """Relative position bias of a sequence (T5): one learned bias for each head and each bucket of offsets.

    Parameter `embedding: [num_buckets, num_heads]`.

    Args:
      num_buckets: number of buckets, see `relative_buckets`.
      max_distance: largest distance, see `relative_buckets`.
      bidirectional: buckets for both directions, see `relative_buckets`.
      embedding_init: initializer of the table.
    """

    num_heads: Count
    num_buckets: Count = 32
    max_distance: Count = 128
    bidirectional: bool = True
    embedding_init: Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, positions: jax.Array, key_length: int) -> jax.Array:
        """Return the bias of queries at these positions on the first keys.

        Args:
          positions: [..., T] int, of the queries.
          key_length: S.

        Returns:
          [..., num_heads, T, S], to be added to the scores.
        """
        table = self.param("embedding", self.embedding_init, (self.num_buckets, self.num_heads))
        offset = jnp.arange(key_length) - positions[..., None]
        bucket = relative_buckets(offset, self.num_buckets, self.max_distance, self.bidirectional)
        return jnp.moveaxis(jnp.asarray(table)[bucket], -1, -3)
