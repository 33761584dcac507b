"""Every loss on a batch [2, 3, ...] equals its vmap and its examples one by one; a wrong shape is an error."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dlcore import losses

BATCH = (2, 3)
RNG = np.random.default_rng(0)


def normal(*shape):
    return np.asarray(RNG.normal(size=(*BATCH, *shape)), np.float32)


def labels(*shape, classes=4):
    return np.asarray(RNG.integers(0, classes, (*BATCH, *shape)), np.int32)


def bits(*shape):
    return labels(*shape, classes=2).astype(np.float32)


def signs():
    return 2 * bits() - 1


def probabilities(*shape):
    return scipy.special.softmax(normal(*shape), -1)


def boxes():
    corner = np.abs(normal(2))
    return np.concatenate([corner, corner + np.abs(normal(2)) + np.float32(0.1)], -1)


WEIGHTS = np.float32([1.0, 2.0, 0.5, 0.0])
EDGES = np.array([[0, 1], [1, 2], [2, 3], [0, 2], [0, 3]])
FACES = np.array([[0, 1, 2], [0, 2, 3]])
LOSSES = {
    "alignment_loss": (losses.alignment_loss, normal(5), normal(5)),
    "binary_cross_entropy_loss": (losses.binary_cross_entropy_loss, normal(4), bits(4)),
    "binary_cross_entropy_loss weighted": (
        lambda s, t: losses.binary_cross_entropy_loss(s, t, WEIGHTS),
        normal(4),
        bits(4),
    ),
    "chamfer_loss": (losses.chamfer_loss, normal(5, 3), normal(4, 3)),
    "chamfer_loss masked": (losses.chamfer_loss, normal(5, 3), normal(4, 3), bits(5), bits(4)),
    "chamfer_normal_loss": (losses.chamfer_normal_loss, normal(5, 3), normal(4, 3), normal(5, 3), normal(4, 3)),
    "complete_iou_loss": (losses.complete_iou_loss, boxes(), boxes()),
    "consistency_loss": (lambda s, t: losses.consistency_loss(s, t, 0.5, 0.5), normal(4), 2 * normal(4)),
    "content_loss": (losses.content_loss, normal(3, 4, 2), normal(3, 4, 2)),
    "contrastive_loss": (losses.contrastive_loss, normal(5), normal(5), bits()),
    "cosine_embedding_loss": (losses.cosine_embedding_loss, normal(5), normal(5), signs()),
    "cross_entropy": (losses.cross_entropy, probabilities(4), probabilities(4)),
    "ctc_loss": (losses.ctc_loss, normal(6, 4), 1 + labels(3, classes=3), 3 + labels(), labels(classes=3)),
    "ctc_loss whole": (losses.ctc_loss, normal(6, 4), 1 + labels(2, classes=3)),
    "dice_loss": (losses.dice_loss, normal(3, 4), bits(3, 4)),
    "dice_loss masked": (lambda s, t, m: losses.dice_loss(s, t, mask=m), normal(3, 4), bits(3, 4), bits(3, 4)),
    "discriminator_loss": (losses.discriminator_loss, normal(), normal()),
    "distance_iou_loss": (losses.distance_iou_loss, boxes(), boxes()),
    "distillation_loss": (losses.distillation_loss, normal(4), normal(4)),
    "edge_length_loss": (lambda v: losses.edge_length_loss(v, EDGES), normal(4, 3)),
    "entropy": (losses.entropy, probabilities(4)),
    "entropy_loss": (losses.entropy_loss, normal(4)),
    "forward_corrected_loss": (
        lambda s, y: losses.forward_corrected_loss(s, y, 0.6 * np.eye(4, dtype=np.float32) + 0.1),
        normal(4),
        labels(),
    ),
    "gaussian_nll_loss": (losses.gaussian_nll_loss, normal(4), normal(4), np.exp(normal(4))),
    "gaussian_nll_loss shared": (losses.gaussian_nll_loss, normal(4), normal(4), np.exp(normal(1))),
    "generalized_cross_entropy_loss": (losses.generalized_cross_entropy_loss, normal(4), labels()),
    "generalized_iou_loss": (losses.generalized_iou_loss, boxes(), boxes()),
    "gram_matrix": (losses.gram_matrix, normal(3, 4, 2)),
    "hard_distillation_loss": (losses.hard_distillation_loss, normal(4), normal(4), normal(4), labels()),
    "hinge_discriminator_loss": (losses.hinge_discriminator_loss, normal(), normal()),
    "hinge_embedding_loss": (losses.hinge_embedding_loss, np.abs(normal()), signs()),
    "hinge_generator_loss": (losses.hinge_generator_loss, normal()),
    "huber_loss": (losses.huber_loss, normal(4), normal(4)),
    "info_nce_loss": (losses.info_nce_loss, normal(5), normal(5), normal(7, 5)),
    "info_nce_loss queue": (lambda q, k: losses.info_nce_loss(q, k, np.ones((7, 5), np.float32)), normal(5), normal(5)),
    "iou_loss": (losses.iou_loss, boxes(), boxes()),
    "kl_divergence": (losses.kl_divergence, probabilities(4), probabilities(4)),
    "kl_divergence_loss": (losses.kl_divergence_loss, normal(4), probabilities(4)),
    "l1_loss": (losses.l1_loss, normal(4), normal(4)),
    "l2_loss": (losses.l2_loss, normal(4), normal(4)),
    "laplacian_loss": (lambda v: losses.laplacian_loss(v, EDGES), normal(4, 3)),
    "ldam_loss": (lambda s, y: losses.ldam_loss(s, y, WEIGHTS, 2.0), normal(4), labels()),
    "least_squares_discriminator_loss": (losses.least_squares_discriminator_loss, normal(), normal()),
    "least_squares_generator_loss": (losses.least_squares_generator_loss, normal()),
    "margin_ranking_loss": (losses.margin_ranking_loss, normal(), normal(), signs()),
    "minimax_generator_loss": (losses.minimax_generator_loss, normal()),
    "mse_loss": (losses.mse_loss, normal(4), normal(4)),
    "multiclass_dice_loss": (losses.multiclass_dice_loss, normal(3, 4, 4), labels(3, 4)),
    "multiclass_dice_loss masked": (
        lambda s, y, m: losses.multiclass_dice_loss(s, y, mask=m),
        normal(3, 4, 4),
        labels(3, 4),
        bits(3, 4),
    ),
    "multiclass_hinge_loss": (losses.multiclass_hinge_loss, normal(4), labels()),
    "multiclass_tversky_loss": (losses.multiclass_tversky_loss, normal(3, 4, 4), labels(3, 4)),
    "non_saturating_generator_loss": (losses.non_saturating_generator_loss, normal()),
    "normal_consistency_loss": (lambda v: losses.normal_consistency_loss(v, FACES, np.array([[0, 1]])), normal(4, 3)),
    "scale_invariant_depth_loss": (losses.scale_invariant_depth_loss, normal(4, 5), np.exp(normal(4, 5))),
    "scale_and_shift_invariant_loss": (
        losses.scale_and_shift_invariant_loss,
        normal(4, 5),
        np.exp(normal(4, 5)),
        bits(4, 5),
    ),
    "scale_invariant_depth_loss masked": (
        losses.scale_invariant_depth_loss,
        normal(4, 5),
        np.exp(normal(4, 5)),
        bits(4, 5),
    ),
    "sequence_loss": (losses.sequence_loss, normal(5), bits(5)),
    "sequence_loss last": (lambda x, m: losses.sequence_loss(x, m, "last"), normal(5), bits(5)),
    "distribution_expectation": (losses.distribution_expectation, normal(4)),
    "distribution_focal_loss": (losses.distribution_focal_loss, normal(4), np.abs(normal())),
    "sigmoid_focal_loss": (losses.sigmoid_focal_loss, normal(4), bits(4)),
    "smooth_l1_loss": (losses.smooth_l1_loss, normal(4), normal(4)),
    "softmax_cross_entropy_loss": (losses.softmax_cross_entropy_loss, normal(4), labels()),
    "softmax_cross_entropy_loss outside": (losses.softmax_cross_entropy_loss, normal(4), labels() - 1),
    "softmax_cross_entropy_loss weighted": (
        lambda s, y: losses.softmax_cross_entropy_loss(s, y, 0.1, WEIGHTS),
        normal(4),
        labels(),
    ),
    "softmax_cross_entropy_loss probabilities": (losses.softmax_cross_entropy_loss, normal(4), probabilities(4)),
    "squared_hinge_loss": (losses.squared_hinge_loss, normal(4), labels()),
    "style_loss": (losses.style_loss, normal(3, 4, 2), normal(2, 2)),
    "surface_normal_loss": (losses.surface_normal_loss, normal(3), normal(3)),
    "total_variation_loss": (losses.total_variation_loss, normal(3, 4, 2)),
    "triplet_loss": (losses.triplet_loss, normal(5), normal(5), normal(5)),
    "triplet_loss plain": (
        lambda a, p, n: losses.triplet_loss(a, p, n, 1.0, squared=False, swap=True),
        normal(5),
        normal(5),
        normal(5),
    ),
    "tversky_loss": (losses.tversky_loss, normal(3, 4), bits(3, 4)),
}
WITHOUT_BATCH_AXES = {
    "they couple the examples": {
        *("clip_loss", "decoupled_contrastive_loss", "mined_triplet_loss", "nt_xent_loss", "nt_xent_scores"),
        "siglip_loss",
        *("pairwise_distances", "sample_semi_hard_negatives", "triplet_kinds", "uniformity_loss"),
    },
    "they reduce a batch": {"full_loss", "masked_mean", "multi_task_loss"},
    "they take counts or parameters": {
        *("class_balanced_weights", "enet_weights", "ldam_margins", "median_frequency_weights"),
        *("elastic_net_penalty", "is_kernel", "l1_penalty", "l2_penalty", "orthogonal_penalty"),
    },
    "they are jax's or a type": {"softmax", "log_softmax", "TripletKinds"},
}


def test_every_loss_is_here():
    assert {name.split()[0] for name in LOSSES}.isdisjoint(set().union(*WITHOUT_BATCH_AXES.values()))
    assert {name.split()[0] for name in LOSSES} | set().union(*WITHOUT_BATCH_AXES.values()) == set(losses.__all__)


@pytest.mark.slow(unless=["alignment_loss", "binary_cross_entropy_loss", "binary_cross_entropy_loss weighted"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_is_its_examples(name):
    loss, *arrays = LOSSES[name]
    batched, mapped = jax.jit(lambda *a: (loss(*a), jax.vmap(jax.vmap(loss))(*a)))(*arrays)
    one = jax.jit(loss)
    examples = np.stack([np.stack([one(*(a[i, j] for a in arrays)) for j in range(3)]) for i in range(2)])
    assert batched.shape[:2] == BATCH
    chex.assert_equal_shape([batched, mapped, examples])
    np.testing.assert_allclose(batched, mapped, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(batched, examples, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", [name for name, (_, *arrays) in LOSSES.items() if len(arrays) > 1])
def test_batch_axes_do_not_broadcast(name):
    """One argument with one example fewer, with an axis fewer, or with an axis of 1 more."""
    loss, *arrays = LOSSES[name]
    for i, array in enumerate(arrays):
        for wrong in (array[:, :1], array[:1], array[0], array[:, :, None]):
            with pytest.raises(ValueError, match=r"\w+=\w+\[.*\]: .*; allowed: "):
                jax.eval_shape(loss, *arrays[:i], wrong, *arrays[i + 1 :])


@pytest.mark.slow
def test_five_boxes_at_once():
    a = jnp.array([[0.0, 0, 2, 2]] * 5)
    b = a + jnp.arange(5.0)[:, None] * jnp.array([1.0, 0, 1, 0])
    # overlaps of 4, 2 and 0 with hulls of 4, 6, 8, 10 and 12: 1 - 1, 1 - 2/6, and 1 + 0, 2/10, 4/12
    np.testing.assert_allclose(losses.generalized_iou_loss(a, b), [0, 4 / 6, 1, 1.2, 4 / 3], atol=1e-6)


@pytest.mark.slow
def test_integer_labels_are_classes_also_where_the_batch_has_as_many_rows_as_classes():
    logits = jnp.array([[3.2, 5.1, -1.7], [0.0, 0, 0], [1.0, 2, 3]])
    got = losses.softmax_cross_entropy_loss(logits, jnp.array([0, 1, 2]))
    np.testing.assert_allclose(got, [2.040355, np.log(3), 0.407606], atol=1e-6)
    onehot = jnp.eye(3)
    np.testing.assert_allclose(losses.softmax_cross_entropy_loss(logits, onehot), got, rtol=1e-6)
