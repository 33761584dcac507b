"""The report of each experiment is drawn: its panels find what they show. What the learner would give is made up by its
shapes, so nothing compiles but what the panels themselves run."""

import importlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.pipeline import batch_at
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.modes.finish import finish
from dlcore.run.metrics_writer import MetricsWriter
from dlcore.run.result import Result
from experiments import experiment_names

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
PAGES = [entry.name for entry in experiment_names() if entry.name.split(".")[0] not in ("bench", "studies", "recipes")]


LONG = {
    "adversarial": "training",
    "detection": "detr fast_rcnn localization yolo",
    "generative": "autoencoder_kl conditional_gan control_net ddpm latent_diffusion personalization "
    "style_gan text_to_image vq_gan vq_vae wave_net",
    "interpretability": "fast_style",
    "rl": "a2c behavior_cloning gail model_based recurrent_ppo",
    "segmentation": "panoptic",
    "self_supervised": "colorization deep_cluster dino frame_order relative_patch super_resolution_pretext",
    "vision3d": "depth",
    "vision_language": "caption text_reading",
}
"""Pages whose reports take more than 3 processor seconds."""


def cases() -> list:
    """The pages. In the weekly tier are the long ones, and all but the first of a topic that name no panels."""
    topics, found = set(), []
    for name in PAGES:
        topic, page = name.split(".", 1)
        shares = "panels" not in (EXPERIMENTS / topic / f"{page}.py").read_text()
        is_weekly = page in LONG.get(topic, "").split() or (shares and topic in topics)
        found.append(pytest.param(name, marks=pytest.mark.weekly if is_weekly else ()))
        if shares:
            topics.add(topic)
    return found


def made_up(tree, integer=0):
    """Arrays of a tree's shapes: keys, True, one integer, and numbers between 0 and 1."""

    def leaf(path, x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(0), x.shape)
        if x.dtype == bool:
            return jnp.ones(x.shape, bool)
        if jnp.issubdtype(x.dtype, jnp.integer):
            counts_faults = "outside" in jax.tree_util.keystr(path)
            return jnp.full(x.shape, 0 if counts_faults else integer, x.dtype)
        return jnp.asarray(np.random.default_rng(0).uniform(0, 1, x.shape), x.dtype)

    return jax.tree_util.tree_map_with_path(leaf, tree)


def without_compiling(learner):
    """The learner with outputs and metrics by their shapes alone."""
    return learner._replace(
        predict=lambda state, batch: made_up(jax.eval_shape(learner.predict, state, batch)),
        evaluate=lambda state, batch: made_up(jax.eval_shape(learner.evaluate, state, batch), integer=1),
    )


def drawn(name: str, folder: Path) -> str:
    """The report of a page under --smoke."""
    experiment = importlib.import_module(f"experiments.{name}").experiment
    run = ResolvedRun(experiment, resolve(experiment, ["--smoke", f"--run_dir={folder}"]))
    data = experiment.run(run.flags).load()
    setup = run.training_of(data)
    learner = setup.build()
    batch = batch_at(run.pipelines(data), 0)
    state = made_up(jax.eval_shape(learner.init, jax.random.key(0), batch))
    with MetricsWriter(folder) as writer:
        for step in (1, 2):
            rates = {"seconds": 0.1, "examples_per_second": 10.0}
            writer.write({"step": step, "split": "train", "loss": 1.0 / step, **rates})
    finish(run, data, setup, without_compiling(learner), Result(state, 1, []), [], batch)
    return (folder / "report.html").read_text() if data.test is not None else ""


@pytest.mark.slow
@pytest.mark.parametrize("name", cases())
def test_the_report_of_each_page_is_drawn(name, tmp_path):
    if not isinstance(getattr(importlib.import_module(f"experiments.{name}"), "experiment", None), Experiment):
        return
    report = drawn(name, tmp_path / "run")
    assert not report or len(re.findall('<section id="panel-', report)) >= 2
