"""evaluate, predict and sanity from the command line, on one small run; and sanity on experiments with planted bugs."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from dlcore.classification import supervised
from dlcore.data.digits import digits
from dlcore.data.source import Source, shuffle_labels
from dlcore.data.splits import Splits
from dlcore.diagnostics.gradient_check import LeafCheck
from dlcore.experiment.parts import Measure, Run
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import run
from dlcore.modes import sanity
from dlcore.modes.gradcheck import losses_after_burn_in, sampled_batch
from dlcore.modes.sanity import CHECKS, Bench, Check, above_chance
from dlcore.run.hooks import STOP
from dlcore.run.metrics_writer import read_metrics
from dlcore.setting import settings_of
from experiments.classification import distillation
from experiments.classification.supervised import experiment
from tests.overriding import with_run

SMALL = ["--model=mlp", "--model.hidden=32", "--batch_size=32", "--log_every=50", "--augment=none"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run that has learned something: validated often, so that the best is not the last."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ["--steps=60", "--eval_every=10", "--warmup=0", "--schedule=constant", "--learning_rate=0.01"]
    assert run(experiment, [*SMALL, *words, f"--run_dir={folder}", "--keep_last=1"]) == 0
    return folder


def snapshot(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}


def output(capsys, *words, status=0):
    capsys.readouterr()
    assert run(experiment, list(words)) == status
    out, err = capsys.readouterr()
    return err if status else out


def failed(capsys, *words):
    """The one line of an error."""
    capsys.readouterr()
    assert run(experiment, list(words)) in (1, 2)
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


# evaluate


@pytest.mark.slow
def test_evaluate_gives_the_exact_numbers_of_the_run(trained, capsys):
    before = snapshot(trained)
    got = json.loads(output(capsys, "--mode=evaluate", f"--run={trained}", "--format=json"))
    row = next(r for r in read_metrics(trained) if r["split"] == "test")
    for name in ("accuracy", "calibration/ece"):
        assert got[name] == row[name]
    assert got["loss"] == pytest.approx(row["loss"], rel=1e-6)
    assert (got["examples"], got["split"], got["step"]) == (500, "test", row["step"])
    confusion = np.array(got["details"]["confusion"])
    assert confusion.sum() == 500
    assert np.trace(confusion) / 500 == got["accuracy"]
    np.testing.assert_array_equal(confusion.sum(1), np.bincount(digits("test").arrays["label"]))
    assert snapshot(trained) == before, "looking changes nothing"


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1000", "48"])
def test_evaluate_does_not_depend_on_the_batch(trained, capsys, size):
    words = ("--mode=evaluate", f"--run={trained}", "--format=json", f"--eval_batch_size={size}")
    want = json.loads(output(capsys, "--mode=evaluate", f"--run={trained}", "--format=json"))
    got = json.loads(output(capsys, *words))
    assert got["accuracy"] == want["accuracy"]
    assert got["loss"] == pytest.approx(want["loss"], rel=1e-6)


@pytest.mark.slow
def test_other_splits_and_checkpoints(trained, capsys):
    base = ("--mode=evaluate", f"--run={trained}", "--format=json")
    rows = read_metrics(trained)
    valid = [r for r in rows if r["split"] == "valid"]
    best = max(valid, key=lambda r: (r["accuracy"], r["step"]))
    got = json.loads(output(capsys, *base, "--split=valid", "--select=best"))
    assert (got["step"], got["accuracy"]) == (best["step"], best["accuracy"])
    assert got["examples"] == 130
    got = json.loads(output(capsys, *base, "--split=valid", "--select=last"))
    assert (got["step"], got["accuracy"]) == (60, valid[-1]["accuracy"])
    assert json.loads(output(capsys, *base, "--split=train"))["examples"] == 1167


@pytest.mark.slow
def test_evaluate_over_views_of_each_image(trained, capsys):
    """Mirrored digits are other digits: the mean over both views makes more mistakes, and counts each image once."""
    base = ("--mode=evaluate", f"--run={trained}", "--format=json")
    plain, flipped = (json.loads(output(capsys, *base, *words)) for words in ((), ("--tta=flip",)))
    assert flipped["examples"] == np.array(flipped["details"]["confusion"]).sum() == 500
    assert flipped["accuracy"] < plain["accuracy"]
    assert "--tta=mirror" in failed(capsys, *base, "--tta=mirror")


@pytest.mark.weekly
def test_several_runs_are_an_ensemble(trained, tmp_path, capsys):
    """A run beside its copy is itself; a folder without a run is named, and other modes take one."""
    base = ("--mode=evaluate", "--format=json")
    copy = shutil.copytree(trained, tmp_path / "copy")
    alone, twice = (json.loads(output(capsys, *base, f"--run={runs}")) for runs in (trained, f"{trained},{copy}"))
    assert twice["members"] == [str(copy)]
    for name in ("accuracy", "calibration/ece"):
        assert twice[name] == pytest.approx(alone[name], abs=1e-6)
    np.testing.assert_array_equal(twice["details"]["confusion"], alone["details"]["confusion"])
    assert "more runs" in output(capsys, "--mode=evaluate", f"--run={trained},{copy}")
    assert "holds no run" in failed(capsys, *base, f"--run={trained},{trained}x")
    assert "several runs" in failed(capsys, "--mode=export", f"--run={trained},{copy}")


@pytest.mark.slow
def test_each_run_of_an_ensemble_has_its_own_weights_and_the_first_its_step(trained, tmp_path, capsys):
    other = tmp_path / "run"
    assert run(experiment, [*SMALL, "--steps=2", f"--run_dir={other}"]) == 0
    base = ("--mode=evaluate", "--format=json")
    alone = json.loads(output(capsys, *base, f"--run={trained}"))
    one, two = (
        json.loads(output(capsys, *base, f"--run={runs}")) for runs in (f"{trained},{other}", f"{other},{trained}")
    )
    assert (one["step"], two["step"], one["members"]) == (alone["step"], 2, [str(other)])
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    assert one["loss"] != pytest.approx(alone["loss"], rel=1e-2)


@pytest.mark.slow
def test_evaluate_as_text(trained, capsys):
    out = output(capsys, "--mode=evaluate", f"--run={trained}")
    assert "test split, 500 examples" in out
    row = next(r for r in read_metrics(trained) if r["split"] == "test")
    line = next(line for line in out.splitlines() if line.split()[0] == "accuracy")
    assert float(line.split()[1]) == pytest.approx(row["accuracy"], rel=1e-5)


@pytest.mark.slow
def test_runs_that_are_not_there(trained, capsys, tmp_path):
    message = failed(capsys, "--mode=evaluate", f"--run={tmp_path / 'none'}")
    assert str(tmp_path / "none") in message
    assert str(tmp_path) in failed(capsys, *SMALL, "--mode=evaluate", f"--runs={tmp_path}")
    assert list(tmp_path.iterdir()) == []
    other = dataclasses.replace(experiment, file="/x/topic/other.py")
    assert run(other, ["--mode=evaluate", f"--run={trained}"]) == 2
    assert "a run of classification.supervised; allowed: runs of topic.other" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_without_a_checkpoint(trained, capsys, tmp_path):
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    message = failed(capsys, "--mode=evaluate", f"--run={tmp_path / 'run'}")
    assert "there is no checkpoint in" in message
    assert str(tmp_path / "run") in message
    (tmp_path / "run" / "checkpoints").mkdir()
    assert "there is no checkpoint in" in failed(capsys, "--mode=evaluate", f"--run={tmp_path / 'run'}")


@pytest.mark.slow
def test_a_run_whose_newest_checkpoint_is_cut_is_still_of_use(trained, capsys, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    steps = sorted(int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit())
    if len(steps) == 1:  # the best was the last: give it a predecessor
        shutil.copytree(folder / "checkpoints" / str(steps[0]), folder / "checkpoints" / "1")
        steps = [1, *steps]
    for path in (folder / "checkpoints" / str(steps[-1])).rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    before = snapshot(folder)
    got = json.loads(output(capsys, "--mode=evaluate", f"--run={folder}", "--select=last", "--format=json"))
    assert got["step"] == steps[-2]
    assert snapshot(folder) == before


# predict


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Digits of the test split as PNG files, some in a folder below."""
    folder = tmp_path_factory.mktemp("images")
    images = digits("test").arrays["image"][:6, ..., 0]
    pixels = images if images.dtype == np.uint8 else np.round(images * 255).astype(np.uint8)
    (folder / "below").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / ("below" if i > 3 else "") / f"{i}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.slow
