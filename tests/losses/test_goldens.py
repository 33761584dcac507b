"""Every loss case of torch's golden file, values and gradients, in float32 and float64."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "torch_losses.npz")
META = json.loads(str(GOLDEN["meta"]))["cases"]


def over_examples(loss, reduce=jnp.mean, **arguments):
    return lambda x, y: reduce(loss(x, y, **arguments))


def over_numbers(loss):
    return lambda x, y: loss(x, y).sum() / x.size


def weighted_cross_entropy(x, y, weight):
    return losses.softmax_cross_entropy_loss(x, y, class_weights=weight).sum() / weight[y].sum()


def ignoring(smoothing=0.0, ignored=-100):
    def loss(x, y, weight=None):
        keep = y != ignored
        per_example = losses.softmax_cross_entropy_loss(x, y, smoothing, weight)
        total = keep.sum() if weight is None else jnp.where(keep, weight[y], 0).sum()
        return jnp.where(keep, per_example, 0).sum() / total

    return loss


def pixels(x, y):
    return ignoring(ignored=255)(jnp.moveaxis(x, 1, -1), y)


def both_sides(x, y):
    p = jax.nn.sigmoid(x)
    return losses.cross_entropy(*(jnp.stack([q, 1 - q], -1) for q in (y, p))).mean()


def ctc(reduce):
    def loss(x, targets, input_lengths, target_lengths):
        return reduce(losses.ctc_loss(jnp.swapaxes(x, 0, 1), targets, input_lengths, target_lengths), target_lengths)

    return loss


def triplet(swap):
    return lambda x, pos, neg: losses.triplet_loss(x, pos, neg, margin=1.0, squared=False, swap=swap).mean()


def multi_margin(loss):
    """torch divides by the number of classes."""
    return lambda x, y: loss(x, y).mean() / x.shape[-1]


CLASSES = losses.softmax_cross_entropy_loss
BINARY = losses.binary_cross_entropy_loss
ROWS = {
    "LO-01": {"multi_margin.p1": multi_margin(losses.multiclass_hinge_loss)},
    "LO-02": {"multi_margin.p2": multi_margin(losses.squared_hinge_loss)},
    "LO-04": {
        "cross_entropy.mean": over_examples(CLASSES),
        "cross_entropy.sum": over_examples(CLASSES, jnp.sum),
        "cross_entropy.none": over_examples(CLASSES, lambda v: v),
        "cross_entropy.weight": weighted_cross_entropy,
        "cross_entropy.ignore": ignoring(),
        "cross_entropy.soft": over_examples(CLASSES),
        "cross_entropy.seg": pixels,
        "nll": weighted_cross_entropy,
    },
    "LO-06": {
        "kl_div.mean": lambda x, y: losses.kl_divergence_loss(x, y).mean() / x.shape[-1],
        "kl_div.batchmean": over_examples(losses.kl_divergence_loss),
        "kl_div.log_target": lambda x, y: losses.kl_divergence_loss(x, jax.nn.softmax(y)).mean(),
    },
    "LO-07": {
        "bce_logits.mean": over_numbers(BINARY),
        "bce_logits.none": lambda x, y: BINARY(x[..., None], y[..., None]),
        "bce_logits.pos_weight": lambda x, y, pos_weight: BINARY(x, y, pos_weight).sum() / x.size,
        "bce": both_sides,
        "multilabel_soft_margin": over_numbers(BINARY),
        "soft_margin": lambda x, y: BINARY(x, (y + 1) / 2).sum() / x.size,
    },
    "LO-08": {"mse": over_examples(losses.mse_loss), "l1": over_examples(losses.l1_loss)},
    "LO-14": {
        "smooth_l1": over_examples(losses.smooth_l1_loss),
        "huber": lambda x, y: losses.huber_loss(x, y, 1.5).mean(),
    },
    "LO-15": {"triplet.swap0": triplet(False), "triplet.swap1": triplet(True)},
    "LO-18": {"nt_xent": lambda x, x2: losses.nt_xent_loss(x, x2, 0.5)},
    "LO-24": {"soft_dice": losses.dice_loss},
    "LO-25": {
        "ctc.none": ctc(lambda values, _: values),
        "ctc.mean": ctc(lambda values, lengths: (values / jnp.maximum(lengths, 1)).mean()),
    },
    "LO-10": {
        "cross_entropy.smooth": over_examples(CLASSES, label_smoothing=0.1),
        "cross_entropy.smooth_weight_ignore": ignoring(0.1),
    },
    None: {
        "hinge_embedding": over_examples(losses.hinge_embedding_loss),
        "margin_ranking": lambda x, x2, y: losses.margin_ranking_loss(x, x2, y, margin=0.5).mean(),
        "cosine_embedding": lambda x, x2, y: losses.cosine_embedding_loss(x, x2, y).mean(),
        "gaussian_nll": lambda x, y, var: losses.gaussian_nll_loss(x, y, var),
        "clip_infonce": lambda x, x2: losses.clip_loss(x, x2, 0.07),
        "contrastive_pair": lambda x, x2, y: losses.contrastive_loss(x, x2, y, margin=1.5).mean(),
    },
}
CASES = [
    pytest.param(case, loss, id=case, marks=[pytest.mark.covers(row)] if row else [])
    for row, cases in ROWS.items()
    for case, loss in cases.items()
]


def test_no_case_is_left_out():
    assert {case for cases in ROWS.values() for case in cases} == set(META)


@pytest.mark.slow
@pytest.mark.weekly(only=["float64-ctc.none"])
@pytest.mark.parametrize(("case", "loss"), CASES)
@pytest.mark.parametrize("wide", [False, True], ids=["float32", "float64"])
def test_equals_torch(case, loss, wide):
    prefix = f"{case}/in."
    inputs = {name.removeprefix(prefix): GOLDEN[name] for name in GOLDEN.files if name.startswith(prefix)}
    cotangent = inputs.pop("cot", 1.0)
    variable = [name for name in inputs if f"{case}/grad.{name}" in GOLDEN.files]
    value_error, gradient_error = (1e-9, 1e-8) if wide else (2e-6, 5e-6)
    with jax.enable_x64(wide):
        dtype = jnp.float64 if wide else jnp.float32
        inputs = {k: jnp.asarray(v, dtype if v.dtype.kind == "f" else None) for k, v in inputs.items()}

        def run(chosen):
            out = loss(*(inputs | chosen).values())
            return (out * cotangent).sum(), out

        gradients, out = jax.grad(run, has_aux=True)({name: inputs[name] for name in variable})
        assert out.dtype == dtype
        want = GOLDEN[f"{case}/out"]
        np.testing.assert_allclose(out, want, rtol=0, atol=value_error * max(np.abs(want).max(), 1e-3))
        for name in variable:
            want = GOLDEN[f"{case}/grad.{name}"]
            np.testing.assert_allclose(gradients[name], want, rtol=0, atol=gradient_error * np.abs(want).max())
