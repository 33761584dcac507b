"""An encoder of images with the head whose output the contrastive loss sees."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn import BatchNorm

__all__ = ["Embedder", "unit"]


def unit(z: jax.Array) -> jax.Array:
    """z [..., D] at length 1; zero stays zero."""
    return z * jax.lax.rsqrt(jnp.maximum(jnp.square(z).sum(-1, keepdims=True), 1e-12))


class Embedder(nn.Module):
    """Images [B, H, W, C] to `{"features": [B, D], "embeddings": [B, E]}`.

    backbone: any model of dlcore.models: the features h are the average of the last map of its method `features`.
    head: linear (MoCo v1), mlp (one hidden layer of D: MoCo v2), or mlp_norm (with batch norm in it: SimCLR); its
    output z, at length 1, is the embedding. What is used afterwards is h.
    """

    backbone: nn.Module
    head: Literal["linear", "mlp", "mlp_norm"] = "mlp"
    embedding: int = 128
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Features and embeddings, at least float32."""
        last = list(self.backbone.features(x, train).values())[-1]
        h = last.astype(jnp.promote_types(last.dtype, jnp.float32)).mean((1, 2))
        z = h
        if self.head != "linear":
            z = nn.Dense(h.shape[-1], use_bias=self.head == "mlp", name="hidden")(z)
            if self.head == "mlp_norm":
                z = BatchNorm(not train, axis_name=self.axis_name, name="hidden_bn")(z)
            z = nn.relu(z)
        return {"features": h, "embeddings": unit(nn.Dense(self.embedding, name="projection")(z))}


def untrained(model: nn.Module, rng: jax.Array, images: Any) -> dict:
    """The model's variables as drawn from a root key."""
    return dict(model.init(jax.random.fold_in(rng, 2**31 - 1), images, train=False))
