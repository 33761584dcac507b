"""The three detectors: what each has that the others have not, which backbone calls count, and the verdict."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.ad_checkpoint import checkpoint_name

from experiments.studies import rcnn_lineage as study

TIMES = {"R-CNN": (60, 30.0), "Fast R-CNN": (1, 20.0), "Faster R-CNN": (1, 10.0)}


def report(**changes):
    rows = {
        name: {"map": 0.5, "map50": 0.7, "ms": 5.0, "with proposals": ms, "calls": calls}
        for name, (calls, ms) in (TIMES | changes).items()
    }
    return study.report({}, rows, 60)


@pytest.mark.covers("DE-12", "DE-13")
def test_the_verdict_turns_where_two_arms_are_swapped():
    good = report()
    assert good.holds
    assert good.headline.values == 3
    assert "R-CNN: mAP 0.500 (at .5: 0.700), 5 ms an image and 30 with its proposals, 60 call(s)" in good.verdict
    names = list(TIMES)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not report(**{names[a]: TIMES[names[b]], names[b]: TIMES[names[a]]}).holds, (names[a], names[b])
    assert not report(**{"Fast R-CNN": (60, 20.0)}).holds, "a call for each region"


@pytest.mark.covers("DE-12", "DE-13")
def test_r_cnn_has_no_pyramid_and_faster_r_cnn_alone_proposes():
    batch = {
        "image": jnp.zeros((1, 32, 32, 3)),
        "boxes": jnp.zeros((1, 1, 4)),
        "labels": jnp.zeros((1, 1), jnp.int32),
        "box_mask": jnp.ones((1, 1), bool),
        "proposals": jnp.zeros((1, 4, 4)),
        "proposal_mask": jnp.ones((1, 4), bool),
        "index": jnp.arange(1),
    }
    found = {}
    for name, learner in study.learners(4, 16, 4, lambda: optax.sgd(0.1)).items():
        params = jax.eval_shape(learner.init, jax.random.key(0), batch).params
        assert "backbone" in params
        found[name] = {part for part in ("fpn", "rpn") if part in params}
    assert found == {"R-CNN": set(), "Fast R-CNN": {"fpn"}, "Faster R-CNN": {"fpn", "rpn"}}


def test_images_are_counted_through_loops_and_axes():
    """Two of [2, 4, 4, 3] in each of 3 turns, and 5 at once: 3 x 2 + 5; another name does not count."""

    def program(x, many):
        def turn(carry, _):
            return carry, checkpoint_name(x, "backbone").sum() + checkpoint_name(x, "head").sum()

        return jax.lax.scan(turn, 0.0, length=3)[1].sum() + checkpoint_name(many, "backbone").sum()

    jaxpr = jax.make_jaxpr(program)(jnp.zeros((2, 4, 4, 3)), jnp.zeros((5, 4, 4, 3))).jaxpr
    assert study.images_through(jaxpr) == 11
