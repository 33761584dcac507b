"""The wheel and the sdist: what a user installs works outside of a checkout."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMPORT_ALL = """
import importlib, pkgutil, dlcore
assert dlcore.__file__.startswith({folder!r}), dlcore.__file__
modules = [module.name for module in pkgutil.walk_packages(dlcore.__path__, "dlcore.")]
names = 0
for module in map(importlib.import_module, modules):
    names += len([getattr(module, name) for name in getattr(module, "__all__", ())])
print(len(modules), names)
"""
TRAIN = """
import jax, numpy as np, optax
from flax import linen as nn
from dlcore.classification import supervised
from dlcore.data import Pipeline, Source
from dlcore.run import fit

class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(2)(x.reshape(len(x), -1))

image = np.random.default_rng(0).normal(size=(64, 4, 4, 1)).astype(np.float32)
label = (image.sum((1, 2, 3)) > 0).astype(np.int32)
source = Source({"image": image, "label": label}, class_names=("negative", "positive"), name="signs")
learner = supervised.learner(model=Linear(), optimizer=optax.adam(0.1))
fit(learner, Pipeline(source, 16), steps=4, folder="run")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder of an installed wheel, made of a copy of the files that git would have."""
    try:
        if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
            pytest.skip("setuptools is older than pyproject.toml asks for")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no setuptools")
    folder = tmp_path_factory.mktemp("package")
    copy = folder / "copy"
    shutil.copytree(ROOT / "dlcore", copy / "dlcore", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, copy)
    code = "from setuptools.build_meta import build_sdist as s, build_wheel as w; s({0!r}); w({0!r})".format(
        str(folder)
    )
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as file:
        file.extractall(folder / "installed")
    return folder


def run(wheel, code, **options):
    """A program that sees the wheel and no checkout."""
    outside = wheel / "outside"
    outside.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(wheel / "installed"), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, cwd=outside, env=environment, capture_output=True, text=True, check=False, **options)


@pytest.mark.slow
def test_the_wheel_imports_every_public_name(wheel):
    done = run(wheel, IMPORT_ALL.format(folder=str(wheel / "installed")))
    assert done.returncode == 0, done.stderr[-2000:]
    modules, names = map(int, done.stdout.split())
    assert modules > 600
    assert names > 4000


@pytest.mark.slow
def test_the_wheel_holds_its_data_and_no_tests(wheel):
    for path in (ROOT / "dlcore").rglob("*"):
        if path.suffix in (".txt", ".npz", ".json", ".typed"):
            assert (wheel / "installed" / path.relative_to(ROOT)).exists(), path
    assert {path.name.split("-")[0] for path in (wheel / "installed").iterdir()} == {"dlcore"}
    with tarfile.open(next(wheel.glob("*.tar.gz"))) as file:
        tops = {name.split("/")[1] for name in file.getnames() if "/" in name}
    assert {"dlcore", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= tops
    assert "tests" not in tops


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["models", "resnet5*"], 0, "25,557,032 parameters"),
        (["cost", "resnet50"], 0, "4.089 GMACs"),
        (["run", "classification.supervised"], 2, "allowed: in the folder of a checkout (git clone, then cd dlcore)"),
        (
            ["search", "classification.supervised", "learning_rate=log:1e-4:1"],
            1,
            "the working directory has no experiments",
        ),
        (["experiments"], 1, "allowed: in the folder of a checkout (git clone, then cd dlcore)"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_commands_work_or_ask_for_a_checkout(wheel, arguments, code, text):
    done = run(wheel, f"import sys; from dlcore.cli import main; sys.exit(main({arguments}))")
    assert done.returncode == code, done.stderr[-2000:]
    assert text in done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_trains_by_the_api(wheel):
    done = run(wheel, TRAIN)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "step 4/4" in done.stdout + done.stderr
    assert (wheel / "outside" / "run" / "metrics.jsonl").exists()
