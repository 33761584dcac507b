"""One protocol for every pretext: the learner sees no label, and each number has the untrained encoder's beside it."""

import jax
import numpy as np
import pytest

from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.setting import FlagError
from dlcore.kits import self_supervised
from dlcore.learner import Learner
from experiments.self_supervised import simclr

TINY = ["--smoke", "--fine_tune=10,20", "--supervised", "--model=resnet8_cifar"]


def resolved(*words):
    return ResolvedRun(simclr.experiment, resolve(simclr.experiment, [*TINY, *words]))


@pytest.mark.covers("SS-01")
def test_no_function_of_a_learner_gets_a_label():
    seen = []

    def spy(name, out=None):
        return lambda *arguments: seen.append((name, set(arguments[-1]))) or out

    learner = self_supervised.unlabeled(Learner(*map(spy, ("init", "update", "evaluate", "predict", "loss"))))
    rows = {"image": 0, "label": 0, "index": 0, "mask": 0}
    learner.init(None, rows), learner.update(None, rows), learner.evaluate(None, rows), learner.predict(None, rows)
    learner.loss(None, None, rows)
    names = ("init", "update", "evaluate", "predict", "loss")
    assert seen == [(name, {"image", "index", "mask"}) for name in names]
    assert learner.classes is None
    assert self_supervised.unlabeled(learner._replace(loss=None)).loss is None


@pytest.mark.covers("SS-01")
def test_the_protocol_measures_trained_untrained_and_supervised_encoders(tmp_path):
    from dlcore.modes.train import train
    from dlcore.run.metrics_writer import read_metrics

    run = resolved(f"--run_dir={tmp_path}")
    assert train(run) == 0
    numbers = read_metrics(tmp_path)[-1]
    judged = ("knn", "probe", "fine_tune_10", "fine_tune_20")
    names = {name + end for name in judged for end in ("", "_untrained")}
    names |= {"supervised", "knn_supervised", "probe_supervised", "probe_head"}
    assert numbers["split"] == "test"
    assert names <= {name for name, value in numbers.items() if isinstance(value, float) and 0 <= value <= 1}
    report = (tmp_path / "report.html").read_text()
    assert "fine-tuned with 10 labels" in report
    assert "k-NN with k = 5 and temperature 0.07, linear probe: by the labels of 100 training images" in report


def test_the_encoder_of_fine_tuning_is_the_learners():
    """Its features of a trained state are those that `predict` gives, and training mode changes the statistics."""
    run = resolved()
    data = run.experiment.data(run.flags)
    setup = run.setup_of(data)
    learner, encoder = run.experiment.build(setup), self_supervised.encoder(setup)
    rows = data.test[:4]
    state = jax.jit(learner.init)(jax.random.key(1), rows)
    features, _ = jax.jit(encoder.apply, static_argnums=2)(encoder.variables(state), rows["image"], None)
    np.testing.assert_allclose(features, learner.predict(state, rows)["features"], rtol=1e-4, atol=1e-5)
    fresh = encoder.init(jax.random.key(2))
    assert jax.tree.structure(fresh) == jax.tree.structure(encoder.variables(state))
    _, others = jax.jit(encoder.apply)(fresh, rows["image"], jax.random.key(3))
    moved = [
        np.abs(a - b).max() for a, b in zip(jax.tree.leaves(others), jax.tree.leaves(fresh["batch_stats"]), strict=True)
    ]
    assert max(moved) > 1e-3


def test_more_labels_than_images_are_an_error_before_any_work():
    run = resolved("--fine_tune=2000")
    data = run.experiment.data(run.flags)
    with pytest.raises(FlagError, match=r"--fine_tune=2000: more than the training examples; allowed: at most \d+"):
        self_supervised.notes(run.setup_of(data), data)
