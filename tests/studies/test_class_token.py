"""The verdict on numbers written for it, the nets' tokens, and a student that follows its teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import class_token as study
from experiments.studies.small_runs import Digits, SmallNet, shuffled_digits
from tests.first_call import first_call


@pytest.mark.covers("AT-22", "AT-23")
def test_the_verdict_follows_the_numbers():
    results = dict(
        zip((*study.ARMS, "teacher"), np.array([[0.7, 0.8], [0.75, 0.7], [0.8, 0.9], [0.9, 0.9]]), strict=True)
    )
    verdict, holds = study.judge(results, 300)
    assert holds
    assert "75.0% with a class token, 72.5% with the mean over patches, 85.0% with a distillation token" in verdict
    assert "beats the token on 1 of 2 seeds, and the distilled one both on 2, the class token by 10.0 points" in verdict
    assert len(study.draw(results).axes) == 1
    results["distilled"] = np.array([0.74, 0.9])
    verdict, holds = study.judge(results, 300)
    assert not holds
    assert "the distilled one both on 1" in verdict


@pytest.mark.covers("AT-22", "AT-23")
def test_the_nets_differ_by_their_tokens():
    x = jnp.zeros((1, 8, 8, 1))
    shapes = {
        arm: jax.eval_shape(lambda net=net: net.init(jax.random.key(0), x, False))["params"]["model"]
        for arm, net in study.students(1).items()
    }
    tokens = {arm: {name for name in params if name.endswith("_token")} for arm, params in shapes.items()}
    assert tokens == {
        "class token": {"cls_token"},
        "mean over patches": set(),
        "distilled": {"cls_token", "dist_token"},
    }
    rows = {arm: params["pos_embed"]["embedding"].shape[1] for arm, params in shapes.items()}
    assert rows == {"class token": 17, "mean over patches": 16, "distilled": 18}


@pytest.mark.weekly
@pytest.mark.covers("AT-23")
def test_the_distillation_head_learns_what_the_teacher_says(monkeypatch):
    """A teacher that predicts 3 for every image; labels are the digits', which are not augmented here."""
    monkeypatch.setattr(study, "random_affine", lambda **ranges: lambda key, image: image)
    monkeypatch.setattr(study, "TEACHER", SmallNet((4,)))
    data, net, key = shuffled_digits(), study.students(1)["distilled"], jax.random.key(0)
    teacher = study.TEACHER.init(key, jnp.zeros((1, 8, 8, 1)), False)["params"]
    teacher = {"params": {**teacher, "head": {"kernel": jnp.zeros((4, 10)), "bias": 5.0 * jax.nn.one_hot(3, 10)}}}
    variables, score = study.fit(net, teacher, data, key, 200, 80, 5e-3)
    assert np.isfinite(score).all()
    images, labels = jnp.asarray(data.test_images[:200]), data.test_labels[:200]
    model = {"params": variables["params"]["model"]}
    own, others = jax.jit(lambda x: net.model.apply(model, x, method="auxiliary", train=False))(images)
    assert (others["distillation"].argmax(-1) == 3).all()
    assert (own.argmax(-1) == labels).mean() > 0.2


@pytest.mark.covers("AT-23")
def test_only_the_distilled_one_has_a_teacher(monkeypatch):
    """A net's accuracy says whether it was taught and which tokens it has; the teacher's has neither."""

    def fit(net, teacher, *_):
        tokens = net is not study.TEACHER and net.training == "auxiliary"
        return {"params": {}}, np.array([0.0, 0.5 + 0.3 * (teacher is not None) + 0.1 * tokens])

    monkeypatch.setattr(study, "fit", fit)
    result = study.study(num_seeds=2, depth=1)
    accuracy = {name: result.numbers[f"{name}: accuracy"][0] for name in (*study.ARMS, "teacher")}
    expected = {"class token": 0.5, "mean over patches": 0.5, "distilled": 0.9, "teacher": 0.5}
    assert accuracy == pytest.approx(expected)
    assert result.holds


@pytest.mark.covers("AT-23")
@pytest.mark.parametrize("teacher", [None, {}])
def test_only_a_taught_net_has_a_loss_of_its_own(teacher):
    few = np.zeros((5, 8, 8, 1), np.float32)
    digits = Digits(few, np.zeros(5, int), few, np.zeros(5, int))
    net = study.students(2)["distilled"]
    assert (net.model.depth, net.model.mlp_features, net.model.width, net.model.num_heads) == (2, 96, 48, 4)
    _, options = first_call(study, "train", study.fit, net, teacher, digits, jax.random.key(0), 3, 10, 1e-3)
    assert (options["objective"] is None) == (teacher is None)
