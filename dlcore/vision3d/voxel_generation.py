"""Voxel generation: a solid's occupancy from one image, by 3-D deconvolution or by voxel tubes.

    deconvolution  z -> [4, 4, 4, C] -> transposed 3-D convolutions, each doubling the grid -> [R, R, R]
    tubes          z -> [4, 4, C]    -> transposed 2-D convolutions -> [R, R] with R channels, one for each depth

    L = mean over voxels of the binary cross-entropy;   IoU of the voxels whose probability is above 0.5

Choy et al. 2016, "3D-R2N2", arXiv:1604.00449, decode with 3-D convolutions; Richter & Roth 2018, "Matryoshka networks",
arXiv:1804.10975, call a pixel's channels a voxel tube: 2-D convolutions alone, with depth as channels, at a fraction of
the cost. Grids are aligned with the image: rows, columns, depth away from the camera.
"""

from typing import Annotated, Any, Literal

import jax
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.metrics import voxel_iou
from dlcore.nn import Conv, ConvTranspose, Dense
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_finite, check_shapes, check_values
from dlcore.ops.moments import nearest_points
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import apply_gradients, init_state

__all__ = ["VoxelGenerator", "learner", "mean_shape_iou", "nearest_image_iou"]

SMALLEST = 4
"""Side of the grid that decoders begin with."""


