"""SimCLR: two views of an image attract each other and repel the views of all others in the batch.

Chen, Kornblith, Norouzi & Hinton 2020, arXiv:2002.05709.

    z = g(f(view)),   L = -1/2N sum_i log e^{cos(z_i, z_j(i)) / tau} / sum_{k != i} e^{cos(z_i, z_k) / tau}

over the 2N views i of a batch, j(i) the other view of the same image. The head g is thrown away: what is used is
h = f(image). The paper trains with LARS on batches of 4,096; here any optimiser.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Learner, Metrics, Range, State, Sum, example_keys, mask_of
from dlcore.losses.contrastive import nt_xent_scores
from dlcore.self_supervised.networks import untrained
from dlcore.self_supervised.views import Augment, Preprocess, alignment_and_uniformity, two_views

__all__ = ["SimCLRState", "learner"]


@struct.dataclass
class SimCLRState(State):
    """model_state: the encoder's other collections (batch statistics)."""

    model_state: Any


def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augment,
    preprocess: Preprocess = lambda images: images,
    temperature: Annotated[float, Range(1e-3)] = 0.5,
    axis: str | None = None,
) -> Learner:
    """An encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are never looked at.

    Args:
      model: `__call__(x, train) -> {"features": [B, D], "embeddings": [B, E]}`, see `Embedder`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      preprocess: batch of views to the model's input.
      temperature: tau.
      axis: name of the mapped axis under pmap; negatives come from all replicas.

    evaluate draws two views of each image: its loss is against the other images of the same batch, as in training, so
    it depends on the batch's size. predict gives `{"features", "embeddings", "untrained"}` of the images as they are;
    `untrained: [B, D]` are the features of the same net before its first step, drawn again from the root key.
    """

    def apply(params, model_state, images, train, rng=None):
        variables = {"params": params, **model_state}
        if not train:
            return model.apply(variables, images, train=False), model_state
        return model.apply(variables, images, train=True, mutable=list(model_state), rngs={"dropout": rng})

    def views(batch, rng):
        return two_views(augment, preprocess, example_keys(rng, batch), batch["image"])

    def init(rng: jax.Array, batch: dict) -> SimCLRState:
        variables = untrained(model, rng, preprocess(batch["image"]))
        params = variables.pop("params")
        return SimCLRState(
            step=jnp.zeros((), jnp.int32),
            rng=rng,
            params=params,
            opt_state=optimizer.init(params),
            model_state=variables,
        )

    def contrast(a, b, mask, axis=None):
        """(loss, metrics) of two views' embeddings [B, E]."""
        scores, positives = nt_xent_scores(a, b, temperature, mask, axis)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, positives)
        keep = jnp.concatenate([mask, mask])
        mean = jnp.where(keep > 0, losses, 0).sum() / jnp.maximum(keep.sum(), 1)
        return mean, {"loss": Sum.of(losses, keep), "accuracy": Sum.of(scores.argmax(-1) == positives, keep)}

    def both(params, model_state, views, train, rng=None):
        # One pass over the 2N views, so that batch statistics are theirs together.
        out, model_state = apply(params, model_state, jnp.concatenate(views), train, rng)
        return *jnp.split(out["embeddings"], 2), model_state

    def loss(params: Any, state: SimCLRState, batch: dict) -> tuple[jax.Array, Metrics]:
        a, b, _ = both(params, state.model_state, views(batch, state.rng), train=False)
        return contrast(a, b, mask_of(batch))

    def update(state: SimCLRState, batch: dict) -> tuple[SimCLRState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        pair = views(batch, jax.random.fold_in(rng, 0))

        def value_fn(params):
            a, b, model_state = both(params, state.model_state, pair, train=True, rng=jax.random.fold_in(rng, 1))
            value, metrics = contrast(a, b, mask_of(batch), axis)
            return value, (model_state, metrics)

        gradients, (model_state, metrics) = jax.grad(value_fn, has_aux=True)(state.params)
        if axis is not None:
            model_state = jax.lax.pmean(model_state, axis)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state, model_state=model_state), metrics

    def evaluate(state: SimCLRState, batch: dict) -> Metrics:
        a, b, _ = both(state.params, state.model_state, views(batch, state.rng), train=False)
        return contrast(a, b, mask_of(batch))[1] | alignment_and_uniformity(a, b, mask_of(batch))

    def predict(state: SimCLRState, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(batch["image"])
        before = model.apply(untrained(model, state.rng, images[:1]), images, train=False)
        return apply(state.params, state.model_state, images, train=False)[0] | {"untrained": before["features"]}

    return Learner(init, update, evaluate, predict, loss)
