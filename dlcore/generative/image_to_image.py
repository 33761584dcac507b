"""Images to images: networks that keep the layout, and the learner of pairs that pix2pix and super-resolution share.

Isola, Zhu, Zhou & Efros 2017, arXiv:1611.07004; Zhu, Park, Isola & Efros 2017, arXiv:1703.10593 (the residual network).

    U-Net       [conv stride 2, norm, leaky relu] ... down, and up again, each map joined by the one of its size
    residual    conv 7 x 7 -> [conv stride 2] ... -> residual blocks -> [up 2x, conv] ... -> conv 7 x 7, tanh
    patches     [conv stride 2, norm, leaky relu] ... -> a logit for each patch of the image, averaged in the losses
    pairs       G minimizes a L_G(D(x, G(x))) + c |y - G(x)|                        x: what is given, y: what is wanted

Norms are over each image (instance norm), so that an image's result does not depend on the batch; a map of one pixel,
which they would make 0, has none. The U-Net draws no noise by dropout, which the paper found to be ignored. Upsampling
is nearest resize and convolution where the papers have transposed convolutions.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.generative.pixels import denormalize
from dlcore.generative.two_players import LOSSES, AdversarialLoss, LossName, Players, PlayerState
from dlcore.learner import Learner, Metrics, Range, Sum, mask_of
from dlcore.losses import masked_mean
from dlcore.nn import Conv, InstanceNorm, leaky_relu
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype

__all__ = ["PatchDiscriminator", "ResidualGenerator", "UNetGenerator", "l1", "paired_learner"]

INIT = nn.initializers.normal(0.02)


def _check_halvings(shape: tuple[int, ...], halvings: int, name: str) -> None:
    """Check that the sides of an image [..., H, W, C] can be halved so often as the argument `name` says."""
    height, width = shape[-3:-1]
    if height % 2**halvings or width % 2**halvings:
        raise ValueError(
            f"{name}={halvings}: an image of {height} x {width} pixels cannot be halved so often; allowed: sides that "
            f"are multiples of {2**halvings}"
        )


def l1(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the mean absolute difference of each two images.

    Args:
      a: [B, ...].
      b: [B, ...].

    Returns:
      [B].
    """
    check_shapes(a=(a, "..."), b=(b, "..."))
    return jnp.abs(to_acc_dtype(a) - to_acc_dtype(b)).reshape(a.shape[0], -1).mean(-1)


def _kernel_init(norm: bool) -> nn.initializers.Initializer:
    """The papers' small kernels where a norm follows; without one they would shrink the maps from layer to layer."""
    return INIT if norm else nn.initializers.lecun_normal()


def _norm(x: jax.Array, is_used: bool, name: str, dtype: Any) -> jax.Array:
    return InstanceNorm(dtype=dtype, name=name)(x) if is_used and x.shape[1] * x.shape[2] > 1 else x


def _up(x: jax.Array) -> jax.Array:
    return x.repeat(2, 1).repeat(2, 2)


