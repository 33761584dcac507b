"""The autoencoder of latent diffusion: images as smaller maps of a few channels, near a standard normal.

Rombach et al. 2022, arXiv:2112.10752, section 3.1, in the form of the diffusers library, whose weights it takes.

    mean, logvar = encoder(x),   z = mean + exp(logvar / 2) eps,   reconstruction = decoder(z)
    L = |x - reconstruction|, averaged over pixels, + kl_weight KL(N(mean, exp(logvar)) || N(0, I)), over values of z

The weight is tiny: the divergence keeps z from growing, while what z looks like is left to the diffusion that is
trained on it. The paper adds a perceptual and an adversarial loss, which are left out here.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.generative.pixels import denormalize, normalize
from dlcore.generative.unet_blocks import AttentionBlock, ResnetBlock
from dlcore.generative.vae import kl_to_standard_normal
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.nn import Conv, GroupNorm
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import apply_gradients, init_state

__all__ = ["AutoencoderKL", "Decoder", "Encoder", "learner"]


class _Half(nn.Module):
    """What encoder and decoder share."""

    channels: tuple[int, ...]
    num_res_blocks: int
    out_channels: int
    groups: int
    dtype: Any = None

    @nn.nowrap
    def _resnet(self, name: str, features: int) -> ResnetBlock:
        return ResnetBlock(features, self.groups, 1e-6, self.dtype, name=name)

    @nn.nowrap
    def _middle(self, x: jax.Array) -> jax.Array:
        x = self._resnet("mid_block_resnets_0", x.shape[-1])(x)
        x = AttentionBlock(1, self.groups, 1e-6, self.dtype, name="mid_block_attentions_0")(x)
        return self._resnet("mid_block_resnets_1", x.shape[-1])(x)

    @nn.nowrap
    def _head(self, x: jax.Array) -> jax.Array:
        x = nn.silu(GroupNorm(self.groups, epsilon=1e-6, dtype=self.dtype, name="conv_norm_out")(x))
        return Conv(self.out_channels, (3, 3), name="conv_out")(to_acc_dtype(x))


class Encoder(_Half):
    """Halves the sides after each level but the last.

    Args:
      channels: number of channels of each level.
      num_res_blocks: residual blocks of each level.
      out_channels: number of channels of the output.
      groups: groups of the group norms; divides all channels.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Encode images: [B, H, W, C] -> [B, h, w, out_channels]."""
        x = Conv(self.channels[0], (3, 3), dtype=self.dtype, name="conv_in")(x)
        for level, features in enumerate(self.channels):
            for k in range(self.num_res_blocks):
                x = self._resnet(f"down_blocks_{level}_resnets_{k}", features)(x)
            if level + 1 < len(self.channels):
                name, padding = f"down_blocks_{level}_downsamplers_0_conv", ((0, 1), (0, 1))
                x = Conv(features, (3, 3), 2, padding=padding, dtype=self.dtype, name=name)(x)
        return self._head(self._middle(x))


class Decoder(_Half):
    """Doubles the sides after each level but the last.

    Args:
      channels: number of channels of each level, the encoder's order.
      num_res_blocks: residual blocks of each level but one.
      out_channels: number of channels of the output.
      groups: groups of the group norms; divides all channels.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Decode a map: [B, h, w, C] -> [B, H, W, out_channels]."""
        x = Conv(self.channels[-1], (3, 3), dtype=self.dtype, name="conv_in")(x)
        x = self._middle(x)
        for level, features in enumerate(reversed(self.channels)):
            for k in range(self.num_res_blocks + 1):
                x = self._resnet(f"up_blocks_{level}_resnets_{k}", features)(x)
            if level + 1 < len(self.channels):
                name = f"up_blocks_{level}_upsamplers_0_conv"
                x = Conv(features, (3, 3), dtype=self.dtype, name=name)(x.repeat(2, 1).repeat(2, 2))
        return self._head(x)


class AutoencoderKL(nn.Module):
    """Encoder to the mean and log-variance of a latent, and decoder from it.

    Args:
      channels: number of channels of each level; each after the first halves the sides.
      num_res_blocks: residual blocks of each level; one more in the decoder.
      latent_channels: number of channels of the latent.
      image_channels: number of channels of the images.
      groups: groups of the group norms; divides all channels.
      use_quant_conv: convolve the latent by 1x1 after the encoder and before the decoder; the autoencoders of 16
        channels (Stable Diffusion 3, Flux) do not.
      shift_factor: subtracted from latents that a diffusion model learns, see `scale_latents`.
      scaling_factor: multiplies them after that.
      latents_mean: mean of each channel of the latents, subtracted before that; () subtracts none.
      latents_std: standard deviation of each channel, which the latents are divided by; () divides by none.
    """

    channels: tuple[int, ...] = (16, 32)
    num_res_blocks: Annotated[int, Range(1)] = 1
    latent_channels: Annotated[int, Range(1)] = 4
    image_channels: Annotated[int, Range(1)] = 3
    groups: Annotated[int, Range(1)] = 8
    use_quant_conv: Annotated[bool, "if changed"] = True
    shift_factor: Annotated[float, "if changed"] = 0.0
    scaling_factor: Annotated[float, "if changed"] = 1.0
    latents_mean: Annotated[tuple[float, ...], Range(), "if changed"] = ()
    latents_std: Annotated[tuple[float, ...], "if changed"] = ()
    dtype: Any = None

    @property
    def downsampling(self) -> int:
        """Pixels of a side that one position of the latent stands for."""
        return 2 ** (len(self.channels) - 1)

    def setup(self):
        """Build both halves and the 1x1 convolutions around the latent."""
        fields = self.channels, self.num_res_blocks
        self.encoder = Encoder(*fields, 2 * self.latent_channels, self.groups, self.dtype)
        self.decoder = Decoder(*fields, self.image_channels, self.groups, self.dtype)
        if self.use_quant_conv:
            self.quant_conv = Conv(2 * self.latent_channels, (1, 1))
            self.post_quant_conv = Conv(self.latent_channels, (1, 1))

    def encode(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Encode images.

        [B, H, W, C] in [-1, 1]; H and W are multiples of 2^(levels - 1) -> (mean, logvar), both [B, h, w,
        latent_channels]; logvar is clipped to [-30, 20].
        """
        multiple = self.downsampling
        if x.shape[1] % multiple or x.shape[2] % multiple:
            raise ValueError(f"x={x.shape[1]}x{x.shape[2]}: sides do not divide; allowed: multiples of {multiple}")
        moments = self.encoder(x)
        mean, logvar = jnp.split(self.quant_conv(moments) if self.use_quant_conv else moments, 2, -1)  # [B, h, w, Z]
        return mean, jnp.clip(logvar, -30, 20)

    def decode(self, z: jax.Array) -> jax.Array:
        """Decode latents: [B, h, w, latent_channels] -> [B, H, W, C], about [-1, 1]."""
        if z.shape[-1] != self.latent_channels:
            raise ValueError(f"z={z.shape}: another latent; allowed: [B, h, w, {self.latent_channels}]")
        return self.decoder(self.post_quant_conv(z) if self.use_quant_conv else z)

    def scale_latents(self, z: jax.Array) -> jax.Array:
        """Shift and scale latents to the range that a diffusion model learns.

        [..., latent_channels], as `encode` gives -> (z - shift_factor - latents_mean) scaling_factor / latents_std.
        """
        shift, scale = self._shift_and_scale()
        return (z - shift) * scale

    def unscale_latents(self, latents: jax.Array) -> jax.Array:
        """Undo `scale_latents`.

        [..., latent_channels], of a diffusion model -> latents latents_std / scaling_factor + latents_mean +
        shift_factor, as `decode` takes.
        """
        shift, scale = self._shift_and_scale()
        return latents / scale + shift

    @nn.nowrap
    def _shift_and_scale(self) -> tuple[Any, Any]:
        """Numbers, or one for each channel where the latents have statistics."""
        mean, std = (np.asarray(values, np.float32) for values in (self.latents_mean, self.latents_std))
        shift = self.shift_factor + mean if mean.size else self.shift_factor
        return shift, self.scaling_factor / std if std.size else self.scaling_factor

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Encode images and decode the mean: [B, H, W, C] in [-1, 1] -> (decoded, mean, logvar)."""
        mean, logvar = self.encode(x)
        return self.decode(mean), mean, logvar


@check_arguments
def learner(
    *, model: AutoencoderKL, optimizer: optax.GradientTransformation, kl_weight: Annotated[float, Range(0)] = 1e-6
) -> Learner:
    """Train an autoencoder of `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: the autoencoder.
      kl_weight: weight of the divergence from a standard normal, averaged over the latent's values, in nats.

    Returns:
      The learner. `evaluate` reconstructs from the mean; `predict` returns `image` (the reconstruction in [0, 1]),
      `mean` and `logvar`.
    """

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), normalize(batch["image"][:1]))["params"]
        return init_state(params, optimizer, rng)

    def objective(params, batch, rng, noise: Callable | None = jax.random.normal):
        x, mask = normalize(batch["image"]), mask_of(batch)
        mean, logvar = model.apply({"params": params}, x, method="encode")  # [B, h, w, Z] each
        # Reparameterized latent; the mean itself in evaluation.
        z = mean
        if noise is not None:
            eps = jax.vmap(lambda key: noise(key, mean.shape[1:], mean.dtype))(example_keys(rng, batch))
            z = mean + jnp.exp(0.5 * logvar) * eps
        y = model.apply({"params": params}, z, method="decode")  # [B, H, W, C]
        # L1 reconstruction plus the KL divergence to a standard normal.
        errors = jnp.abs(x - y).mean((1, 2, 3))  # [B]
        divergences = kl_to_standard_normal(mean, logvar).mean((1, 2, 3))  # [B]
        mse = jnp.square(jnp.clip(y, -1, 1) - x).mean((1, 2, 3)) / 4  # [B]
        metrics = {
            "loss": Sum.of(errors + kl_weight * divergences, mask),
            "l1": Sum.of(errors, mask),
            "kl": Sum.of(divergences, mask),
            "psnr": Sum.of(-10 * jnp.log10(jnp.maximum(mse, 1e-10)), mask),
        }
        return masked_mean(errors + kl_weight * divergences, mask), metrics

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, batch, state.rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # New noise of the latents at each step.
        rng = jax.random.fold_in(state.rng, state.step)
        # Gradient of L1 plus weighted KL, with fresh noise.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, batch, rng)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return objective(state.params, batch, state.rng, None)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        y, mean, logvar = model.apply({"params": state.params}, normalize(batch["image"]))
        return {"image": denormalize(y), "mean": mean, "logvar": logvar}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)
