"""The backbone of any pretext's run starts classifiers, detectors, segmenters and semi-supervised pages.

The runs are written without training: their weights are random numbers, which `earlier_run.load` gives.
"""

import jax
import numpy as np
import pytest
from flax import linen as nn

from dlcore.data.pipeline import batch_at
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import main
from dlcore.semi_supervised.twin import TwinState
from dlcore.setting import FlagError
from dlcore.weights import earlier_run
from dlcore.weights.fit import backbone_of, fit_modules
from dlcore.weights.network import load_network, open_classifier
from dlcore.weights.source_weights import with_missing_layers
from dlcore.weights.start import _load, start_backbone
from experiments import find_experiment
from experiments.self_supervised.mae import experiment as mae
from experiments.self_supervised.rotation import experiment as rotation
from tests.saved_runs import save_state

MODEL = ["--smoke", "--model=resnet8_cifar", "--model.width=4", "--model.stages=1"]
COLOR = ["--smoke", "--model=resnet8_cifar", "--model.width=4", "--model.stages=1,1"]


def filled(shapes, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.random(leaf.shape).astype(leaf.dtype), shapes)


def initial(experiment, *words):
    """(run, setup, the shapes of the initial state) of a page."""
    run = ResolvedRun(experiment, resolve(experiment, [*words]))
    splits = experiment.run(run.flags).load()
    setup = run.training_of(splits)
    return run, setup, jax.eval_shape(setup.build().init, jax.random.key(0), run.example(setup.spec))


def write_run(experiment, folder, *words):
    """Write the run of a pretext: (its params, its running statistics)."""
    run, setup, state = initial(experiment, *words, f"--run_dir={folder}")
    folder.mkdir()
    run.write_config(setup.spec)
    params, model_state = (filled(tree, seed) for seed, tree in enumerate((state.params, state.model_state)))
    save_state(folder, {"params": params, "model_state": model_state})
    return params, model_state


def assert_equal_backbone(mine, run):
    """Leaves [params, running statistics] equal the run's to the bit, but for the head."""
    for ours, theirs in zip(mine, run, strict=True):
        theirs = {name: leaf for name, leaf in theirs["backbone"].items() if name != "head"}
        ours = {name: leaf for name, leaf in ours.items() if name != "head"}
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
        assert ours


PAGES = ["rotation", "jigsaw", "relative_patch", "exemplar", "deep_cluster", "inpainting", "unrotation", "dino", "moco"]


@pytest.mark.covers("TL-18")
@pytest.mark.parametrize("page", [pytest.param(p, marks=[] if p == "rotation" else [pytest.mark.slow]) for p in PAGES])
def test_a_classifier_starts_from_the_backbone_of_a_pretext(page, tmp_path):
    source = write_run(find_experiment(f"self_supervised.{page}"), tmp_path / "run", *MODEL)
    network = load_network(tmp_path / "run", "init_from", headless=True)
    assert_equal_backbone([network.variables["params"], network.variables["batch_stats"]], _parts(source))
    assert "head" not in network.variables["params"]
    with pytest.raises(ValueError, match=rf"network=.*a run of self_supervised\.{page}, without a head; allowed: runs"):
        load_network(tmp_path / "run")


def _parts(source):
    params, model_state = source
    return [params, model_state["batch_stats"]]


@pytest.mark.covers("TL-18")
def test_a_detector_and_a_segmenter_take_the_backbone_alone(tmp_path):
    """The pretext's own head is no module of theirs, though theirs may have the same name."""
    source = write_run(rotation, tmp_path / "run", *MODEL)
    model, variables, _ = _load(str(tmp_path / "run"))
    assert model == "resnet8_cifar"
    assert set(variables["params"]) == {"backbone"}
    for module in ("head", "decoder"):
        wanted = {
            "params": {"backbone": filled(source[0]["backbone"], 5), module: {"kernel": np.zeros((3, 7))}},
            "batch_stats": {"backbone": filled(source[1]["batch_stats"]["backbone"], 6)},
        }
        fitted, anew = fit_modules(variables, wanted, False)
        assert_equal_backbone([fitted[kind]["backbone"] for kind in ("params", "batch_stats")], _parts(source))
        assert module in anew
        np.testing.assert_array_equal(fitted["params"][module]["kernel"], 0)


@pytest.mark.covers("TL-18")
def test_a_run_without_a_backbone_is_refused_by_name(tmp_path):
    run, setup, _ = initial(mae, "--smoke", f"--run_dir={tmp_path / 'run'}")
    (tmp_path / "run").mkdir()
    run.write_config(setup.spec)
    what = r"a run of self_supervised\.mae; allowed: runs of a classifier, or of a page with a backbone of the zoo"
    with pytest.raises(ValueError, match=rf"init_from=.*{what}"):
        open_classifier(tmp_path / "run", "init_from", headless=True)
    with pytest.raises(ValueError, match=rf"init_from=.*{what}"):
        _load(str(tmp_path / "run"))