class UNetGenerator(nn.Module):
    """U-Net of pix2pix: [B, H, W, C] in [-1, 1] -> [B, H, W, channels] in (-1, 1).

    Args:
      channels: number of channels of the output.
      width: channels after the first halving; each further one doubles them, up to eight times.
      depth: halvings; both sides are multiples of 2^depth.
      norm: normalize each map but the first and maps of one pixel.
    """

    channels: int = 3
    width: Annotated[int, Range(1)] = 32
    depth: Annotated[int, Range(1)] = 4
    norm: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Translate images: [B, H, W, C] in [-1, 1] -> [B, H, W, channels] in (-1, 1)."""
        _check_halvings(x.shape, self.depth, "depth")
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv = functools.partial(Conv, dtype=dtype, kernel_init=_kernel_init(self.norm))
        features = [self.width * min(8, 2**k) for k in range(self.depth)]
        # Down: halve the map at each level.
        maps = []
        for k in range(self.depth):
            x = conv(features[k], (4, 4), strides=2, padding=1, name=f"down{k}")(x)
            x = leaky_relu(_norm(x, self.norm and k > 0, f"down{k}_norm", dtype), 0.2)
            maps.append(x)
        # Up: concatenate the skip connections.
        for k in reversed(range(self.depth - 1)):
            x = conv(features[k], (3, 3), name=f"up{k}")(_up(x))
            x = nn.relu(_norm(x, self.norm, f"up{k}_norm", dtype))
            x = jnp.concatenate([x, maps[k]], -1)
        x = conv(self.channels, (3, 3), name="head")(_up(x))
        return jnp.tanh(x.astype(acc_dtype_of(dtype or x.dtype)))


class ResidualGenerator(nn.Module):
    """Residual network of CycleGAN: [B, H, W, C] in [-1, 1] -> [B, H, W, channels] in (-1, 1).

    Args:
      channels: number of channels of the output.
      width: channels at full resolution; each halving doubles them.
      depth: halvings before the blocks; both sides are multiples of 2^depth.
      num_blocks: residual blocks, at the lowest resolution.
      norm: normalize each map.
    """

    channels: int = 3
    width: Annotated[int, Range(1)] = 32
    depth: Annotated[int, Range(0)] = 2
    num_blocks: Annotated[int, Range(0)] = 6
    norm: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Translate images: [B, H, W, C] in [-1, 1] -> [B, H, W, channels] in (-1, 1)."""
        _check_halvings(x.shape, self.depth, "depth")
        dtype = compute_dtype(self.dtype, x, self.variables)
        init = _kernel_init(self.norm)

        def block(x, features, kernel, name, **options):
            x = _edged(x, kernel // 2) if not options else x
            options = options or {"padding": "VALID"}
            conv = Conv(features, (kernel, kernel), dtype=dtype, kernel_init=init, name=name, **options)
            return _norm(conv(x), self.norm, f"{name}_norm", dtype)

        x = nn.relu(block(x, self.width, 7, "stem"))
        # Down.
        for k in range(self.depth):
            x = nn.relu(block(x, self.width * 2 ** (k + 1), 3, f"down{k}", strides=2, padding=1))
        # Residual blocks at the coarsest map.
        for k in range(self.num_blocks):
            h = nn.relu(block(x, x.shape[-1], 3, f"block{k}_conv0"))
            x = x + block(h, x.shape[-1], 3, f"block{k}_conv1")
        # Up.
        for k in reversed(range(self.depth)):
            x = nn.relu(block(_up(x), self.width * 2**k, 3, f"up{k}"))
        head = Conv(self.channels, (7, 7), dtype=dtype, kernel_init=init, padding="VALID", name="head")
        x = head(_edged(x, 3))
        return jnp.tanh(x.astype(acc_dtype_of(dtype or x.dtype)))


def _edged(x: jax.Array, by: int) -> jax.Array:
    """Continued beyond the border by its mirror image, or where the map is too small for that, by its edge."""
    mode = "reflect" if by < min(x.shape[1:3]) else "edge"
    return jnp.pad(x, ((0, 0), (by, by), (by, by), (0, 0)), mode=mode)


class PatchDiscriminator(nn.Module):
    """Tells real from fake patch by patch: images [B, H, W, C] -> logits [B, h, w].

    Args:
      width: channels of the first convolution; each further one doubles them, up to eight times.
      depth: halvings.
      norm: normalize each map but the first and maps of one pixel.
    """

    width: Annotated[int, Range(1)] = 32
    depth: Annotated[int, Range(1)] = 3
    norm: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, *images: jax.Array, train: bool = False) -> jax.Array:
        """Classify patches.

        [B, H, W, C] each in [-1, 1], such as what was given and what came out of it; seen together -> logits [B, h, w],
        positive for real.
        """
        # Source and target as channels of one image.
        x = jnp.concatenate(images, -1)
        _check_halvings(x.shape, self.depth, "depth")
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv = functools.partial(Conv, dtype=dtype, kernel_init=_kernel_init(self.norm))
        for k in range(self.depth):
            x = conv(self.width * min(8, 2**k), (4, 4), strides=2, padding=1, name=f"down{k}")(x)
            x = leaky_relu(_norm(x, self.norm and k > 0, f"down{k}_norm", dtype), 0.2)
        x = conv(self.width * min(8, 2**self.depth), (3, 3), name="last")(x)
        x = leaky_relu(_norm(x, self.norm, "last_norm", dtype), 0.2)
        # One logit for each patch.
        return conv(1, (3, 3), name="head")(x)[..., 0].astype(acc_dtype_of(dtype or x.dtype))


def _discriminator_objective(
    players: Players, loss: AdversarialLoss, state: PlayerState, inputs: tuple, mask: jax.Array, params: dict
) -> tuple[jax.Array, tuple]:
    """Loss of the discriminator on inputs (conditions, target images, fakes)."""
    *conditions, real, fake = inputs
    real_logit, statistics = players.apply("discriminator", params, state.model_state, *conditions, real)  # [B, h, w]
    model_state = {**state.model_state, "discriminator": statistics}
    fake_logit, statistics = players.apply("discriminator", params, model_state, *conditions, fake)  # [B, h, w]
    losses = loss.discriminator(real_logit, fake_logit).mean((1, 2))  # [B]
    return masked_mean(losses, mask), (statistics, losses)