def test_predict_a_folder_as_json(trained, files, capsys):
    rows = json.loads(output(capsys, "--mode=predict", f"--run={trained}", f"--input={files}", "--format=json"))
    names = [f"{files}/{name}" for name in ("0.png", "1.png", "2.png", "3.png", "below/4.png", "below/5.png")]
    assert [row["input"] for row in rows] == names
    for row in rows:
        values = list(row["probabilities"].values())
        assert sum(values) == pytest.approx(1, abs=1e-5)
        assert values == sorted(values, reverse=True)
        assert row["class"] == next(iter(row["probabilities"]))
        assert set(row["probabilities"]) == {str(i) for i in range(10)}
    labels = digits("test").arrays["label"][:6]
    assert sum(row["class"] == str(label) for row, label in zip(rows, labels, strict=True)) >= 4


@pytest.mark.slow
def test_predict_one_image_as_text_and_as_in_the_folder(trained, files, capsys):
    alone = json.loads(
        output(capsys, "--mode=predict", f"--run={trained}", f"--input={files / '2.png'}", "--format=json")
    )
    together = json.loads(output(capsys, "--mode=predict", f"--run={trained}", f"--input={files}", "--format=json"))
    assert len(alone) == 1
    assert alone[0]["class"] == together[2]["class"]
    for name, value in alone[0]["probabilities"].items():
        assert value == pytest.approx(together[2]["probabilities"][name], abs=1e-6)
    first, line = output(capsys, "--mode=predict", f"--run={trained}", f"--input={files / '2.png'}").splitlines()
    assert first.startswith(f"run: {trained}, step ")
    assert first.endswith("; images are read as 8 x 8 gray")
    best = list(alone[0]["probabilities"].items())[:5]
    assert line == f"{files / '2.png'}: " + "  ".join(f"{name} {value:.3f}" for name, value in best)


