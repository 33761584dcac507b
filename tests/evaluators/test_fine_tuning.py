"""Fine-tuning goes on from the weights it is given, with the labels it is given, and says what it measures."""

import importlib
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.evaluators.fine_tuning import Recipe, Tuning, fine_tuning, label_counts
from dlcore.learner import Learner, State, Sum
from dlcore.models.encoder import Encoder, module_encoder
from dlcore.run.evaluate import Evaluation
from dlcore.run.sharding import make_mesh
from dlcore.run.step import Placement


def images(n, seed):
    """The class is which of eight pixels of the first row is bright, among noise that is as bright elsewhere."""
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 4).astype(np.int32)
    image = rng.random((n, 8, 8, 1), np.float32)
    image[:, 0] = 0.0
    image[np.arange(n), 0, 2 * label] = 1.0
    return Source({"image": image, "label": label})


def toy():
    """A dense layer to eight features; its bias stands for the collections besides the parameters."""

    def init(key):
        return {"params": {"w": jax.random.normal(key, (64, 8)) / 8}, "batch_stats": {"steps": jnp.zeros(())}}

    def apply(variables, x, key):
        features = x.reshape(len(x), -1) @ variables["params"]["w"]
        return features, {"batch_stats": {"steps": variables["batch_stats"]["steps"] + (key is not None)}}

    return Encoder(init, apply, lambda state: {"params": state.params, "batch_stats": {"steps": jnp.zeros(())}})


def knowing():
    """Weights that look at the first row alone: what a perfect pretext would give."""
    return {"w": 4 * jnp.eye(64, 8)}


@pytest.mark.covers("SS-01", "TL-06")
def test_few_labels_do_for_features_that_are_right_already():
    rows = images(200, 1)

    def predict(state, batch):
        return batch["index"]

    learner = Learner(None, None, None, predict)
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    evaluator = fine_tuning(
        rows, images(100, 0), rows, encoder=toy(), counts=(8, 16), num_classes=4, recipe=Recipe(60, 16, 0.03)
    )
    state = State(jnp.zeros((), jnp.int32), jax.random.key(0), knowing(), ())
    found = Evaluation(learner, placement).evaluator_measures(state, [evaluator], rows, 64)
    assert tuple(found) == evaluator.names
    assert found["fine_tune_16"] > 0.9
    for count in (8, 16):
        assert found[f"fine_tune_{count}"] > found[f"fine_tune_{count}_untrained"] + 0.15


@pytest.mark.slow
def test_all_labels_make_the_supervised_encoder():
    train, queries = images(400, 0), images(200, 1)
    evaluator = fine_tuning(
        None, train, queries, encoder=toy(), counts=(), num_classes=4, recipe=Recipe(60, 64, 0.03), supervised=400
    )
    found = evaluator.finish({"params": knowing(), "batch_stats": {"steps": 0.0}})
    assert tuple(found) == evaluator.names == ("supervised", "knn_supervised", "probe_supervised")
    assert min(found.values()) > 0.9, found


def test_every_weight_moves_and_statistics_go_on():
    tuning = Tuning(toy(), Recipe(steps=5, batch_size=8), 4)
    start = {"params": knowing(), "batch_stats": {"steps": jnp.zeros(())}}
    tuned, head = tuning.train(start, images(8, 0))
    assert (np.asarray(tuned["params"]["w"]) != np.asarray(start["params"]["w"])).mean() > 0.9
    assert tuned["batch_stats"]["steps"] == 5
    chex.assert_shape(head["kernel"], (8, 4))
    rows = images(7, 2)
    whole = tuning.features(tuned, rows)
    np.testing.assert_allclose(whole, rows.arrays["image"].reshape(7, -1) @ tuned["params"]["w"], rtol=1e-4, atol=1e-6)


class Seen(NamedTuple):
    """The arguments of the optimizer, and of a stand-in of the training step."""

    optimizers: list
    steps: list