class VoxelGenerator(nn.Module):
    """A 2-D convolutional encoder and a decoder to voxels.

    Args:
      resolution: voxels along each side, a power of two from 8.
      decoder: 3-D deconvolution, or 2-D convolutions with depth as channels.
      width: output channels of the encoder's first convolution; of the decoder's last but one they are twice as many.
      latent_dim: dimensions of the code between them.
      dtype: dtype of the computation; None takes the input's.
    """

    resolution: int
    decoder: Literal["deconvolution", "tubes"] = "deconvolution"
    width: Annotated[int, Range(1)] = 8
    latent_dim: Annotated[int, Range(1)] = 64
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Generate.

        Args:
          x: images, [B, H, W, C] in [0, 1].

        Returns:
          logits of occupancy, [B, R, R, R]: rows, columns, depth.
        """
        check_choice("decoder", self.decoder, ("deconvolution", "tubes"))
        doublings = self.resolution.bit_length() - SMALLEST.bit_length()
        if doublings < 1 or SMALLEST * 2**doublings != self.resolution:
            raise ValueError(f"resolution={self.resolution}: cannot be reached; allowed: 8, 16, 32, 64, ...")
        dtype = compute_dtype(self.dtype, x, self.variables)
        x = x.astype(dtype)
        for i in range(3):
            x = nn.relu(Conv(self.width * 2**i, (3, 3), strides=2, padding=1, dtype=dtype, name=f"encoder{i}")(x))
        x = nn.relu(Dense(self.latent_dim, dtype=dtype, name="code")(x.reshape(x.shape[0], -1)))  # [B, latent_dim]
        axes = 3 if self.decoder == "deconvolution" else 2
        features = self.width * 2**doublings
        if axes == 2:  # a tube's channels hold a whole depth
            features *= 2
        x = nn.relu(Dense(SMALLEST**axes * features, dtype=dtype, name="grid")(x))
        x = x.reshape(-1, *(SMALLEST,) * axes, features)
        for i in range(doublings):
            features = max(features // 2, 1)
            up = ConvTranspose(features, (4,) * axes, strides=2, padding=1, dtype=dtype, name=f"decoder{i}")
            x = nn.relu(up(x))  # [B, 8, 8, (8,) features], [B, 16, 16, (16,) features / 2], ...
        depths = 1 if axes == 3 else self.resolution
        x = Conv(depths, (3,) * axes, padding=1, dtype=dtype, name="occupancy")(x)
        return to_acc_dtype(x).reshape(-1, *(self.resolution,) * 3)


@check_arguments
def learner(*, model: nn.Module, optimizer: optax.GradientTransformation) -> Learner:
    """Train a network from images to voxels on `{"image": [B, H, W, C], "voxels": [B, R, R, R], "index": [B]}`.

    Args:
      model: `__call__(image) -> logits [B, R, R, R]`, as `VoxelGenerator`.
      optimizer: any optax transformation.

    Returns:
      The learner. `evaluate` returns the loss and `iou`, the mean over solids; `predict` returns `voxels [B, R, R, R]`,
      the probabilities.
    """

    def init(rng: jax.Array, batch: dict) -> State:
        logits, variables = model.init_with_output(jax.random.fold_in(rng, 0), batch["image"][:1])
        if logits.shape[1:] != batch["voxels"].shape[1:]:
            raise ValueError(
                f"voxels.shape={batch['voxels'].shape}: not what the model generates; allowed: [B, "
                f"{', '.join(map(str, logits.shape[1:]))}]"
            )
        params = variables["params"]
        return init_state(params, optimizer, rng)

    def objective(params: Any, batch: dict) -> tuple[jax.Array, Metrics]:
        logits, mask = model.apply({"params": params}, batch["image"]), mask_of(batch)
        targets = batch["voxels"].astype(logits.dtype)
        losses = optax.sigmoid_binary_cross_entropy(logits, targets).mean((1, 2, 3))  # [B]
        iou = jax.vmap(voxel_iou)(logits > 0, targets > 0.5)
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask), "iou": Sum.of(iou, mask)}

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, batch)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient of the mean cross-entropy of all voxels, then the optimizer step.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, batch)
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return objective(state.params, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        return {"voxels": jax.nn.sigmoid(model.apply({"params": state.params}, batch["image"]))}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)


def mean_shape_iou(train: np.ndarray, test: np.ndarray) -> float:
    """Measure what the mean training shape, occupied where most solids are, is worth: the best of all thresholds.

    Args:
      train: [N, R, R, R], 0 or 1.
      test: [M, R, R, R], 0 or 1.

    Returns:
      The mean IoU.
    """
    _check_voxels(train, test)
    mean, flat = train.reshape(len(train), -1).mean(0), test.reshape(len(test), -1) > 0
    best = 0.0
    for threshold in np.arange(0.1, 0.9, 0.1):
        shape = mean > threshold
        best = max(best, float(((flat & shape).sum(1) / np.maximum((flat | shape).sum(1), 1)).mean()))
    return best


def nearest_image_iou(train: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> float:
    """Measure retrieval (Tatarchenko et al. 2019): the voxels of the training image at the least squared distance.

    Args:
      train: `image [N, H, W, C]` and `voxels [N, R, R, R]`.
      test: the same of M examples.

    Returns:
      The mean IoU.
    """
    for name, part in (("train", train), ("test", test)):
        if missing := [key for key in ("image", "voxels") if key not in part]:
            raise ValueError(f"{name}: no {missing[0]}; allowed: a dict of image and voxels")
    _check_voxels(train["voxels"], test["voxels"])
    check_shapes(
        **{
            "train['image']": (train["image"], f"{len(train['voxels'])} H W C"),
            "test['image']": (test["image"], f"{len(test['voxels'])} H W C"),
        }
    )
    check_finite("train['image']", train["image"])
    check_finite("test['image']", test["image"])
    a, b = (part["image"].reshape(len(part["image"]), -1).astype(np.float32) for part in (test, train))
    nearest = np.asarray(nearest_points(a, b))
    retrieved = train["voxels"].reshape(len(b), -1)[nearest] > 0
    flat = test["voxels"].reshape(len(a), -1) > 0
    return float(((flat & retrieved).sum(1) / np.maximum((flat | retrieved).sum(1), 1)).mean())


def _check_voxels(train: np.ndarray, test: np.ndarray) -> None:
    if not (len(train) and len(test)) or np.shape(train)[1:] != np.shape(test)[1:]:
        raise ValueError(
            f"train.shape={np.shape(train)}: test.shape={np.shape(test)}; allowed: [N, R, R, R] and [M, R, R, R], none "
            "empty"
        )
    check_values("train", train, (0, 1))
    check_values("test", test, (0, 1))
