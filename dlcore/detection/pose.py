"""Pose by heat maps: one Gaussian bump for each keypoint of a cropped object (SimpleBaseline), and its learner.

Xiao, Wu & Wei, "Simple baselines for human pose estimation and tracking" (2018), arXiv:1804.06208; unbiased targets and
decoding of Zhang et al., "Distribution-aware coordinate representation of keypoints" (2019), arXiv:1910.06278.

    Y_k(q) = exp(-|q - (p_k / s - 1/2)|^2 / (2 sigma^2))              p_k: keypoint k in pixels of the crop, s: stride
    L      = sum_k w_k mean_q (m_k(q) - Y_k(q))^2 / sum_k w_k         m_k: predicted map k
    w_k    = 1 if k is labeled (visibility above 0) and its bump touches the map, else 0

Labeled keypoints that are hidden have weight 1, as in COCO. The sums of L are over the whole batch; the authors' code
divides by all keypoints, labeled or not, and by 2. `dlcore.detection.vitpose` has the network without convolutions and
the decoding, `dark_keypoints`.
"""

from typing import Annotated, Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.detection.vitpose import dark_keypoints
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.nn import BatchNorm, Conv, ConvTranspose
from dlcore.nn.apply import apply_model
from dlcore.ops.checks import check_finite, check_shapes, check_size
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA
from dlcore.optim import init_model_state
from dlcore.optim.apply import descend

__all__ = ["SimpleBaseline", "heat_map_error", "heat_map_targets", "learner"]


