"""V-JEPA 2: an encoder of clips with rotary positions in time, rows and columns, and the predictor of its training.

Assran et al., "V-JEPA 2: self-supervised video models enable understanding, prediction and planning" (2025),
arXiv:2506.09985; the training is `dlcore.self_supervised.vjepa`.

    tubelets of 2 x 16 x 16 pixels -> z;   blocks z = z + A(LN(z)), z = z + MLP(LN(z));   tokens = LN(z)
    A          the channels of a head are cut into three parts and a rest; queries and keys of each part turn by the
               tubelet's time, row or column, those of the rest do not
    turn       x_j cos(a_j) + x'_j sin(a_j),   x'_2i = -x_(2i+1),   x'_(2i+1) = x_2i,
               a_j = p / 10000^(2 (j mod D/2) / D)
    predictor  such blocks on W tokens of the context and, at the targets, a learned mask token; a linear layer back

In a part of D channels the neighbors 2 i and 2 i + 1 have different angles, so that a turn is no rotation: this is how
the authors' program repeats the angles, and the published weights want it. Parts have an even number of channels, at
most a third of the head's. Weights are those of transformers' VJEPA2Model (`facebook/vjepa2-vitl-fpc64-256`); its
classifiers are not here.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_floats
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import Conv, Dense, LayerNorm, TransformerEncoderBlock, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "VJEPA2", "ClipEncoder", "TubePredictor", "clip_angles", "example_inputs", "from_torch_names"]

INIT = nn.initializers.truncated_normal(0.02)
Grid = tuple[int, int, int]
"""(times, rows, columns) of tubelets."""

TORCH_NAMES = (
    (r"^encoder\.patch_embed\.", "encoder.embeddings.patch_embeddings.proj."),
    (r"^predictor\.embed\.", "predictor.embeddings.predictor_embeddings."),
    (r"^predictor\.mask_tokens$", "predictor.embeddings.mask_tokens"),
    (r"^predictor\.project\.", "predictor.proj."),
    (r"^(encoder|predictor)\.norm\.", r"\1.layernorm."),
    (r"\.blocks\.", ".layer."),
    (r"\.attn\.", ".attention."),
    (r"^(.*)\.qkv\.(.*)", r"\1.query.\2 + \1.key.\2 + \1.value.\2"),
)
TORCH_OLD_NAMES = ((r"^vjepa2\.", ""),)


def clip_angles(grid: Grid, features: int, period: float = 10_000.0) -> np.ndarray:
    """Compute the angle of each channel of a head at each tubelet.

    Args:
      grid: (times, rows, columns) of tubelets.
      features: channels of a head.
      period: the wavelength of a part's last angles approaches 2 pi times this.

    Returns:
      [N, 1, features] radians: three parts of 2 (features // 6) channels, and zeros.
    """
    if len(grid) != 3:
        raise ValueError(f"grid={grid}: {len(grid)} axes; allowed: (times, rows, columns)")
    for axis, side in zip(("times", "rows", "columns"), grid, strict=True):
        check_whole_number(f"grid, {axis}", side, 1)
    check_whole_number("features", features)
    check_shapes(period=(period, "> 0"), features=(features, "int >= 6"))
    half = features // 6
    frequencies = period ** (-np.arange(half) / half)
    parts = [np.tile(position.reshape(-1, 1) * frequencies, 2) for position in np.indices(grid)]
    return np.pad(np.concatenate(parts, -1), ((0, 0), (0, features - 6 * half)))[:, None]


def _run_blocks(module: Any, z: jax.Array, angles: np.ndarray, mask: jax.Array | None) -> jax.Array:
    """Apply the blocks and the norm of an encoder or a predictor to tokens [B, N, D]."""
    for i in range(module.depth):
        z = TransformerEncoderBlock(
            module.num_heads,
            module.mlp_features,
            pre_norm=True,
            activation=gelu,
            epsilon=module.epsilon,
            rotary_pairs="neighbors",
            dtype=module.dtype,
            kernel_init=INIT,
            name=f"blocks_{i}",
        )(z, mask=mask, angles=jnp.asarray(angles, jnp.float32))
    return LayerNorm(module.epsilon, name="norm")(to_acc_dtype(z))


class ClipEncoder(CheckedFields):
    """A ViT without a class token on clips [B, T, H, W, C], whose attention knows time, row and column.

    Args:
      patch_size: P, side in pixels of a tubelet.
      tubelet: frames of a tubelet; a shorter clip is repeated.
      depth: number of blocks.
      width: D, channels of a token.
      dtype: dtype of the computation; None takes the parameters'.
    """

    patch_size: Annotated[int, Range(1)] = 16
    tubelet: Annotated[int, Range(1)] = 2
    depth: Annotated[int, Range(1)] = 24
    width: Annotated[int, Range(6)] = 1024
    num_heads: Annotated[int, Range(1)] = 16
    mlp_features: Annotated[int, Range(1)] = 4096
    epsilon: float = 1e-6
    dtype: Any = None

    def grid(self, x: jax.Array) -> Grid:
        """Return the number of tubelets along time and each side.

        Args:
          x: [B, T, H, W, C].

        Returns:
          (times, rows, columns).
        """
        size = (self.tubelet, self.patch_size, self.patch_size)
        check_floats("x", x)
        if x.ndim != 5:
            raise ValueError(f"x.shape={x.shape}: no clips; allowed: [B, T, H, W, C]")
        sides = (max(x.shape[1], self.tubelet), *x.shape[2:4])
        if any(side % length for side, length in zip(sides, size, strict=True)):
            raise ValueError(f"x.shape={x.shape}: tubelets do not cover the clip; allowed: multiples of {size}")
        times, rows, columns = (side // length for side, length in zip(sides, size, strict=True))
        return times, rows, columns

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, visible: jax.Array | None = None) -> dict[str, jax.Array]:
        """Encode clips.

        Args:
          x: [B, T, H, W, C].
          train: unused, as nothing drops.
          visible: [B, N] bool, tubelets that tokens may attend to; the tokens of the others mean nothing. None: all.

        Returns:
          `tokens: [B, N, D]`, normalized, at least float32; `features: [B, D]`, the mean of the tokens.
        """
        grid = self.grid(x)
        x = jnp.tile(x, (1, self.tubelet, 1, 1, 1)) if x.shape[1] < self.tubelet else x
        x = x[:, : grid[0] * self.tubelet]
        dtype, size = compute_dtype(self.dtype, x, self.variables), (self.tubelet, self.patch_size, self.patch_size)
        z = Conv(self.width, size, size, "VALID", dtype=dtype, kernel_init=INIT, name="patch_embed")(x)
        z = z.reshape(x.shape[0], -1, self.width)  # [B, N, D]
        mask = None if visible is None else visible[:, None, None]  # [B, 1, 1, N]
        tokens = _run_blocks(self, z, clip_angles(grid, self.width // self.num_heads), mask)
        return {"tokens": tokens, "features": tokens.mean(1)}


class TubePredictor(CheckedFields):
    """A narrow ViT that says what an encoder would make of hidden tubelets.

    Args:
      depth: number of blocks.
      width: W, channels of a token.
      mask_tokens: learned tokens for hidden tubelets, one for each kind of mask.
      dtype: dtype of the computation; None takes the parameters'.
    """

    depth: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(6)] = 384
    num_heads: Annotated[int, Range(1)] = 12
    mlp_features: Annotated[int, Range(1)] = 1536
    mask_tokens: Annotated[int, Range(1)] = 10
    epsilon: float = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        context: jax.Array,
        targets: jax.Array,
        grid: Grid,
        kind: int = 1,
        disjoint: bool = True,
    ) -> jax.Array:
        """Predict the tokens of hidden tubelets.

        Args:
          tokens: [B, N, D], what the encoder made of the context; the others are not used.
          context: [B, N] bool.
          targets: [B, N] bool.
          grid: (times, rows, columns) of tubelets.
          kind: kind of mask, whose mask token is taken; beyond the last one they begin again.
          disjoint: no tubelet is context and target; False: some may be, and the sequence is twice as long.

        Returns:
          [B, N, D], at least float32; it means something at the targets alone.
        """
        z = Dense(self.width, dtype=self.dtype, kernel_init=INIT, name="embed")(tokens)  # [B, N, W]
        shape = (self.mask_tokens, 1, 1, self.width)
        mask_token = self.param("mask_tokens", nn.initializers.zeros, shape)[kind % self.mask_tokens].astype(z.dtype)
        angles = clip_angles(grid, self.width // self.num_heads)
        if disjoint:
            z, attention = jnp.where(targets[..., None], mask_token, z), context | targets
        else:
            z = jnp.concatenate([z, jnp.broadcast_to(mask_token, z.shape)], 1)
            attention, angles = jnp.concatenate([context, targets], 1), np.tile(angles, (2, 1, 1))
        z = _run_blocks(self, z, angles, attention[:, None, None])[:, -tokens.shape[1] :]
        return Dense(tokens.shape[-1], kernel_init=INIT, name="project")(z)


class VJEPA2(CheckedFields):
    """The published network: an encoder, and a predictor that here sees all tokens and predicts all.

    Args:
      image_size: side in pixels of the frames it was trained on; others may come.
      frames: frames of the clips it was trained on; others may come.
      patch_size: side in pixels of a tubelet.
      tubelet: frames of a tubelet.
      depth: blocks of the encoder.
      width: channels of a token of the encoder.
      num_heads: attention heads of the encoder.
      mlp_features: hidden units of the encoder's MLPs.
      predictor_depth: blocks of the predictor.
      predictor_width: channels of a token of the predictor.
      predictor_heads: attention heads of the predictor.
      predictor_features: hidden units of the predictor's MLPs.
      mask_tokens: learned tokens for hidden tubelets.
      dtype: dtype of the computation; None takes the parameters'.
    """

    image_size: Annotated[int, Range(1)] = 256
    frames: Annotated[int, Range(1)] = 64
    patch_size: Annotated[int, Range(1)] = 16
    tubelet: Annotated[int, Range(1)] = 2
    depth: Annotated[int, Range(1)] = 24
    width: Annotated[int, Range(6)] = 1024
    num_heads: Annotated[int, Range(1)] = 16
    mlp_features: Annotated[int, Range(1)] = 4096
    predictor_depth: Annotated[int, Range(1)] = 12
    predictor_width: Annotated[int, Range(6)] = 384
    predictor_heads: Annotated[int, Range(1)] = 12
    predictor_features: Annotated[int, Range(1)] = 1536
    mask_tokens: Annotated[int, Range(1)] = 10
    dtype: Any = None

    def setup(self):
        """Build both networks."""
        self.encoder = ClipEncoder(
            self.patch_size, self.tubelet, self.depth, self.width, self.num_heads, self.mlp_features, dtype=self.dtype
        )
        self.predictor = TubePredictor(
            self.predictor_depth,
            self.predictor_width,
            self.predictor_heads,
            self.predictor_features,
            self.mask_tokens,
            dtype=self.dtype,
        )

    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Encode clips, and predict each token from all.

        Args:
          x: [B, T, H, W, C].
          train: unused, as nothing drops.

        Returns:
          `tokens: [B, N, D]`, `features: [B, D]`, their mean, and `prediction: [B, N, D]`.
        """
        out = self.encoder(x)
        everywhere = jnp.ones(out["tokens"].shape[:2], bool)
        prediction = self.predictor(out["tokens"], everywhere, everywhere, self.encoder.grid(x), disjoint=False)
        return {**out, "prediction": prediction}


MODELS = {
    "vjepa2_vitl_fpc64_256": functools.partial(VJEPA2),
    "vjepa2_vith_fpc64_256": functools.partial(VJEPA2, depth=32, width=1280, mlp_features=5120),
}
"""Facebook's names, with an underscore for a hyphen."""


def example_inputs(model: VJEPA2) -> tuple[jax.Array]:
    """Build (a clip [1, tubelet, image_size, image_size, 3],)."""
    return (jnp.zeros((1, model.tubelet, model.image_size, model.image_size, 3)),)


def from_torch_names(model: VJEPA2, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers' VJEPA2Model to the variables of a model."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    return fill_from_torch(shapes, state_dict, TORCH_NAMES, what="VJEPA2", older=TORCH_OLD_NAMES)
