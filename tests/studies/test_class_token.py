"""The verdict on numbers written for it, and the nets' tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import class_token as study


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