@pytest.fixture
def seen(monkeypatch):
    module, record = importlib.import_module("dlcore.evaluators.fine_tuning"), Seen([], [])
    create_optimizer = module.create_optimizer

    def optimizer(*args, **settings):
        record.optimizers.append((args, settings))
        return create_optimizer(*args, **settings)

    monkeypatch.setattr(module, "create_optimizer", optimizer)
    return record


def train_recorded(seen, recipe, size, steps=None, seed=0):
    """Train on `size` examples with a step that only records the images' numbers, the key and the rate."""
    tuning = Tuning(toy(), recipe, 2, seed)

    def update(trained, rest, opt_state, images, labels, key, rate):
        seen.steps.append((images[:, 0, 0, 0].astype(int).tolist(), jax.random.key_data(key).tolist(), float(rate)))
        return trained, rest, opt_state

    tuning._update = update
    image = np.zeros((size, 8, 8, 1), np.float32) + np.arange(size)[:, None, None, None]
    rows = Source({"image": image, "label": np.arange(size, dtype=np.int32) % 2})
    return tuning.train({"params": knowing(), "batch_stats": {"steps": 0.0}}, rows, steps)


def test_batches_go_through_the_labels_in_epochs_and_the_rate_warms_up_for_a_tenth(seen):
    """Ten steps of three take 30 examples of four labels, each label once in every four."""
    _, head = train_recorded(seen, Recipe(10, 3, 0.5, 0.25), 4)
    order = np.concatenate([numbers for numbers, _, _ in seen.steps])
    assert len(order) == 30
    assert all(sorted(order[i : i + 4]) == [0, 1, 2, 3] for i in range(0, 28, 4))
    assert len({tuple(order[i : i + 4]) for i in range(0, 28, 4)}) > 1
    rates = [rate for _, _, rate in seen.steps]
    assert (rates[0], rates[1]) == (0, 0.5)  # one step of warm-up, then a cosine over nine
    assert rates[2] == pytest.approx(0.5 * (1 + np.cos(np.pi / 9)) / 2)
    assert ({args[0] for args, _ in seen.optimizers}, seen.optimizers[0][1]) == ({"adamw"}, {"weight_decay": 0.25})
    assert len({tuple(key) for _, key, _ in seen.steps}) == 10  # no two steps share a key
    assert not head["bias"].any()
    # Kernels of N(0, 1 / D), of D = 8: 16 numbers of deviation 0.354.
    assert 0.2 < np.std(head["kernel"]) < 0.5


def test_training_depends_on_the_seed_and_has_the_asked_for_steps(seen):
    def run(**settings):
        del seen.steps[:]
        return train_recorded(seen, Recipe(4, 3), 8, **settings)[1]["kernel"], list(seen.steps)

    (kernel, steps), (same_kernel, same_steps), (other_kernel, other_steps) = run(), run(), run(seed=1)
    np.testing.assert_array_equal(kernel, same_kernel)
    assert steps == same_steps
    assert (kernel != other_kernel).all()
    assert [numbers for numbers, _, _ in steps] != [numbers for numbers, _, _ in other_steps]
    assert [key for _, key, _ in steps] != [key for _, key, _ in other_steps]
    # Fewer than ten steps have no warm-up: a cosine from the default rate, which is halved in the middle.
    assert [rate for _, _, rate in steps][::2] == pytest.approx([2e-3, 1e-3])
    assert [rate for _, _, rate in run(steps=2)[1]] == pytest.approx([2e-3, 1e-3])


@pytest.mark.slow
def test_training_images_are_prepared_and_augmented_each_by_its_key_and_others_only_prepared():
    """All images are halved, and each training image gets a random number; the statistics hold what the encoder saw."""

    def apply(variables, x, key):
        return x.reshape(len(x), -1) * variables["params"]["w"], {"saw": x}

    encoder = Encoder(
        None, apply, None, lambda images: images / 2, lambda key, image: image + jax.random.uniform(key, image.shape)
    )
    tuning = Tuning(encoder, Recipe(1, 2), 2)
    rows = Source({"image": np.full((2, 1, 1, 1), 4.0, np.float32), "label": np.arange(2, dtype=np.int32)})
    tuned, _ = tuning.train({"params": {"w": jnp.ones(1)}, "saw": jnp.zeros((2, 1, 1, 1))}, rows)
    assert tuning.features({"params": {"w": 3.0}}, rows).tolist() == [[6], [6]]
    added = np.ravel(tuned["saw"]) - 2
    assert ((added > 0) & (added < 1)).all()
    assert added[0] != added[1]


