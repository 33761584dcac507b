"""PointNet: classification of point sets, whatever the order of their points.

    x -> T(x) x -> MLP -> T'(h) h -> MLP -> max over points -> MLP -> logits
    L = cross-entropy + w mean |I - A Aᵀ|²_F            A: the feature transform T'(h) of each example

Qi et al. 2017, arXiv:1612.00593. One network acts on each point alone, and only the maximum joins them. Maxima do not
depend on the order, so that logits of permuted points are bit-equal (sums would be added in another order). T-Nets
predict the two transforms and start at the identity. The points that attain the maxima are the critical set: without
all the others the logits stay as they are.

Deviations: fields set the widths (the paper's are `widths=(64, 64)`, `features=(64, 128, 1024)`, `hidden=(512, 256)`),
and batch norm has one momentum, where the paper raises it from 0.5 to 0.99.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics import Calibration, ConfusionMatrix, accuracy
from dlcore.nn import BatchNorm, Dense, Dropout
from dlcore.nn.apply import apply_model
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype
from dlcore.ops.replica import REPLICA, replica_key
from dlcore.optim import init_model_state
from dlcore.optim.apply import descend

__all__ = ["PointNet", "TransformNet", "augment_points", "learner", "orthogonality_penalty"]


class _PointMLP(nn.Module):
    """Dense layers on rows [R, D], each with batch norm and ReLU; rows of mask 0 do not count in the statistics."""

    widths: tuple[int, ...]
    axis_name: str | None = REPLICA
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None) -> jax.Array:
        for i, width in enumerate(self.widths):
            x = Dense(width, use_bias=False, dtype=self.dtype, name=f"dense{i}")(x)
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"norm{i}")
            x = nn.relu(norm(x, use_running_average=not train, mask=mask))
        return x


def _pool(x: jax.Array, batch: int, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """[B N, D] -> (the maxima over the points of each set [B, D], 0 for an empty one; which point has each [B, D])."""
    x = x.reshape(batch, -1, x.shape[-1])
    ranked = x if mask is None else jnp.where(mask.reshape(batch, -1, 1) > 0, x, -1)  # x is not negative
    # By index: the gradient of a maximum compares it with values that the compiler may have rounded otherwise.
    index = jax.lax.stop_gradient(ranked).argmax(1)
    values = jnp.take_along_axis(x, index[:, None], 1)[:, 0]
    if mask is not None:
        values = jnp.where((mask.reshape(batch, -1) > 0).any(1)[:, None], values, 0)
    return values, index.astype(jnp.int32)


class TransformNet(nn.Module):
    """T-Net: predict a square matrix for each set, the identity at first.

    Args:
      size: K, rows of the matrix.
      features: widths of the layers on each point.
      hidden: widths of the layers after the maximum.
      axis_name: mapped axis to average batch statistics over.
      dtype: dtype of the computation; None means by promotion.
    """

    size: int
    features: tuple[int, ...] = (64, 128, 1024)
    hidden: tuple[int, ...] = (512, 256)
    axis_name: str | None = REPLICA
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, batch: int, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Predict the matrices.

        Args:
          x: [B N, D], the points of B sets below each other.
          batch: B.
          train: whether batch norm uses the batch's statistics.
          mask: [B N], 0 where a point is padding; None means that all count.

        Returns:
          [B, K, K].
        """
        x = _PointMLP(self.features, self.axis_name, self.dtype, name="points")(x, train, mask)
        x, _ = _pool(x, batch, mask)
        x = _PointMLP(self.hidden, self.axis_name, self.dtype, name="hidden")(x, train)
        x = Dense(self.size**2, kernel_init=nn.initializers.zeros, dtype=self.dtype, name="matrix")(x)
        return jnp.eye(self.size, dtype=x.dtype) + x.reshape(batch, self.size, self.size)