@pytest.mark.slow
def test_predict_needs_no_data(trained, files, capsys):
    def never(flags):
        raise AssertionError("data was read")

    words = ["--mode=predict", f"--run={trained}", f"--input={files / '0.png'}"]
    assert run(with_run(experiment, load=never), words) == 0


@pytest.mark.slow
def test_predict_takes_other_sizes_and_colors(trained, capsys, tmp_path):
    Image.fromarray(np.full((30, 20, 4), 200, np.uint8)).save(tmp_path / "big.png")
    (row,) = json.loads(output(capsys, "--mode=predict", f"--run={trained}", f"--input={tmp_path}", "--format=json"))
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_predict_with_bad_input(trained, capsys, tmp_path):
    assert "--input: missing" in failed(capsys, "--mode=predict", f"--run={trained}")
    assert "nowhere" in failed(capsys, "--mode=predict", f"--run={trained}", f"--input={tmp_path / 'nowhere'}")
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert "broken.png" in failed(capsys, "--mode=predict", f"--run={trained}", f"--input={tmp_path}")
    (tmp_path / "junk.png").write_bytes(b"no image")
    said = failed(capsys, "--mode=predict", f"--run={trained}", f"--input={tmp_path}")
    assert "2 files are no images: " in said
    assert "skip_bad" in said
    assert "2 files" in failed(capsys, "--mode=predict", f"--run={trained}", f"--input={tmp_path}", "--skip_bad")
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(tmp_path / "good.png")
    words = ["--mode=predict", f"--run={trained}", f"--input={tmp_path}", "--skip_bad", "--format=json"]
    (row,) = json.loads(output(capsys, *words))
    assert row["input"] == str(tmp_path / "good.png")
    (tmp_path / "empty").mkdir()
    assert "empty" in failed(capsys, "--mode=predict", f"--run={trained}", f"--input={tmp_path / 'empty'}")
    other = dataclasses.replace(experiment, use=object())
    assert run(other, ["--mode=predict", f"--run={trained}", f"--input={tmp_path}"]) == 2


