"""The non-local block in a detector: the identity at first, and a part of it afterward."""

import jax
import numpy as np
import optax
import pytest

from experiments.studies.non_local_detection import detector, learner_of, report
from experiments.studies.small_detectors import rows_of, scene_arrays, standardize


@pytest.mark.weekly
@pytest.mark.covers("DE-25")
def test_the_block_is_the_identity_at_first_and_learns():
    batch = rows_of(scene_arrays(2, 0, 48), np.arange(2))
    plain, block = (detector(stage, 4) for stage in ("", "stage4"))
    x = standardize(batch["image"])
    variables = jax.jit(lambda: block.init(jax.random.key(0), x))()
    params = dict(variables["params"])
    backbone = dict(params["backbone"])
    assert set(backbone) == {"net", "non_local"}
    without = {**variables, "params": {**params, "backbone": {"net": backbone["net"]}}}
    for a, b in zip(block.apply(variables, x)[0], plain.apply(without, x)[0], strict=True):
        np.testing.assert_array_equal(a, b)
    learner = learner_of(block, lambda: optax.sgd(0.1))
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    moved, _ = jax.jit(learner.update)(state, batch)
    assert np.abs(moved.params["backbone"]["non_local"]["out"]["kernel"]).max() > 0


@pytest.mark.covers("DE-25")
def test_the_claim_needs_a_gain_on_every_seed():
    result = report({"without": np.array([0.5, 0.6, 0.7]), "with": np.array([0.52, 0.61, 0.72])})
    assert result.holds
    np.testing.assert_allclose(result.headline.values, [0.02, 0.01, 0.02])
    assert not report({"without": np.array([0.5, 0.6]), "with": np.array([0.6, 0.6])}).holds


@pytest.mark.parametrize("stage", ["", "stage4"])
def test_a_detector_has_the_block_at_its_stage_and_reads_strides_8_and_16(stage):
    """At 32 pixels the two maps have 4 x 4 and 2 x 2 cells."""
    model, image = detector(stage, 4), np.zeros((1, 32, 32, 3), np.float32)
    (outputs, _), variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), image))
    assert ("non_local" in variables["params"]["backbone"]) == (stage == "stage4")
    assert {leaf.shape[1] for leaf in jax.tree.leaves(outputs)} == {4 * 4 + 2 * 2}
