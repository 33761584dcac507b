"""Pages of pretexts: exemplars by index, and one line for views, grids and classes that do not fit."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.frame_clips import FrameClips
from dlcore.data.source import Source
from dlcore.evaluators.exemplars import task_accuracy
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.models import Zoo
from dlcore.self_supervised import piece_network
from dlcore.self_supervised.piece_network import Labels, PieceNetwork
from dlcore.setting import FlagError
from experiments.self_supervised import deep_cluster, exemplar, jigsaw, relative_patch


def resolved(page, *words):
    return ResolvedRun(page.experiment, resolve(page.experiment, ["--smoke", *words]))


def built(page, *words):
    run = resolved(page, *words)
    data = run.experiment.run(run.flags).load()
    return run, data, run.training_of(data).build()


@pytest.mark.covers("SS-11")
def test_an_exemplars_class_is_its_index_in_every_epoch():
    run = resolved(exemplar, "--exemplars=100", "--batch_size=50")
    data = run.experiment.run(run.flags).load()
    assert len(data.train) == 100
    for step in range(4):  # two epochs
        rows = run.pipelines(data).batch_at(step)
        np.testing.assert_array_equal(rows["exemplar"], rows["index"])
    assert set(data.valid.arrays["exemplar"]) == set(data.test.arrays["exemplar"]) == {-1}
    with pytest.raises(FlagError, match=r"--exemplars=5000: more than images; allowed: at most \d+"):
        exemplar.experiment.run(resolve(exemplar.experiment, ["--exemplars=5000"])).load()


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
    values, labels = flags.group("learner"), jigsaw.experiment.network.labels
    names, shuffle = labels.class_names(**values), labels.task(**values)
    assert len(set(names)) == len(names) == {2: 24, 3: 64}[grid]
    numbers = jnp.arange(1, grid**2 + 1.0).reshape(grid, grid)
    image = numbers.repeat(4, 0).repeat(4, 1)[..., None]  # each piece has its own gray level
    for seed in range(3):
        pieces, label = shuffle(jax.random.key(seed), {"image": image})
        assert " ".join(f"{level:.0f}" for level in pieces.mean((1, 2, 3))) == names[label]


def halves(key, example):
    """The pieces of an image are its halves; a label is that of the left one."""
    return example["image"].reshape(2, 1, 1, 1), 0


@pytest.mark.parametrize(("num_clips", "held_out"), [(501, 500), (40, 40)])
def test_at_most_five_hundred_clips_are_held_out_and_each_seed_draws_its_own(num_clips, held_out):
    """Seed 4 draws its three splits by the seeds 12, 13 and 14, and seed 5 would go on from 15."""
    drawn = []

    def draw(count, seed):
        drawn.append((count, seed))
        image = np.zeros((2, 3, 5, 3), np.uint8)
        image[1] = 51
        return Source({"image": image, "label": np.arange(2, dtype=np.int32)})

    splits = FrameClips(draw, "drawn clips", ("still", "moving"), num_clips).load(4)
    assert drawn == [(num_clips, 12), (held_out, 13), (held_out, 14)]
    assert splits.spec["dataset"] == "drawn clips"
    assert (splits.spec["class_names"], splits.spec["num_classes"]) == (["still", "moving"], 2)
    assert splits.spec["image_shape"] == [3, 5, 3]
    np.testing.assert_allclose([splits.spec["mean"], splits.spec["std"]], 0.1, rtol=1e-6)  # of 0 and 51 / 255
    assert set(splits.spec["batch"]) == {"image", "label"}


def test_the_network_has_the_classes_of_the_pretext_and_the_loss_of_a_guess():
    network = PieceNetwork(Zoo("resnet8_cifar"), Labels(None, lambda run: 2 * run.facts), head={"hidden": 7})
    run = SimpleNamespace(facts=3, dtype=None, parts=SimpleNamespace(network=network))
    model = network.arguments(run)["model"]
    assert (model.num_classes, model.hidden, model.backbone.num_classes) == (6, 7, 1)
    assert piece_network.log_labels(run) == pytest.approx(np.log(6))


def test_the_report_shows_pieces_with_guesses_and_the_nearest_first_pieces(monkeypatch):
    """The sheet has 24 of the 30 test images; the nearest patches are found among the first piece of each image."""
    monkeypatch.setattr("dlcore.report.self_supervised.task_sheet", lambda *args: args)
    monkeypatch.setattr("dlcore.report.self_supervised.nearest_neighbors", lambda *args: Shown(args))
    image = np.tile(np.array([51, 255], np.uint8).reshape(1, 1, 2, 1), (30, 1, 1, 1))
    context = SimpleNamespace(
        spec={"class_names": ["a"]},
        state=SimpleNamespace(rng=jax.random.key(0)),
        data=SimpleNamespace(test=Source({"image": image, "label": np.arange(30)})),
        outputs={"guess": np.zeros(30), "target": np.ones(30), "pieces": np.arange(60).reshape(30, 2, 1)},
    )
    network = PieceNetwork(Zoo("resnet8_cifar"), Labels(lambda: halves, 2, ("left", "right"), nearest=True))
    data = SimpleNamespace(arguments=lambda run: {"prepare": lambda images: images / 255})
    run = SimpleNamespace(parts=SimpleNamespace(data=data, technique=SimpleNamespace(keywords={})))
    sheet, nearest = network.pretext_panels(context, run)
    pieces, target, predicted, names = sheet
    assert pieces.shape == (24, 2, 1, 1, 1)
    np.testing.assert_allclose(pieces[0].ravel(), [0.2, 1])
    assert (target.tolist(), predicted.tolist(), names) == ([1] * 24, [0] * 24, ("left", "right"))
    first, labels, features, class_names = nearest.args
    assert first.shape == (30, 1, 1, 1)
    np.testing.assert_allclose(first, 0.2)
    assert (labels.tolist(), features.ravel().tolist()) == (list(range(30)), list(range(0, 60, 2)))
    assert (class_names, nearest.changes["title"]) == (["a"], "Nearest patches")
    network = PieceNetwork(network.backbone, Labels(lambda: halves, 2, ("left", "right")))
    assert len(network.pretext_panels(context, run)) == 1


class Shown:
    """A panel that keeps what it is made of."""

    def __init__(self, args):
        self.args = args

    def _replace(self, **changes):
        self.changes = changes
        return self
