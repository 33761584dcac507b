"""Each fusion and each task stands in its place of the numbers, the verdict and the figure."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.studies import clip_fusions as study

ACCURACY = {
    "appearance": {"single": 0.97, "late_pool": 0.92, "late_dense": 0.93, "early": 0.94, "slow": 0.9},
    "motion": {"single": 0.27, "late_pool": 0.61, "late_dense": 0.62, "early": 0.96, "slow": 0.98},
    "order": {"single": 0.47, "late_pool": 0.52, "late_dense": 0.83, "early": 0.99, "slow": 0.95},
}
CLASSES = {"appearance": 6, "motion": 4, "order": 2}


@pytest.fixture
def fakes(monkeypatch):
    """A training whose accuracy is that of ACCURACY; the changes are by (fusion, task). Returns (study, its calls)."""
    calls = []

    def task_data(task, count, seed, frames):
        calls.append((task, count, seed, frames))
        y = np.arange(40) % CLASSES[task]
        return np.zeros((40, frames, 16, 16, 3), np.float32), y, CLASSES[task]

    def run(changes=()):
        def trained_accuracy(model, key, x, y, test_x, test_y, steps):
            [task] = [task for task, classes in CLASSES.items() if classes == model.num_classes]
            return dict(changes).get((model.fusion, task), ACCURACY[task][model.fusion])

        def classifier(classes, fusion, width, hidden):
            init = lambda key, x: jax.numpy.zeros((2, width))  # noqa: E731
            return SimpleNamespace(num_classes=classes, fusion=fusion, init=init)

        def width_of(fusion, parameters, classes, shape, hidden):
            assert (shape, hidden) == ((3, 16, 16, 3), study.HIDDEN)
            return parameters + study.FUSIONS.index(fusion)

        monkeypatch.setattr(study, "ClipClassifier", classifier)
        monkeypatch.setattr(study, "width_of", width_of)
        monkeypatch.setattr(study, "task_data", task_data)
        monkeypatch.setattr(study, "trained_accuracy", trained_accuracy)
        monkeypatch.setattr(study, "draw", lambda results: results)
        return study.study(num_clips=60, steps=1, parameters=3000, frames=3, num_seeds=2)

    return run, calls


@pytest.mark.covers("VD-04")
def test_each_fusion_is_trained_on_each_task_and_reported_under_its_name(fakes):
    run, calls = fakes
    result = run()
    assert result.holds is True
    assert calls == [(task, count, seed, 3) for task in CLASSES for seed, count in enumerate((60, 40))]
    for task, row in ACCURACY.items():
        for fusion, accuracy in row.items():
            numbers = result.numbers[f"{task}, {fusion}"]
            assert numbers["accuracy"] == pytest.approx(accuracy)
            assert numbers["width"] == 3000 + study.FUSIONS.index(fusion)
            assert numbers["parameters"] == 2 * numbers["width"]  # two rows
            np.testing.assert_array_equal(result.figures["fusions"][fusion, task], [accuracy] * 2)
    # Of 40 labels 0 to 3 a quarter are each; of 0 to 5, seven are 0.
    assert result.numbers["motion, chance"]["accuracy"] == 0.25
    assert result.numbers["appearance, chance"]["accuracy"] == 7 / 40
    np.testing.assert_array_equal(result.headline.values, [0.98] * 2)
    assert result.headline.baseline[0] == pytest.approx(0.27)


@pytest.mark.parametrize(
    "changes",
    [
        {("single", "appearance"): 0.94},
        {("single", "motion"): 0.32},  # chance is 0.25
        {("late_pool", "order"): 0.57},
        {("early", "motion"): 0.94},
        {("slow", "order"): 0.94},
        # Two arms swapped.
        {("single", "motion"): 0.98, ("slow", "motion"): 0.27},
        {("late_pool", "order"): 0.99, ("early", "order"): 0.52},
    ],
)
def test_the_claim_fails_where_one_fusion_does_otherwise(fakes, changes):
    assert fakes[0](changes.items()).holds is False


def test_the_bars_of_a_task_stand_side_by_side_around_its_tick():
    """Five bars of 0.15 at a distance of 0.16, the third on the tick."""
    results = {
        (fusion, task): np.array([accuracy, accuracy - 0.02])
        for task, row in ACCURACY.items()
        for fusion, accuracy in row.items()
    }
    [axes] = study.draw(results).axes
    bars = {round(bar.get_x() + bar.get_width() / 2, 6): bar.get_height() for bar in axes.patches}
    for t, row in enumerate(ACCURACY.values()):
        for offset, accuracy in zip((-0.32, -0.16, 0, 0.16, 0.32), row.values(), strict=True):
            assert bars[round(t + offset, 6)] == pytest.approx(accuracy - 0.01)
    assert len(bars) == 15
    np.testing.assert_allclose(axes.lines[4].get_xydata(), [(0.84, 0.61), (0.84, 0.59)])  # late pool, motion


@pytest.mark.parametrize("task", study.TASKS)
def test_each_task_is_asked_of_as_many_clips(monkeypatch, task):
    """The order of a clip has two classes, of a pair each, so a task of order takes twice the clips."""
    calls = []

    def clips(count, seed, *, frames, size):
        calls.append((count, seed, frames, size))
        arrays = {"image": np.full((1, frames, 2, 2, 3), 255, np.uint8), "label": np.zeros(1, int)}
        return SimpleNamespace(arrays=arrays, class_names=["a", "b"])

    monkeypatch.setattr(study, "clips", clips)
    monkeypatch.setattr(study, "label_clips", lambda source, name: calls.append(name) or source)
    images, _, classes = study.task_data(task, 5, 3, 4)
    assert calls == [(10 if task == "order" else 5, 3, 4, 16), task]
    assert (images.min(), images.max(), classes) == (1, 1, 2)  # 255 / 127.5 - 1
