"""Own videos on the page: splits, flags that do not fit, and what is said of files."""

import types
from pathlib import Path
from typing import get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlcore.data import clip_data
from dlcore.data.facts import Facts
from dlcore.evaluators import videos
from dlcore.experiment.resolve import resolve
from dlcore.learner import ModelState
from dlcore.main import run
from dlcore.modes import predict
from dlcore.setting import FlagError, with_flags
from dlcore.video import clip_network
from dlcore.video.clip_network import Network
from dlcore.video.fusion import ClipClassifier
from dlcore.weights import inflated
from dlcore.weights.open import Weights
from experiments import find_experiment
from tests.models.tracing import layers_traced_once
from tests.overriding import inputs_of

PAGE = find_experiment("video.classification")


def write_gif(path, color, count=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = (Image.fromarray(np.full((20, 16, 3), color, np.uint8) + i) for i in range(count))
    first.save(path, save_all=True, append_images=rest, duration=100)
    return path


@pytest.fixture
def own(tmp_path):
    for name, color in (("dark", (20, 0, 0)), ("light", (200, 220, 210))):
        for i in range(6):
            write_gif(tmp_path / "own" / name / f"{i}.gif", color)
    return tmp_path / "own"


@pytest.mark.covers("VD-15")
def test_own_videos_become_splits_with_views(own):
    flags = resolve(PAGE, [f"--data_dir={own}", "--clip_length=3", "--views=2", "--valid_fraction=0.3"])
    splits = PAGE.run(flags).load()
    assert splits.spec["class_names"] == ["dark", "light"]
    assert splits.spec["image_shape"] == [3, 16, 16, 3]
    assert len(splits.train) + (len(splits.valid) + len(splits.test)) // 2 == 12
    assert not set(splits.train.names) & {name.split(" view")[0] for name in [*splits.test.names, *splits.valid.names]}
    chex.assert_shape(splits.train.sample(np.arange(2), 0, np.zeros(2, int))["image"], (2, 3, 16, 16, 3))
    assert "no test split: a fifth of the videos is tested" in splits.notes


@pytest.mark.covers("VD-15")
def test_a_data_set_as_its_authors_lay_it_out(tmp_path):
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Run\n2 Jump\n")
    names = [f"{name}/v_g{i:02}_c01.gif" for name in ("Run", "Jump") for i in range(4)]
    for i, name in enumerate(names):
        write_gif(tmp_path / "UCF-101" / name, (10 * i, 0, 0))
    (lists / "trainlist01.txt").write_text("".join(f"{name} 1\n" for name in names[1:]))
    (lists / "testlist01.txt").write_text(f"{names[0]}\n")
    words = [f"--data_dir={tmp_path}", "--dataset=ucf101", "--clip_length=3", "--views=2", "--valid_fraction=0.3"]
    splits = PAGE.run(resolve(PAGE, words)).load()
    assert splits.spec["dataset"] == "ucf101"
    assert splits.test.names.tolist() == [f"{names[0]} view 0", f"{names[0]} view 1"]
    assert splits.test.arrays["label"].tolist() == [0, 0]
    assert len(splits.train) + len(splits.valid) // 2 == 7
    assert splits.test.arrays["image"][:][..., 0, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.covers("VD-01")
def test_the_prediction_of_a_file_is_the_mean_over_its_views(own):
    words = ["--clip_length=3", "--views=2", f"--input={own / 'light' / '0.gif'}"]
    flags = resolve(PAGE, words, predict.MODE.settings)
    spec = {"class_names": ["dark", "light"], "image_shape": [3, 16, 16, 3], "views": 2}
    source, names = inputs_of(PAGE, flags, spec)
    assert names == [str(own / "light" / "0.gif")]
    # 6 frames, clips of 3: the views start at 0 and 3.
    assert source.arrays["image"][:][..., 0, 0, 0].tolist() == [[200, 201, 202], [203, 204, 205]]
    # Mean logits (0, log 3): probabilities 1/4 and 3/4.
    (row,) = PAGE.use.describe({"logits": np.array([[1.0, np.log(3) + 1], [-1, np.log(3) - 1]])}, Facts.of(spec))
    assert row["class"] == "light"
    assert row["probabilities"]["light"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--clip_length=9"], "clip_length=9: with stride 1 longer than a video of 8 frames; allowed: at most 8"),
        (
            ["--clip_length=5", "--stride=2"],
            "clip_length=5: with stride 2 longer than a video of 8 frames; allowed: at most 4",
        ),
        (["--network=c3d"], "clip_length=6: too short for --network=c3d; allowed: at least 16"),
        (["--network=s3d"], "clip_length=6, size=16: too small for --network=s3d; allowed: at least 5 frames of 17x17"),
        (["--network=slowfast"], "clip_length=6: no multiple of --slowfast.alpha=4"),
        (
            ["--network=c3d", "--clip_length=16", "--frames=16", "--inflate_from=x"],
            "inflate_from: inflates weights for slow fusion",
        ),
        (["--net.fusion=early", "--inflate_from=x"], "inflate_from: inflates weights for slow fusion; allowed: --netw"),
        (["--dataset=ucf101"], "dataset=ucf101: --data_dir is missing"),
        (["--frame_rate=5"], "frame_rate=5: drawn videos have none; allowed: --stride, or --data_dir"),
    ],
)
def test_flags_that_do_not_fit(words, message):
    with pytest.raises(FlagError, match=message):
        PAGE.run(resolve(PAGE, words)).check()
    for good in (["--clip_length=9", "--short=loop"], ["--clip_length=8"], ["--clip_length=4", "--stride=2"]):
        PAGE.run(resolve(PAGE, good)).check()


@pytest.mark.slow(only=["two_stream", "r2plus1d_18", "s3d", "swin3d", "mvit"])
@pytest.mark.parametrize("name", get_args(Network))
def test_each_network_classifies_clips(name):
    words = [f"--network={name}", "--clip_length=16", "--frames=16", "--resnet_width=2", "--c3d.width=2"]
    words += ["--s3d.width_mult=0.1", "--swin3d.stages=1,1", "--swin3d.num_heads=3,6", "--mvit.stages=1,1"]
    flags = resolve(PAGE, [*words, "--timesformer.depth=1", "--vivit.depth=1"])
    side = 32 if name == "s3d" else 16
    shape = (16, side, side, 3)
    network = with_flags(PAGE.network, flags).build(5, shape, jnp.float32)
    clip = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    with layers_traced_once():
        logits, variables = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x), clip)
    chex.assert_shape(logits, (2, 5))
    kinds = {"fusion": "net", "c3d": "conv5b", "slowfast": "fast0", "two_stream": "streams"}
    kinds |= {"s3d": "features_15", "swin3d": "features_3_0", "mvit": "blocks_1"}
    kinds |= {"timesformer": "time_embeddings", "vivit": "position_embeddings"}
    assert kinds.get(name, "layer4_1_conv2_1") in variables["params"]


