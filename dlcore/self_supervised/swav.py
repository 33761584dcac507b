"""SwAV: predict a crop's assignment to prototypes from another crop of the image; assignments are balanced by Sinkhorn.

Caron, Misra, Mairal, Goyal, Bojanowski & Joulin 2020, arXiv:2006.09882 (swapping assignments between views).

    s = z C^T,   z = unit(g(f(crop))),   C the prototypes, unit vectors
    q_t = Sinkhorn(s of large crop t of the batch, and of a queue of past ones; epsilon)       codes: no gradient
    p_v = softmax(s_v / tau),   L = mean over pairs of different crops (t large, v any) of -sum_k q_t log p_v

The code of one crop is predicted from the other, so the two must agree, and Sinkhorn gives each prototype an equal part
of the images, so they cannot agree on one prototype for all. Small batches have fewer images than prototypes: each
large crop has a queue of past embeddings z, which share the assignment, from the step `queue_start` on, once it is
full. Prototypes may stand still in the first steps (`last_layer`).
Deviations: prototypes are normalized where they are used and not after each step, and the head is DINO's (GELU, three
layers).
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import Augmentation, Preprocess, to_float
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.metrics import PrototypeUsage
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import all_gather, local_rows
from dlcore.self_supervised.moco import enqueue
from dlcore.self_supervised.networks import encode_views, init_variables, unit
from dlcore.self_supervised.prototypes import (
    crop_losses,
    log_probabilities,
    prototype_step,
    sinkhorn,
    soft_cross_entropy,
)
from dlcore.self_supervised.siamese import siamese_predict
from dlcore.self_supervised.views import GLOBAL_CROPS, multi_crops

__all__ = ["SwAVState", "learner", "swav_codes"]


@struct.dataclass
class SwAVState(ModelState):
    """The network and the queues.

    Args:
      queue: [2, Q, E], past embeddings of each large crop; Q is 0 without queues.
      pointer: [] int32, index of the oldest.
      filled: [] int32, embeddings in each queue.
    """

    queue: jax.Array
    pointer: jax.Array
    filled: jax.Array


def swav_codes(
    scores: jax.Array,
    queue_scores: jax.Array,
    mask: jax.Array,
    uses_queue: bool | jax.Array = True,
    epsilon: float | jax.Array = 0.05,
    iterations: int = 3,
) -> jax.Array:
    """Assign the large crops of a batch to prototypes, each crop together with its queue.

    Args:
      scores: [2, B, K], cosines of the large crops.
      queue_scores: [2, Q, K], cosines of the past embeddings; Q may be 0.
      mask: [B], 0 for padding.
      uses_queue: [] whether the queue shares the assignment.
      epsilon: temperature of the assignment.
      iterations: Sinkhorn's.

    Returns:
      [2, B, K], the codes, without a gradient.
    """
    check_shapes(
        scores=(scores, "2 B K"),
        queue_scores=(queue_scores, "2 Q K"),
        mask=(mask, "mask B"),
        uses_queue=(uses_queue, ""),
    )
    batch_scores, mask = all_gather((jnp.moveaxis(scores, 1, 0), mask))  # [M, 2, K], [M]
    in_queue = jnp.broadcast_to(jnp.asarray(uses_queue).astype(scores.dtype), queue_scores.shape[1:2])
    codes = [
        sinkhorn(
            jnp.concatenate([batch_scores[:, t], queue_scores[t]]), epsilon, iterations, jnp.append(mask, in_queue)
        )
        for t in range(GLOBAL_CROPS)
    ]
    return jnp.stack([local_rows(code[: len(batch_scores)]) for code in codes])


def _enqueue_crops(state: SwAVState, embeddings: jax.Array, mask: jax.Array) -> SwAVState:
    """Put the embeddings [2, B, E] of each large crop, of all replicas, into its queue, but for padding, mask [B] 0."""
    keys, mask = all_gather((jnp.moveaxis(embeddings, 1, 0), mask))  # [M, 2, E], [M]
    queue, pointer = jax.vmap(enqueue, (0, None, 1, None), (0, None))(state.queue, state.pointer, keys, mask)
    filled = jnp.minimum(state.filled + (mask > 0).sum(dtype=jnp.int32), state.queue.shape[1])
    return state.replace(queue=queue, pointer=pointer, filled=filled)


def _objective(codes: jax.Array, scores: jax.Array, temperature: float, mask: jax.Array) -> tuple[jax.Array, Metrics]:
    """Return the mean loss, and the entropies that tell collapse: of the codes, and of the mean prediction."""
    losses = crop_losses(codes, scores, temperature)  # [B]
    probs = jnp.exp(log_probabilities(scores[:GLOBAL_CROPS], temperature))  # [2, B, K]
    usage = jnp.where(mask[:, None] > 0, probs, 0).sum((0, 1))  # [K]
    entropy = soft_cross_entropy(codes, jnp.log(codes)).mean(0) / jnp.log(codes.shape[-1])  # [B]
    return masked_mean(losses, mask), {
        "loss": Sum.of(losses, mask),
        "code_entropy": Sum.of(entropy, mask),
        "usage": PrototypeUsage(usage, GLOBAL_CROPS * (mask > 0).sum(dtype=jnp.int32)),
    }


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    augment_local: Augmentation,
    last_layer: Callable[[jax.Array], jax.Array] = lambda step: 1.0,
    preprocess: Preprocess = lambda images: images,
    normalize: Preprocess | None = None,
    local_crops: Annotated[int, Range(0)] = 6,
    temperature: Annotated[float, Range(1e-3)] = 0.1,
    epsilon: Annotated[float, Range(1e-3)] = 0.05,
    iterations: Annotated[int, Range(1)] = 3,
    queue_size: Annotated[int, Range(0)] = 3840,
    queue_start: Annotated[int, Range(0)] = 0,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, train) -> {"features": [B, D], "embeddings": [B, E]}` with a parameter `prototypes` [K, E], as
        `DINONet` of `dlcore.self_supervised.networks`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, a large crop; two are drawn.
      augment_local: the same for a small crop, of a smaller shape.
      last_layer: step -> factor of the gradient of the prototypes; at 0 they stand still under any optimizer.
      preprocess: batch of whole images to the model's input.
      normalize: batch of crops to the model's input; None takes `preprocess`.
      local_crops: small crops of an image.
      temperature: tau, by which the predicted cosines are divided.
      epsilon: temperature of the codes; near 0 each image has one prototype.
      iterations: Sinkhorn's iterations.
      queue_size: Q, past embeddings of each large crop, at least a batch; 0 for none.
      queue_start: step from which the full queue shares the assignment.

    Returns:
      The learner. `predict` returns `features`, `embeddings` and `untrained`, the features before the first step.
    """
    embed = functools.partial(encode_views, model, preprocess if normalize is None else normalize, output="embeddings")
    views = functools.partial(multi_crops, augment, augment_local, local_crops)

    def compare(params: Any, embeddings: jax.Array, state: SwAVState, batch: dict) -> tuple[jax.Array, Metrics]:
        mask = mask_of(batch)
        # Cosines with the prototypes.
        prototypes = unit(params["prototypes"])  # [K, E]
        scores = embeddings @ prototypes.T  # [V, B, K]
        # Codes of the large crops, balanced over batch and queue, no gradient.
        uses_queue = (state.filled >= queue_size) & (state.step >= queue_start)
        codes = swav_codes(scores[:GLOBAL_CROPS], state.queue @ prototypes.T, mask, uses_queue, epsilon, iterations)
        # Swapped prediction: the code of one crop from each other crop.
        return _objective(codes, scores, temperature, mask)

    def init(rng: jax.Array, batch: dict) -> SwAVState:
        model_state = init_variables(model, rng, preprocess(to_float(batch["image"])))
        params = model_state.pop("params")
        step, opt_state = jnp.zeros((), jnp.int32), optimizer.init(params)
        queue = jnp.zeros((GLOBAL_CROPS, queue_size, params["prototypes"].shape[1]))
        return SwAVState(step, rng, params, opt_state, model_state, queue, step, step)

    def update(state: SwAVState, batch: dict) -> tuple[SwAVState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Two global crops and L local ones.
        crops = views(batch, jax.random.fold_in(rng, 0))

        def objective(params: Any) -> tuple:
            embeddings, model_state = embed(params, state.model_state, crops, jax.random.fold_in(rng, 1))  # [V, B, E]
            mean, metrics = compare(params, embeddings, state, batch)
            return mean, (model_state, metrics, embeddings[:GLOBAL_CROPS])

        # Gradient of the loss.
        gradients, (model_state, metrics, embeddings) = jax.grad(objective, has_aux=True)(state.params)
        if queue_size:
            # Enqueue the large crops of all replicas; the oldest leave.
            state = _enqueue_crops(state, embeddings, mask_of(batch))
        # Optimizer step; the prototypes stand still in the first steps.
        return prototype_step(state, optimizer, gradients, last_layer(state.step), model_state=model_state), metrics

    def loss(params: Any, state: SwAVState, batch: dict) -> tuple[jax.Array, Metrics]:
        embeddings, _ = embed(params, state.model_state, views(batch, state.rng))
        return compare(params, embeddings, state, batch)

    def evaluate(state: SwAVState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    return Learner(init, update, evaluate, siamese_predict(model, preprocess), loss)
