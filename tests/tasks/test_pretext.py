"""Pages of pretexts: exemplars by index, and one line for views, grids and classes that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.setting import FlagError
from dlcore.tasks.pretext import task_accuracy
from experiments.self_supervised import deep_cluster, exemplar, jigsaw, relative_patch


def resolved(page, *words):
    return ResolvedRun(page.experiment, resolve(page.experiment, ["--smoke", *words]))


def built(page, *words):
    run = resolved(page, *words)
    data = run.experiment.task.data(run.flags)
    return run, data, run.experiment.build(run.setup_of(data))


@pytest.mark.covers("SS-11")
def test_an_exemplars_class_is_its_index_in_every_epoch():
    run = resolved(exemplar, "--exemplars=100", "--batch_size=50")
    data = run.experiment.task.data(run.flags)
    assert len(data.train) == 100
    for step in range(4):  # two epochs
        rows = run.pipelines(data).batch_at(step)
        np.testing.assert_array_equal(rows["exemplar"], rows["index"])
    assert set(data.valid.arrays["exemplar"]) == set(data.test.arrays["exemplar"]) == {-1}
    with pytest.raises(FlagError, match=r"--exemplars=5000: more than images; allowed: at most \d+"):
        exemplar.experiment.task.data(resolve(exemplar.experiment, ["--exemplars=5000"]))


def test_the_accuracy_of_a_task_counts_every_example_once():
    evaluator = task_accuracy(None, "exemplar_accuracy")
    acc = evaluator.add(None, {"guess": np.array([1, 2, 3]), "target": np.array([1, 0, 3])}, {})
    acc = evaluator.add(acc, {"guess": np.array([5]), "target": np.array([4])}, {})
    assert evaluator.finish(acc) == {"exemplar_accuracy": 0.5}


@pytest.mark.covers("SS-10")
def test_fewer_images_than_clusters_are_refused():
    with pytest.raises(FlagError, match=r"--num_clusters=5000: more than examples; allowed: at most \d+"):
        built(deep_cluster, "--num_clusters=5000")


@pytest.mark.slow(only=["experiments.self_supervised.jigsaw-words2*"])
@pytest.mark.parametrize(
    ("page", "words", "message"),
    [
        (
            jigsaw,
            ["--input_size=8", "--model.stages=1,1,1"],
            "images of 2x2 do not fit CifarResNet; .* at least 4x4",
        ),
        (jigsaw, ["--gap=9"], "gap=9, jitter=1: leave pieces of -2 pixels in cells of 8; allowed: at least 1"),
        (jigsaw, ["--grid=3"], "grid=3: cells do not divide images of 16x16 pixels; allowed: divisors of 16"),
        (relative_patch, ["--input_size=20"], "grid=3: cells do not divide images of 20x20 pixels"),
        (jigsaw, ["--orders=25"], "orders=25: of 4 pieces; allowed: 2 to 24"),
    ],
)
def test_settings_that_do_not_fit_are_one_clear_error_before_any_step(page, words, message):
    def begin():
        _, data, learner = built(page, *words)
        return jax.eval_shape(learner.init, jax.random.key(0), jax.tree.map(jnp.asarray, data.train[:2]))

    with pytest.raises(ValueError, match=message):
        begin()


@pytest.mark.slow
@pytest.mark.weekly(unless=["2"])
@pytest.mark.parametrize("grid", [2, 3])
def test_the_name_of_an_order_says_where_each_piece_is_from(grid):
    flags = resolve(jigsaw.experiment, ["--gap=0", "--jitter=0", "--by_piece=false", f"--grid={grid}"])
    task = jigsaw.experiment.task
    names, shuffle = task.class_names(flags), task.pretext(flags)
    assert len(set(names)) == len(names) == {2: 24, 3: 64}[grid]
    numbers = jnp.arange(1, grid**2 + 1.0).reshape(grid, grid)
    image = numbers.repeat(4, 0).repeat(4, 1)[..., None]  # each piece has its own gray level
    for seed in range(3):
        pieces, label = shuffle(jax.random.key(seed), {"image": image})
        assert " ".join(f"{level:.0f}" for level in pieces.mean((1, 2, 3))) == names[label]
