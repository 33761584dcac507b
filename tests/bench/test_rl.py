"""The benchmark of learners from rewards builds each of its learners, with the sizes of the peer's."""

import pytest

from experiments.bench.rl import CASES, our_update


@pytest.mark.slow
@pytest.mark.weekly(unless=["a2c"])
@pytest.mark.parametrize("name", CASES)
def test_each_learner_updates_once(name):
    case = CASES[name]
    assert our_update(case, 1)() == 1
    sizes = case.fields | {
        key: value
        for field in case.fields.values()
        if hasattr(field, "_asdict")
        for key, value in field._asdict().items()
    }
    ours = {
        "n_steps": "num_steps",
        "n_epochs": "num_epochs",
        "buffer_size": "buffer_size",
        "learning_starts": "learning_starts",
    }
    assert all(sizes[ours[key]] == value for key, value in case.arguments.items() if key in ours)
