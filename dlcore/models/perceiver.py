"""Perceiver (Perceiver IO): a few latent vectors read all pixels by cross-attention, and talk among themselves.

Jaegle et al., "Perceiver: general perception with iterative attention" (2021), arXiv:2103.03206, and "Perceiver IO: a
general architecture for structured inputs & outputs" (2021), arXiv:2107.14795.

    x = [f(image), positions]                               [B, N, D'], N pixels
    z = layer(Z, x);  z = block(z), `repeats` times         Z: learned latents; one block's layers are shared by all
    logits = W layer(q, z)                                  q: one learned query
    layer(z, x) = h + MLP(LN(h)),  h = z + MHA(LN(z), LN(x))

The cost is linear in N. Positions are learned for each pixel (learned), or sines and cosines of a pixel's coordinates
in [-1, 1] at frequencies up to Nyquist's, beside the coordinates (fourier, convolution). Weights are those of
transformers' PerceiverForImageClassificationLearned, Fourier and ConvProcessing.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import ACTIVATIONS, BatchNorm, Conv, Dense, LayerNorm, MultiHeadAttention
from dlcore.nn.precision import compute_dtype
from dlcore.nn.transformer import FeedForward
from dlcore.ops import max_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "Perceiver", "PerceiverLayer", "example_inputs", "fourier_positions", "from_torch_names"]

INIT = nn.initializers.normal(0.02)
LATENT_INIT = nn.initializers.normal(1.0)
TORCH_NAMES = (
    (r"^(convnet_1x1|convnet|positions_projection)(?=_|\.)", r"input_preprocessor.\1"),
    (r"convnet_(conv|batchnorm)\.", r"convnet.\1."),
    (r"^positions$", "input_preprocessor.position_embeddings.position_embeddings"),
    (r"^latents$", "embeddings.latents"),
    (r"^query$", "decoder.decoder.output_position_encodings.position_embeddings"),
    (r"^decode\.", "decoder.decoder.decoding_cross_attention."),
    (r"^head\.", "decoder.decoder.final_layer."),
    (r"^(cross_attention\.|self_attends\.)", r"encoder.\1"),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.norm(\d)\.", r".attention.self.layernorm\1."),
    (r"\.norm\.", ".layernorm."),
    (r"\.mlp\.fc(\d)\.", r".mlp.dense\1."),
)
TORCH_OLD_NAMES = ((r"^perceiver\.", ""),)


def fourier_positions(rows: int, columns: int, num_bands: int, resolution: int) -> jax.Array:
    """Describe the locations of a grid by sines and cosines of their coordinates.

    Args:
      rows: rows of the grid.
      columns: columns of the grid.
      num_bands: K, frequencies f_1 = 1 to f_K = resolution / 2, equally spaced.
      resolution: side of the images whose Nyquist frequency is the highest.

    Returns:
      [rows * columns, 2 + 4 K]: coordinates y and x in [-1, 1], sin(pi f y), sin(pi f x), cos(pi f y), cos(pi f x).
    """
    axes = jnp.meshgrid(jnp.linspace(-1, 1, rows), jnp.linspace(-1, 1, columns), indexing="ij")
    coordinates = jnp.stack(axes, -1).reshape(-1, 2)
    angles = jnp.pi * coordinates[..., None] * jnp.linspace(1, resolution / 2, num_bands)
    angles = angles.reshape(len(coordinates), -1)
    return jnp.concatenate([coordinates, jnp.sin(angles), jnp.cos(angles)], -1)


class PerceiverLayer(CheckedFields):
    """Cross- or self-attention and an MLP.

    Args:
      widening: hidden units of the MLP as a multiple of the channels.
      activation: of the MLP, a name of `dlcore.nn.ACTIVATIONS`.
      wide_keys: queries, keys and values have as many channels as what is read, not as what reads.
      residual: add what reads to the attention's output.
    """

    num_heads: int
    widening: Annotated[int, Range(1)] = 1
    activation: str = "gelu"
    wide_keys: bool = True
    residual: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, z: jax.Array, x: jax.Array | None = None) -> jax.Array:
        """Let latents read inputs, or each other.

        Args:
          z: [B, M, D].
          x: [B, N, D'], inputs; None: self-attention.

        Returns:
          [B, M, D].
        """
        norm = functools.partial(LayerNorm, dtype=self.dtype)
        width = z.shape[-1]
        inner = x.shape[-1] if x is not None and self.wide_keys else width
        x = x if x is None else norm(name="norm2")(x)
        fields = {"dtype": self.dtype, "kernel_init": INIT}
        attention = MultiHeadAttention(self.num_heads, width, inner, **fields, name="attn")
        y = attention(norm(name="norm1")(z), x)
        z = z + y if self.residual else y
        mlp = FeedForward(self.widening * width, ACTIVATIONS[self.activation], **fields, name="mlp")
        return z + mlp(norm(name="norm")(z))


class Perceiver(CheckedFields):
    """A classifier of images [B, H, W, 3].

    Args:
      num_classes: number of classes, the length of the logits.
      inputs: what the latents read: learned, a 1x1 convolution of the pixels and learned positions; fourier, the pixels
        and Fourier positions; or convolution, a convolution, max pooling and Fourier positions.
      image_size: side in pixels of the images, of learned positions; others take images of any size.
      channels: channels of the convolution.
      position_features: channels of learned positions, and of their projection.
      num_bands: frequencies of Fourier positions.
      resolution: side in pixels that gives their highest frequency.
      num_latents: M, latents.
      width: D, channels of the latents.
      depth: layers of a block.
      repeats: times that the latents pass through the block.
      cross_heads: heads of the cross-attention.
      widening: hidden units of a layer's MLP as a multiple of the channels.
      cross_widening: the same of the cross-attention's MLP.
      activation: of the MLPs, a name of `dlcore.nn.ACTIVATIONS`.
      wide_keys: queries, keys and values of cross-attentions have as many channels as what is read.
      query_residual: add the latents to the output of the cross-attention that reads the image.
    """

    num_classes: int = 1000
    inputs: Literal["learned", "fourier", "convolution"] = "fourier"
    image_size: int = 224
    channels: Annotated[int, Range(1)] = 256
    position_features: Annotated[int, Range(1)] = 256
    num_bands: Annotated[int, Range(2)] = 64
    resolution: Annotated[int, Range(2)] = 224
    num_latents: Annotated[int, Range(1)] = 512
    width: Annotated[int, Range(1)] = 1024
    depth: Annotated[int, Range(1)] = 6
    repeats: Annotated[int, Range(1)] = 8
    num_heads: int = 8
    cross_heads: Annotated[int, Range(1)] = 1
    widening: Annotated[int, Range(1)] = 1
    cross_widening: Annotated[int, Range(1)] = 1
    activation: str = "gelu"
    wide_keys: bool = True
    query_residual: bool = True
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify images.

        Args:
          x: [B, H, W, 3].

        Returns:
          [B, num_classes] logits, at least float32.
        """
        dtype, batch = compute_dtype(self.dtype, x, self.variables), len(x)
        layer = functools.partial(PerceiverLayer, activation=self.activation, wide_keys=self.wide_keys, dtype=dtype)
        # The latents read the image.
        x = self._pixels(x.astype(dtype), train)
        latents = self.param("latents", LATENT_INIT, (self.num_latents, self.width)).astype(dtype)
        z = jnp.broadcast_to(latents, (batch, *latents.shape))
        cross = layer(self.cross_heads, self.cross_widening, residual=self.query_residual, name="cross_attention")
        z = cross(z, x)
        # They pass through the same layers several times.
        block = [layer(self.num_heads, self.widening, name=f"self_attends_{i}") for i in range(self.depth)]
        for attend in self.repeats * block:
            z = attend(z)
        # A query reads them.
        query = self.param("query", LATENT_INIT, (1, self.width)).astype(dtype)
        y = layer(1, name="decode")(jnp.broadcast_to(query, (batch, 1, self.width)), z)
        y = to_acc_dtype(y[:, 0])
        return Dense(self.num_classes, dtype=y.dtype, kernel_init=INIT, name="head")(y)

    def _pixels(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, 3] -> [B, N, D'], the pixels and their positions."""
        if self.inputs == "learned":
            size = self.image_size
            if x.shape[1:3] != (size, size):
                raise ValueError(f"x.shape={x.shape}: not the size of the positions; allowed: [B, {size}, {size}, 3]")
            x = Conv(self.channels, (1, 1), dtype=x.dtype, name="convnet_1x1")(x)
            positions = self.param("positions", INIT, (size * size, self.position_features)).astype(x.dtype)
            positions = Dense(self.position_features, dtype=x.dtype, name="positions_projection")(positions)
        else:
            if self.inputs == "convolution":
                conv = Conv(self.channels, (7, 7), 2, padding=3, use_bias=False, dtype=x.dtype, name="convnet_conv")
                norm = BatchNorm(not train, dtype=x.dtype, axis_name=self.axis_name, name="convnet_batchnorm")
                x = max_pool(nn.relu(norm(conv(x))), (3, 3), (2, 2))
            rows, columns = x.shape[1:3]
            positions = fourier_positions(rows, columns, self.num_bands, self.resolution).astype(x.dtype)
        x = x.reshape(len(x), -1, x.shape[-1])
        return jnp.concatenate([x, jnp.broadcast_to(positions, (len(x), *positions.shape))], -1)


MODELS = {
    "perceiver_learned": functools.partial(Perceiver, inputs="learned"),
    "perceiver_fourier": functools.partial(Perceiver),
    "perceiver_conv": functools.partial(Perceiver, inputs="convolution", channels=64, resolution=56),
}


def example_inputs(model: Perceiver) -> tuple[jax.Array]:
    """Build (an image [1, H, W, 3],)."""
    side = model.image_size if model.inputs == "learned" else 32
    return (jnp.zeros((1, side, side, 3)),)


def from_torch_names(model: Perceiver, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers' Perceiver."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    return fill_from_torch(shapes, state_dict, TORCH_NAMES, what="Perceiver", older=TORCH_OLD_NAMES)
