"""SimCLR: two views of an image attract each other and repel the views of all others in the batch.

Chen, Kornblith, Norouzi & Hinton 2020, arXiv:2002.05709.

    z = g(f(view)),   L = -1/2N sum_i log e^{cos(z_i, z_j(i)) / tau} / sum_{k != i} e^{cos(z_i, z_k) / tau}

over the 2N views i of a batch, j(i) the other view of the same image. The head g is thrown away: what is used is
h = f(image). The paper trains with LARS on batches of 4,096; here any optimizer.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, nt_xent_scores, softmax_cross_entropy_loss
from dlcore.optim import apply_gradients
from dlcore.self_supervised.networks import encode, init_variables, predict_features
from dlcore.self_supervised.views import alignment, two_views

__all__ = ["learner"]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    preprocess: Preprocess = lambda images: images,
    temperature: Annotated[float, Range(1e-3)] = 0.5,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, train) -> {"features": [B, D], "embeddings": [B, E]}`, see `Embedder`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      preprocess: batch of views to the model's input.
      temperature: tau, by which cosines are divided.

    Returns:
      The learner. `evaluate` contrasts two views of each image with the other images of the same batch, so its loss
      depends on the batch's size; `predict` is `predict_features`.
    """

    def embed(params, model_state, batch, rng, dropout=None):
        """Embeddings of both views, from one pass, so that batch statistics are over all 2N."""
        views = two_views(augment, preprocess, example_keys(rng, batch), batch["image"])
        out, model_state = encode(model, params, model_state, jnp.concatenate(views), dropout)
        return *jnp.split(out["embeddings"], 2), model_state

    def contrast(a, b, batch):
        mask = mask_of(batch)
        # NT-Xent: 2N views, each against all others.
        scores, positives = nt_xent_scores(a, b, temperature, mask)  # [2B, 2N], [2B]
        losses, mask = softmax_cross_entropy_loss(scores, positives), jnp.concatenate([mask, mask])
        metrics = {"loss": Sum.of(losses, mask), "accuracy": Sum.of(scores.argmax(-1) == positives, mask)}
        return masked_mean(losses, mask), metrics

    def init(rng: jax.Array, batch: dict) -> ModelState:
        model_state = init_variables(model, rng, preprocess(batch["image"]))
        params = model_state.pop("params")
        return ModelState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), model_state)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        a, b, _ = embed(params, state.model_state, batch, state.rng)
        return contrast(a, b, batch)

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)

        def objective(params):
            views, dropout = jax.random.fold_in(rng, 0), jax.random.fold_in(rng, 1)
            # Embeddings of two views of each image, from one pass.
            a, b, model_state = embed(params, state.model_state, batch, views, dropout)  # [B, E], [B, E]
            # Negatives come from all replicas.
            mean, metrics = contrast(a, b, batch)
            return mean, (model_state, metrics)

        # Gradient of NT-Xent.
        gradients, (model_state, metrics) = jax.grad(objective, has_aux=True)(state.params)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        a, b, _ = embed(state.params, state.model_state, batch, state.rng)
        return contrast(a, b, batch)[1] | alignment(a, b, mask_of(batch))

    predict = functools.partial(predict_features, model, preprocess)
    return Learner(init, update, evaluate, predict, loss)
