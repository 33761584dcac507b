"""What each regularizer changes in the network and the run, and the verdict."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import regularizers as study
from tests.first_call import first_call


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
def test_which_network_of_a_run_and_which_mean_of_networks_is_measured(monkeypatch):
    """Heads that are sure of class 0 or of class 1 stand for snapshots and members."""

    def train(key, net, optimizer, images, labels, steps, *, snapshots, **options):
        # Black is 0, which the compiler cannot know: XLA:CPU misreads products with constants (docs/performance.md).
        variables = jax.tree.map(lambda v: v * images.min(), net.init(key, images[:2], False))
        logits = jnp.arange(snapshots)[:, None] * jnp.array([0.0, 1.0] + [0.0] * 8)  # later ones prefer class 1
        variables = jax.tree.map(lambda v: jnp.broadcast_to(v, (snapshots, *v.shape)), variables)
        variables["params"]["head"]["bias"] = logits + jax.random.normal(key, (10,)) * (snapshots == 1)
        return variables, None

    monkeypatch.setattr(study, "train", train)
    # Early stopping: a uniform network has the best validation log loss, log 10, on digits of ten classes.
    stopped = study.measure({"snapshots": 4}, 1, 20, 50)
    np.testing.assert_allclose(stopped[0, :, 0], np.log(10), rtol=1e-4)
    # The mean of the members' probabilities is never worse than their mean log loss.
    one, many = (study.measure({"members": members}, 1, 20, 50)[0, 1, 0] for members in (1, 4))
    assert many < one


@pytest.mark.weekly
def test_optimizers_of_the_list_change_the_run():
    """In two epochs of a few digits each penalty or limit leaves other weights than none."""
    plain = study.measure({}, 1, 20, 40)
    for arm in ("weight decay", "L1", "elastic net", "max-norm", "mixup"):
        assert np.abs(study.measure(study.ARMS[arm], 1, 20, 40) - plain).max() > 1e-5, arm


@pytest.mark.parametrize("survival", [1.0, 0.75])
def test_the_branch_of_one_arm_alone_is_dropped_at_random(monkeypatch, survival):
    calls = []

    def stochastic_depth(rate, deterministic):
        calls.append((rate, deterministic))
        return lambda branch: branch

    monkeypatch.setattr(study, "StochasticDepth", stochastic_depth)
    net, x = study.Net(survival=survival), jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)
    for train in (False, True):
        jax.eval_shape(lambda x, train=train: net.init(jax.random.key(0), x, train), x)
    assert calls == ([] if survival == 1 else [(0.75, True), (0.75, False)])


OPTIMIZERS = {
    "weight decay": {"weight_decay": 1.0},
    "L1": {"l1": 0.1},
    "elastic net": {"weight_decay": 0.5, "l1": 0.05},
    "max-norm": {"max_norm": 1.0},
}
FIELDS = {
    "dropout": {"dropout": 0.5},
    "DropConnect": {"drop_connect": 0.5},
    "stochastic depth": {"survival": 0.5},
    "batch norm": {"batch_norm": True},
    "fractional pooling": {"pool_ratio": 1.5},
}
AUGMENTATIONS = {"augmentation": "random_affine", "cutout": "cutout", "noise": "gaussian_noise"}


@pytest.mark.parametrize("arm", study.ARMS)
def test_each_arm_trains_with_its_regularizer_alone(monkeypatch, arm):
    monkeypatch.setattr(study, "all_digits", lambda seed: (np.zeros((4, 8, 8, 1)), np.zeros(4, int)))
    monkeypatch.setattr(study, "create_optimizer", lambda name, rate, **settings: (name, settings))
    monkeypatch.setattr(study, "mixed_loss", lambda alpha, images, labels: {"mixed": alpha})
    (_, net, optimizer, images, _, steps), options = first_call(
        study, "train", study.measure, study.ARMS[arm], 1, 39, 3
    )
    assert net == study.Net(**FIELDS.get(arm, {}))
    assert optimizer == ("adamw", OPTIMIZERS.get(arm, {}))
    augment = options.pop("augment")
    assert (augment and augment.__qualname__.partition(".")[0]) == AUGMENTATIONS.get(arm)
    snapshots = 20 if arm == "early stopping" else 1
    mixed = {"mixed": 0.4} if arm == "mixup" else {}
    assert options == {"batch_size": 32, "snapshots": snapshots, **mixed}
    assert (len(images), steps) == (3, 39 - 39 % snapshots)
    assert study.ARMS[arm].get("members", 1) == (4 if arm == "ensemble" else 1)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_one_network_alone_has_statistics(batch_norm):
    shapes = jax.eval_shape(lambda: study.Net(batch_norm=batch_norm).init(jax.random.key(0), X, False))
    assert ("batch_stats" in shapes) == batch_norm
