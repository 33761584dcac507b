"""What the experiment of ControlNet is made of: edges of captioned shapes, the locked network of the first phase."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.data.shape_grid import foreground
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.origin import Origin, Start
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.generative.control_net import ControlledUNet, ControlNet, copy_encoder, edge_map, shape_iou
from dlcore.kits.generative import text_prompts
from dlcore.kits.training import earlier_run, optimizer
from dlcore.learner import Evaluator, Range

__all__ = ["SETTINGS", "data", "evaluators", "example", "inputs", "model_of", "start"]

SETTINGS = {
    **text_prompts.SETTINGS,
    "base": Setting(
        None,
        "the folder of a run of generative.text_to_image; by default one is trained",
        str | None,
        essential=True,
        origin=lambda flags: origin(flags),
    ),
    "base_steps": Setting(
        None, "training steps of the default base; by default those of its page", int | None, Range(1)
    ),
}

SCHEDULE = ("num_timesteps", "beta_schedule", "prediction")
"""What the base was trained with, and the ControlNet must be trained with."""


def data(flags: Flags) -> Splits:
    """Draw captioned shapes and their edges.

    Args:
      flags: of SETTINGS.

    Returns:
      The splits, of `image`, `tokens` and `hint`.
    """
    splits = text_prompts.data(flags)

    def hinted(source: Source) -> Source:
        arrays = source.arrays
        return Source({**arrays, "hint": edge_map(arrays["image"])}, len(source), name=source.name)

    train, valid, test, shown = map(hinted, (splits.train, splits.valid, splits.test, splits.shown))
    return splits._replace(train=train, valid=valid, test=test, shown=shown)


def model_of(setup: Setup) -> ControlledUNet:
    """Build the base and its ControlNet.

    Args:
      setup: with the flags of both modules.

    Returns:
      The module.
    """
    fields = setup.flags.group("unet")
    base = text_prompts.model_of(setup)
    halvings = max(0, int(np.log2(fields["patch_size"])))
    shared = {name: value for name, value in fields.items() if name != "out_channels"}
    return ControlledUNet(base, ControlNet(**shared, hint_channels=(16,) * (halvings + 1), dtype=setup.dtype))


def origin(flags: Flags) -> Origin | None:
    """Read where the base comes from.

    Args:
      flags: of SETTINGS.

    Returns:
      The origin; None without `--base`.

    Raises:
      ValueError: the folder is no run of generative.text_to_image, or its form or timesteps are others.
    """
    found = earlier_run.origin(flags, "base", "generative.text_to_image", "unet", "words")
    for name in SCHEDULE if found is not None else ():
        if found.settings.get(name) != flags.get(name):
            raise ValueError(f"{name}={flags.get(name)}: not the base's; allowed: {found.settings.get(name)}")
    return found


def start(setup: Setup) -> Start:
    """Start with the weights of the first phase: the base is locked, the ControlNet begins as a copy of its encoder.

    Args:
      setup: of the second phase.

    Returns:
      State -> State with a new optimizer state.

    Raises:
      ValueError: when applied or checked: the base has another form, or was trained on other images, words or
        timesteps.
    """
    facts = ("image_shape", "vocabulary", "length")

    def check(state):
        found = origin(setup.flags)
        if found is not None:
            earlier_run.check_facts(found.name, found.spec, setup.spec, *facts)

    def replace(state):
        flags = setup.flags
        words = [] if flags.smoke or flags.base_steps is None else [f"--steps={flags.base_steps}"]
        words += [f"--{name}={flags.get(name)}" for name in ("image_size", "grid", "num_images", *SCHEDULE)]
        words += earlier_run.words_of(flags, "unet", "words")
        folder = earlier_run.find_or_train(flags, "base", "generative.text_to_image", words)
        phase = earlier_run.load(folder)
        what = f"base={str(folder)!r}"
        earlier_run.check_same(what, phase, setup, "unet", "words", facts=facts)
        for name in SCHEDULE:
            if phase.flags.get(name) != flags.get(name):
                raise ValueError(f"{name}={flags.get(name)}: not the base's; allowed: {phase.flags.get(name)}")
        base = jax.tree.map(jax.numpy.asarray, phase.params)
        params = {"control": copy_encoder(state.params["control"], base["unet"])}
        opt_state = jax.jit(optimizer.build(setup).init)(params)
        return state.replace(params=params, locked={"base": base}, opt_state=opt_state)

    return Start(replace, check)


def example(spec: dict) -> dict[str, np.ndarray]:
    """Make a batch of one image of zeros, without a prompt and without an edge.

    Args:
      spec: of the data.

    Returns:
      The batch.
    """
    return {**text_prompts.example(spec), "hint": np.zeros((1, *spec["image_shape"][:2], 1), np.float32)}


def evaluators(setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
    """Measure at the end of a run whether shapes are where the edges are, and what the prompts say.

    Args:
      setup: with the flags of SETTINGS.
      splits: the data.
      split: "valid", which has none, or "test".

    Returns:
      The evaluators.
    """
    found = text_prompts.evaluators(setup, splits, split)
    return [*(shape_iou(foreground, measure.source) for measure in found), *found]


def inputs(flags: Flags, spec: dict) -> tuple[Any, list[str]]:
    """Read an image, whose edges are followed, and prompts: --input="drawing.png: a red circle / a green cross".

    Args:
      flags: `input`, a file, a colon, and prompts with a slash between.
      spec: of the data.

    Returns:
      (source of `tokens` and `hint`, the prompts).

    Raises:
      FlagError: there is no such file or no prompt, or a word is not in the vocabulary.
    """
    from dlcore.data.decoding import load_image

    path, _, texts = flags.input.rpartition(":")
    if not path or not Path(path).is_file():
        raise FlagError(f"--input={flags.input}: no such image; allowed: FILE: a red circle / a green cross")
    height, width, channels = spec["image_shape"]
    source, names = text_prompts.inputs(flags.replace(input=texts), spec)
    hint = edge_map(load_image(Path(path), (height, width), channels)[None])
    return Source({**source.arrays, "hint": np.repeat(hint, len(names), 0)}, len(names)), names