def test_the_head_of_a_backbone_is_left_out():
    variables = {
        "params": {"backbone": {"stem": 1, "head": 2}, "projection": 3},
        "batch_stats": {"backbone": {"stem": 4}, "hidden": 5},
        "other": {"projection": 6},
    }
    assert backbone_of(variables) == {"params": {"stem": 1}, "batch_stats": {"stem": 4}}


@pytest.mark.slow
@pytest.mark.covers("TL-18")
@pytest.mark.parametrize("page", ["fixmatch", "mean_teacher", "temporal_ensembling"])
def test_a_semi_supervised_page_starts_from_a_pretext(page, tmp_path):
    source = write_run(rotation, tmp_path / "run", *MODEL)
    experiment = find_experiment(f"semi_supervised.{page}")
    _, setup, shapes = initial(experiment, *MODEL, f"--init_from={tmp_path / 'run'}")
    state = setup.start()(filled(jax.tree.map(lambda x: x, _plain(shapes)), 7))
    assert isinstance(state, TwinState)
    for one in state.states:
        assert_equal_backbone([one.params, one.model_state["batch_stats"]], _parts(source))
        if one.teacher is not None:
            jax.tree.map(np.testing.assert_array_equal, one.teacher["params"], one.params)


@pytest.mark.slow
@pytest.mark.covers("TL-18")
def test_the_classifier_of_a_gan_and_noisy_labels_start_from_a_pretext(tmp_path):
    """The generator keeps its initial weights; all networks of noisy labels, and the one kept, have the run's."""
    source, words = write_run(rotation, tmp_path / "run", *MODEL), [f"--init_from={tmp_path / 'run'}"]
    experiment = find_experiment("semi_supervised.gan_classifier")
    _, setup, shapes = initial(experiment, *MODEL, *words)
    before = filled(_plain(shapes), 7)
    technique, supervised = setup.start()(before).states
    classifier = technique.params["discriminator"], technique.model_state["discriminator"]["batch_stats"]
    assert_equal_backbone(classifier, _parts(source))
    jax.tree.map(np.testing.assert_array_equal, technique.teacher["params"], technique.params["discriminator"])
    jax.tree.map(np.testing.assert_array_equal, technique.params["generator"], before.technique.params["generator"])
    assert_equal_backbone([supervised.params, supervised.model_state["batch_stats"]], _parts(source))

    experiment = find_experiment("semi_supervised.noisy_labels")
    _, setup, shapes = initial(experiment, *MODEL, *words)
    state = setup.start()(filled(_plain(shapes), 7))
    assert set(state.params) == {"technique", "cross_entropy"}
    for name in state.params:
        assert_equal_backbone([state.params[name], state.model_state[name]["batch_stats"]], _parts(source))
    jax.tree.map(np.testing.assert_array_equal, state.kept["params"], state.params["cross_entropy"])


STARTED = ["jigsaw", "moco", "dino", "unrotation", "deep_cluster"]


