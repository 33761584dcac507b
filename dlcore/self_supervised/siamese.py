"""Two views of an image, encoded apart and compared: what BYOL, SimSiam, MoCo v3, Barlow Twins and VICReg share.

    z = g(f(view)),   p = q(z)          f the backbone, g the projection head, q the predictor
    siamese:    L(p_1, p_2, z_1, z_2) of one network
    momentum:   L(p_1, p_2, z'_1, z'_2), where z' comes from the target network, w' <- m w' + (1 - m) w

Each view is encoded by a pass of its own, so that batch norm has the statistics of one view, as in the papers. A
target normalizes by the batch too; its own running statistics are never used by another network.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, ModelState, Range, State, example_keys, mask_of
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.nn import BatchNorm, Dense
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.replica import REPLICA, all_gather, pmean, psum, replica_count, replica_index
from dlcore.optim import apply_gradients
from dlcore.optim.ema import init_average, momentum_update
from dlcore.self_supervised.networks import backbone_features, encode, init_variables, predict_features, unit
from dlcore.self_supervised.views import alignment, two_views

__all__ = [
    "MLPHead",
    "SiameseNet",
    "TargetState",
    "center_batch",
    "contrast_batch",
    "encode_each",
    "momentum_learner",
    "siamese_learner",
    "siamese_predict",
]

Outputs = list[dict[str, jax.Array]]
"""What a network gives for each of the two views."""


class MLPHead(nn.Module):
    """A head of linear layers with batch norm and ReLU between them: a projection or a predictor.

    Args:
      out_features: width of the last layer.
      hidden_features: width of the layers before it.
      layers: number of linear layers.
      norm_output: end in a batch norm without scale and bias (SimSiam's and MoCo v3's projection).
      axis_name: mapped axis over which batch statistics are averaged.
    """

    out_features: int
    hidden_features: int
    layers: int = 2
    norm_output: bool = False
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """Project features.

        Args:
          z: [B, D].
          train: normalize by batch statistics, and update the running ones.

        Returns:
          [B, out_features].
        """
        for i in range(self.layers - 1):
            z = Dense(self.hidden_features, use_bias=False, name=f"layer{i}")(z)
            z = nn.relu(BatchNorm(not train, axis_name=self.axis_name, name=f"norm{i}")(z))
        z = Dense(self.out_features, use_bias=not self.norm_output, name="output")(z)
        if self.norm_output:
            z = BatchNorm(not train, axis_name=self.axis_name, use_bias=False, use_scale=False, name="output_norm")(z)
        return z


class SiameseNet(nn.Module):
    """A backbone with a projection head and a predictor.

    Args:
      backbone: see `backbone_features`.
      proj_dim: width of a projection.
      hidden_features: width of the projection head's hidden layers.
      layers: linear layers of the projection head.
      norm_output: end the projection head in a batch norm without scale and bias.
      predictor_features: width of the predictor's hidden layer; 0 for no predictor.
      axis_name: mapped axis over which the heads' batch statistics are averaged.
    """

    backbone: nn.Module
    proj_dim: Annotated[int, Range(1)] = 256
    hidden_features: Annotated[int, Range(1)] = 4096
    layers: Annotated[int, Range(1)] = 2
    norm_output: bool = False
    predictor_features: Annotated[int, Range(0)] = 4096
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Encode, project and predict.

        Args:
          x: [B, H, W, C], preprocessed.
          train: normalize by batch statistics, and update the running ones.

        Returns:
          `features: [B, D]`, `projections: [B, proj_dim]`, `embeddings`, the same of length 1, and `predictions`
          of the predictor, which are the projections where there is none; at least float32.
        """
        h = backbone_features(self.backbone, x, train)
        head = MLPHead(
            self.proj_dim, self.hidden_features, self.layers, self.norm_output, self.axis_name, name="projection"
        )
        p = z = head(h, train)
        if self.predictor_features:
            predictor = MLPHead(self.proj_dim, self.predictor_features, axis_name=self.axis_name, name="predictor")
            p = predictor(z, train)
        return {"features": h, "projections": z, "embeddings": unit(z), "predictions": p}


