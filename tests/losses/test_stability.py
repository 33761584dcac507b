"""Every loss at the edges: scores of +-1e4, bfloat16, under jit, vmap and without."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses

LABEL = jnp.array(1)
LOGITS = {
    "binary_cross_entropy_loss": lambda s: losses.binary_cross_entropy_loss(s, jnp.array([0.0, 1, 0.3])),
    "multiclass_hinge_loss": lambda s: losses.multiclass_hinge_loss(s, LABEL),
    "squared_hinge_loss": lambda s: losses.squared_hinge_loss(s, LABEL),
    "softmax_cross_entropy_loss": lambda s: losses.softmax_cross_entropy_loss(s, LABEL, 0.1),
    "distillation_loss": lambda s: losses.distillation_loss(s, -s),
    "hard_distillation_loss": lambda s: losses.hard_distillation_loss(s, -s, -s, LABEL),
    "entropy_loss": losses.entropy_loss,
    "consistency_loss": lambda s: losses.consistency_loss(s, jnp.array([3.0, 0, 0])),
    "forward_corrected_loss": lambda s: losses.forward_corrected_loss(s, LABEL, 0.7 * jnp.eye(3) + 0.1),
    "generalized_cross_entropy_loss": lambda s: losses.generalized_cross_entropy_loss(s, LABEL),
    "kl_divergence_loss": lambda s: losses.kl_divergence_loss(s, jnp.array([0.5, 0.5, 0])),
    "ldam_loss": lambda s: losses.ldam_loss(s, LABEL, jnp.array([0.1, 0.2, 0.5])),
    "distribution_focal_loss": lambda s: losses.distribution_focal_loss(s, jnp.array(1.3)),
    "sigmoid_focal_loss": lambda s: losses.sigmoid_focal_loss(s, jnp.array([0.0, 1, 1])),
    "dice_loss": lambda s: losses.dice_loss(s[None], jnp.array([[0.0, 1, 1]])),
    "tversky_loss": lambda s: losses.tversky_loss(s[None], jnp.array([[0.0, 1, 1]])),
    "multiclass_dice_loss": lambda s: losses.multiclass_dice_loss(jnp.stack([s, -s])[None], jnp.array([[0, 2]])),
    "multiclass_tversky_loss": lambda s: losses.multiclass_tversky_loss(jnp.stack([s, -s])[None], jnp.array([[0, 2]])),
    "ctc_loss": lambda s: losses.ctc_loss(jnp.stack([s, -s, 0 * s]), jnp.array([1, 2])),
    "mse_loss": lambda s: losses.mse_loss(s, 0 * s),
    "l1_loss": lambda s: losses.l1_loss(s, 0 * s),
    "l2_loss": lambda s: losses.l2_loss(s, 0 * s),
    "smooth_l1_loss": lambda s: losses.smooth_l1_loss(s, 0 * s),
    "huber_loss": lambda s: losses.huber_loss(s, 0 * s),
    "gaussian_nll_loss": lambda s: losses.gaussian_nll_loss(s, 0 * s, jnp.ones(3)),
    "triplet_loss": lambda s: losses.triplet_loss(s, -s, 0 * s, squared=False),
    "contrastive_loss": lambda s: losses.contrastive_loss(s, -s, 1),
    "cosine_embedding_loss": lambda s: losses.cosine_embedding_loss(s, -s, 1),
    "nt_xent_loss": lambda s: losses.nt_xent_loss(jnp.stack([s, -s]), jnp.stack([s, s + 1]), 0.1),
    "decoupled_contrastive_loss": lambda s: losses.decoupled_contrastive_loss(jnp.stack([s, -s]), jnp.stack([s, -s])),
    "clip_loss": lambda s: losses.clip_loss(jnp.stack([s, -s]), jnp.stack([s, s + 1])),
    "siglip_loss": lambda s: losses.siglip_loss(jnp.stack([s, -s]), jnp.stack([s, s + 1]), 0.1, -10.0),
    "info_nce_loss": lambda s: losses.info_nce_loss(s, s / 8192, jnp.stack([s, -s]) / 8192),
    "mined_triplet_loss": lambda s: losses.mined_triplet_loss(jnp.stack([s, s, -s]), jnp.array([0, 0, 1]), kind="all"),
}
EDGES = np.array([[1e4, 0, -1e4], [-1e4, 1e4, 1e4], [0, 0, 0]], np.float32)


@pytest.mark.slow(unless=["binary_cross_entropy_loss", "multiclass_hinge_loss", "squared_hinge_loss"])
@pytest.mark.parametrize("name", LOGITS)
def test_large_and_equal_scores_have_finite_losses_and_gradients(name):
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(LOGITS[name])))(EDGES)
    chex.assert_shape(values, (3,))
    assert np.isfinite(values).all()
    assert np.isfinite(gradients).all()


@pytest.mark.slow(unless=["binary_cross_entropy_loss", "multiclass_hinge_loss", "squared_hinge_loss"])
@pytest.mark.parametrize("name", LOGITS)
def test_bfloat16_scores_are_computed_in_float32(name):
    """What is lost is the rounding of the input, not that of the sum."""
    scores = jnp.array([1.0, -2.5, 0.375], jnp.bfloat16)
    loss = LOGITS[name]
    got, want = jax.value_and_grad(loss)(scores), jax.value_and_grad(loss)(scores.astype(jnp.float32))
    assert got[0].dtype == jnp.float32
    assert got[1].dtype == jnp.bfloat16
    assert float(got[0]) == pytest.approx(float(want[0]), rel=1e-5, abs=1e-5)
    np.testing.assert_allclose(got[1].astype(jnp.float32), want[1], rtol=0.02, atol=0.04 * np.abs(want[1]).max() + 4e-3)


def test_every_loss_of_scores_or_embeddings_is_here():
    """The rest take boxes, maps, losses or scalars, and have their corners in their own file."""
    elsewhere = {
        *("alignment_loss", "uniformity_loss", "content_loss", "style_loss", "total_variation_loss"),
        *("iou_loss", "generalized_iou_loss", "distance_iou_loss", "complete_iou_loss"),
        *("discriminator_loss", "minimax_generator_loss", "non_saturating_generator_loss"),
        *("hinge_discriminator_loss", "hinge_generator_loss"),
        *("least_squares_discriminator_loss", "least_squares_generator_loss"),
        *("hinge_embedding_loss", "margin_ranking_loss", "sequence_loss", "full_loss", "multi_task_loss"),
        *("chamfer_loss", "chamfer_normal_loss", "edge_length_loss", "laplacian_loss"),
        *("normal_consistency_loss", "scale_invariant_depth_loss", "scale_and_shift_invariant_loss"),
        "surface_normal_loss",
    }
    named = {name for name in losses.__all__ if name.endswith("_loss")}
    assert named - elsewhere == set(LOGITS)