# sanity


NAMES = (
    "loss at initialization",
    "loss rises with regularization",
    "overfits 20 examples",
    "gradient check",
    "true labels rise above chance",
    "shuffled labels stay at chance",
)
INITIAL, PENALTY, OVERFIT, GRADIENT, LABELS, SHUFFLED = CHECKS


def table(capsys, some_experiment, *words, status):
    """{check: its verdict} of the whole mode, and what it printed."""
    capsys.readouterr()
    assert run(some_experiment, ["--mode=sanity", *SMALL, *words]) == status
    out = capsys.readouterr().out
    lines = {name: next((line for line in out.splitlines() if line.startswith(name)), "") for name in NAMES}
    return {name: "pass" if line.endswith("pass") else line.split()[-1] for name, line in lines.items()}, out


def passed(check, some_experiment, *words):
    """Whether one check alone passes; None where it does not apply."""
    resolved = ResolvedRun(some_experiment, resolve(some_experiment, [*SMALL, *words]))
    data = some_experiment.run(resolved.flags.replace(**resolved.plain)).load()
    return check(Bench(resolved, data)).passed


def planted(model=None, wrap=lambda learner: learner, **settings):
    """The experiment with another model, or its learner wrapped, or other settings of it."""

    def build(run):
        return wrap(
            supervised.learner(
                model=run.arguments()["model"] if model is None else model(run),
                optimizer=run.optimizer(),
                preprocess=run.arguments()["preprocess"],
                **{**run.flags.group("learner"), **settings},
            )
        )

    return with_run(experiment, build=build)


class Small(nn.Module):
    """One hidden layer with an activation and a head of one's own."""

    activation: object = nn.tanh
    head: object = nn.initializers.zeros
    dtype: object = None

    @nn.compact
    def __call__(self, x, train=False):
        x = x.reshape(x.shape[0], -1)
        x = self.activation(nn.Dense(32, dtype=self.dtype, name="hidden")(x))
        return nn.Dense(10, dtype=self.dtype, kernel_init=self.head, name="head")(x)


@pytest.mark.slow
@pytest.mark.covers("TR-06", "TR-07", "TR-08")
def test_a_sound_experiment_passes(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verdicts, out = table(capsys, experiment, status=0)
    assert verdicts == dict.fromkeys(NAMES, "pass")
    line = next(line for line in out.splitlines() if line.startswith("overfits 20 examples"))
    loss = float(line.split("loss ")[1].split(",")[0])
    assert loss < 1e-2
    assert "accuracy 1.000" in line
    assert "2.302585" in out
    assert list(tmp_path.iterdir()) == [], "sanity leaves nothing behind"


@pytest.mark.covers("TR-08")
def test_twenty_examples_are_memorized_and_what_cannot_be_is_found(monkeypatch):
    """The check's own training, as one compiled loop of 150 steps; then trainings that end as they should not."""
    seen, ends = [], [None, {"loss": 0.02, "accuracy": 1.0}, {"loss": 0.005, "accuracy": 0.95}]

    def train(learner, pipeline, *, steps, hooks, log_every, progress, **_):
        rows = pipeline.batch_at(0)
        seen.append((np.bincount(rows["label"], minlength=10).tolist(), steps, log_every, progress))

        @jax.jit
        def loop():
            state = learner.init(jax.random.key(0), rows)
            metrics = jax.lax.scan(lambda s, _: learner.update(s, rows), state, length=150)[1]
            return jax.tree.map(lambda leaves: leaves[-1], metrics)

        end = ends[len(seen) - 1]
        last = {name: metric.compute() for name, metric in loop().items()} if end is None else end
        stop = hooks[0](150, None, {f"train/{name}": value for name, value in last.items()})
        assert (stop is STOP) == (end is None)
        return SimpleNamespace(history=[{**last, "step": 150}])

    monkeypatch.setattr(sanity, "fit", train)
    model = lambda setup: Small(dtype=setup.dtype)  # noqa: E731
    words = ["--learning_rate=0.03", "--warmup=0", "--schedule=constant", "--l2=0.5"]
    assert [passed(OVERFIT, planted(model), *words) for _ in ends] == [True, False, False], "without the penalty"
    assert seen == [([2] * 10, 1000, 25, False)] * 3, "it may stop at each of 40 lines of the log"


@jax.custom_vjp
def wrong_tanh(x):
    return jnp.tanh(x)


wrong_tanh.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (-g * (1 - jnp.tanh(x) ** 2),))