def _generator_objective(
    players: Players,
    loss: AdversarialLoss,
    content: Callable[[jax.Array, jax.Array], jax.Array],
    weights: tuple[float, float],
    state: PlayerState,
    inputs: tuple,
    mask: jax.Array,
    params: dict,
) -> tuple[jax.Array, tuple]:
    """Loss of the generator on inputs (its own, target images, conditions of the discriminator)."""
    x, target_image, *conditions = inputs
    y, statistics = players.apply("generator", params, state.model_state, x)  # [B, H, W, C]
    # Content loss against the target image, and the adversarial loss.
    content_weight, adversarial_weight = weights
    content_losses = content(y, target_image)  # [B]
    total, g_losses = content_weight * content_losses, jnp.zeros_like(content_losses)
    if "discriminator" in players.networks:
        logit, _ = players.apply("discriminator", params, state.model_state, *conditions, y)  # [B, h, w]
        g_losses = loss.generator(logit).mean((1, 2))  # [B]
        total = total + adversarial_weight * g_losses
    return masked_mean(total, mask), (statistics, (total, content_losses, g_losses))


def paired_learner(
    *,
    generator: nn.Module,
    discriminator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    source: Callable[[dict], jax.Array],
    target: Callable[[dict], jax.Array],
    content: Callable[[jax.Array, jax.Array], jax.Array],
    measure: Callable[[dict, jax.Array, jax.Array], dict[str, jax.Array]],
    loss: LossName,
    adversarial_weight: float,
    content_weight: float,
    sees_source: bool,
) -> Learner:
    """Learn to turn images into their partners, by their difference and against a discriminator.

    Args:
      generator: `__call__(x, train) -> y`, in [-1, 1].
      discriminator: `__call__(x, y, train) -> logits [B, h, w]`, or without x; not used where its weight is 0.
      source: batch -> x, what is given, in [-1, 1].
      target: batch -> y, what is wanted, in [-1, 1].
      content: (output, y) -> loss [B].
      measure: (batch, output in [0, 1], y in [0, 1]) -> numbers [B] by name, of `evaluate`.
      loss: adversarial, of both players.
      adversarial_weight: weight of the generator's adversarial loss; 0 trains without a discriminator, and
        the learner then has a `loss`.
      content_weight: weight of the content.
      sees_source: show the discriminator pairs.

    Returns:
      The learner; `predict` returns `{"sample": images in [0, 1]}` and needs what `source` reads.
    """
    check_shapes(adversarial_weight=(adversarial_weight, ">= 0"), content_weight=(content_weight, ">= 0"))
    check_choice("loss", loss, LossName)
    is_adversarial, weights = adversarial_weight > 0, (content_weight, adversarial_weight)
    players = Players({"generator": generator}, {"generator": generator_optimizer})
    if is_adversarial:
        players.networks["discriminator"] = discriminator
        players.optimizers["discriminator"] = discriminator_optimizer

    def translate(params, model_state, batch, train=True):
        return players.apply("generator", params, model_state, source(batch), train=train)

    def conditions(batch):
        return (source(batch),) if sees_source else ()

    def init(rng: jax.Array, batch: dict) -> PlayerState:
        inputs = {"generator": (source(batch),), "discriminator": (*conditions(batch), target(batch))}
        return PlayerState(**players.init(rng, inputs))

    def update(state: PlayerState, batch: dict) -> tuple[PlayerState, Metrics]:
        mask, metrics = mask_of(batch), {}
        if is_adversarial:
            # Fake images for the discriminator, no gradient to the generator.
            real = target(batch)  # [B, H, W, C]
            fake, _ = translate(state.params, state.model_state, batch)
            # Discriminator step.
            inputs = (*conditions(batch), real, fake)
            objective = functools.partial(_discriminator_objective, players, LOSSES[loss], state, inputs, mask)
            state, losses = players.turn("discriminator", state, objective)
            metrics["d_loss"] = Sum.of(losses, mask)
        # Generator step, against the updated discriminator.
        inputs, adversarial = (source(batch), target(batch), *conditions(batch)), LOSSES[loss]
        objective = functools.partial(_generator_objective, players, adversarial, content, weights, state, inputs, mask)
        state, (total, content_losses, g_losses) = players.turn("generator", state, objective)
        metrics |= {"loss": Sum.of(total, mask), "content_loss": Sum.of(content_losses, mask)}
        metrics |= {"g_loss": Sum.of(g_losses, mask)} if is_adversarial else {}
        return state.replace(step=state.step + 1), metrics

    def content_objective(params: Any, state: PlayerState, batch: dict) -> tuple[jax.Array, Metrics]:
        y, _ = translate(params, state.model_state, batch, train=False)
        losses, mask = content_weight * content(y, target(batch)), mask_of(batch)
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask)}

    def evaluate(state: PlayerState, batch: dict) -> Metrics:
        y, _ = translate(state.params, state.model_state, batch, train=False)
        target_image, mask = target(batch), mask_of(batch)
        numbers = {"content_loss": content(y, target_image)} | measure(batch, denormalize(y), denormalize(target_image))
        return {name: Sum.of(values, mask) for name, values in numbers.items()}

    def predict(state: PlayerState, batch: dict) -> dict[str, jax.Array]:
        return {"sample": denormalize(translate(state.params, state.model_state, batch, train=False)[0])}

    return Learner(init, update, evaluate, predict, None if is_adversarial else content_objective)
