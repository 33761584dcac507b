"""The language, the sizes, and the verdict on written losses."""

import chex
import jax
import numpy as np
import pytest

from dlcore.models.gpt2 import GPT2
from experiments.studies import transformer_scaling as study


@pytest.mark.covers("AT-35")
def test_the_held_out_model_is_predicted_and_swapped_arms_are_not():
    sizes = np.array([1e3, 2e3, 4e3, 8e3, 16e3])
    losses = (20 * sizes**-0.4 + 1)[:, None] + 0.01 * np.array([-1.0, 0, 1])
    law, (low, high), holds = study.predict_last(sizes, losses)
    assert holds
    assert law.b == pytest.approx(0.4, abs=0.05)
    assert low < losses[-1].mean() < high
    assert not study.predict_last(sizes, losses[[0, 1, 2, 4, 3]])[2]
    assert not study.predict_last(sizes, np.concatenate([losses[:-1], losses[-1:] - 0.3]))[2]


@pytest.mark.covers("AT-35")
def test_the_held_out_model_has_about_twice_the_parameters():
    largest, held_out = (study.num_parameters(GPT2(32, 32, 2, 2, width)) for width in (32, 46))
    # 12 d^2 + 13 d a layer, 64 d of embeddings, 2 d of the last norm.
    assert largest == 2 * (12 * 32**2 + 13 * 32) + 66 * 32
    assert 1.9 < held_out / largest < 2.1


def test_tokens_follow_the_table():
    chain = study.language(6, seed=1)
    tokens = np.asarray(jax.jit(study.sequences, static_argnums=(2, 3))(jax.random.key(0), chain, 200, 12))
    follows = np.asarray(chain.table)[tokens[:, :-2], tokens[:, 1:-1]] == tokens[:, 2:]
    zipf = np.exp(np.asarray(chain.log_zipf))
    # 0.8, and where any token is drawn, sometimes the table's by chance.
    assert 0.8 < follows.mean() < 0.8 + 0.2 * zipf.max() + 0.03
    uniform = chain._replace(log_zipf=np.full(4, np.log(0.25)))
    # Next token: 0.85 of one and 0.05 of three others.
    assert uniform.entropy == pytest.approx(-0.85 * np.log(0.85) - 0.15 * np.log(0.05))


def test_widths_must_rise():
    with pytest.raises(ValueError, match=r"widths=\(8, 12\): allowed: 4 or more even numbers, rising"):
        study.study(widths=(8, 12))


@pytest.mark.weekly
def test_a_model_learns_the_language():
    chain = study.language(6)
    losses = study.losses_of(GPT2(6, 8, 1, 2, 16), 1, chain, steps=320, batch_size=16, learning_rate=1e-2)
    chex.assert_shape(losses, (1, 16))
    assert losses[0, -1] < 0.75 * losses[0, 0]
    assert losses[0, -1] > 0.7 * chain.entropy