@pytest.mark.weekly
def test_a_gradient_of_the_wrong_sign_fails(capsys):
    model = lambda setup: Small(activation=wrong_tanh, dtype=setup.dtype)  # noqa: E731
    verdicts, out = table(capsys, planted(model), status=1)
    assert verdicts["gradient check"] == "FAIL"
    assert "hidden/" in next(line for line in out.splitlines() if line.startswith("gradient")), "the leaf is named"
    right = planted(lambda setup: Small(dtype=setup.dtype))
    assert [passed(check, right, "--learning_rate=0.02") for check in CHECKS] == [True] * len(CHECKS)


def test_a_head_that_does_not_start_at_zero_fails():
    model = lambda setup: Small(head=nn.initializers.normal(1.0), dtype=setup.dtype)  # noqa: E731
    assert passed(INITIAL, planted(model)) is False
    model = lambda setup: Small(dtype=setup.dtype)  # noqa: E731
    assert passed(INITIAL, planted(model), "--l2=0.5") is True, "without the penalty"


@pytest.mark.slow
def test_labels_that_leak_fail():
    """The label is painted into the first row of the image, in training and validation alike."""

    def painted(batch):
        hint = jax.nn.one_hot(batch["label"], 10)[:, :8] * 255
        return {**batch, "image": batch["image"].at[:, 0, :, 0].set(hint.astype(batch["image"].dtype))}

    def wrap(learner):
        def on(batch):
            return painted({**batch, "image": jnp.asarray(batch["image"])})

        return learner._replace(
            init=lambda rng, batch: learner.init(rng, on(batch)),
            update=lambda state, batch: learner.update(state, on(batch)),
            evaluate=lambda state, batch: learner.evaluate(state, on(batch)),
            loss=lambda params, state, batch: learner.loss(params, state, on(batch)),
        )

    assert passed(SHUFFLED, planted(wrap=wrap)) is False


@pytest.mark.slow
def test_labels_that_are_not_of_their_images_fail():
    """The training labels are permuted; twenty examples can still be memorized."""

    def load(run):
        right = Run.load(run)
        return right._replace(train=shuffle_labels(right.train, 3))

    wrong = with_run(experiment, load=load)
    assert [passed(check, wrong) for check in (LABELS, OVERFIT, SHUFFLED)] == [False, True, True]


@pytest.mark.parametrize(
    ("counts", "bound"),
    [
        # P(X > k) <= 3.167e-5 of 100 trials of 1/10: 1.3e-5 for k = 24, 4.0e-5 for k = 23.
        ([10] * 10, 0.24),
        # The largest class counts: of 16 coins 15 heads have 2.6e-4, 16 have 1.5e-5.
        ([8, 8], 15 / 16),
        ([8, 4, 4], 15 / 16),
        # Even all of them right is no proof: (1/2)^14 = 6.1e-5, and for six of three classes (1/3)^6 = 1.4e-3.
        ([7, 7], None),
        ([2, 2, 2], None),
        ([1] * 6, 5 / 6),  # (1/6)^6 = 2.1e-5
        ([9], None),
    ],
)
def test_the_bound_of_chance(counts, bound):
    assert above_chance(np.repeat(np.arange(len(counts)), counts)) == (bound and pytest.approx(bound, abs=1e-12))


def judged(monkeypatch, check, accuracy, counts):
    """A check of labels whose training gives this accuracy on a validation split of so many examples by class."""
    seen = {}

    class Fitted:
        state = None

    def fit(learner, pipeline, **options):
        seen["train"] = pipeline.source.arrays["label"]
        return Fitted

    def evaluate(learner, state, valid, **options):
        seen["valid"] = valid.arrays["label"]
        return {"accuracy": accuracy}

    monkeypatch.setattr(sanity, "fit", fit)
    monkeypatch.setattr(sanity, "evaluate", evaluate)
    resolved = ResolvedRun(experiment, resolve(experiment, SMALL))
    data = resolved.load()
    label = np.repeat(np.arange(len(counts)), counts)
    valid = dataclasses.replace(data.valid.subset(np.arange(len(label))), arrays={"label": label})
    return check(Bench(resolved, data._replace(valid=valid))), seen, data, label