def test_features_of_full_chunks_are_those_of_all_images(monkeypatch):
    monkeypatch.setattr(importlib.import_module("dlcore.evaluators.fine_tuning"), "_CHUNK", 3)
    tuning, sizes = Tuning(toy(), Recipe(), 2), []
    tuning._encode = lambda variables, images: sizes.append(len(images)) or images[:, 0, 0] * variables
    rows = Source({"image": np.arange(7.0).reshape(7, 1, 1, 1)})
    assert tuning.features(2.0, rows).ravel().tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert sizes == [3, 3, 3]
    assert tuning.features(2.0, rows.take(2)).ravel().tolist() == [0, 2]
    assert sizes[3:] == [2]


@pytest.mark.parametrize(("supervised", "batch_size", "steps"), [(8, 16, 7), (8, 4, 10), (9, 4, 12)])
def test_the_supervised_encoder_trains_for_five_epochs_or_the_steps_of_the_recipe(
    monkeypatch, supervised, batch_size, steps
):
    """5 x 8 labels are 2.5 batches of 16, fewer than 7 steps, or 10 batches of 4; 5 x 9 are 11.25, rounded up to 12."""
    module, trained, neighbors = importlib.import_module("dlcore.evaluators.fine_tuning"), [], []

    class Recorded:
        def __init__(self, encoder, recipe, num_classes, seed):
            assert (recipe, num_classes, seed) == (Recipe(7, batch_size), 4, 3)

        def train(self, variables, labeled, steps=None):
            trained.append((variables, len(labeled), steps))
            return variables, {"kernel": np.eye(2, 4), "bias": np.array([0, 0, 5.0, 0])}

        def features(self, variables, source):
            return np.ones((len(source), 2)) * (10 if variables == "trained" else 1)

    monkeypatch.setattr(module, "Tuning", Recorded)
    monkeypatch.setattr(module, "knn_predict", lambda bank, label, z, k: neighbors.append((len(bank), k)) or label[:4])
    monkeypatch.setattr(module, "probe_predict", lambda bank, label, z: np.array([0, 1, 3, 3]))
    encoder = Encoder(lambda key: "untrained", None, None)
    monkeypatch.setattr(module.jax, "jit", lambda function: function)
    evaluator = fine_tuning(
        None, images(12, 0), images(4, 1), encoder=encoder, counts=(4, 6), num_classes=4,
        recipe=Recipe(7, batch_size), supervised=supervised, seed=3,
    )  # fmt: skip
    found = evaluator.finish("trained")
    assert trained == [
        *(("trained", 4, None), ("untrained", 4, None), ("trained", 6, None), ("untrained", 6, None)),
        ("untrained", supervised, steps),
    ]
    assert neighbors == [(supervised, supervised)]  # no more than the bank has
    # Queries 0 to 3 have classes 0 to 3. Logits of the trained (10, 10, 5, 0) say 0, others (1, 1, 5, 0) say 2.
    assert {name: found[name] for name in found if name != "knn_supervised"} == {
        **{f"fine_tune_{count}{end}": 0.25 for count in (4, 6) for end in ("", "_untrained")},
        "supervised": 0.25,
        "probe_supervised": 0.75,
    }


class Net(nn.Module):
    """A network with batch norm, and with dropout in training."""

    @nn.compact
    def features(self, x, train):
        x = nn.BatchNorm(not train, momentum=0.5, name="norm")(x.reshape(len(x), -1))
        return {"z": nn.Dropout(0.5, deterministic=not train)(x)}


class Plain(nn.Module):
    """A network whose method has no argument `train`."""

    @nn.compact
    def plain(self, x):
        return {"z": x.reshape(len(x), -1) * self.param("scale", nn.initializers.ones, (3,))}


