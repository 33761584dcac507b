"""A ViT whose patches may be hidden, and the learner of techniques that predict something of the hidden ones.

I-JEPA, SimMIM, BEiT and data2vec share it: each image loses patches, a network says something of them, and where there
is a teacher, it gives the targets from the whole image. It is an exponential moving average (EMA) of the network, or
another network that stands still.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_range, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.nn import Dense, LayerNorm, TransformerEncoderBlock, gelu, grid_positions
from dlcore.ops import patch_grid, patchify
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype
from dlcore.optim import apply_gradients
from dlcore.optim.ema import init_average, momentum_update

__all__ = ["PatchViT", "TeacherState", "masked_patch_mean", "normalize_features", "patch_learner"]


class PatchViT(nn.Module):
    """A ViT without a class token on [B, H, W, C], sides multiples of P = patch_size; positions are fixed sines.

    Args:
      patch_size: P, side in pixels of a patch.
      depth: number of blocks.
      width: D, features of a token.
      num_heads: attention heads of each block.
      mlp_features: hidden units of a block's MLP.
      epsilon: epsilon of the layer norms.
      dtype: dtype of the computation; None takes the parameters'.
    """

    patch_size: Annotated[int, Range(1)] = 16
    depth: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(4)] = 768
    num_heads: Annotated[int, Range(1)] = 12
    mlp_features: Annotated[int, Range(1)] = 3072
    epsilon: float = 1e-6
    dtype: Any = None

    def grid(self, x: jax.Array) -> tuple[int, int]:
        """Return the number of patches along each side.

        Args:
          x: [B, H, W, C].

        Returns:
          (rows, columns).

        Raises:
          ValueError: patches do not cover the image.
        """
        return patch_grid(x, self.patch_size)

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, masked: jax.Array | None = None, visible: jax.Array | None = None
    ) -> dict[str, Any]:
        """Encode images.

        Args:
          x: [B, H, W, C].
          train: unused, as nothing drops.
          masked: [B, N] bool, patches in whose place a learned mask token stands; None: none.
          visible: [B, N] bool, patches that tokens may attend to; the tokens of the others mean nothing. None: all.

        Returns:
          `tokens: [B, N, D]`, normalized, at least float32; `layers`, the output [B, N, D] of each block; `features:
          [B, D]`, the mean of the tokens.

        Raises:
          ValueError: patches do not cover the image.
        """
        grid = self.grid(x)
        z = Dense(self.width, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform(), name="patch_embed")(
            patchify(x, self.patch_size)
        )  # [B, N, D]
        if masked is not None:
            token = self.param("mask_token", nn.initializers.normal(0.02), (self.width,))
            z = jnp.where(masked[..., None], token.astype(z.dtype), z)
        z = z + jnp.asarray(grid_positions(*grid, self.width), z.dtype)
        attention = None if visible is None else visible[:, None, None, :]  # [B, 1, 1, N]
        layers = []
        for i in range(self.depth):
            z = TransformerEncoderBlock(
                self.num_heads,
                self.mlp_features,
                pre_norm=True,
                activation=gelu,
                epsilon=self.epsilon,
                dtype=self.dtype,
                name=f"blocks_{i}",
            )(z, mask=attention)
            layers.append(to_acc_dtype(z))
        tokens = LayerNorm(self.epsilon, name="norm")(layers[-1])
        return {"tokens": tokens, "layers": layers, "features": tokens.mean(1)}


@struct.dataclass
class TeacherState(State):
    """The network that learns (`params`) and its average.

    Args:
      teacher_params: EMA of the part of `params` that encodes images, or a frozen network; None without a teacher.
    """

    teacher_params: Any


def normalize_features(x: jax.Array, epsilon: float = 1e-6) -> jax.Array:
    """Give the features of each token the mean 0 and the variance 1, without parameters.

    Args:
      x: [..., D].
      epsilon: added to the variance.

    Returns:
      [..., D].
    """
    check_shapes(x=(x, "... D"), epsilon=(epsilon, ">= 0"))
    x, dtype = to_acc_dtype(x), result_dtype(x)
    x = x - x.mean(-1, keepdims=True)
    return (x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + epsilon)).astype(dtype)


def masked_patch_mean(losses: jax.Array, masked: jax.Array) -> jax.Array:
    """Average over the masked patches of each image.

    Args:
      losses: [..., N].
      masked: [..., N] bool.

    Returns:
      [...]; 0 where no patch is masked.
    """
    check_shapes(losses=(losses, "... N"), masked=(masked, "mask ... N"))
    return jnp.where(masked, to_acc_dtype(losses), 0).sum(-1) / jnp.maximum(masked.sum(-1), 1)


def patch_learner(
    *,
    model: nn.Module,
    init_params: Callable[[jax.Array, jax.Array], Any],
    losses: Callable[[Any, Any, jax.Array, jax.Array], dict[str, jax.Array]],
    optimizer: optax.GradientTransformation,
    teacher_momentum: Callable[[jax.Array], jax.Array] | None = None,
    init_teacher: Callable[[jax.Array, jax.Array], Any] | None = None,
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda images: images,
) -> Learner:
    """Build the learner of a technique that predicts something of masked patches.

    Args:
      model: the encoder, such as `PatchViT`: its `features` [B, D] are what the learner predicts.
      init_params: (key, images) -> parameters; with a teacher {"encoder": ..., ...}, of which it averages "encoder".
      losses: (params, teacher_params, images, keys [B]) -> values [B] of each image, the objective under "loss".
      optimizer: any optax transformation.
      teacher_momentum: step -> share that the teacher keeps of its weights; None: no teacher follows the network.
      init_teacher: (key, images) -> initial weights of a teacher that stands still; None: there is none.
      augment: `(key, preprocessed image) -> image`; None leaves images as they are.
      preprocess: batch of images to the model's input.

    Returns:
      The learner; `predict` returns `features: [B, D]` and `untrained`, the same before the first step.
    """
    if teacher_momentum is not None:
        check_range("teacher_momentum", float(teacher_momentum(jnp.zeros((), jnp.int32))), Range(0, 1))

    def objective(params: Any, state: TeacherState, images: jax.Array, keys: jax.Array, mask: jax.Array):
        values = losses(params, state.teacher_params, images, keys)
        metrics: Metrics = {name: Sum.of(value, mask) for name, value in values.items()}
        return masked_mean(values["loss"], mask), metrics

    def first_params(rng: jax.Array, images: jax.Array) -> Any:
        return init_params(jax.random.fold_in(rng, 2**31 - 1), images[:1])

    def init(rng: jax.Array, batch: dict) -> TeacherState:
        images = preprocess(batch["image"])
        params, teacher = first_params(rng, images), None
        if teacher_momentum is not None:
            teacher = init_average(params["encoder"])
        elif init_teacher is not None:
            teacher = init_teacher(jax.random.fold_in(rng, 2**31 - 2), images)
        return TeacherState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), teacher)

    def loss(params: Any, state: TeacherState, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, state, preprocess(batch["image"]), example_keys(state.rng, batch), mask_of(batch))

    def update(state: TeacherState, batch: dict) -> tuple[TeacherState, Metrics]:
        # Mask and augmentation of each image by its own key.
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)  # [B]
        images = preprocess(batch["image"])  # [B, H, W, C]
        if augment is not None:
            images = jax.vmap(lambda key, image: augment(jax.random.fold_in(key, 1), image))(keys, images)
        # Gradient with respect to the network alone; the teacher gets none.
        gradient = jax.value_and_grad(objective, has_aux=True)
        (value, metrics), gradients = gradient(state.params, state, images, keys, mask_of(batch))
        # Optimizer step.
        new = apply_gradients(state, optimizer, gradients, value=value)
        if teacher_momentum is None:
            return new, metrics
        # EMA of the encoder.
        momentum = teacher_momentum(state.step)
        return new.replace(
            teacher_params=momentum_update(state.teacher_params, new.params["encoder"], momentum)
        ), metrics

    def evaluate(state: TeacherState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: TeacherState, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(batch["image"])
        encoder = state.params["encoder"] if teacher_momentum is None else state.teacher_params
        encoders = {"features": encoder, "untrained": first_params(state.rng, images)["encoder"]}
        return {name: model.apply({"params": params}, images)["features"] for name, params in encoders.items()}

    return Learner(init, update, evaluate, predict, loss)
