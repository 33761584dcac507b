"""The U-Net of latent diffusion: residual blocks and attention, conditioned on the timestep, a class and a text.

Rombach et al. 2022, arXiv:2112.10752, in the form of the diffusers library, whose weights it takes
(`dlcore.generative.torch_diffusers`).

    down            residual blocks and attention of each level (`dlcore.generative.unet_blocks`), then half the sides
    up              the same with the maps of the way down beside, then twice the sides
    e               MLP(sines of t) + embedding of the class, which all residual blocks read
    SDXL            + MLP([pooled text, sines of the sizes]);  Podell et al. 2023, arXiv:2307.01952

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
from dlcore.generative.unet_blocks import AttentionBlock, Resample, ResnetBlock, SpatialTransformer
from dlcore.learner import Range
from dlcore.nn import Conv, Embed, GroupNorm
from dlcore.nn.precision import compute_dtype
from dlcore.ops.patches import patchify, unpatchify
from dlcore.ops.precision import to_acc_dtype

__all__ = ["ConditionalUNet", "UNetEncoder"]

_ZEROS = nn.initializers.zeros


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
      transformer_depths: transformer blocks of each level with attention to a text; empty for 1 at each.
      size_features: waves of each size of `sizes` that are embedded beside a pooled text (SDXL); None for neither.
      guidance_features: waves of the scale of guidance, which a latent consistency model reads; None for none.
      resample: what changes the sides between levels: conv, a convolution; resnet, a residual block.
      norm_in_middle: norm before the middle's attention, where there is no text; diffusers' networks of scale_shift
        have none.
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
    transformer_depths: Annotated[tuple[int, ...], Range(1), "if changed"] = ()
    size_features: Annotated[int | None, "if changed"] = None
    guidance_features: Annotated[int | None, "if changed"] = None
    resample: Annotated[Literal["conv", "resnet"], "if changed"] = "conv"
    norm_in_middle: Annotated[bool, "if changed"] = True
    dtype: Any = None

    @nn.nowrap
    def resnet(self, name: str, features: int, dtype: Any, resample: Resample = "none") -> ResnetBlock:
        """Build a residual block.

        Args:
          name: name of the block.
          features: output channels.
          resample: see `ResnetBlock`.
        """
        check_choice("resample", self.resample, ("conv", "resnet"))
        check_choice("resnet_time_scale_shift", self.resnet_time_scale_shift, ("default", "scale_shift"))
        shift = self.resnet_time_scale_shift == "scale_shift"
        return ResnetBlock(
            features, self.groups, epsilon=self.epsilon, dtype=dtype, scale_shift=shift, resample=resample, name=name
        )

    @nn.nowrap
    def attend(self, name: str, x: jax.Array, context: jax.Array | None, dtype: Any, level: int = -1) -> jax.Array:
        """Attend to the context where there is one, else to the map's own positions.

        Args:
          name: name of the block.
          x: [B, H, W, C].
          context: [B, T, D], or None.
          level: number of the level; -1 for the middle, which has the last level's depth.

        Returns:
          [B, H, W, C].
        """
        if self.transformer_depths and len(self.transformer_depths) != len(self.channels):
            count = len(self.channels)
            raise ValueError(f"transformer_depths={self.transformer_depths}: another length; allowed: none or {count}")
        heads = self.num_heads or x.shape[-1] // self.head_features
        if context is None:
            groups = self.groups if level >= 0 or self.norm_in_middle else None
            return AttentionBlock(heads, groups, epsilon=self.epsilon, dtype=dtype, name=name)(x)
        depth = self.transformer_depths[level] if self.transformer_depths else 1
        return SpatialTransformer(heads, depth, groups=self.groups, dtype=dtype, name=name)(x, context)

    @nn.nowrap
    def stem(self, x: jax.Array, dtype: Any) -> jax.Array:
        """Cut into patches, and convolve: [B, H, W, C] -> [B, H / patch_size, W / patch_size, channels[0]]."""
        b, height, width, _ = x.shape
        p, multiple = self.patch_size, self.patch_size * 2 ** (len(self.channels) - 1)
        if height % multiple or width % multiple:
            raise ValueError(f"x={height}x{width}: sides do not divide; allowed: multiples of {multiple}")
        x = patchify(x, p).reshape(b, height // p, width // p, -1)
        return Conv(self.channels[0], (3, 3), dtype=dtype, name="conv_in")(x)

    @nn.nowrap
    def embed(
        self,
        t: jax.Array,
        label: jax.Array | None,
        dtype: Any,
        added: tuple[jax.Array, jax.Array] | None = None,
        guidance: jax.Array | None = None,
    ) -> jax.Array:
        """Embed the timestep, the class, and a pooled text with sizes.

        t [B], timesteps; label [B] int (None where num_classes is None); added (pooled [B, P], sizes [B, S]) (None
        where size_features is None); guidance [B, guidance_features] (None adds none) -> [B, 4 channels[0]].
        """
        if (added is not None) != (self.size_features is not None):
            problem = "missing" if added is None else "the network embeds none"
            raise ValueError(f"added: {problem}; allowed: a pooled text and sizes where size_features is a number")

        def sinusoidal_embedding(values: jax.Array, features: int) -> jax.Array:
            options = {"cosine_first": self.cosine_first, "ends_at_period": self.ends_at_period}
            return timestep_embedding(values, features, **options).astype(dtype)

        features = 4 * self.channels[0]
        embedding = TimestepEmbedding(features, dtype=dtype, name="time_embedding")(
            sinusoidal_embedding(t, self.channels[0]), None if guidance is None else guidance.astype(dtype)
        )
        if added is not None:
            pooled, sizes = added
            size_waves = sinusoidal_embedding(sizes.reshape(-1), self.size_features).reshape(
                len(sizes), -1
            )  # [B, S size_features]
            both = jnp.concatenate([pooled.astype(dtype), size_waves], -1)
            embedding += TimestepEmbedding(features, dtype=dtype, name="add_embedding")(both)
        if self.num_classes is not None:
            embedding += Embed(self.num_classes, features, dtype=dtype, name="class_embedding")(label)
        return embedding

    @nn.nowrap
    def encode(
        self, x: jax.Array, embedding: jax.Array, context: jax.Array | None, dtype: Any
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Go down the levels and through the middle.

        x [B, H, W, channels[0]]; embedding [B, E]; context [B, T, D], or None -> (the middle's map, the maps on the
        way, from x on).
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
                    x = self.attend(f"down_blocks_{level}_attentions_{k}", x, context, dtype, level)
                maps.append(x)
            if level + 1 < len(self.channels):
                name = f"down_blocks_{level}_downsamplers_0"
                if self.resample == "resnet":
                    x = self.resnet(name, features, dtype, "down")(x, embedding)
                else:
                    x = Conv(features, (3, 3), 2, padding=padding, dtype=dtype, name=f"{name}_conv")(x)
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
        added: tuple[jax.Array, jax.Array] | None = None,
        guidance: jax.Array | None = None,
    ) -> jax.Array:
        """Predict the noise.

        Args:
          x: [B, H, W, C]; H and W are multiples of patch_size 2^(levels - 1).
          t: [B], timesteps.
          label: [B] int, classes; None where num_classes is None.
          context: [B, T, D], a text; None attends to no text.
          control: (maps, map) that a ControlNet adds to the maps on the way down and to the middle's.
          added: (pooled [B, P], sizes [B, S]), a text's vector and the sizes of SDXL: original height and width, top
            and left of the crop, target height and width; None where size_features is None.
          guidance: [B, guidance_features], waves of the scale of guidance that the network was distilled with; None
            adds none.

        Returns:
          [B, H, W, out_channels], at least float32.
        """
        _, height, width, channels = x.shape
        dtype, out = compute_dtype(self.dtype, x, self.variables), self.out_channels or channels
        # Embedding of timestep and class.
        embedding = self.embed(t, label, dtype, added, guidance)
        x = self.stem(x, dtype)
        x, maps = self.encode(x, embedding, context, dtype)
        # ControlNet adds to the skip connections and to the middle.
        if control is not None:
            if len(control[0]) != len(maps):
                raise ValueError(f"control: {len(control[0])} maps; allowed: {len(maps)}, one for each on the way down")
            maps, x = [a + b for a, b in zip(maps, control[0], strict=True)], x + control[1]
        last = len(self.channels) - 1
        # Up: concatenate the skip connections.
        for level in reversed(range(last + 1)):
            for k in range(self.num_res_blocks + 1):
                x = jnp.concatenate([x, maps.pop()], -1)
                x = self.resnet(f"up_blocks_{last - level}_resnets_{k}", self.channels[level], dtype)(x, embedding)
                if level in self.attention_levels:
                    x = self.attend(f"up_blocks_{last - level}_attentions_{k}", x, context, dtype, level)
            if level:
                name = f"up_blocks_{last - level}_upsamplers_0"
                if self.resample == "resnet":
                    x = self.resnet(name, x.shape[-1], dtype, "up")(x, embedding)
                else:
                    x = Conv(x.shape[-1], (3, 3), dtype=dtype, name=f"{name}_conv")(x.repeat(2, 1).repeat(2, 2))
        # The head starts at zero.
        x = nn.silu(GroupNorm(self.groups, epsilon=self.epsilon, dtype=dtype, name="conv_norm_out")(x))
        x = to_acc_dtype(x)
        x = Conv(self.patch_size**2 * out, (3, 3), kernel_init=_ZEROS, name="conv_out")(x)
        return unpatchify(x, self.patch_size, height, width)