def test_fields_of_the_zoo_name_a_run_only_where_they_are_changed():
    """Runs of the networks that the page had first keep their folders."""
    assert not [name for name in resolve(PAGE, []).identity if name.partition(".")[0] in clip_network.ZOO]
    flags = resolve(PAGE, ["--network=swin3d", "--swin3d.width=8"])
    assert [name for name in flags.identity if name.startswith("swin3d.")] == ["swin3d.width"]


@pytest.mark.covers("VD-06")
def test_slow_fusion_starts_from_inflated_weights(monkeypatch):
    flags = resolve(PAGE, ["--inflate_from=RUN", "--net.width=2"])
    setup = PAGE.run(flags, {"num_classes": 2, "class_names": ["a", "b"]}, 1, jnp.float32)
    rng, clip = np.random.default_rng(0), jax.ShapeDtypeStruct((1, 3, 8, 8, 3), jnp.float32)

    def params(fusion):
        shapes = jax.eval_shape(ClipClassifier(2, fusion, 2).init, jax.random.key(0), clip)["params"]
        return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)

    single = params("single")
    weights = Weights("inflate_from", Path("RUN"), class_names=("a", "b"))
    monkeypatch.setattr(inflated, "open_weights", lambda source, argument: weights)
    monkeypatch.setattr(Weights, "variables", lambda weights: {"params": single})
    state = ModelState(0, 0, params("slow"), None, {})
    slow = setup.start()(state).params
    for tap in range(3):
        np.testing.assert_allclose(slow["net"]["conv1"]["kernel"][tap], single["net"]["conv1"]["kernel"] / 3, rtol=1e-6)
    np.testing.assert_array_equal(slow["logits"]["kernel"], single["logits"]["kernel"])


@pytest.mark.slow
def test_a_page_learns_own_videos_and_names_what_happens_in_others(own, tmp_path, capsys):
    words = [
        "--net.fusion=single",
        "--net.width=4",
        "--clip_length=3",
        "--views=2",
        "--batch_size=4",
        "--eval_every=40",
    ]
    folder = tmp_path / "run"
    assert run(PAGE, [f"--data_dir={own}", f"--run_dir={folder}", "--steps=40", "--valid_fraction=0.3", *words]) == 0
    write_gif(tmp_path / "new" / "a.gif", (190, 200, 200))
    write_gif(tmp_path / "new" / "b.gif", (10, 10, 10), 3)
    capsys.readouterr()
    assert run(PAGE, ["--mode=predict", f"--run={folder}", f"--input={tmp_path / 'new'}"]) == 0
    out = capsys.readouterr().out
    assert "a.gif: light" in out
    assert "b.gif: dark" in out
    assert run(PAGE, ["--mode=predict", f"--run={folder}", f"--input={tmp_path / 'own'}/nothing.gif"]) != 0
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["--network=c3d", "--clip_length={}"], (15, 16)),
        (["--network=s3d", "--size=17", "--clip_length={}"], (4, 5)),
        (["--network=s3d", "--clip_length=6", "--size={}"], (16, 17)),
        (["--network=two_stream", "--clip_length={}"], (1, 2)),
        (["--network=slowfast", "--slowfast.alpha=3", "--clip_length={}"], (7, 6)),
    ],
)
def test_the_smallest_clips_of_each_network_are_accepted(monkeypatch, words, numbers):
    monkeypatch.setattr(clip_data.LabeledClips, "check", lambda self, run: None)
    bad, good = ([word.format(number) for word in words] for number in numbers)
    with pytest.raises(FlagError, match=r"clip_length="):
        PAGE.run(resolve(PAGE, bad)).check()
    PAGE.run(resolve(PAGE, good)).check()