@pytest.mark.parametrize(("accuracy", "above"), [(0.23, False), (0.24, False), (0.25, True), (1.0, True)])
def test_labels_are_judged_by_that_bound(monkeypatch, accuracy, above):
    true, seen, data, label = judged(monkeypatch, LABELS, accuracy, [10] * 10)
    assert true.passed is above
    assert (true.measured, true.expected) == (f"validation accuracy {accuracy:.3f}", "> 0.240 (chance, largest class)")
    np.testing.assert_array_equal(seen["valid"], label)
    np.testing.assert_array_equal(seen["train"], data.train.arrays["label"])
    shuffled, seen, data, label = judged(monkeypatch, SHUFFLED, accuracy, [10] * 10)
    assert shuffled.passed is not above
    assert shuffled.expected == "<= 0.240 (chance, largest class)"
    for name, right in (("valid", label), ("train", data.train.arrays["label"])):
        assert not np.array_equal(seen[name], right)
        np.testing.assert_array_equal(np.bincount(seen[name]), np.bincount(right))


def test_a_validation_split_too_small_to_tell_does_not_fail(monkeypatch):
    for check in (LABELS, SHUFFLED):
        row, seen, *_ = judged(monkeypatch, check, 1.0, [2, 2, 2])
        assert (row.passed, row.expected) == (None, "6 validation examples cannot tell from chance")
        assert not seen, "nothing is trained"


@pytest.mark.slow
def test_sanity_switches_off_every_regularization():
    """Each parameter of the learners and field of the models that blurs the fit of few examples, by its name."""
    from dlcore.models.registry import MODELS

    fields = {
        f"model.{name}"
        for model in MODELS.values()
        for name in getattr(getattr(model, "func", model), "__dataclass_fields__", {})
        if "drop" in name and name != "dropout_form"  # which says how, not how much
    }
    assert fields == {name for name in experiment.sanity.plain if "drop" in name}
    mixes = {name for name in settings_of(supervised.learner) if name.endswith("_alpha")}
    assert mixes == {"mixup_alpha", "cutmix_alpha"}
    assert mixes <= set(experiment.sanity.plain) & set(distillation.experiment.sanity.plain)
    words = ["--mixup_alpha=0.4", "--cutmix_alpha=1", "--model.dropout=0.5", "--label_smoothing=0.1"]
    words += ["--l1=0.1", "--max_norm=0.01"]
    assert passed(OVERFIT, experiment, "--model.hidden=64", *words) is True


@pytest.mark.slow
def test_a_penalty_that_does_nothing_fails():
    assert passed(PENALTY, planted(l2=0.0)) is False


@pytest.mark.weekly
def test_a_learner_that_cannot_memorize_fails():
    assert passed(OVERFIT, experiment, "--learning_rate=0") is False
    assert passed(INITIAL, experiment, "--learning_rate=0") is True


@pytest.mark.slow
def test_a_gradient_that_is_not_a_number_fails():
    """NaN compares with nothing: it must not come out as the smallest error."""

    @jax.custom_vjp
    def poisoned(x):
        return jnp.tanh(x)

    poisoned.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g * jnp.where(g == 0, jnp.nan, 1 - jnp.tanh(x) ** 2),))
    model = lambda setup: Small(activation=poisoned, dtype=setup.dtype)  # noqa: E731
    assert passed(GRADIENT, planted(model)) is False


def test_checks_without_an_expected_loss_or_a_penalty_do_not_apply():
    bare = dataclasses.replace(
        experiment, sanity=dataclasses.replace(experiment.sanity, expected_loss=None, regularizer=None)
    )
    assert [passed(check, bare) for check in (INITIAL, PENALTY)] == [None, None]


