"""Numbers outside their range are refused by name: a temperature of 0 would give NaN, a negative one a wrong sign."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses

ROWS, LABELS = jnp.ones((2, 3)), jnp.array([0, 1])


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: losses.info_nce_loss(ROWS, ROWS, ROWS, 0.0), "temperature=0: out of range; allowed: above 0"),
        (lambda: losses.nt_xent_loss(ROWS, ROWS, -1.0), "temperature=-1: out of range; allowed: above 0"),
        (lambda: losses.decoupled_contrastive_loss(ROWS, ROWS, 0.0), "temperature=0"),
        (lambda: losses.clip_loss(ROWS, ROWS, jnp.float32(0)), "temperature=0"),
        (lambda: losses.siglip_loss(ROWS, ROWS, -0.1), "temperature=-0.1"),
        (lambda: losses.distillation_loss(ROWS, ROWS, 0.0), "temperature=0"),
        (lambda: losses.uniformity_loss(ROWS, 0.0), "t=0: out of range; allowed: above 0"),
        (lambda: losses.multiclass_hinge_loss(ROWS, LABELS, -1.0), "margin=-1: out of range; allowed: at least 0"),
        (lambda: losses.binary_cross_entropy_loss(ROWS, ROWS, -1.0), "positive_weight=-1"),
        (lambda: losses.sigmoid_focal_loss(ROWS, ROWS, 0.25, -1.0), "gamma=-1: out of range; allowed: at least 0"),
        (lambda: losses.smooth_l1_loss(ROWS, ROWS, -1.0), "beta=-1: out of range; allowed: at least 0"),
        (lambda: losses.ldam_margins(jnp.array([3, 5]), -1.0), "max_margin=-1"),
        (lambda: losses.triplet_loss(ROWS, ROWS, ROWS, -0.2), "margin=-0.2: out of range; allowed: at least 0"),
        (lambda: losses.cosine_embedding_loss(ROWS, ROWS, LABELS, 2.0), "margin=2: out of range; allowed: -1 to 1"),
        (lambda: losses.tversky_loss(ROWS, ROWS, smooth=-1.0), "smooth=-1: out of range; allowed: at least 0"),
        *[
            (lambda loss=loss, labels=labels, name=name: loss(ROWS[None], labels, **{name: -1.0}), f"{name}=-1: out of")
            for loss, labels in ((losses.tversky_loss, ROWS[None]), (losses.multiclass_tversky_loss, LABELS[None]))
            for name in ("alpha", "beta", "smooth")
        ],
        (lambda: losses.contrastive_loss(ROWS, ROWS, LABELS, -1.0), "margin=-1: out of range; allowed: at least 0"),
        (lambda: losses.hinge_embedding_loss(LABELS, np.array([1, -1]), -1.0), "margin=-1: out of range"),
        (lambda: losses.margin_ranking_loss(LABELS, LABELS, np.array([1, -1]), -1.0), "margin=-1: out of range"),
        (lambda: losses.triplet_kinds(np.zeros((2, 2)), LABELS, -1.0), "margin=-1: out of range"),
        (lambda: losses.consistency_loss(ROWS, ROWS, float("nan")), "temperature=nan: out of range"),
        (
            lambda: losses.ctc_loss(jnp.zeros((5, 3)), jnp.array([1, 7])),
            r"labels\[1\]=7: out of range; allowed: 0 to 2",
        ),
        (lambda: losses.class_balanced_weights(jnp.array([3, -5])), r"counts\[1\]=-5: no count"),
        (lambda: losses.ldam_margins(np.array([3, np.nan])), r"counts\[1\]=nan: no count; allowed: finite numbers"),
        (lambda: losses.enet_weights(jnp.array([-1, 3])), r"pixels\[0\]=-1: no count"),
        (lambda: losses.median_frequency_weights(LABELS, jnp.array([1, -1])), r"beside\[1\]=-1: no count"),
        (lambda: losses.ldam_loss(ROWS, LABELS + 6, jnp.ones(3)), r"labels\[0\]=6: out of range; allowed: 0 to 2"),
        (lambda: losses.multiclass_hinge_loss(ROWS, LABELS - 1), r"labels\[0\]=-1: out of range; allowed: 0 to 2"),
        (lambda: losses.squared_hinge_loss(ROWS, LABELS + 2), r"labels\[1\]=3: out of range"),
        (lambda: losses.generalized_cross_entropy_loss(ROWS, LABELS + 2), r"labels\[1\]=3: out of range"),
        (lambda: losses.forward_corrected_loss(ROWS, LABELS + 2, jnp.eye(3)), r"labels\[1\]=3: out of range"),
        (lambda: losses.multiclass_dice_loss(ROWS[None], LABELS[None] - 1), r"labels\[0, 0\]=-1: out of range"),
        (lambda: losses.multiclass_tversky_loss(ROWS[None], LABELS[None] * 255), r"labels\[0, 1\]=255: out of range"),
        (lambda: losses.ctc_loss(jnp.zeros((5, 3)), jnp.array([1, 0])), "labels=0: the blank is no symbol"),
        (lambda: losses.ctc_loss(jnp.zeros((5, 3)), jnp.array([1, 2]), blank=9), "blank=9: out of range"),
    ],
)
def test_a_number_out_of_range_is_refused(call, problem):
    with pytest.raises(ValueError, match=f"^{problem}"):
        call()


def test_traced_and_padded_values_pass():
    traced = jax.jit(lambda tau: losses.distillation_loss(ROWS, ROWS, tau))(2.0)
    assert traced.tolist() == [0, 0]
    # Arrays that a function closes over keep their values, which are checked, while what is computed is traced.
    chex.assert_shape(jax.eval_shape(lambda a: losses.cosine_embedding_loss(a, a, np.array([1, -1]), -0.5), ROWS), (2,))
    # A void pixel that does not count may have any label. The other has 1/3 for each of three classes: its own costs
    # 1 - (2/3 + 1) / (2/3 + 2/3 + 1) = 2/7, the others 1 - 1 / (1/3 + 1) = 1/4 each.
    pixels, mask = np.array([[0, 255]]), np.array([[1, 0]])
    void = jax.jit(lambda logits: losses.multiclass_dice_loss(logits, pixels, 1.0, mask))(np.zeros((1, 2, 3)))
    assert float(void) == pytest.approx((2 / 7 + 1 / 4 + 1 / 4) / 3, rel=1e-6)
    # One step, whose three symbols have 1/3 each: what lies beyond the length of a label may be anything.
    loss = losses.ctc_loss(np.zeros((1, 3)), np.array([1, -1]), labels_length=np.array(1))
    assert float(loss) == pytest.approx(1.0986123)
    assert losses.chamfer_loss(np.ones((2, 0, 3), np.float32), np.ones((2, 4, 3), np.float32)).tolist() == [0, 0]