def test_networks_of_the_zoo_have_the_frames_and_the_side_of_the_clips():
    flags = resolve(PAGE, ["--network=timesformer", "--timesformer.depth=2"])
    model = with_flags(PAGE.network, flags).build(3, (6, 16, 20, 3))
    assert (model.num_classes, model.frames, model.image_size, model.depth) == (3, 6, 16, 2)


def test_odds_of_a_video_are_those_of_the_mean_logits_of_its_views():
    """Views (2, 0) and (0, 0) have the mean (1, 0) and so odds of e to 1; the second video has 1 to e^3.

    Large logits do not overflow.
    """
    logits = np.array([[2.0, 0], [0, 0], [0, 3], [0, 3], [999, 999], [999, 999]])
    first, second, third = PAGE.use.describe({"logits": logits}, Facts.of({"views": 2, "class_names": ["up", "down"]}))
    assert first["probabilities"] == pytest.approx({"up": np.e / (1 + np.e), "down": 1 / (1 + np.e)})
    assert second["probabilities"] == pytest.approx({"up": 1 / (1 + np.exp(3)), "down": np.exp(3) / (1 + np.exp(3))})
    assert third["probabilities"] == {"up": 0.5, "down": 0.5}


def test_the_flow_of_the_first_two_frames_is_shown_and_that_of_one_frame_is_not(monkeypatch):
    seen = []
    monkeypatch.setattr("dlcore.classical_vision.optical_flow.horn_schunck", lambda a, b: jnp.stack([b - a, b + a], -1))
    monkeypatch.setattr("dlcore.report.flow.flow_panel", lambda *args: seen.append(args) or "flow")
    clip = np.zeros((3, 2, 4, 3), np.uint8) + np.array([0, 51, 255], np.uint8)[:, None, None, None]
    assert videos._flow_panels({"up": clip, "down": clip}) == ["flow"]
    ((frames, flows, title),) = seen
    assert title == "Optical flow: up, down"
    assert (np.stack(frames) == 0).all()
    np.testing.assert_allclose(np.stack(flows), 0.2, rtol=1e-6)  # 51 / 255, from frame 0 to frame 1
    assert videos._flow_panels({"up": clip[:1]}) == []


def test_a_video_of_each_class_is_shown_by_its_first_clip_and_judged_by_the_mean_of_all(bare_panels):
    """Clips 0 and 1 are of video 5, clips 2 to 4 of video 3, clip 5 of video 9: classes 1, 0 and 0."""
    images = np.arange(6).reshape(6, 1, 1, 1, 1) * np.ones((6, 1, 2, 2, 3))  # one frame has no flow
    test = {"image": images, "video": np.array([5, 5, 3, 3, 3, 9]), "label": np.array([1, 1, 0, 0, 0, 0])}
    probabilities = np.stack([np.arange(6) / 10, 1 - np.arange(6) / 10], 1)
    context = types.SimpleNamespace(
        data=types.SimpleNamespace(test=types.SimpleNamespace(arrays=test)),
        numbers={"loss": 1}, arrays={"confusion": 2},
        outputs={"probabilities": probabilities}, spec={"class_names": ["a", "b"]}, history="curves",
    )  # fmt: skip
    curves, (strips, title, _), classifier = videos.panels(context)
    assert (curves, title) == ("curves", "Film strips")
    assert {name: int(clip.mean()) for name, clip in strips.items()} == {"a": 2, "b": 0}
    measures, _, labels, mean, names, params = classifier
    assert (measures, labels.tolist(), names, params) == ({"loss": 1, "confusion": 2}, [0, 1, 0], ["a", "b"], {})
    np.testing.assert_allclose(mean[:, 0], [0.3, 0.05, 0.5])
    context.spec["class_names"] = [*"abcdefgh"]
    context.data.test.arrays = {"image": images[[0] * 8], "video": np.arange(8), "label": np.arange(8)}
    context.outputs = {"probabilities": np.eye(8)}
    assert [*videos.panels(context)[1][0]] == [*"abcdef"], "six classes at most"


def test_clips_are_measured_by_video_and_start_from_random_weights_unless_named():
    setup = PAGE.run(resolve(PAGE, []), {"class_names": ["a", "b", "c"]}, 1, jnp.float32)
    assert setup.start() is None
    assert PAGE.sanity.expected_loss(setup) == pytest.approx(np.log(3))
    (evaluator,) = setup.evaluators(None, "test")
    rows = {"video": np.array([4, 4]), "label": np.array([1, 1])}
    outputs = {name: np.array([[0.6, 0.4], [0.1, 0.9]]) for name in ("logits", "probabilities")}
    assert evaluator.finish(evaluator.add(None, outputs, rows)) == {evaluator.names[0]: 1.0}
