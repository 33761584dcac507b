"""NNCLR: contrast a view's nearest neighbor among past images, in place of the view itself, with the other view.

Dwibedi, Aytar, Tompson, Sermanet & Zisserman 2021, arXiv:2104.14548.

    n_i = stop_gradient of the unit vector in the queue with the largest cosine to z_i
    L_i = -log e^{n_i p_i / tau} / sum_k e^{n_i p_k / tau},   p = q(z) of the other views of the batch, of length 1

summed over both directions and halved. The projections z of the first view then replace the oldest in the queue (the
support set). A neighbor is another image, so that views may be matched that no augmentation makes.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import all_gather
from dlcore.optim import apply_gradients
from dlcore.self_supervised.moco import enqueue
from dlcore.self_supervised.networks import encode, init_variables, unit
from dlcore.self_supervised.siamese import Outputs, contrast_batch, encode_each, siamese_predict
from dlcore.self_supervised.views import alignment, two_views

__all__ = ["NNCLRState", "learner", "nearest_neighbors"]


@struct.dataclass
class NNCLRState(State):
    """The network and its support set.

    Args:
      model_state: batch statistics.
      queue: [K, D], projections of length 1.
      pointer: [] int32, index of the oldest.
    """

    model_state: Any
    queue: jax.Array
    pointer: jax.Array


def nearest_neighbors(queue: jax.Array, queries: jax.Array) -> jax.Array:
    """Find each query's nearest neighbor by the cosine.

    Args:
      queue: [K, D], of length 1.
      queries: [B, D].

    Returns:
      [B, D], rows of the queue; no gradient passes.
    """
    check_shapes(keys=(len(queue), ">= 1"))
    check_finite("queue", queue)
    check_finite("queries", queries)
    check_shapes(queue=(queue, "K D"), queries=(queries, "B D"))
    return jax.lax.stop_gradient(queue[(to_acc_dtype(queries) @ to_acc_dtype(queue).T).argmax(-1)])


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    preprocess: Preprocess = lambda images: images,
    queue_size: Annotated[int, Range(1)] = 98304,
    temperature: Annotated[float, Range(1e-3)] = 0.1,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, train) -> {"features", "projections", "embeddings", "predictions"}`, see `SiameseNet`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      preprocess: batch of views to the model's input.
      queue_size: K, embeddings in the support set; at least a batch.
      temperature: tau, by which cosines are divided.

    Returns:
      The learner. `evaluate` contrasts with the other images of the same batch, so its loss depends on the batch's
      size. `predict` returns `features`, `embeddings` and `untrained`.
    """

    def views_of(batch: dict, rng: jax.Array) -> tuple[jax.Array, jax.Array]:
        return two_views(augment, preprocess, example_keys(rng, batch), batch["image"])

    def compare(outputs: Outputs, queue: jax.Array, batch: dict) -> tuple[jax.Array, Metrics]:
        mask, losses, is_nearest = mask_of(batch), 0.0, 0.0
        for view, other in (outputs, outputs[::-1]):
            # The neighbor of one view is contrasted with the predictions of the other views.
            neighbors = nearest_neighbors(queue, view["embeddings"])  # [B, D]
            of_view, correct = contrast_batch(neighbors, unit(other["predictions"]), temperature, mask)
            losses, is_nearest = losses + of_view / 2, is_nearest + correct / 2
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask), "accuracy": Sum.of(is_nearest, mask)}

    def init(rng: jax.Array, batch: dict) -> NNCLRState:
        images = preprocess(batch["image"])
        model_state = init_variables(model, rng, images)
        params = model_state.pop("params")
        width = jax.eval_shape(lambda: encode(model, params, model_state, images)[0]["embeddings"]).shape[-1]
        queue = unit(jax.random.normal(jax.random.fold_in(rng, 2**31 - 2), (queue_size, width)))
        step = jnp.zeros((), jnp.int32)
        return NNCLRState(step, rng, params, optimizer.init(params), model_state, queue, step)

    def update(state: NNCLRState, batch: dict) -> tuple[NNCLRState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Two views of each image.
        views = views_of(batch, jax.random.fold_in(rng, 0))

        def objective(params: Any) -> tuple:
            outputs, model_state = encode_each(model, params, state.model_state, views, jax.random.fold_in(rng, 1))
            # Neighbors in the queue, contrasted with the other view.
            mean, metrics = compare(outputs, state.queue, batch)
            return mean, (model_state, metrics, outputs[0]["embeddings"])

        # Gradient through the predictions.
        gradients, (model_state, metrics, embeddings) = jax.grad(objective, has_aux=True)(state.params)
        # Enqueue the first views of all replicas; the oldest leave.
        queue, pointer = enqueue(state.queue, state.pointer, *all_gather((embeddings, mask_of(batch))))
        # Optimizer step.
        changes = {"model_state": model_state, "queue": queue, "pointer": pointer}
        return apply_gradients(state, optimizer, gradients, **changes), metrics

    def loss(params: Any, state: NNCLRState, batch: dict) -> tuple[jax.Array, Metrics]:
        outputs, _ = encode_each(model, params, state.model_state, views_of(batch, state.rng))
        return compare(outputs, state.queue, batch)

    def evaluate(state: NNCLRState, batch: dict) -> Metrics:
        outputs, _ = encode_each(model, state.params, state.model_state, views_of(batch, state.rng))
        first, second = (view["embeddings"] for view in outputs)
        return compare(outputs, state.queue, batch)[1] | alignment(first, second, mask_of(batch))

    return Learner(init, update, evaluate, siamese_predict(model, preprocess), loss)