def encoder_of(model, method, **settings):
    return module_encoder(
        model, lambda x: x / 2, (1, 1, 3), lambda state: state, lambda out: out["z"], method=method, **settings
    )


def test_a_module_has_dropout_and_moving_statistics_in_training_alone():
    encoder, x = encoder_of(Net(), "features"), jnp.arange(1.0, 13).reshape(4, 1, 1, 3)
    variables = encoder.init(jax.random.key(0))
    same, statistics = encoder.apply(variables, x, None)
    np.testing.assert_allclose(same, x.reshape(4, 3), rtol=1e-4)  # initial statistics are 0 and 1
    assert statistics == {"batch_stats": variables["batch_stats"]}
    dropped, moved = encoder.apply(variables, x, jax.random.key(1))
    assert 0 < (dropped == 0).sum() < 12
    # The means are those of rows 1, 4, 7, 10 and the next: 5.5, 6.5, 7.5, of which half is taken over.
    np.testing.assert_allclose(moved["batch_stats"]["norm"]["mean"], [2.75, 3.25, 3.75], rtol=1e-6)
    assert encoder.prepare(4.0) == 2
    assert encoder.augment is None
    assert encoder_of(Net(), "features", augment=max).augment is max


def test_a_module_without_the_argument_train_is_applied_alike_in_training():
    encoder, x = encoder_of(Plain(), "plain", takes_train=False), jnp.arange(6.0).reshape(2, 1, 1, 3)
    variables = encoder.init(jax.random.key(0)) | {"others": {}}
    for key in (None, jax.random.key(1)):
        z, others = encoder.apply(variables, x, key)
        np.testing.assert_array_equal(z, x.reshape(2, 3))
        assert others == {"others": {}}


def test_only_the_variables_of_the_method_are_taken_and_all_of_them_must_be_there():
    encoder = encoder_of(Net(), "features")
    whole = encoder.init(jax.random.key(0))
    more = {"params": whole["params"] | {"head": jnp.ones(2)}, "batch_stats": whole["batch_stats"], "opt": {}}
    assert jax.tree.structure(encoder.variables(more)) == jax.tree.structure(whole)
    other = {"params": {"norm": whole["params"]["norm"] | {"scale": jnp.ones(4)}}, "batch_stats": whole["batch_stats"]}
    with pytest.raises(ValueError, match=r"^params/norm/scale: missing or of another shape; allowed: all variables"):
        encoder.variables(other)
    with pytest.raises(ValueError, match=r"^params/norm/(bias|scale) and 1 more: missing or of another shape"):
        encoder.variables({"batch_stats": whole["batch_stats"]})


def test_amounts_of_labels():
    # 1 % and 10 % of 1,000; 1 % of 500 is 5, fewer than a label a class; equal counts come once.
    assert label_counts((0.1, 0.01), 1000, 10) == (10, 100)
    assert label_counts((0.01, 10, 50), 500, 10) == (10, 50)
    assert label_counts((), 500, 10) == ()
    # 1 is a count, all of 5 may be asked for, 0.5 x 5 = 2.5 is rounded to even, and 10 classes need all.
    assert label_counts((1, 5, 0.5), 5, 1) == (1, 2, 5)
    assert label_counts((0.5,), 5, 10) == (5,)
    with pytest.raises(ValueError, match=r"fine_tune=501: more than the training examples; allowed: at most 500"):
        label_counts((501,), 500, 10)


def test_counts_start_evaluators_from_the_state():
    """`start` gives the first accumulator; the learner's metrics are untouched."""
    from dlcore.learner import Evaluator

    evaluator = Evaluator(
        lambda acc, outputs, rows: acc + outputs.sum(), lambda acc: {"sum": acc}, start=lambda s: s.params
    )
    learner = Learner(None, None, lambda s, b: {"n": Sum.of(b["index"])}, lambda s, b: b["index"])
    state = State(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.float32(100), ())
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    found = Evaluation(learner, placement).evaluator_measures(state, [evaluator], Source.indices(4), 3)
    assert found == {"sum": 106.0}
