"""A run's folder and the settings of another call."""

import types
from pathlib import Path

import pytest

from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun, check_identity, run_folder
from dlcore.setting import FlagError
from experiments import find_experiment
from experiments.classification.supervised import experiment as supervised


def run(values, given=()):
    flags = Flags(values, {}, frozenset(given))
    experiment = types.SimpleNamespace(name="topic.page")
    return types.SimpleNamespace(flags=flags, identity=values, folder="folder", experiment=experiment)


def test_a_flag_younger_than_the_run_counts_where_it_is_given():
    config = {"experiment": "topic.page", "identity": {"steps": 10}}
    check_identity(run({"steps": 10, "patience": 0}), config)
    with pytest.raises(FlagError, match="made with other settings: patience=None there, 3 here"):
        check_identity(run({"steps": 10, "patience": 3}, ["patience"]), config)
    with pytest.raises(FlagError, match="made with other settings: steps=10 there, 20 here"):
        check_identity(run({"steps": 20, "patience": 0}), config)
    with pytest.raises(FlagError, match="made with other settings: steps=10 there, None here"):
        check_identity(run({"patience": 0}), config)


def test_young_settings_at_their_defaults_leave_runs_their_folders():
    names = ["l1", "max_norm", "clip_value", "model.drop_path"]
    default, named, changed = (
        ResolvedRun(supervised, resolve(supervised, words)).identity
        for words in ([], ["--l1=0", "--model.drop_path=0"], ["--l1=0.1", "--model.drop_path=0.2"])
    )
    assert default == named
    assert not set(names) & set(default)
    assert changed == {**default, "l1": 0.1, "model.drop_path": 0.2}
    vgg = ResolvedRun(supervised, resolve(supervised, ["--model=vgg9_cifar"])).identity
    assert "model.pooling" in vgg
    assert "model.pool_ratio" not in vgg
    vit = ResolvedRun(supervised, resolve(supervised, ["--model=vit_b_16"])).identity
    assert "model.width" in vit
    assert not {"model.token_last", "model.position_features", "model.scan_blocks"} & set(vit)
    scanned = ResolvedRun(supervised, resolve(supervised, ["--model=vit_b_16", "--model.scan_blocks"])).identity
    assert scanned == {**vit, "model.scan_blocks": True}


def test_a_run_may_be_named_by_its_config_json(tmp_path):
    assert run_folder("page", {}, "runs", f"{tmp_path}/config.json") == run_folder("page", {}, "runs", str(tmp_path))
    assert run_folder("page", {}, "runs", "").parent == Path("runs/page")


@pytest.mark.parametrize(
    ("name", "young"),
    [
        ("detection.faster_rcnn", {"classifier", "faster_rcnn.non_local", "resize", "canvas"}),
        ("generative.conditional_gan", {"generator.class_embedding", "generator.split_latent", "orthogonal"}),
        ("generative.vae", {"draw_pixels"}),
        ("transfer.fine_tuning", {"head", "head_units"}),
    ],
)
def test_young_settings_of_pages_are_no_part_of_a_default_identity(name, young):
    page = find_experiment(name)
    flags = resolve(page, [])
    assert young <= set(flags)
    assert not young & set(ResolvedRun(page, flags).identity)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("generative.control_net", "c1e9ab85a3"),
        ("generative.dit", "9400411e1d"),
        ("generative.latent_diffusion", "f225cc118a"),
        ("generative.text_to_image", "49ee730223"),
    ],
)
def test_pages_that_share_their_defaults_keep_the_names_of_their_run_folders(name, folder):
    page = find_experiment(name)
    assert ResolvedRun(page, resolve(page, [])).folder.name == folder
