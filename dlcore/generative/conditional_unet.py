"""The U-Net of latent diffusion: residual blocks and attention, conditioned on the timestep, a class and a text.

Rombach et al. 2022, arXiv:2112.10752, in the form of the diffusers library, whose weights it takes
(`dlcore.generative.torch_diffusers`).

    block(x, t)     x + conv(silu(norm(conv(silu(norm(x))) + W silu(e(t)))))
    e               MLP(sines of t) + embedding of the class
    attention       x + W_o attend(norm(x)): every position to every other
    transformer     on the positions as tokens h: h + self(LN h), h + cross(LN h, context), h + gated perceptron(LN h)

The text comes in by cross-attention: queries are positions, keys and values are the words (`context`). Padding is
attended to, as in Stable Diffusion. What adds to the residual stream starts at zero, so that the first prediction is 0
and the first loss the variance of the noise, 1.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.generative.unet import TimestepEmbedding, timestep_embedding
from dlcore.learner import Range
from dlcore.nn import Conv, Dense, Embed, GroupNorm
from dlcore.nn.activations import gelu
from dlcore.nn.attention import dot_product_attention
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.precision import compute_dtype, logits_dtype
from dlcore.ops.patches import patchify, unpatchify

__all__ = ["AttentionBlock", "ConditionalUNet", "CrossAttention", "ResnetBlock", "SpatialTransformer", "UNetEncoder"]

_ZEROS = nn.initializers.zeros


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions around an embedding; at the start it is its skip connection alone.

    Args:
      features: output channels.
      groups: groups of the norms.
      epsilon: epsilon of the norms.
      dtype: dtype of the computation; None takes the input's.
      scale_shift: the embedding scales and shifts the second norm's output, h (1 + s) + b, in place of adding to its
        input.
    """

    features: int
    groups: int = 32
    epsilon: float = 1e-5
    dtype: Any = None
    scale_shift: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, embedding: jax.Array | None = None) -> jax.Array:
        """Transform a feature map.

        Args:
          x: [B, H, W, C].
          embedding: [B, E]; None for none.

        Returns:
          [B, H, W, features].
        """
        h = nn.silu(GroupNorm(self.groups, epsilon=self.epsilon, dtype=self.dtype, name="norm1")(x))
        h = Conv(self.features, (3, 3), dtype=self.dtype, name="conv1")(h)
        norm2 = GroupNorm(self.groups, epsilon=self.epsilon, dtype=self.dtype, name="norm2")
        if embedding is not None:
            dense = Dense((1 + self.scale_shift) * self.features, dtype=self.dtype, name="time_emb_proj")
            embedding = dense(nn.silu(embedding))[:, None, None]
        # The timestep scales and shifts, or shifts alone.
        if embedding is not None and self.scale_shift:
            scale, shift = jnp.split(embedding, 2, -1)
            h = norm2(h) * (1 + scale) + shift
        else:
            h = norm2(h if embedding is None else h + embedding)
        h = nn.silu(h)
        h = Conv(self.features, (3, 3), dtype=self.dtype, kernel_init=_ZEROS, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, (1, 1), dtype=self.dtype, name="conv_shortcut")(x)
        return x + h


