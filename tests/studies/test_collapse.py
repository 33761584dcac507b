"""Each arm leaves out one part and nothing else; the rule, the verdict, and runs that collapse."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.self_supervised.dino import updated_center
from experiments.studies import collapse as study


def arguments_of(monkeypatch, arm):
    """What an arm passes to its technique, beside the optimizer and the views."""
    calls = []
    for technique in (study.byol, study.simsiam, study.vicreg, study.dino):
        monkeypatch.setattr(technique, "learner", lambda name=technique.__name__, **call: calls.append((name, call)))
    arm.learner(arm.model, {"optimizer": optax.sgd(0.1), "augment": study.view}, 10)
    ((name, call),) = calls
    plain = {key: value for key, value in call.items() if isinstance(value, int | float)}
    return name, set(call), plain


@pytest.mark.covers("SS-28", "SS-29", "SS-31")
@pytest.mark.parametrize(
    ("loss", "whole", "without"),
    [
        ("SimSiam", {"stop_gradient": True}, {"stop_gradient": False}),
        ("VICReg", {"variance_weight": 25.0}, {"variance_weight": 0.0}),
        ("DINO", {"center_momentum": 0.9, "local_crops": 0}, {"center_momentum": 1.0, "local_crops": 0}),
        ("BYOL", {}, {}),
    ],
)
def test_an_arm_differs_by_its_part_alone(monkeypatch, loss, whole, without):
    first, second, _ = study.ARMS[loss]
    calls = [arguments_of(monkeypatch, arm) for arm in (first, second)]
    assert [call[2] for call in calls] == [whole, without]
    assert calls[0][:2] == calls[1][:2]
    assert first.output == second.output
    assert (first.model == second.model) == (loss != "BYOL")
    if loss == "BYOL":
        assert second.model == first.model.clone(predictor_features=0)
        assert first.model.predictor_features == 64


def test_a_center_of_momentum_one_stays_at_zero():
    logits = jnp.ones((2, 3, 4))
    np.testing.assert_array_equal(updated_center(jnp.zeros(4), logits, jnp.ones(3), 1.0), 0)
    assert (updated_center(jnp.zeros(4), logits, jnp.ones(3), 0.9) > 0).all()


def measured(rank=8.0, spread=1.0, knn=0.9):
    return study.Measure((10.0, rank), (1.0, spread), (0.8, knn))


def test_rank_or_spread_below_half_is_collapse():
    assert [measured(rank=r).is_collapsed() for r in (4.9, 5.0)] == [True, False]
    assert [measured(spread=s).is_collapsed() for s in (0.49, 0.5)] == [True, False]
    # Standard deviations 3 and 4: the root of their squares' sum is 5.
    assert study.spread_of(np.array([[3.0, 4], [-3, -4]])) == pytest.approx(5)


@pytest.mark.covers("SS-40")
def test_the_verdict_turns():
    good = {loss: ([measured()] * 2, [measured(rank=1.5, knn=0.3)] * 2) for loss in study.ARMS}
    result = study.report(good)
    assert result.holds
    assert "BYOL: rank 8.0, k-NN 90.0%; without predictor 1.5, 30.0%" in result.verdict
    assert "Collapsed are 8 of 8 runs without the part, and 0 of 8 with it." in result.verdict
    assert list(result.headline.values) == [6.5, 6.5]
    assert not study.report(good | {"DINO": ([measured()], [measured()])}).holds
    assert not study.report(good | {"DINO": ([measured(rank=1.0)], [measured(rank=1.0)])}).holds


@pytest.mark.weekly
@pytest.mark.covers("SS-28", "SS-29", "SS-31")
@pytest.mark.parametrize("loss", ["BYOL", "SimSiam", "VICReg"])
def test_without_its_part_a_loss_collapses(loss):
    whole, without = (study.measure(arm, 300, 64, 3e-3, 0) for arm in study.ARMS[loss][:2])
    assert without.is_collapsed()
    assert not whole.is_collapsed()


def test_a_run_is_measured_before_and_behind_its_training(monkeypatch):
    """Parameters are 1 before training and 2 after it; outputs of each kind are multiples of them."""
    images, labels = np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 1, 1])
    part = SimpleNamespace(arrays={"image": images, "label": labels})
    state = SimpleNamespace(params=2, model_state={"batch_stats": 20}, rng=None)
    scales = {"features": 1, "embeddings": 10, "projections": 100, "logits": 1000}

    def encode(model, params, model_state, x):
        assert model_state == {"batch_stats": 10 * params}
        return {name: np.full((4, 2), scale * params) for name, scale in scales.items()}, None

    monkeypatch.setattr(study, "load", lambda name, seed: SimpleNamespace(train=part, test=part))
    monkeypatch.setattr(study, "Pipeline", lambda *_, **__: None)
    monkeypatch.setattr(study, "fit", lambda *_, **__: SimpleNamespace(state=state))
    monkeypatch.setattr(study, "init_variables", lambda *_: {"params": 1, "batch_stats": 10})
    monkeypatch.setattr(study, "encode", encode)
    monkeypatch.setattr(study, "knn_predict", lambda bank, labels, queries: np.full(4, int(bank[0, 0] == 2)))
    monkeypatch.setattr(study, "rank_me", lambda outputs: outputs[0, 0])
    monkeypatch.setattr(study, "spread_of", lambda outputs: outputs[0, 0] / 2)
    for output, scale in list(scales.items())[1:]:
        arm = study.Arm(None, lambda model, arguments, steps: None, output)
        assert study.measure(arm, 1, 2, 0.1, 0) == study.Measure(
            (scale, 2 * scale), (scale / 2, scale), (0.25, 0.75)
        )  # a quarter of the labels are 0
