"""Every recipe resolves at full scale and in smoke settings, and its learner's step keeps shapes and dtypes."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun

RECIPES = sorted(
    path.stem
    for path in (Path(__file__).parents[1] / "experiments" / "recipes").glob("*.py")
    if path.stem != "__init__"
)
GPT = {"gpt2_124m": 124_439_808, "gpt2_xl": 1_557_611_200}
DIFFUSION = {
    "dit_xl2": 674_834_720 - 4 * 4 * (1152 + 1),
    "latent_unet": 859_520_964 - 16 * 12_390_400 - 1551 * 12_480 + 1001 * 1280,
}
"""Parameters that learn: DiT-XL/2 without learned variances, four channels of 2 x 2 pixels; Stable Diffusion's U-Net
with 16 C^2 + 1,551 C fewer for each attention over C channels (five of 320, five of 640, six of 1,280), which has no
text and no perceptron, and 1,001 classes."""
IMAGENET = {
    "dataset": "imagenet2012",
    "class_names": [str(i) for i in range(1000)],
    "num_classes": 1000,
    "image_shape": [224, 224, 3],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "train_size": 1_281_167,
}


def abstract_step(name, argv, spec=None):
    """(flags, the abstract state, the abstract state after an update, its metrics)."""
    experiment = importlib.import_module(f"experiments.recipes.{name}").experiment
    resolved = ResolvedRun(experiment, resolve(experiment, argv))
    known = experiment.run(resolved.flags).planned()
    if known is not None and ("text" in known[1] or name in DIFFUSION):
        spec, batch = known
        learner = resolved.training(spec).build()
        state = jax.eval_shape(learner.init, jax.random.key(0), batch)
        return resolved, state, *jax.eval_shape(learner.update, state, batch)
    if spec is None:
        data = experiment.run(resolved.flags).load()
        spec = {**data.spec, "train_size": len(data.train)}
    learner, rows = resolved.training(spec).build(), resolved.flags.batch_size
    batch = {
        "image": jax.ShapeDtypeStruct((rows, *spec["image_shape"]), jnp.uint8),
        "label": jax.ShapeDtypeStruct((rows,), jnp.int32),
        "index": jax.ShapeDtypeStruct((rows,), jnp.int32),
    }
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    return resolved, state, *jax.eval_shape(learner.update, state, batch)


def test_there_are_the_recipes_that_people_know():
    assert {"resnet50", "vit_s16", "convnext_tiny", "mobilenet_v2", "deit_tiny_distilled"} <= set(RECIPES)


@pytest.mark.weekly(only=["mobilenet_v2"])
@pytest.mark.slow(unless=["gpt2_124m"])
@pytest.mark.parametrize("name", RECIPES)
def test_smoke_settings_make_a_step(name):
    _, before, after, metrics = abstract_step(name, ["--smoke"])
    assert jax.tree.map(lambda x: (x.shape, x.dtype), before) == jax.tree.map(lambda x: (x.shape, x.dtype), after)
    assert ({"loss"} if name in DIFFUSION else {"loss", "accuracy"}) <= set(metrics)


@pytest.mark.weekly
@pytest.mark.parametrize("name", RECIPES)
def test_full_scale_makes_a_step(name):
    resolved, state, after, _ = abstract_step(name, [], IMAGENET)
    assert jax.tree.structure(state) == jax.tree.structure(after)
    if name in GPT:
        assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == GPT[name]
        assert resolved.flags.batch_size * resolved.flags.window == 491_520
        return
    if name in DIFFUSION:
        assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == DIFFUSION[name]
        return
    heads = [leaf.shape for path, leaf in jax.tree.leaves_with_path(state.params) if "head" in str(path)]
    assert any(shape[-1] == 1000 for shape in heads)
    assert resolved.steps(IMAGENET["train_size"]) == round(
        resolved.flags.epochs * 1_281_167 / resolved.flags.batch_size
    )


@pytest.mark.parametrize("name", RECIPES)
def test_nobody_takes_it_for_a_result(name):
    doc = importlib.import_module(f"experiments.recipes.{name}").experiment.doc
    assert "recipe, not run" in doc
    assert f"python -m experiments.recipes.{name} --smoke" in doc