class PointNet(nn.Module):
    """PointNet: [B, N, 3] -> logits [B, num_classes].

    Args:
      num_classes: number of logits.
      widths: widths of the layers on each point before the feature transform.
      features: widths of the layers after it; the last is that of the set's feature.
      hidden: widths of the layers after the maximum.
      transform_features: widths of the T-Nets' layers on each point.
      transform_hidden: widths of the T-Nets' layers after the maximum.
      input_transform: transform the coordinates by a T-Net.
      feature_transform: transform the features by a T-Net.
      dropout: probability, before the logits.
      axis_name: mapped axis to average batch statistics over; None means this device alone.
      dtype: dtype of the computation; None means by promotion.
    """

    num_classes: int
    widths: tuple[int, ...] = (64, 64)
    features: tuple[int, ...] = (64, 128, 1024)
    hidden: tuple[int, ...] = (512, 256)
    transform_features: tuple[int, ...] = (64, 128, 1024)
    transform_hidden: tuple[int, ...] = (512, 256)
    input_transform: bool = True
    feature_transform: bool = True
    dropout: Annotated[float, Range(0, 1)] = 0.3
    axis_name: str | None = REPLICA
    dtype: Any = None

    @nn.compact
    def __call__(
        self, points: jax.Array, train: bool, mask: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classify sets.

        Args:
          points: [B, N, 3].
          train: whether batch norm uses the batch's statistics, and dropout acts.
          mask: [B, N], 0 where a point is padding; None means that all count.

        Returns:
          (logits [B, num_classes], {"critical": [B, F] int32, which point attains each maximum; "transform": [B, K, K],
          the feature transform, where there is one}).
        """
        if points.ndim != 3:
            raise ValueError(f"points.shape={points.shape}: no point sets; allowed: [B, N, 3]")
        batch, count, size = points.shape
        flat = None if mask is None else mask.reshape(-1)
        points = points if mask is None else jnp.where(mask[..., None] > 0, points, 0)
        intermediates = {}

        def transform(x, name):
            width = x.shape[-1]
            net = TransformNet(
                width, self.transform_features, self.transform_hidden, self.axis_name, self.dtype, name=name
            )
            matrix = net(x, batch, train, flat)
            return _transformed(x.reshape(batch, count, width), matrix).reshape(-1, width), matrix

        x = points.reshape(-1, size)  # [B N, 3]
        if self.input_transform:
            x, _ = transform(x, "input_transform")
        x = _PointMLP(self.widths, self.axis_name, self.dtype, name="low")(x, train, flat)
        if self.feature_transform:
            x, intermediates["transform"] = transform(x, "feature_transform")
        x = _PointMLP(self.features, self.axis_name, self.dtype, name="high")(x, train, flat)
        # The maximum over points does not depend on their order.
        x, intermediates["critical"] = _pool(x, batch, flat)
        x = _PointMLP(self.hidden, self.axis_name, self.dtype, name="hidden")(x, train)
        x = Dropout(self.dropout)(x, deterministic=not train)
        return Dense(self.num_classes, dtype=self.dtype, name="logits")(x), intermediates


def _transformed(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """[B, N, K] times [B, K, K]."""
    return jnp.einsum("bnk,bkl->bnl", x, matrix)


def orthogonality_penalty(matrices: jax.Array) -> jax.Array:
    """Squared distance of A Aᵀ from the identity, which keeps a transform close to a rotation.

    Args:
      matrices: [..., K, K].

    Returns:
      [...], one penalty a matrix.
    """
    check_shapes(matrices=(matrices, "... K K"))
    matrices = to_acc_dtype(matrices)
    error = jnp.eye(matrices.shape[-1]) - jnp.einsum("...ij,...kj->...ik", matrices, matrices)
    return jnp.square(error).sum((-2, -1))


def augment_points(
    key: jax.Array,
    points: jax.Array,
    mask: jax.Array | None = None,
    *,
    num_points: int | None = None,
    rotation: float = 360.0,
    up: str = "z",
    jitter: float = 0.02,
) -> tuple[jax.Array, jax.Array | None]:
    """Augment one set as the paper does: a random subset, turned about the vertical axis, each point moved by noise.

    Args:
      key: PRNG key.
      points: [N, 3].
      mask: [N], 0 where a point is padding; None means that all count.
      num_points: size of the random subset; None or N and more keeps all.
      rotation: degrees; the angle is uniform in [-rotation / 2, rotation / 2].
      up: vertical axis, "x", "y" or "z".
      jitter: standard deviation of the noise, cut at 2.5 deviations (0.05 in the authors' code).

    Returns:
      (points [M, 3], their mask [M] or None); what counts is taken before padding.
    """
    check_shapes(
        points=(points, "N 3"), mask=(mask, "mask N or None"), rotation=(rotation, "finite"), jitter=(jitter, ">= 0")
    )
    dtype, points = result_dtype(points), to_acc_dtype(points)
    check_choice("up", up, ("x", "y", "z"))
    if num_points is not None:
        check_whole_number("num_points", num_points, 1)
    choose, turn, noise = jax.random.split(key, 3)
    if num_points is not None and num_points < len(points):
        order = jax.random.uniform(choose, (len(points),))
        # Padding sorts behind all points.
        order = order if mask is None else order - 2 * (mask > 0)
        selected_idx = jnp.argsort(order)[:num_points]
        points, mask = points[selected_idx], None if mask is None else mask[selected_idx]
    if rotation:
        angle = jnp.deg2rad(rotation) * jax.random.uniform(turn, (), minval=-0.5, maxval=0.5)
        i, j = ((k + "xyz".index(up) + 1) % 3 for k in range(2))
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        x, y = points[:, i], points[:, j]
        points = points.at[:, i].set(cos * x - sin * y).at[:, j].set(sin * x + cos * y)
    if jitter:
        points = points + jitter * jax.random.truncated_normal(noise, -2.5, 2.5, points.shape, points.dtype)
    return points.astype(dtype), mask


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    num_points: Annotated[int | None, Range(1)] = None,
    rotation: Annotated[float, Range(0, 360)] = 360.0,
    up: Literal["x", "y", "z"] = "z",
    jitter: Annotated[float, Range(0)] = 0.02,
    orthogonality: Annotated[float, Range(0)] = 0.001,
    label_smoothing: Annotated[float, Range(0, 1)] = 0.0,
) -> Learner:
    """Train a classifier of `{"points": [B, N, 3], "label": [B] int32, "index": [B]}`.

    Sets of several lengths are padded and carry `point_mask: [B, N]`, 0 for padding.

    Args:
      model: `PointNet`, or a module with its `__call__`.
      optimizer: optax transformation for params.
      num_points: points of each set that the network sees, at random in training and the first ones elsewhere (maxima
        grow with the number of points, and batch norm with them); None takes all.
      rotation: degrees of the range of random turns about the vertical axis in training; 0 for none.
      up: vertical axis.
      jitter: standard deviation of the noise on each training point's coordinates; 0 for none.
      orthogonality: weight of the penalty on the feature transform.
      label_smoothing: weight of the uniform distribution in the target.

    Returns:
      The learner. `predict` returns `{"logits": [B, C], "probabilities": [B, C], "critical": [B, F] int32}`.
    """

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, batch["points"].astype(jnp.float32))

    def objective(params, model_state, points, point_mask, batch, dropout=None):
        options = {"mask": point_mask, "train": dropout is not None, "rng": dropout}
        (logits, intermediates), model_state = apply_model(model, params, model_state, points, **options)
        mask = mask_of(batch)
        losses = softmax_cross_entropy_loss(logits, batch["label"], label_smoothing)  # [B]
        metrics = {"loss": Sum.of(losses, mask), "accuracy": accuracy(logits, batch["label"], mask)}
        value = masked_mean(losses, mask)
        if "transform" in intermediates:
            penalty = orthogonality_penalty(intermediates["transform"])
            value += orthogonality * masked_mean(penalty, mask)
            metrics["orthogonality"] = Sum.of(penalty, mask)
        return value, (model_state, metrics, logits)

    def inputs(batch, count=num_points):
        points, point_mask = batch["points"][:, :count].astype(jnp.float32), batch.get("point_mask")
        return points, None if point_mask is None else point_mask[:, :count]

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (_, metrics, _) = objective(params, state.model_state, *inputs(batch), batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Replicas draw different dropout masks.
        dropout = replica_key(jax.random.fold_in(rng, 1))
        # A subset of each set, turned and moved.
        options = {"num_points": num_points, "rotation": rotation, "up": up, "jitter": jitter}
        augment = functools.partial(augment_points, **options)
        points, point_mask = jax.vmap(augment)(example_keys(jax.random.fold_in(rng, 0), batch), *inputs(batch, None))

        def value_fn(params):
            value, (model_state, metrics, _) = objective(params, state.model_state, points, point_mask, batch, dropout)
            return value, (metrics, model_state)

        # Gradient of the cross-entropy and the penalty, then the optimizer step.
        return descend(state, optimizer, value_fn)

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        _, (_, metrics, logits) = objective(state.params, state.model_state, *inputs(batch), batch)
        label, mask = batch["label"], mask_of(batch)
        confusion, calibration = ConfusionMatrix.of(logits, label, mask), Calibration.of(logits, label, mask)
        return {**metrics, "confusion": confusion, "calibration": calibration}

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        points, point_mask = inputs(batch)
        logits, intermediates = model.apply({"params": state.params, **state.model_state}, points, False, point_mask)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits), "critical": intermediates["critical"]}

    def classes(state: ModelState, batch: dict) -> dict[str, int]:
        return {"label": jax.eval_shape(predict, state, batch)["logits"].shape[-1]}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss, classes=classes)