class CrossAttention(nn.Module):
    """Multi-head attention to a context, or to the tokens themselves, whose output layer always has a bias.

    Args:
      num_heads: divides D.
      use_bias: biases of queries, keys and values.
      out_kernel_init: initializer of the output layer's kernel.
      dtype: dtype of the computation; None takes the input's.
    """

    num_heads: int
    use_bias: bool = False
    out_kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Attend from tokens.

        Args:
          x: [B, N, D].
          context: [B, T, E]; None for x.

        Returns:
          [B, N, D].

        Raises:
          ValueError: the heads do not divide D.
        """
        features, context = x.shape[-1], x if context is None else context
        if features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads}: not a divisor; allowed: divisors of the {features} channels")

        def project(name: str, tokens: jax.Array) -> jax.Array:
            tokens = Dense(features, self.use_bias, dtype=self.dtype, name=name)(tokens)
            return tokens.reshape(*tokens.shape[:-1], self.num_heads, -1)

        y = dot_product_attention(project("to_q", x), project("to_k", context), project("to_v", context))
        out = Dense(features, dtype=self.dtype, kernel_init=self.out_kernel_init, name="to_out_0")
        return out(y.reshape(x.shape))


class AttentionBlock(nn.Module):
    """Every position attends to every other; at the start it is the identity.

    Args:
      num_heads: divides C.
      groups: groups of the norm.
      epsilon: epsilon of the norm.
      dtype: dtype of the computation; None takes the input's.
    """

    num_heads: int = 1
    groups: int = 32
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend over the positions of a feature map.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        h = GroupNorm(self.groups, epsilon=self.epsilon, dtype=self.dtype, name="group_norm")(x)
        attend = CrossAttention(self.num_heads, True, _ZEROS, self.dtype, name="attention")
        return x + attend(h.reshape(x.shape[0], -1, x.shape[-1])).reshape(x.shape)


class _TransformerBlock(nn.Module):
    """Self-attention, cross-attention and a gated perceptron."""

    num_heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        def norm(name: str) -> jax.Array:
            return LayerNorm(epsilon=1e-5, dtype=self.dtype, name=name)(x)

        # Self-attention, cross-attention to the prompt, and a gated MLP (GEGLU).
        x += CrossAttention(self.num_heads, dtype=self.dtype, name="attn1")(norm("norm1"))
        x += CrossAttention(self.num_heads, dtype=self.dtype, name="attn2")(norm("norm2"), context)
        h = Dense(8 * x.shape[-1], dtype=self.dtype, name="ff_in")(norm("norm3"))
        h, gate = jnp.split(h, 2, -1)
        return x + Dense(x.shape[-1], dtype=self.dtype, name="ff_out")(h * gelu(gate))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the positions of a feature map, which attend to a context; at the start the identity.

    Args:
      num_heads: divides C.
      num_layers: transformer blocks.
      groups: groups of the norm.
      dtype: dtype of the computation; None takes the input's.
    """

    num_heads: int = 8
    num_layers: int = 1
    groups: int = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """Attend over the positions, and to the context.

        Args:
          x: [B, H, W, C].
          context: [B, T, D], such as the words of a prompt.

        Returns:
          [B, H, W, C].
        """
        h = GroupNorm(self.groups, epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        h = Conv(x.shape[-1], (1, 1), dtype=self.dtype, name="proj_in")(h).reshape(x.shape[0], -1, x.shape[-1])
        for k in range(self.num_layers):
            h = _TransformerBlock(self.num_heads, self.dtype, name=f"transformer_blocks_{k}")(h, context)
        h = Conv(x.shape[-1], (1, 1), dtype=self.dtype, kernel_init=_ZEROS, name="proj_out")(h.reshape(x.shape))
        return x + h


class UNetEncoder(nn.Module):
    """What the U-Net and a ControlNet share: the fields, the embedding, the way down and the middle.

    Args:
      channels: number of channels of each level; the first is even.
      num_res_blocks: residual blocks of each level; one more on the way up.
      attention_levels: levels with attention, from 0.
      num_heads: heads of all attention; None: channels / head_features.
      head_features: channels of a head, where num_heads is None.
      groups: groups of the group norms; divides all channels.
      patch_size: side of the squares of pixels that become channels first, which divides the cost by its square.
      num_classes: classes to embed, the null class among them; None for none.
      cosine_first: put cosines before sines in the timestep's sinusoidal embedding, see `timestep_embedding`.
      ends_at_period: let the last frequency of the timestep's embedding reach the period, see `timestep_embedding`.
      resnet_time_scale_shift: how a residual block takes the embedding: default adds it, scale_shift scales and shifts
        the second norm's output by it.
      add_attention: attention in the middle.
      downsample_padding: padding of the convolutions that halve the map: 1 on each side, or 0, which pads a
        row and a column at the end, as the published weights of DDPM want.
      epsilon: epsilon of the residual blocks' norms, of attention over positions and of the last norm; 1e-6 in those
        weights.
      dtype: dtype of the computation; None takes the input's.
    """

    channels: tuple[int, ...] = (32, 64)
    num_res_blocks: Annotated[int, Range(1)] = 1
    attention_levels: tuple[int, ...] = (1,)
    num_heads: Annotated[int, Range(1)] | None = 4
    head_features: Annotated[int, Range(1)] = 8
    groups: Annotated[int, Range(1)] = 8
    patch_size: Annotated[int, Range(1)] = 1
    num_classes: int | None = None
    cosine_first: bool = True
    ends_at_period: bool = False
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    add_attention: bool = True
    downsample_padding: Annotated[int, Range(0, 1)] = 1
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.nowrap
    def resnet(self, name: str, features: int, dtype: Any) -> ResnetBlock:
        """Build a residual block.

        Args:
          name: name of the block.
          features: output channels.
          dtype: dtype of the computation.

        Returns:
          The module.

        Raises:
          ValueError: resnet_time_scale_shift is unknown.
        """
        check_choice("resnet_time_scale_shift", self.resnet_time_scale_shift, ("default", "scale_shift"))
        shift = self.resnet_time_scale_shift == "scale_shift"
        return ResnetBlock(features, self.groups, epsilon=self.epsilon, dtype=dtype, scale_shift=shift, name=name)

    @nn.nowrap
    def attend(self, name: str, x: jax.Array, context: jax.Array | None, dtype: Any) -> jax.Array:
        """Attend to the context where there is one, else to the map's own positions.

        Args:
          name: name of the block.
          x: [B, H, W, C].
          context: [B, T, D], or None.
          dtype: dtype of the computation.

        Returns:
          [B, H, W, C].
        """
        heads = self.num_heads or x.shape[-1] // self.head_features
        if context is None:
            return AttentionBlock(heads, self.groups, epsilon=self.epsilon, dtype=dtype, name=name)(x)
        return SpatialTransformer(heads, groups=self.groups, dtype=dtype, name=name)(x, context)

    @nn.nowrap
    def stem(self, x: jax.Array, dtype: Any) -> jax.Array:
        """Cut into patches, and convolve.

        Args:
          x: [B, H, W, C].
          dtype: dtype of the computation.

        Returns:
          [B, H / patch_size, W / patch_size, channels[0]].

        Raises:
          ValueError: the patches or the levels do not divide H or W.
        """
        b, height, width, _ = x.shape
        p, multiple = self.patch_size, self.patch_size * 2 ** (len(self.channels) - 1)
        if height % multiple or width % multiple:
            raise ValueError(f"x={height}x{width}: sides do not divide; allowed: multiples of {multiple}")
        x = patchify(x, p).reshape(b, height // p, width // p, -1)
        return Conv(self.channels[0], (3, 3), dtype=dtype, name="conv_in")(x)

    @nn.nowrap
    def embed(self, t: jax.Array, label: jax.Array | None, dtype: Any) -> jax.Array:
        """Embed the timestep and the class.

        Args:
          t: [B], timesteps.
          label: [B] int; None where num_classes is None.
          dtype: dtype of the computation.

        Returns:
          [B, 4 channels[0]].
        """
        sinusoidal = timestep_embedding(
            t, self.channels[0], cosine_first=self.cosine_first, ends_at_period=self.ends_at_period
        )
        features = 4 * self.channels[0]
        embedding = TimestepEmbedding(features, dtype=dtype, name="time_embedding")(sinusoidal.astype(dtype))
        if self.num_classes is not None:
            embedding += Embed(self.num_classes, features, dtype=dtype, name="class_embedding")(label)
        return embedding

    @nn.nowrap
    def encode(
        self, x: jax.Array, embedding: jax.Array, context: jax.Array | None, dtype: Any
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Go down the levels and through the middle.

        Args:
          x: [B, H, W, channels[0]].
          embedding: [B, E].
          context: [B, T, D], or None.
          dtype: dtype of the computation.

        Returns:
          (the middle's map, the maps on the way, from x on).

        Raises:
          ValueError: downsample_padding is neither 0 nor 1.
        """
        if self.downsample_padding not in (0, 1):
            raise ValueError(f"downsample_padding={self.downsample_padding}: out of range; allowed: 0, 1")
        padding = ((self.downsample_padding, 1),) * 2
        # Down: residual blocks and attention, each map kept for its skip connection.
        maps = [x]
        for level, features in enumerate(self.channels):
            for k in range(self.num_res_blocks):
                x = self.resnet(f"down_blocks_{level}_resnets_{k}", features, dtype)(x, embedding)
                if level in self.attention_levels:
                    x = self.attend(f"down_blocks_{level}_attentions_{k}", x, context, dtype)
                maps.append(x)
            if level + 1 < len(self.channels):
                name = f"down_blocks_{level}_downsamplers_0_conv"
                x = Conv(features, (3, 3), 2, padding=padding, dtype=dtype, name=name)(x)
                maps.append(x)
        # Middle.
        x = self.resnet("mid_block_resnets_0", x.shape[-1], dtype)(x, embedding)
        if self.add_attention:
            x = self.attend("mid_block_attentions_0", x, context, dtype)
        return self.resnet("mid_block_resnets_1", x.shape[-1], dtype)(x, embedding), maps


class ConditionalUNet(UNetEncoder):
    """Predicts an output of the input's shape from it, the timestep, and what it is conditioned on.

    Args:
      out_channels: number of channels of the prediction; None takes the input's.
    """

    out_channels: int | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        label: jax.Array | None = None,
        context: jax.Array | None = None,
        control: tuple[list[jax.Array], jax.Array] | None = None,
    ) -> jax.Array:
        """Predict the noise.

        Args:
          x: [B, H, W, C]; H and W are multiples of patch_size 2^(levels - 1).
          t: [B], timesteps.
          label: [B] int, classes; None where num_classes is None.
          context: [B, T, D], a text; None attends to no text.
          control: (maps, map) that a ControlNet adds to the maps on the way down and to the middle's.

        Returns:
          [B, H, W, out_channels], at least float32.

        Raises:
          ValueError: the levels do not divide H or W, or heads do not divide channels.
        """
        _, height, width, channels = x.shape
        dtype, out = compute_dtype(self.dtype, x, self.variables), self.out_channels or channels
        # Embedding of timestep and class.
        embedding = self.embed(t, label, dtype)
        x = self.stem(x, dtype)
        x, maps = self.encode(x, embedding, context, dtype)
        # ControlNet adds to the skip connections and to the middle.
        if control is not None:
            maps, x = [a + b for a, b in zip(maps, control[0], strict=True)], x + control[1]
        last = len(self.channels) - 1
        # Up: concatenate the skip connections.
        for level in reversed(range(last + 1)):
            for k in range(self.num_res_blocks + 1):
                x = jnp.concatenate([x, maps.pop()], -1)
                x = self.resnet(f"up_blocks_{last - level}_resnets_{k}", self.channels[level], dtype)(x, embedding)
                if level in self.attention_levels:
                    x = self.attend(f"up_blocks_{last - level}_attentions_{k}", x, context, dtype)
            if level:
                name = f"up_blocks_{last - level}_upsamplers_0_conv"
                x = Conv(x.shape[-1], (3, 3), dtype=dtype, name=name)(x.repeat(2, 1).repeat(2, 2))
        # The head starts at zero.
        x = nn.silu(GroupNorm(self.groups, epsilon=self.epsilon, dtype=dtype, name="conv_norm_out")(x))
        x = x.astype(logits_dtype(x.dtype))
        x = Conv(self.patch_size**2 * out, (3, 3), kernel_init=_ZEROS, name="conv_out")(x)
        return unpatchify(x, self.patch_size, height, width)
