"""A package that only some need is asked for before any work, in one line that says what to install."""

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from dlcore.data.masks import masks_to_rles
from dlcore.data.video_files import open_video, read_frames
from dlcore.data.words import BytePairs
from dlcore.evaluators.coco import coco_evaluator, coco_map
from dlcore.experiment.study import Study, run_study
from dlcore.extras import EXTRAS, MissingPackage, require
from dlcore.main import run
from dlcore.rl import environments
from experiments import find_experiment
from tests.overriding import with_run

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "kubernetes_validate": "kubernetes-validate",
    "libtpu": "jax[tpu]",
    "mlflow": "mlflow-skinny",
    "tensorflow_datasets": "tensorflow-datasets",
    "yaml": "PyYAML",
}


def never(*args):
    raise AssertionError("packages are asked for before any work")


def hide(monkeypatch, *names):
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_extras_install_what_they_stand_for():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        names = [re.split("[>=]", requirement)[0] for requirement in extras[extra]]
        assert DISTRIBUTIONS.get(package, package) in names, (package, extra, names)


def test_the_message_says_what_to_install(monkeypatch):
    require("numpy", "jax")
    hide(monkeypatch, "gymnax", "safetensors", "torch")
    for packages, message in (
        (["gymnax"], "it needs gymnax, which is not installed: pip install -e '.[rl]' in a checkout of dlcore"),
        (["numpy", "torch"], "it needs torch, which is not installed: pip install torch"),
        (["gymnax", "safetensors"], "it needs gymnax, safetensors, which are not installed: pip install -e '.[rl,conv"),
    ):
        with pytest.raises(MissingPackage, match=re.escape(message)):
            require(*packages, what="it")


def test_a_folder_is_no_package(monkeypatch, tmp_path):
    """Runs tracked offline leave ./wandb, which Python takes for a namespace package."""
    (tmp_path / "folder_of_runs").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackage, match="it needs folder_of_runs, which is not installed"):
        require("folder_of_runs", what="it")


@pytest.mark.covers("SY-17")
def test_a_tracker_is_asked_for_before_the_data(monkeypatch, tmp_path, capsys):
    experiment = with_run(find_experiment("classification.supervised"), load=never, build=never)
    hide(monkeypatch, "wandb")
    assert run(experiment, ["--smoke", "--track=tensorboard,wandb", f"--runs={tmp_path / 'runs'}"]) == 1
    needs = "error: the tracker wandb needs wandb, which is not installed: pip install -e '.[track]' in a checkout"
    assert needs in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.covers("SY-16")
def test_grain_is_asked_for_before_the_data(monkeypatch, tmp_path, capsys):
    experiment = with_run(find_experiment("classification.supervised"), load=never, build=never)
    hide(monkeypatch, "grain")
    assert run(experiment, ["--smoke", "--input_pipeline=grain", f"--runs={tmp_path / 'runs'}"]) == 1
    needs = "error: input_pipeline=grain needs grain, which is not installed: pip install -e '.[grain]' in a checkout"
    assert needs in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("rl.ppo", "gymnax", "rl"),
        ("rl.dqn", "gymnax", "rl"),
        ("detection.fcos", "pycocotools", "detection"),
        ("detection.single_stage", "pycocotools", "detection"),
    ],
)
def test_an_experiment_asks_before_it_reads_data(monkeypatch, tmp_path, capsys, name, package, extra):
    experiment = with_run(find_experiment(name), load=never, build=never)
    hide(monkeypatch, package)
    assert run(experiment, ["--smoke", f"--runs={tmp_path / 'runs'}"]) == 1
    needs = f"error: {name} needs {package}, which is not installed: pip install -e '.[{extra}]' in a checkout"
    assert capsys.readouterr().err.startswith(needs)
    assert not (tmp_path / "runs").exists()


def test_modes_and_flags_ask_too(monkeypatch, tmp_path, capsys):
    experiment = with_run(find_experiment("classification.supervised"), build=never)
    hide(monkeypatch, "flatbuffers", "cv2")
    assert run(experiment, ["--mode=export", f"--run_dir={tmp_path}"]) == 1
    assert "error: --mode=export needs flatbuffers, which is not installed: " in capsys.readouterr().err
    assert run(experiment, ["--decoder=opencv", f"--run_dir={tmp_path}"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: --decoder=opencv needs cv2, which is not installed: pip install -e '.[input]'")


def test_readers_of_data_ask_too(monkeypatch, tmp_path):
    hide(monkeypatch, "av", "pycocotools", "tokenizers")
    (tmp_path / "v.mp4").write_bytes(b"")
    for words, call in (
        ("reading .mp4 videos needs av", lambda: open_video(tmp_path / "v.mp4")),
        ("reading .mp4 videos needs av", lambda: read_frames(tmp_path / "v.mp4", np.arange(1))),
        ("COCO's masks needs pycocotools", lambda: masks_to_rles(np.ones((1, 2, 2), bool))),
        ("a vocabulary of byte pairs needs tokenizers", lambda: BytePairs("{}")),
        ("a vocabulary of byte pairs needs tokenizers", lambda: BytePairs.train(["a b"], 10)),
    ):
        with pytest.raises(MissingPackage, match=f"^{re.escape(words)}, which is not installed"):
            call()


def test_functions_and_studies_ask_too(monkeypatch, tmp_path, capsys):
    hide(monkeypatch, "gymnax", "pycocotools")
    with pytest.raises(MissingPackage, match=r"needs gymnax.*\[rl\]"):
        environments.make("CartPole-v1")
    for call in (lambda: coco_evaluator(["a"]), lambda: coco_map([], [], 1, 1)):
        with pytest.raises(MissingPackage, match=r"needs pycocotools.*\[detection\]"):
            call()

    def play():
        environments.make("CartPole-v1")

    assert run_study(Study(__file__, "A study.", play), [f"--run_dir={tmp_path}"]) == 1
    assert "error: an environment needs gymnax" in capsys.readouterr().err


def test_launchers_and_search_name_missing_packages(monkeypatch, capsys):
    from dlcore.search.__main__ import main as search
    from launch.kubernetes.render import main as render
    from launch.slurm.sweep import main as sweep

    hide(monkeypatch, "yaml", "submitit", "gymnax")
    assert render(["--name=a", "--image=b", "--", "experiments.rl.ppo"]) == 1
    assert capsys.readouterr().err.startswith("error: launch.kubernetes.render needs yaml, which is not installed")
    assert sweep(["experiments.rl.ppo", "learning_rate=0.1,0.2"]) == 1
    assert capsys.readouterr().err.startswith("error: launch.slurm.sweep needs submitit, which is not installed")
    assert search(["experiments.rl.ppo", "learning_rate=0.1,0.2", "--method=grid"]) == 1
    assert capsys.readouterr().err.startswith("error: rl.ppo needs gymnax, which is not installed")
