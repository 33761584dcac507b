"""Steps read off the programs, networks that compute what they say, and the verdict."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import sequence_processors as study


@pytest.mark.slow
@pytest.mark.covers("AT-20")
@pytest.mark.parametrize(("length", "size", "convolutions"), [(9, 3, 4), (10, 3, 5), (13, 5, 3), (7, 2, 6)])
def test_the_steps_until_all_is_seen(length, size, convolutions):
    """T turns; (T - 1) / (K - 1) layers, of which each reaches K - 1 further back; one layer."""
    steps = {
        name: study.steps_of(make(most), length) for name, (make, most, _) in study.processors(length, size).items()
    }
    assert steps == {"recurrent": length, "convolution": convolutions, "self-attention": 1}
    assert [claimed for _, _, claimed in study.processors(length, size).values()] == [length, convolutions, 1]


@pytest.mark.covers("AT-20")
def test_too_few_layers_do_not_see_all():
    make, _, claimed = study.processors(9, 3)["convolution"]
    assert study.steps_of(make(claimed - 1), 9) is None


@pytest.mark.slow
@pytest.mark.covers("AT-20")
@pytest.mark.parametrize(("name", "layers"), [("recurrent", 1), ("convolution", 2), ("self-attention", 1)])
def test_gradients_are_nonzero_on_the_receptive_field_alone(name, layers):
    """The last state depends on the last 5 of 6 inputs behind two convolutions of 3 taps, on all elsewhere."""
    network = study.processors(6, 3)[name][0](layers)
    x = jax.random.normal(jax.random.key(0), (1, 6, 4))
    params = network.init(jax.random.key(1), x)
    y, states = network.apply(params, x)
    np.testing.assert_allclose(states[-1], y[:, -1], rtol=1e-6)
    slope = jax.grad(lambda x: (network.apply(params, x)[1][-1] * jnp.arange(1.0, 5)).sum())(x)
    assert ((slope != 0).any(-1)[0] == np.array([name != "convolution", *[True] * 5])).all()


def test_the_layers_of_a_stack_have_weights_of_their_own():
    network = study.Stack(lambda: study.CausalConvolution(3), 3)
    kernel = jax.tree.leaves(network.init(jax.random.key(0), jnp.zeros((1, 5, 2))))[-1]
    chex.assert_shape(kernel, (3, 1, 3, 2, 2))
    assert not np.allclose(kernel[0], kernel[1])


@pytest.mark.weekly
@pytest.mark.covers("AT-20")
def test_it_measures_and_the_verdict_turns():
    result = study.study(lengths=(8,), width=4, batch_size=1, num_repeats=1)
    assert result.holds
    assert result.numbers["convolution, T=8: steps"] == 2  # 7 / 4 rounded up
    assert all(result.numbers[f"{name}, T=8: {what}"] > 0 for name in study.processors(8, 5) for what in ("ms", "MB"))
    row = {"claimed": 8, "ms": 1.0, "MB": 2.0, "ms a layer": 1.0, "MB a layer": 2.0}
    rows = {name: {8: {**row, "steps": steps}} for name, steps in (("recurrent", 8), ("convolution", 8))}
    assert study.report(rows).holds
    rows["recurrent"][8]["steps"] = 7
    assert not study.report(rows).holds
    assert "recurrent: 7 steps, 1 ms, 2 MB" in study.report(rows).verdict


@pytest.mark.parametrize(
    ("flags", "message"), [({"kernel_size": 1}, "kernel_size=1"), ({"lengths": (1,)}, "lengths=1")]
)
def test_bad_settings(flags, message):
    with pytest.raises(ValueError, match=message):
        study.study(**flags)


def test_each_name_is_its_network_with_its_layers_and_its_claim():
    """Nine inputs by kernels of 3: nine turns, (9 - 1) / 2 = 4 layers, and one layer."""
    found = study.processors(9, 3)
    assert {name: (most, claimed) for name, (_, most, claimed) in found.items()} == {
        "recurrent": (1, 9),
        "convolution": (9, 4),
        "self-attention": (2, 1),
    }
    networks = {name: make(2) for name, (make, _, _) in found.items()}
    assert isinstance(networks["recurrent"], study.RecurrentNetwork)
    assert networks["convolution"].layer().kernel_size == 3
    assert isinstance(networks["self-attention"].layer(), study.Attention)
    assert [networks[name].layers for name in ("convolution", "self-attention")] == [2, 2]
