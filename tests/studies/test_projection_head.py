"""Which vectors each arm's probe reads, a run that moves the net, and the verdict."""

import jax
import numpy as np
import pytest

from experiments.studies import projection_head as study
from experiments.studies.small_runs import Digits
from tests.first_call import first_call


@pytest.mark.weekly
@pytest.mark.covers("SS-14")
def test_each_arm_is_probed_on_its_own_vectors(monkeypatch):
    """The probe answers with the width of what it reads, and whether those are the trained weights' vectors."""
    before, after = study.train(0, 2, 8, 1e-3, 0.1)
    data, seen = study.shuffled_digits(), []

    def probe(bank, labels, queries):
        seen.append((bank.shape[1], bank))
        return data.test_labels if bank.shape[1] == 64 else np.full(len(queries), -1)

    monkeypatch.setattr(study, "probe_predict", probe)
    found = study.probes(before, after)
    assert found == {"h": 1.0, "z": 0.0, "untrained h": 1.0}, "h has 64 numbers, z has 32"
    assert [width for width, _ in seen] == [64, 32, 64]
    images = np.asarray(data.images, np.float32)
    for (_, bank), params, part in zip(seen, (after, after, before), (0, 1, 0), strict=True):
        np.testing.assert_allclose(bank, study.Encoder().apply({"params": params}, images)[part], atol=1e-5)


@pytest.mark.covers("SS-14")
def test_the_verdict_turns_when_the_arms_are_swapped():
    results = {"h": np.array([0.95, 0.96, 0.94]), "z": np.array([0.90, 0.91, 0.93]), "untrained h": np.full(3, 0.9)}
    good = study.report(results)
    assert good.holds
    assert "reads 95.0% off h, before the head, and 91.3% off z" in good.verdict
    np.testing.assert_allclose(good.headline.values, [0.05, 0.05, 0.01])
    assert not study.report(results | {"h": results["z"], "z": results["h"]}).holds
    assert not study.report(results | {"z": np.array([0.90, 0.91, 0.945])}).holds, "every seed must agree"


@pytest.mark.slow
def test_training_moves_f_and_the_head():
    before, after = study.train(1, 2, 8, 1e-3, 0.1)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, after)
    assert min(max(jax.tree.leaves(part)) for part in moved.values()) > 1e-4


@pytest.mark.covers("SS-14")
def test_each_arm_reads_the_part_and_the_weights_of_its_name(monkeypatch):
    """Weights 1 before training and 2 after it; h is the weight, z ten times that. A probe is right on 500, 250, 50."""

    class Parts:
        def apply(self, variables, images):
            return tuple(np.full((len(images), 1), scale * variables["params"]) for scale in (1, 10))

    def probe(bank, labels, queries):
        assert queries[0, 0] == bank[0, 0]
        right = {2: 500, 20: 250, 1: 50}[int(bank[0, 0])]
        return np.where(np.arange(500) < right, study.shuffled_digits().test_labels, -1)

    monkeypatch.setattr(study, "Encoder", Parts)
    monkeypatch.setattr(study, "probe_predict", probe)
    assert study.probes(1, 2) == {"h": 1.0, "z": 0.5, "untrained h": 0.1}


@pytest.mark.slow
def test_the_settings_reach_the_training(monkeypatch):
    few = np.zeros((3, 8, 8, 1), np.float32)
    monkeypatch.setattr(study, "shuffled_digits", lambda: Digits(few, np.zeros(3), few, np.zeros(3)))
    _, options = first_call(study, "train_contrastive", study.train, 0, 7, 5, 0.01, 0.2)
    assert options == {"steps": 7, "batch_size": 5, "learning_rate": 0.01, "temperature": 0.2}