def sorted_folder(path, classes=3, count=12):
    """Images of noise about a mean of their class, in folders by class."""
    rng = np.random.default_rng(0)
    for k in range(classes):
        (path / f"class{k}").mkdir(parents=True)
        for i in range(count):
            image = np.clip(rng.normal(60 * (k + 1), 25, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(path / f"class{k}" / f"{i}.png")
    return path


@jax.custom_vjp
def tripled(x):
    return x


tripled.defvjp(lambda x: (x, None), lambda _, g: (jax.tree.map(lambda g: 3 * g, g),))


@pytest.mark.weekly
def test_a_gradient_times_three_fails_on_a_folder(tmp_path):
    """Of the first class alone there is nothing to learn but its name, nor of any images that are learned by heart."""
    words = ["--dataset=folder", f"--data_dir={sorted_folder(tmp_path / 'data')}", "--image_size=8"]
    words += ["--learning_rate=0.05", "--warmup=0"]
    wrong = planted(
        wrap=lambda learner: learner._replace(loss=lambda params, *rest: learner.loss(tripled(params), *rest))
    )
    assert passed(GRADIENT, experiment, *words) is True
    assert passed(GRADIENT, wrong, *words) is False
    source = experiment.run(resolve(experiment, [*SMALL, *words])).load().train
    assert len(set(source.arrays["label"][:8])) == 1
    for seed in (0, 1):
        np.testing.assert_array_equal(
            np.sort(np.bincount(sampled_batch(Splits(source, None, None, {}), 8, seed)["label"])), [2, 3, 3]
        )


@pytest.mark.weekly
def test_trainings_and_gradients_start_where_the_run_would(trained):
    """At a learning rate of 0 the labels are known only to a network that starts from a trained one."""
    still = ("--learning_rate=0",)
    assert passed(LABELS, experiment, *still) is False
    assert passed(LABELS, experiment, *still, f"--init_from={trained}") is True
    assert passed(INITIAL, experiment, f"--init_from={trained}") is True, "of the learner's own initial values"
    lost = with_run(
        experiment,
        start=lambda run: lambda state: state.replace(params=jax.tree.map(lambda x: x * jnp.nan, state.params)),
    )
    assert passed(GRADIENT, lost) is False


@pytest.mark.slow
@pytest.mark.parametrize(("size", "examples"), [(64, 8), (96, 4), (300, 2)])
def test_a_gradient_check_takes_fewer_examples_where_they_are_large(size, examples):
    seen = []

    def wrap(learner):
        def loss(params, state, batch):
            seen.append(len(batch["image"]))
            return learner.loss(params, state, batch)

        return learner._replace(loss=loss)

    resolved = ResolvedRun(experiment, resolve(experiment, SMALL))
    images_of = np.zeros((20, size, size, 3), np.uint8)
    train = Source({"image": images_of, "label": np.arange(20, dtype=np.int32) % 10})
    data = resolved.load()._replace(train=train)
    with jax.enable_x64(True):
        losses_after_burn_in(ResolvedRun(planted(wrap=wrap), resolved.flags), data)
    assert set(seen) == {examples}  # 2^17 / (3 * 96^2 + 1) is 4.7, and 8 * 3 * 64^2 is less than 2^17


def test_a_loss_of_which_nothing_can_be_compared_has_not_passed():
    constant = planted(wrap=lambda learner: learner._replace(loss=lambda params, *rest: (jnp.ones(()), {})))
    assert passed(GRADIENT, constant) is False


def test_a_learner_without_a_loss_says_not_applicable(capsys):
    """Where a technique has no differentiable scalar the mode prints "not applicable"."""
    bare = planted(wrap=lambda learner: learner._replace(loss=None))
    assert [passed(check, bare) for check in (INITIAL, PENALTY, GRADIENT)] == [None] * 3
    overfit = dataclasses.replace(bare, sanity=dataclasses.replace(bare.sanity, overfit=None), measures=[Measure("f1")])
    verdicts, out = table(capsys, overfit, status=0)
    assert verdicts == dict.fromkeys(NAMES, "applicable")
    assert out.count("not applicable") == len(NAMES)


def test_of_many_classes_and_of_clips_of_a_video_little_can_be_said(monkeypatch):
    """150 steps say little of 101 classes; of the clips of a video the first counts: 10 of each class."""
    resolved = ResolvedRun(experiment, resolve(experiment, SMALL))
    data = resolved.load()
    bench = Bench(resolved, data)
    bench.spec = {**bench.spec, "num_classes": 101}
    assert LABELS(bench) == (NAMES[4], "–", "150 steps say little of 101 classes", None)
    bench.spec = {**bench.spec, "num_classes": 100}
    video = np.arange(60) // 2
    valid = dataclasses.replace(data.valid.subset(np.arange(60)), arrays={"label": video % 3, "video": video})
    bench.data = data._replace(valid=valid)
    trained, measured = [], []
    monkeypatch.setattr(
        bench, "train", lambda *arguments, **options: trained.append(arguments) or (None, SimpleNamespace(state=None))
    )
    monkeypatch.setattr(
        sanity, "evaluate", lambda learner, state, valid, **options: measured.append(valid) or {"accuracy": 1.0}
    )
    row = LABELS(bench)
    assert (row.measured, row.passed) == ("validation accuracy 1.000", True)
    assert row.expected == f"> {above_chance(np.arange(30) % 3):.3f} (chance, largest class)"
    assert trained[0][1:] == (32, 150)
    np.testing.assert_array_equal(measured[0].arrays["label"], np.arange(30) % 3)


def test_the_worst_array_of_a_gradient_check_is_named_and_those_that_were_compared_are_counted(monkeypatch):
    def judged_by(*lines):
        monkeypatch.setattr(sanity, "losses_after_burn_in", lambda run, data: ({"data loss": "loss"}, "params"))
        monkeypatch.setattr(
            sanity, "check_gradient", lambda *given, **options: asked.append((given, options)) or [*lines]
        )
        return GRADIENT(SimpleNamespace(run=SimpleNamespace(flags=SimpleNamespace(seed=3)), data=None))

    asked = []
    happy = LeafCheck("a", 3, 0, 1.0, 1.0, 1e-8, 0, "happy")
    wrong, none = happy._replace(path="b", error=1.0, verdict="wrong"), happy._replace(error=0.0, verdict=None)
    name = "gradient check"
    assert judged_by(happy, wrong, none) == (name, "1.0e+00 at b", "< 1e-4 at 2 of 3 arrays, float64", False)
    assert judged_by(none, happy) == (name, "1.0e-08 at a", "< 1e-4 at 1 of 2 arrays, float64", True)
    assert judged_by(none) == (name, "nothing could be compared", "< 1e-4 at 0 of 1 arrays, float64", False)
    assert asked[0] == (("loss", "params"), {"seed": 3, "allow_random": True})


@pytest.mark.parametrize(("verdicts", "status"), [((True, None), 0), ((True, False, None), 1), ((False, False), 1)])
def test_one_check_that_fails_fails_the_mode(monkeypatch, capsys, verdicts, status):
    checks = [lambda bench, passed=passed: Check("a check", "1 %", "2 %", passed) for passed in verdicts]
    monkeypatch.setattr(sanity, "CHECKS", checks)
    monkeypatch.setattr(sanity, "load_data", lambda run, flags: flags)
    monkeypatch.setattr(sanity, "sampled_batch", lambda *given: given)
    monkeypatch.setattr(sanity, "Bench", lambda *given: given)
    seen = []
    flags = SimpleNamespace(replace=lambda **changes: changes, batch_size=9, seed=3)
    run = SimpleNamespace(
        flags=flags, plain={"l2": 0.0}, training_of=lambda data: data, build=lambda *given: seen.append(given)
    )
    assert sanity.sanity(run) == status
    assert seen == [({"l2": 0.0}, ({"l2": 0.0}, 9, 3))], "without regularization"
    head, *lines = capsys.readouterr().out.splitlines()
    names = {True: "pass", False: "FAIL", None: "not applicable"}
    assert [line.split("  ")[-1].strip() for line in lines] == [names[verdict] for verdict in verdicts]
    assert {line.index("1 %") for line in lines} == {head.index("measured")}
    assert {line.index("2 %") for line in lines} == {head.index("expected")}