@pytest.mark.covers("TL-18")
@pytest.mark.parametrize("page", [pytest.param(p, marks=[] if p == "jigsaw" else [pytest.mark.slow]) for p in STARTED])
def test_a_pretext_starts_from_the_backbone_of_another(page, tmp_path):
    """Its own modules, and the copies of a teacher or a key encoder, are as without weights."""
    source = write_run(rotation, tmp_path / "run", *MODEL)
    experiment = find_experiment(f"self_supervised.{page}")
    _, setup, shapes = initial(experiment, *MODEL, f"--init_from={tmp_path / 'run'}")
    before = filled(_plain(shapes), 7)
    start = start_backbone(setup)
    start.check(before)
    state = start(before)
    assert_equal_backbone(
        [tree["backbone"] for tree in (state.params, state.model_state["batch_stats"])], _parts(source)
    )
    for module in set(state.params) - {"backbone"}:
        jax.tree.map(np.testing.assert_array_equal, state.params[module], before.params[module])
    for copy in ("teacher", "key"):
        if hasattr(state, f"{copy}_params"):
            jax.tree.map(np.testing.assert_array_equal, getattr(state, f"{copy}_params"), state.params)
            jax.tree.map(np.testing.assert_array_equal, getattr(state, f"{copy}_model_state"), state.model_state)
    if page in ("moco", "dino"):
        assert any(hasattr(state, f"{copy}_params") for copy in ("teacher", "key"))
    if page == "deep_cluster":
        return  # whose start also clusters
    for ours, theirs in zip(*(jax.tree.leaves(s.params) for s in (setup.start()(before), state)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.covers("TL-18")
def test_the_detector_of_a_panoptic_page_starts_from_a_pretext(tmp_path):
    source = write_run(find_experiment("self_supervised.colorization"), tmp_path / "run", *COLOR)
    experiment = find_experiment("segmentation.panoptic")
    _, setup, shapes = initial(experiment, *COLOR, f"--init_from={tmp_path / 'run'}")
    parts = {name: _plain(part) for name, part in shapes.parts.items()}
    before = filled(_plain(shapes).replace(parts=parts), 7)
    setup.start().check(before)
    state = setup.start()(before)
    detector = state.params["instances"], state.parts["instances"].model_state["batch_stats"]
    assert_equal_backbone([tree["backbone"] for tree in detector], _parts(source))
    jax.tree.map(np.testing.assert_array_equal, state.params["semantic"], before.params["semantic"])


@pytest.mark.weekly
@pytest.mark.covers("TL-18", "TL-13")
@pytest.mark.parametrize("technique", ["dann", "mmd"])
def test_both_networks_of_domain_adaptation_start_from_the_backbone_of_a_run(technique, tmp_path):
    """An update moves the backbone of either network, and no batch statistics."""
    source = _parts(write_run(find_experiment("self_supervised.colorization"), tmp_path / "run", *COLOR))
    experiment = find_experiment("transfer.domain_adaptation")
    words = ["--smoke", f"--technique={technique}", f"--init_from={tmp_path / 'run'}", "--strength=5"]
    run, setup, shapes = initial(experiment, *words)
    learner, start = setup.build(), setup.start()
    batch = batch_at(run.pipelines(experiment.run(run.flags).load()), 0)
    start.check(shapes)
    state = start(jax.jit(learner.init)(jax.random.key(0), batch))
    for twin in ("adapted", "source_only"):
        mine = [state.params[twin]["backbone"], state.model_state["batch_stats"]["backbone"]]
        assert_equal_backbone(mine, source)
    after = jax.jit(learner.update)(state.replace(step=state.step + 1), batch)[0]
    jax.tree.map(np.testing.assert_array_equal, after.model_state, state.model_state)
    moved = [jax.tree.leaves(after.params[twin]["backbone"]) for twin in ("adapted", "source_only")]
    assert any(np.abs(a - b).max() > 0 for a, b in zip(*moved, strict=True)), "adaptation reaches the backbone"


def test_domain_adaptation_refuses_gray_networks_and_other_models(tmp_path):
    write_run(rotation, tmp_path / "run", *MODEL)
    experiment = find_experiment("transfer.domain_adaptation")
    for words, message in (
        ([], r"init_from=.*: trained on images of 1 channels; allowed: 3"),
        (["--model=vgg11"], r"init_from=.*: weights of resnet8_cifar; allowed: of vgg11, as --model here"),
    ):
        flags = resolve(experiment, [f"--init_from={tmp_path / 'run'}", *words])
        with pytest.raises(ValueError, match=message):
            experiment.settings["init_from"].origin(flags)


def test_co_teaching_is_not_started_from_weights():
    experiment = find_experiment("semi_supervised.noisy_labels")
    flags = resolve(experiment, ["--technique=co_teaching", "--init_from=RUN"])
    with pytest.raises(
        FlagError, match=r"--init_from=RUN: both networks .* and stay equal; allowed: the other techniques"
    ):
        experiment.run(flags).check()


@pytest.mark.covers("TL-18")
def test_fine_tuning_measures_the_stages_of_a_backbone_without_a_head():
    model, image = nn.Sequential([nn.Dense(2), nn.Dense(3)]), np.ones((1, 4), np.float32)
    body = {"layers_0": {"kernel": np.full((4, 2), 7.0), "bias": np.full(2, 7.0)}}
    params = with_missing_layers(model, {"params": body}, image)["params"]
    jax.tree.map(np.testing.assert_array_equal, params["layers_0"], body["layers_0"])
    np.testing.assert_array_equal(params["layers_1"]["kernel"], np.zeros((2, 3)))


@pytest.mark.weekly
@pytest.mark.covers("TL-18")
def test_a_real_run_of_a_pretext_starts_a_real_fine_tuning(tmp_path, capsys):
    """Two smoke runs end to end; with all but the head frozen, the backbone ends as the pretext's run left it."""
    source, tuned = tmp_path / "pretext", tmp_path / "tuned"
    main(rotation, [*MODEL, f"--run_dir={source}"])
    page = find_experiment("transfer.fine_tuning")
    main(page, [*MODEL, "--parts=head", f"--init_from={source}", f"--run_dir={tuned}"])
    assert "gives all but the head" in capsys.readouterr().out
    before, after = (earlier_run.load(folder) for folder in (source, tuned))
    source_parts = [before.params, before.model_state["batch_stats"]]
    assert_equal_backbone([after.params, after.model_state["batch_stats"]], source_parts)


def _plain(shapes):
    """Shapes without the random key."""
    return shapes.replace(rng=jax.ShapeDtypeStruct((2,), np.uint32))
