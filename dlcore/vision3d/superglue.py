"""SuperGlue: matches of the keypoints of two images, by attention and optimal transport.

Sarlin, DeTone, Malisiewicz & Rabinovich, "SuperGlue: learning feature matching with graph neural networks" (2020),
arXiv:1911.11763.

    z = d + MLP(x, y, score)                                    a descriptor d, and where its keypoint lies
    z = z + MLP([z, MHA(z, source)])                            source: the same image (self) or the other one (cross)
    S_ij = <W z_i, W z'_j> / sqrt(D),   S gets a row and a column of a learned score for no match
    P = exp(Sinkhorn(S))                                        i and j match where both are the other's best

Weights are those of transformers' SuperGlueForKeypointMatching (`magic-leap-community/superglue_outdoor`), SuperPoint's
among them.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.nn import BatchNorm, Dense, MultiHeadAttention
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA
from dlcore.vision3d.superpoint import SuperPoint

__all__ = ["SuperGlue", "log_transport", "mutual_matches", "other_image"]


def log_transport(scores: jax.Array, bin_score: jax.Array, mask: jax.Array, iterations: int) -> jax.Array:
    """Sinkhorn's iterations in log space, with a bin for what has no match.

    Args:
      scores: [B, N, N].
      bin_score: [], score of no match.
      mask: [B, 2, N] bool, keypoints that are there; the largest number in an image counts as that of all.
      iterations: number of normalizations of rows and columns.

    Returns:
      [B, N + 1, N + 1], logarithms of a matrix whose rows and columns but the last ones sum to 1.
    """
    check_shapes(scores=(scores, "B N N"), bin_score=(bin_score, ""), mask=(mask, "mask B 2 N"))
    scores = to_acc_dtype(scores)
    count = mask.sum(-1).max()
    couplings = jnp.pad(scores, ((0, 0), (0, 1), (0, 1)), constant_values=-jnp.inf)
    couplings = couplings.at[:, -1].set(bin_score).at[:, :, -1].set(bin_score)
    # Marginals: one for each keypoint, `count` for the bin, and none for padding that no image needs.
    is_needed = jnp.arange(scores.shape[-1]) < count
    marginal = jnp.append(jnp.where(is_needed, 0.0, -jnp.inf), jnp.log(count)) - jnp.log(2 * count)
    columns = jnp.broadcast_to(jnp.where(jnp.isfinite(marginal), 0.0, -jnp.inf), couplings.shape[:2])
    rows = columns
    for _ in range(iterations):
        rows = marginal - jax.nn.logsumexp(couplings + columns[:, None], 2)
        columns = marginal - jax.nn.logsumexp(couplings + rows[..., None], 1)
    return couplings + rows[..., None] + columns[:, None] + jnp.log(2 * count)


def mutual_matches(log_probs: jax.Array, threshold: float) -> tuple[jax.Array, jax.Array]:
    """Find pairs of keypoints that are each other's best.

    Args:
      log_probs: [B, N, N], of keypoints of the first image (rows) and the second.
      threshold: least probability of a match.

    Returns:
      (matches [B, 2, N], index of the keypoint in the other image, -1 for none, their probabilities [B, 2, N]).
    """
    check_shapes(log_probs=(log_probs, "B N N"))
    first, second = log_probs.argmax(2), log_probs.argmax(1)
    index = jnp.arange(log_probs.shape[1])
    is_mutual = jnp.take_along_axis(second, first, 1) == index
    probs = jnp.where(is_mutual, jnp.exp(log_probs.max(2)), 0)
    probs = jnp.where(probs > threshold, probs, 0)
    is_mutual_second = jnp.take_along_axis(first, second, 1) == index
    probs_second = jnp.where(is_mutual_second, jnp.take_along_axis(probs, second, 1), 0)
    probs = jnp.stack([probs, probs_second], 1)
    return jnp.where(probs > 0, jnp.stack([first, second], 1), -1), probs


class SuperGlue(CheckedFields):
    """Keypoints of pairs of images [B, 2, H, W, C] in [0, 1], and which of them match.

    Args:
      detector: finds keypoints; its descriptors have the width of this network.
      encoder_widths: hidden channels of the MLP that reads locations.
      layers: self or cross for each layer of attention.
      num_heads: attention heads.
      iterations: of Sinkhorn's algorithm.
      threshold: least probability of a match.
    """

    detector: SuperPoint
    encoder_widths: tuple[int, ...] = (32, 64, 128, 256)
    layers: tuple[str, ...] = ("self", "cross") * 9
    num_heads: Annotated[int, Range(1)] = 4
    iterations: Annotated[int, Range(1)] = 100
    threshold: Annotated[float, Range(0)] = 0.0
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Match keypoints.

        Args:
          x: [B, 2, H, W, C], pairs of images.
          train: use the batch's statistics.

        Returns:
          keypoints [B, 2, K, 2], (x, y) in pixels, and mask [B, 2, K] as the detector gives them; matches [B, 2, K],
          index of the keypoint in the other image, -1 for none, and matching_scores [B, 2, K], their probabilities.
        """
        pairs, size = len(x), jnp.array([x.shape[3], x.shape[2]])
        points = self.detector(x.reshape(-1, *x.shape[2:]))
        mask = points["mask"].reshape(pairs, 2, -1)
        locations = (points["keypoints"] - size / 2) / (0.7 * size.max())
        z = jnp.concatenate([locations, points["scores"][..., None]], -1)
        width = self.detector.descriptor_features
        z = points["descriptors"] + self._mlp(z, (*self.encoder_widths, width), "keypoint_encoder_encoder", train)
        for i, kind in enumerate(self.layers):
            name = f"gnn_layers_{i}"
            source, valid = (z, points["mask"]) if kind == "self" else (other_image(z), other_image(points["mask"]))
            attention = MultiHeadAttention(self.num_heads, dtype=self.dtype, name=f"{name}_attention")
            message = attention(z, source, mask=valid[:, None, None])
            z += self._mlp(jnp.concatenate([z, message], -1), (2 * width, width), f"{name}_mlp", train)
        z = to_acc_dtype(Dense(width, dtype=self.dtype, name="final_projection_final_proj")(z))
        z = z.reshape(pairs, 2, -1, width)
        scores = jnp.einsum("bnd,bmd->bnm", z[:, 0], z[:, 1]) / width**0.5
        both = mask[:, 0, :, None] & mask[:, 1, None]
        scores = jnp.where(both, scores, jnp.finfo(scores.dtype).min)
        bin_score = self.param("bin_score", nn.initializers.ones, ())
        log_probs = log_transport(scores, bin_score, mask, self.iterations)[:, :-1, :-1]
        matches, probs = mutual_matches(log_probs, self.threshold)
        keypoints = points["keypoints"].reshape(pairs, 2, -1, 2)
        return {"keypoints": keypoints, "mask": mask, "matches": matches, "matching_scores": probs}

    def _mlp(self, x: jax.Array, widths: tuple[int, ...], name: str, train: bool) -> jax.Array:
        """Dense layers; all but the last end in batch norm and a rectifier."""
        for i, width in enumerate(widths[:-1]):
            x = Dense(width, dtype=self.dtype, name=f"{name}_{i}_linear")(x)
            norm = BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name=f"{name}_{i}_batch_norm")
            x = nn.relu(norm(x))
        return Dense(widths[-1], dtype=self.dtype, name=f"{name}_{len(widths) - 1}")(x)


def other_image(x: jax.Array) -> jax.Array:
    """Swap the two images of each pair.

    Args:
      x: [2 B, ...], the images of a pair beside each other.

    Returns:
      The shape of x.
    """
    return x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)


TORCH_NAMES = (
    (r"^detector\.encoder_conv_blocks\.(\d+)_", r"keypoint_detector.encoder.conv_blocks.\1."),
    (r"^detector\.(keypoint|descriptor)_decoder_conv", r"keypoint_detector.\1_decoder.conv"),
    (r"^keypoint_encoder_encoder\.(\d+)_?", r"keypoint_encoder.encoder.\1."),
    (r"^gnn_layers\.(\d+)_(attention|mlp)\.?", r"gnn.layers.\1.\2."),
    (r"\.mlp\.(\d)_", r".mlp.\1."),
    (r"\.\.", "."),
    (r"\.attention\.proj\.", ".attention.output.dense."),
    (r"\.attention\.(query|key|value)\.", r".attention.self.\1."),
    (r"^final_projection_", "final_projection."),
)
