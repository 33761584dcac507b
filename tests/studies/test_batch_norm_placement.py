"""Where batch norm stands: the verdict turns with the share of dead units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import batch_norm_placement as study


def placements(before=0.01, after=0.1, diverged=False):
    rows = {name: np.full((2, 5), share) for name, share in (("before", before), ("after", after), ("none", 0.3))}
    results = {
        name: {"loss": np.full((2, 5), 0.1), "accuracy": np.full((2, 5), 0.9), "dead": v} for name, v in rows.items()
    }
    if diverged:
        results["after"]["loss"][:] = np.inf
    return 2.0 ** np.arange(5), results


@pytest.mark.covers("NO-12")
def test_the_verdict_on_placement_turns():
    good = study.report(*placements())
    assert good.holds
    assert "1.0% of the ReLUs are dead with batch norm before them and 10.0% with it after them: fewer" in good.verdict
    assert not study.report(*placements(before=0.2)).holds
    assert not study.report(*placements(diverged=True)).holds  # no rate to judge by


@pytest.mark.weekly
@pytest.mark.covers("NO-12")
def test_the_smoke_version_of_placement():
    result = study.study(**study.experiment.smoke | {"depth": 1, "steps": 60})
    for label in study.NAMES.values():
        dead = result.numbers[f"dead by rate, {label}"]
        assert len(dead) == 2
        assert all(0 <= share <= 1 for share in dead)
        assert result.numbers[f"test accuracy at the best rate, {label}"][0] > 0.5


@pytest.mark.slow
@pytest.mark.covers("NO-12")
def test_each_name_stands_for_its_placement(monkeypatch):
    """Nets are real and training is not: what a net centers, ReLU inputs or logits, decides its share of dead units."""
    x, key = 3 + 2 * jax.random.normal(jax.random.key(0), (64, 64)), jax.random.key(1)

    def train_all(net, variables, learning_rates, *_):
        one = jax.tree.map(lambda v: v[0, 0], variables)
        (logits, seen), _ = jax.jit(lambda one: net.apply(one, x, True, key, mutable=["batch_stats"]))(one)
        centered = [bool(jnp.abs(values).max() < 1e-3) for values in (seen.mean(1), logits.mean(0))]
        dead = {(True, False): 0.1, (False, True): 0.5, (False, False): 0.9}[tuple(centered)]
        shape = 1, 1, len(learning_rates)
        return {"loss": np.ones(shape), "accuracy": np.ones(shape), "dead": np.full(shape, dead)}

    monkeypatch.setattr(study, "train_all", train_all)
    result = study.study(num_seeds=1, depth=2, hidden=4)
    dead = [result.numbers[f"dead over the rates, {label}"][0] for label in study.NAMES.values()]
    assert list(study.NAMES) == ["before", "after", "none"]
    np.testing.assert_allclose(dead, [0.1, 0.5, 0.9])
    assert result.holds
    np.testing.assert_allclose(result.headline.values, [0.4])


def test_each_arm_is_trained_with_the_norm_and_the_place_of_its_name(monkeypatch):
    def train_all(net, variables, learning_rates, *_):
        return {"norm": [net.norm == "batch"], "before": [net.before], "width": [net.hidden], "depth": [net.depth]}

    monkeypatch.setattr(study, "starts", lambda *_: None)
    monkeypatch.setattr(study, "train_all", train_all)
    monkeypatch.setattr(
        study, "report", lambda _, rows: {name: [float(v) for v in row.values()] for name, row in rows.items()}
    )
    assert study.study(depth=2, hidden=4) == {
        "before": [1, 1, 4, 2],
        "after": [1, 0, 4, 2],
        "none": [0, 1, 4, 2],
    }


def test_each_arm_is_reported_by_its_placement():
    assert study.NAMES == {"before": "before the ReLU", "after": "after the ReLU", "none": "no batch norm"}