@struct.dataclass
class TargetState(State):
    """The online network (`params`) and its EMA target.

    Args:
      model_state: batch statistics of the online network.
      target_params: w'; the predictor's are averaged and not used.
      target_model_state: batch statistics of the target.
    """

    model_state: Any
    target_params: Any
    target_model_state: Any


def encode_each(
    model: nn.Module,
    params: Any,
    model_state: Any,
    views: tuple[jax.Array, jax.Array],
    dropout: jax.Array | None = None,
) -> tuple[Outputs, Any]:
    """Encode two views by a pass each.

    Args:
      model: `__call__(x, train) -> {name: [B, ...]}`.
      params: parameters of the model.
      model_state: other collections (batch statistics).
      views: two batches [B, H, W, C], preprocessed.
      dropout: key of a training step; None for evaluation.

    Returns:
      (outputs of each view, model_state), the latter after both passes in training.
    """
    first, model_state = encode(model, params, model_state, views[0], dropout)
    second, model_state = encode(model, params, model_state, views[1], dropout)
    return [first, second], model_state


def center_batch(z: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Subtract the mean over the examples of all devices.

    Args:
      z: [B, D].
      mask: [B], 0 for padding.

    Returns:
      (z - mean [B, D], 0 at padding and at least float32; number of examples [], at least 1).
    """
    check_shapes(z=(z, "B D"), mask=(mask, "mask B"))
    if len(z) * replica_count() < 2:
        raise ValueError("batch_size=1: one example has no variance; allowed: at least 2")
    is_valid = (mask > 0)[:, None]
    z = jnp.where(is_valid, z, 0).astype(acc_dtype_of(z.dtype))
    total, count = psum((z.sum(0), is_valid.sum()))
    count = jnp.maximum(count, 1)
    return jnp.where(is_valid, z - total / count, 0), count


def contrast_batch(
    queries: jax.Array, keys: jax.Array, temperature: float | jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """InfoNCE of each query with the key of its image, among the keys of all images on all devices.

    Args:
      queries: [B, D], of length 1.
      keys: [B, D], of length 1.
      temperature: tau > 0 that divides the cosines.
      mask: [B], 0 for padding, which is no negative.

    Returns:
      (losses [B] in nats, whether the image's own key is the nearest [B] bool).
    """
    check_shapes(queries=(queries, "B D"), keys=(keys, "B D"), mask=(mask, "mask B"), temperature=(temperature, "> 0"))
    is_valid = mask > 0
    queries, keys = (jnp.where(is_valid[:, None], z, 0) for z in (queries, keys))
    all_keys, all_valid = all_gather((keys, is_valid))  # [M, D], [M]
    if len(all_keys) < 2:
        raise ValueError("batch_size=1: one image has no negatives; allowed: at least 2")
    positives = replica_index() * len(queries) + jnp.arange(len(queries))
    allowed = all_valid | (jnp.arange(len(all_keys)) == positives[:, None])
    scores = jnp.where(allowed, queries @ all_keys.T / temperature, -jnp.inf)  # [B, M]
    losses = softmax_cross_entropy_loss(scores, positives)
    return losses, scores.argmax(-1) == positives


def siamese_learner(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    preprocess: Preprocess,
    compare: Callable[[Outputs, dict], tuple[jax.Array, Metrics]],
) -> Learner:
    """Train one network by what it gives for two views of each image.

    Args:
      model: `__call__(x, train)` as `SiameseNet`'s.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      preprocess: batch of views to the model's input.
      compare: (outputs of both views, batch) -> (mean loss, metrics).

    Returns:
      The learner. `predict` returns `features`, `embeddings` and `untrained`.
    """

    def views_of(batch: dict, rng: jax.Array) -> tuple[jax.Array, jax.Array]:
        return two_views(augment, preprocess, example_keys(rng, batch), batch["image"])

    def init(rng: jax.Array, batch: dict) -> ModelState:
        model_state = init_variables(model, rng, preprocess(batch["image"]))
        params = model_state.pop("params")
        return ModelState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), model_state)

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Two views of each image.
        views = views_of(batch, jax.random.fold_in(rng, 0))

        def objective(params: Any) -> tuple:
            # The same network encodes both.
            outputs, model_state = encode_each(model, params, state.model_state, views, jax.random.fold_in(rng, 1))
            mean, metrics = compare(outputs, batch)
            return mean, (model_state, metrics)

        # Gradient of the technique's loss.
        gradients, (model_state, metrics) = jax.grad(objective, has_aux=True)(state.params)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        return compare(encode_each(model, params, state.model_state, views_of(batch, state.rng))[0], batch)

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        outputs, _ = encode_each(model, state.params, state.model_state, views_of(batch, state.rng))
        return compare(outputs, batch)[1] | _alignment(outputs, batch)

    return Learner(init, update, evaluate, siamese_predict(model, preprocess), loss)


def momentum_learner(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    preprocess: Preprocess,
    compare: Callable[[Outputs, Outputs, dict], tuple[jax.Array, Metrics]],
    momentum: Callable[[jax.Array], jax.Array],
) -> Learner:
    """Train a network to predict what its EMA target gives for the other view of each image.

    Args:
      model: `__call__(x, train)` as `SiameseNet`'s.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      preprocess: batch of views to the model's input.
      compare: (outputs of both views, outputs of the target, batch) -> (mean loss, metrics); no gradient reaches the
        target's.
      momentum: step -> m in [0, 1], by which the target keeps its weights.

    Returns:
      The learner. `predict` returns the online network's `features` and `embeddings`, and `untrained`.
    """

    def views_of(batch: dict, rng: jax.Array) -> tuple[jax.Array, jax.Array]:
        return two_views(augment, preprocess, example_keys(rng, batch), batch["image"])

    def init(rng: jax.Array, batch: dict) -> TargetState:
        model_state = init_variables(model, rng, preprocess(batch["image"]))
        params = model_state.pop("params")
        step, target_state = jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, model_state)
        return TargetState(step, rng, params, optimizer.init(params), model_state, init_average(params), target_state)

    def update(state: TargetState, batch: dict) -> tuple[TargetState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        dropout = jax.random.fold_in(rng, 1)
        # Two views of each image.
        views = views_of(batch, jax.random.fold_in(rng, 0))
        # Target network forward, no gradient.
        targets, target_model_state = encode_each(model, state.target_params, state.target_model_state, views, dropout)

        def objective(params: Any) -> tuple:
            # The online network predicts the target's projection of the other view.
            outputs, model_state = encode_each(model, params, state.model_state, views, dropout)
            mean, metrics = compare(outputs, targets, batch)
            return mean, (model_state, metrics)

        # Gradient by the online network alone.
        gradients, (model_state, metrics) = jax.grad(objective, has_aux=True)(state.params)
        rate = momentum(state.step)
        # Optimizer step.
        state = apply_gradients(state, optimizer, gradients, model_state=model_state)
        # EMA of the target.
        target_params = momentum_update(state.target_params, state.params, rate)
        return state.replace(target_params=target_params, target_model_state=pmean(target_model_state)), metrics

    def outputs_of(params: Any, state: TargetState, batch: dict) -> tuple[Outputs, Outputs]:
        views = views_of(batch, state.rng)
        targets, _ = encode_each(model, state.target_params, state.target_model_state, views)
        return encode_each(model, params, state.model_state, views)[0], targets

    def loss(params: Any, state: TargetState, batch: dict) -> tuple[jax.Array, Metrics]:
        return compare(*outputs_of(params, state, batch), batch)

    def evaluate(state: TargetState, batch: dict) -> Metrics:
        outputs, targets = outputs_of(state.params, state, batch)
        return compare(outputs, targets, batch)[1] | _alignment(outputs, batch)

    return Learner(init, update, evaluate, siamese_predict(model, preprocess), loss)


def _alignment(outputs: Outputs, batch: dict) -> Metrics:
    first, second = (view["embeddings"] for view in outputs)
    return alignment(first, second, mask_of(batch))


def siamese_predict(model: nn.Module, preprocess: Preprocess) -> Callable[[State, dict], dict[str, jax.Array]]:
    """Build the `predict` of a learner of a `SiameseNet`.

    Args:
      model: `__call__(x, train)` as `SiameseNet`'s.
      preprocess: batch of images to the model's input.

    Returns:
      (state, batch) -> `features` [B, D], `embeddings` [B, E] and `untrained` [B, D].
    """

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        outputs = predict_features(model, preprocess, state, batch)
        return {name: outputs[name] for name in ("features", "embeddings", "untrained")}

    return predict
