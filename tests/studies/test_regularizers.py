"""What each regularizer changes in the network and the run, and the verdict."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import regularizers as study


def results(**gaps):
    """Two seeds whose training log loss is 0.1, of the gaps given; all others have 0.4, nothing has 0.5."""
    gaps = dict.fromkeys(study.ARMS, 0.4) | {study.NOTHING: 0.5} | gaps
    return {arm: np.array([[[0.1, 1.0], [0.1 + gap, 0.9]]] * 2) for arm, gap in gaps.items()}


@pytest.mark.parametrize(
    ("gaps", "holds"),
    [
        ({}, True),
        ({"cutout": 0.5}, False),
        # The arms swapped: nothing has the gap of the others.
        ({study.NOTHING: 0.4, "L1": 0.5}, False),
    ],
)
def test_the_verdict(gaps, holds):
    result = study.report(results(**gaps))
    assert result.holds is holds
    narrowed = {"cutout": 14, "L1": 0}.get(next(iter(set(gaps) - {study.NOTHING}), ""), 15)
    assert f"{narrowed} of 15 narrow it" in result.verdict
    assert result.headline.values == pytest.approx([gaps.get(study.NOTHING, 0.5) - 0.4] * 2)


X = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)


@pytest.mark.parametrize(("ratio", "side"), [(2.0, 4), (1.5, 5)])
def test_the_pool_ratio_sets_the_inputs_of_the_hidden_layer(ratio, side):
    net = study.Net(pool_ratio=ratio)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), X, False))["params"]
    chex.assert_shape(shapes["dense"]["kernel"], (side * side * 16, 64))


@pytest.mark.weekly
def test_each_random_layer_depends_on_the_key_in_training():
    """Two keys of dropout give two outputs with each random layer of the list, and one without."""

    @jax.jit
    def differs():
        def outputs(settings):
            net = study.Net(**settings)
            variables = net.init(jax.random.key(0), X, False)
            return [
                net.apply(variables, X, True, rngs={"dropout": jax.random.key(k)}, mutable=["batch_stats"])[0]
                for k in (1, 2)
            ]

        nets = {arm: settings["net"] for arm, settings in study.ARMS.items() if "net" in settings}
        return {arm: jnp.abs(jnp.subtract(*outputs(net))).max() for arm, net in ({study.NOTHING: {}} | nets).items()}

    random = {arm for arm, change in differs().items() if change > 1e-6}
    assert random == {"dropout", "DropConnect", "stochastic depth", "fractional pooling"}


@pytest.mark.weekly
def test_optimizers_of_the_list_change_the_run():
    """In two epochs of a few digits each penalty or limit leaves other weights than none."""
    plain = study.measure({}, 1, 20, 40)
    for arm in ("weight decay", "L1", "elastic net", "max-norm", "mixup"):
        assert np.abs(study.measure(study.ARMS[arm], 1, 20, 40) - plain).max() > 1e-5, arm


@pytest.mark.parametrize("batch_norm", [False, True])
def test_one_network_alone_has_statistics(batch_norm):
    shapes = jax.eval_shape(lambda: study.Net(batch_norm=batch_norm).init(jax.random.key(0), X, False))
    assert ("batch_stats" in shapes) == batch_norm
