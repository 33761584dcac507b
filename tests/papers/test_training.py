"""The parts that tables share."""

import jax
import numpy as np
import optax

from dlcore.classification import supervised
from dlcore.data.source import Source
from dlcore.models.mlp import MLP
from experiments.papers import training

EXAMPLES = Source({"image": np.eye(4, dtype=np.float32), "label": np.array([0, 1, 1, 0], np.int32)})


def test_a_subset_has_the_rows_and_the_arrays_in_their_place():
    part = training.subset(EXAMPLES, np.array([2, 0]), label=np.array([5, 6]))
    np.testing.assert_array_equal(part.arrays["image"], np.eye(4)[[2, 0]])
    np.testing.assert_array_equal(part.arrays["label"], [5, 6])


def test_training_of_epochs_and_of_steps_and_the_error_in_percent():
    learner = supervised.learner(model=MLP(num_classes=2, hidden=()), optimizer=optax.sgd(1.0))
    by_epochs = training.train(learner, EXAMPLES, epochs=10, batch_size=2, seed=0)
    by_steps = training.train(learner, EXAMPLES, steps=20, batch_size=2, seed=0)
    jax.tree.map(np.testing.assert_array_equal, by_epochs.params, by_steps.params)
    assert by_epochs.step == 20
    assert training.error(learner, by_epochs, EXAMPLES) == 0
    one_wrong = training.subset(EXAMPLES, np.arange(4), label=np.array([0, 1, 1, 1], np.int32))
    assert training.error(learner, by_epochs, one_wrong) == 25


def test_the_head_is_drawn_and_other_layers_stay():
    learner = supervised.learner(model=MLP(num_classes=2, hidden=(3,)), optimizer=optax.sgd(0.0))
    zero, drawn = (
        training.train(learner, EXAMPLES, steps=1, batch_size=2, seed=0, start=start).params
        for start in (None, training.draw_head)
    )
    assert not zero["head"]["kernel"].any()
    assert 0.1 < np.abs(drawn["head"]["kernel"]).max() <= (6 / 5) ** 0.5
    np.testing.assert_array_equal(drawn["dense1"]["kernel"], zero["dense1"]["kernel"])