class SimpleBaseline(nn.Module):
    """A backbone, transposed convolutions that double its last map, and a 1x1 convolution to one map a keypoint.

    Args:
      num_keypoints: K; COCO has 17.
      num_deconvs: number of transposed convolutions, each of which doubles the map's sides.
      deconv_features: number of channels of the transposed convolutions.
      stage: stage of the backbone that is enlarged.
    """

    backbone: nn.Module
    num_keypoints: int = 17
    num_deconvs: Annotated[int, Range(1)] = 3
    deconv_features: Annotated[int, Range(1)] = 256
    stage: str = "layer4"
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Predict heat maps: [B, H, W, C] -> [B, h, w, K], at least float32."""
        y = self.backbone.features(x, train=train)[self.stage]  # pyright: ignore[reportAttributeAccessIssue]
        init = nn.initializers.normal(0.001)
        for i in range(self.num_deconvs):
            size, features = (4, 4), self.deconv_features
            up = ConvTranspose(
                features, size, 2, padding=1, use_bias=False, dtype=self.dtype, kernel_init=init, name=f"deconv{i}"
            )
            norm = BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name=f"deconv{i}_norm")
            y = nn.relu(norm(up(y)))
        y = to_acc_dtype(y)
        return Conv(self.num_keypoints, (1, 1), dtype=y.dtype, kernel_init=init, name="head")(y)


def heat_map_targets(
    keypoints: jax.Array, image_size: tuple[int, int], map_size: tuple[int, int], sigma: float | jax.Array = 2.0
) -> tuple[jax.Array, jax.Array]:
    """Draw a Gaussian bump at each keypoint.

    Args:
      keypoints: [B, K, 3] (x, y, visibility) in pixels of the crop, whose first pixel has its center at 0.5.
      image_size: (H, W) of the crop in pixels.
      map_size: (h, w) of the maps in cells.
      sigma: standard deviation of a bump, in cells.

    Returns:
      (maps [B, h, w, K], weights [B, K]: 1 where the visibility is above 0 and the bump, cut off at three sigma,
      touches the map).
    """
    if keypoints.ndim and keypoints.shape[-1] == 2:
        raise ValueError(
            f"keypoints.shape={keypoints.shape}: no visibility; allowed: [B, K, 3] of (x, y, visibility), whose "
            "visibility is 0 where a keypoint is not labeled"
        )
    check_shapes(keypoints=(keypoints, "B K 3"), sigma=(sigma, "> 0"))
    if not isinstance(keypoints, jax.core.Tracer):
        check_finite("keypoints", np.where((keypoints[..., 2:] == 0) & (np.arange(3) < 2), 0, keypoints))
    check_size("image_size", image_size)
    check_size("map_size", map_size)
    (height, width), (rows, columns) = image_size, map_size
    scale = jnp.array([columns / width, rows / height], jnp.float32)
    is_labeled = keypoints[..., 2] > 0
    centers = jnp.where(is_labeled[..., None], keypoints[..., :2], 0) * scale - 0.5  # [B, K, 2], in cells
    x = jnp.arange(columns) - centers[..., None, 0]  # [B, K, w]
    y = jnp.arange(rows) - centers[..., None, 1]  # [B, K, h]
    squares = jnp.square(y)[:, :, :, None] + jnp.square(x)[:, :, None]  # [B, K, h, w]
    maps = jnp.moveaxis(jnp.exp(-squares / (2 * jnp.square(sigma))), 1, -1)
    reach = 3 * sigma
    is_near = ((centers >= -reach) & (centers <= jnp.array([columns, rows]) - 1 + reach)).all(-1)
    return maps, (is_labeled & is_near).astype(maps.dtype)


def heat_map_error(maps: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean square of the difference of predicted and target maps.

    Args:
      maps: [B, h, w, K].
      targets: [B, h, w, K].

    Returns:
      [B, K].
    """
    check_shapes(maps=(maps, "B h w K"), targets=(targets, "B h w K"))
    return jnp.square(to_acc_dtype(maps) - to_acc_dtype(targets)).mean((1, 2))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Preprocess = lambda images: images,
    sigma: Annotated[float, Range(1e-3)] = 2.0,
) -> Learner:
    """Train on `{"image": [B, H, W, C], "keypoints": [B, K, 3], "index": [B]}`, one object an image.

    Args:
      model: `__call__(x, train) -> [B, h, w, K]`, such as `SimpleBaseline` or `ViTPose`.
      optimizer: optax transformation for params.
      sigma: standard deviation of the bumps, in cells of the maps.

    Returns:
      The learner. `predict` gives `keypoints [B, K, 2]` (x, y) in pixels of the crop, by `dark_keypoints`, and their
      scores `keypoint_scores [B, K]`, the maxima of the maps.
    """

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]))

    def measure(maps: jax.Array, batch: dict) -> tuple[jax.Array, Metrics]:
        (_, rows, columns, _), image_size = maps.shape, batch["image"].shape[1:3]
        targets, weights = heat_map_targets(batch["keypoints"], image_size, (rows, columns), sigma)
        errors = heat_map_error(maps, targets)  # [B, K]
        weights = weights * (mask_of(batch)[:, None] > 0)
        return masked_mean(errors, weights), {"loss": Sum.of(errors, weights)}

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        maps, _ = apply_model(model, params, state.model_state, preprocess(batch["image"]), train=False)
        return measure(maps, batch)

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        def objective(params: Any) -> tuple[jax.Array, tuple]:
            images, rng = preprocess(batch["image"]), jax.random.fold_in(state.rng, state.step)
            # One map for each keypoint, [B, h, w, K].
            maps, model_state = apply_model(model, params, state.model_state, images, train=True, rng=rng)
            # Mean square over the labeled keypoints.
            value, metrics = measure(maps, batch)
            return value, (metrics, model_state)

        # Gradient of the error of the heat maps, then the optimizer step.
        return descend(state, optimizer, objective)

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(batch["image"])
        maps, _ = apply_model(model, state.params, state.model_state, images, train=False)
        # Sub-pixel maxima, from cells of the map to pixels of the crop.
        points, scores = dark_keypoints(maps)
        scale = jnp.array([images.shape[2] / maps.shape[2], images.shape[1] / maps.shape[1]])
        return {"keypoints": (points + 0.5) * scale, "keypoint_scores": scores}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)
