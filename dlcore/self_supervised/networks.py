"""Encoders of images with a projection head, and how learners apply them."""

import math
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.data.augment import Preprocess
from dlcore.learner import Range, State
from dlcore.nn import BatchNorm, Dense, gelu
from dlcore.nn.apply import apply_model
from dlcore.ops import patch_grid
from dlcore.ops.l2_normalize import l2_normalize
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = [
    "DINONet",
    "Embedder",
    "PatchDINONet",
    "backbone_features",
    "encode",
    "encode_views",
    "init_variables",
    "pool_features",
    "predict_features",
    "unit",
]


def unit(z: jax.Array) -> jax.Array:
    """Scale vectors to length 1.

    Args:
      z: [..., D].

    Returns:
      [..., D]; zero stays zero.
    """
    return l2_normalize(z)


def pool_features(maps: dict[str, jax.Array]) -> jax.Array:
    """Average the last map of a backbone over its pixels: an image's features.

    Args:
      maps: {stage: [B, H, W, D], or [B, D] of a network without maps}, from a model's method `features`.

    Returns:
      [B, D], at least float32.
    """
    last = list(maps.values())[-1]
    return to_acc_dtype(last).mean(tuple(range(1, last.ndim - 1)))


def backbone_features(backbone: nn.Module, x: jax.Array, train: bool = False) -> jax.Array:
    """Compute the features of a backbone inside a module.

    Args:
      backbone: a ViT without a head (num_classes=0), whose class token are the features; or another model, whose
        features are the mean of the last map of its method `features`.
      x: [B, H, W, C], preprocessed.
      train: normalize by batch statistics, and update the running ones.

    Returns:
      [B, D], at least float32.
    """
    if getattr(backbone, "num_classes", 1) != 0:
        return pool_features(backbone.features(x, train))
    h = backbone(x, train)
    return to_acc_dtype(h)


class Embedder(nn.Module):
    """A backbone with a projection head: the features are used afterwards, the embeddings are what the loss sees.

    Args:
      backbone: a model of dlcore.models; features are the spatial mean of the last map of its method `features`.
      head: projection: linear (MoCo v1), mlp (one hidden layer: MoCo v2), mlp_norm (with batch norm in it: SimCLR).
      proj_dim: size of an embedding, the projection head's output.
      axis_name: mapped axis over which the head's batch statistics are averaged.
    """

    backbone: nn.Module
    head: Literal["linear", "mlp", "mlp_norm"] = "mlp"
    proj_dim: Annotated[int, Range(1)] = 128
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Encode and project images.

        Args:
          x: [B, H, W, C], preprocessed.
          train: normalize by batch statistics, and update the running ones.

        Returns:
          `features: [B, D]` and `embeddings: [B, proj_dim]` of length 1, at least float32.
        """
        check_choice("head", self.head, ("linear", "mlp", "mlp_norm"))
        z = h = pool_features(self.backbone.features(x, train))
        if self.head != "linear":
            z = Dense(h.shape[-1], use_bias=self.head == "mlp", name="hidden")(z)
            if self.head == "mlp_norm":
                z = BatchNorm(not train, axis_name=self.axis_name, name="hidden_bn")(z)
            z = nn.relu(z)
        return {"features": h, "embeddings": unit(Dense(self.proj_dim, name="projection")(z))}


class DINONet(nn.Module):
    """A backbone with DINO's head: three layers, a unit vector, and K cosines with unit vectors.

    Args:
      backbone: a ViT without a head (num_classes=0), whose class token are the features; or another model, whose
        features are the mean of the last map of its method `features`.
      outputs: K, cosines of the head.
      hidden_features: width of the head's two hidden layers.
      bottleneck: numbers of the unit vector.
      batch_norm: normalize the hidden layers by the batch, the paper's `use_bn_in_head`: a small network whose features
        differ little from image to image would else give all of them one unit vector.
      axis_name: mapped axis over which the head's batch statistics are averaged.
    """

    backbone: nn.Module
    outputs: Annotated[int, Range(2)] = 65536
    hidden_features: Annotated[int, Range(1)] = 2048
    bottleneck: Annotated[int, Range(1)] = 256
    batch_norm: bool = False
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Encode images and compare them with the prototypes.

        Args:
          x: [B, H, W, C], preprocessed.
          train: normalize by batch statistics, and update the running ones.

        Returns:
          `features: [B, D]`, `embeddings: [B, bottleneck]` of length 1, and `logits: [B, K]` in [-1, 1], at least
          float32.
        """
        h = backbone_features(self.backbone, x, train)
        return {"features": h, **self._project(h, train)}

    def _project(self, h: jax.Array, train: bool, prefix: str = "") -> dict[str, jax.Array]:
        """Return `embeddings` of length 1 and `logits` of features; `prefix`: of the names of the head's parameters."""
        # The variance is kept at every width, so that z, whose length is lost, is not all bias; 0.02 at width 2,048.
        init, z = nn.initializers.lecun_normal(), h
        for i in range(2):
            z = Dense(self.hidden_features, kernel_init=init, name=f"{prefix}head{i}")(z)
            if self.batch_norm:
                z = BatchNorm(not train, axis_name=self.axis_name, name=f"{prefix}head{i}_bn")(z)
            z = gelu(z)
        z = unit(Dense(self.bottleneck, kernel_init=init, name=f"{prefix}head2")(z))
        prototypes = self.param(f"{prefix}prototypes", nn.initializers.normal(1.0), (self.outputs, self.bottleneck))
        return {"embeddings": z, "logits": z @ unit(prototypes).astype(z.dtype).T}


class PatchDINONet(DINONet):
    """A ViT with DINO's head on its class token and on its patches, some of which may be hidden (iBOT, DINOv2).

    The backbone is a ViT with a class token. The fields are those of `DINONet`, and:

    Args:
      separate_heads: patches have a head of their own, as in DINOv2; False: both have the same one, as in iBOT.
    """

    separate_heads: bool = False

    def grid(self, x: jax.Array) -> tuple[int, int]:
        """Return the number of patches along each side.

        Args:
          x: [B, H, W, C].

        Returns:
          (rows, columns).

        Raises:
          ValueError: patches do not cover the image.
        """
        return patch_grid(x, self.backbone.patch_size)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, masked: jax.Array | None = None) -> dict[str, jax.Array]:
        """Encode images, and compare their class tokens and patches with the prototypes.

        Args:
          x: [B, H, W, C], preprocessed.
          train: training mode of the backbone and the heads' batch norm.
          masked: [B, N] bool, hidden patches; None: none.

        Returns:
          `features: [B, D]`, the class token; its `embeddings: [B, bottleneck]` and `logits: [B, K]`; and
          `patch_logits: [B, N, K]`; at least float32.

        Raises:
          ValueError: patches do not cover the image.
        """
        masked = jnp.zeros((len(x), math.prod(self.grid(x))), bool) if masked is None else masked
        features = self.backbone.width - self.backbone.position_features
        mask_token = self.param("mask_token", nn.initializers.zeros, (features,))
        h, patches = self.backbone.tokens(x, train, masked, mask_token)
        if self.separate_heads:
            out, patch_logits = self._project(h, train), self._project(patches, train, "patch_")["logits"]
        else:
            both = self._project(jnp.concatenate([h[:, None], patches], 1), train)
            out, patch_logits = {name: z[:, 0] for name, z in both.items()}, both["logits"][:, 1:]
        return {"features": h, **out, "patch_logits": patch_logits}


def init_variables(model: nn.Module, rng: jax.Array, images: Any) -> dict:
    """Draw the variables of a model from a root key, the same whenever it is called.

    Args:
      model: `__call__(x, train)`.
      rng: root key.
      images: [B, H, W, C], preprocessed.

    Returns:
      The variables.
    """
    return dict(model.init(jax.random.fold_in(rng, 2**31 - 1), images, train=False))


def encode(
    model: nn.Module, params: Any, model_state: Any, images: jax.Array, dropout: jax.Array | None = None
) -> tuple[dict[str, jax.Array], Any]:
    """Apply an encoder.

    Args:
      model: `__call__(x, train) -> {"features", "embeddings"}`.
      params: parameters of the model.
      model_state: other collections (batch statistics).
      images: [B, H, W, C], preprocessed.
      dropout: key of a training step; None for evaluation.

    Returns:
      (outputs, model_state), the latter updated in training.
    """
    return apply_model(model, params, model_state, images, train=dropout is not None, rng=dropout)


def encode_views(
    model: nn.Module,
    preprocess: Preprocess,
    params: Any,
    model_state: Any,
    views: list[jax.Array],
    dropout: jax.Array | None = None,
    output: str = "logits",
) -> tuple[jax.Array, Any]:
    """Apply an encoder to views of several sizes, by one pass over those of a size.

    Args:
      model: `__call__(x, train) -> {"features", "logits"}`.
      preprocess: batch of views to the model's input.
      params: parameters of the model.
      model_state: other collections (batch statistics).
      views: [V_s, B, H_s, W_s, C] of each size, as `dlcore.self_supervised.views.multi_crops` draws them.
      dropout: key of a training step; None for evaluation.
      output: name of the model's output.

    Returns:
      (the output [V, B, ...] of all views, model_state), the latter updated in training.
    """
    if not views:
        raise ValueError("views: none; allowed: at least one array [V, B, H, W, C]")
    outputs = []
    for view in views:
        images = preprocess(view.reshape(-1, *view.shape[2:]))  # [V_s * B, H_s, W_s, C]
        out, model_state = encode(model, params, model_state, images, dropout)
        check_choice("output", output, out)
        outputs.append(out[output].reshape(*view.shape[:2], -1))
    return jnp.concatenate(outputs), model_state


def predict_features(model: nn.Module, preprocess: Preprocess, state: State, batch: dict) -> dict[str, jax.Array]:
    """Encode images as they are, by the trained encoder and by the same one before its first step.

    Args:
      model: `__call__(x, train) -> {"features", "embeddings"}`, initialized by `init_variables(model, state.rng, ...)`.
      preprocess: batch of images to the model's input.
      state: state with `params` and `model_state`.
      batch: batch with `image`.

    Returns:
      `features: [B, D]`, `embeddings: [B, E]`, and `untrained: [B, D]`, the features before the first step.
    """
    images = preprocess(batch["image"])
    before = model.apply(init_variables(model, state.rng, images[:1]), images, train=False)
    return encode(model, state.params, state.model_state, images)[0] | {"untrained": before["features"]}
