"""ControlNet: condition a trained text-to-image network on edges, in two phases.

python -m experiments.generative.control_net
python -m experiments.generative.control_net --base=RUN_OF_TEXT_TO_IMAGE
python -m experiments.generative.control_net --mode=predict --run=RUN --output=samples \\
    --input="drawing.png: a red circle / a green cross"
python -m experiments.generative.control_net --image_size=48 --grid=3 --base=RUN --num_images=100000 --steps=50000

The first command first trains `experiments.generative.text_to_image`, a run of its own that is found again. Its network
is locked; a copy of its encoder learns to steer it. `shape_iou` is the overlap of the samples' shapes with those whose
edges were given, `shuffled_iou` with those of another image: 0.77 and 0.20 by the first command. The last command was
not run.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.data.shape_grid import foreground
from dlcore.data.source import Source
from dlcore.experiment import Experiment, PositiveInt, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.generative import ddpm
from dlcore.generative.control_net import (
    ControlledUNet,
    ControlNet,
    control_condition,
    copy_encoder,
    edge_map,
    shape_iou,
)
from dlcore.kits.training import earlier_run
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.learner import Evaluator
from dlcore.main import main
from dlcore.tasks.text_prompts import SMOKE, Prompts, base_setting, text_unet
from dlcore.weights.open import Weights
from dlcore.weights.start import Start
from experiments.generative.text_to_image import experiment as text_to_image

SCHEDULE = ("num_timesteps", "beta_schedule", "prediction")
"""What the base was trained with, and the ControlNet must be trained with."""


def origin(flags: Flags) -> Weights | None:
    """Read where the base comes from."""
    base_run = earlier_run.origin(flags, "base", "generative.text_to_image", "unet", "words")
    for name in SCHEDULE if base_run is not None else ():
        if base_run.settings.get(name) != flags.get(name):
            raise ValueError(f"{name}={flags.get(name)}: not the base's; allowed: {base_run.settings.get(name)}")
    return base_run


def model_of(setup: Setup) -> ControlledUNet:
    """Build the base and its ControlNet."""
    fields = setup.flags.group("unet")
    base = text_unet(setup)
    halvings = max(0, int(np.log2(fields["patch_size"])))
    shared = {name: value for name, value in fields.items() if name != "out_channels"}
    return ControlledUNet(base, ControlNet(**shared, hint_channels=(16,) * (halvings + 1), dtype=setup.dtype))


@dataclasses.dataclass(frozen=True)
class PromptsAndEdges(Prompts):
    """Captioned shapes with their edges, and a network that an earlier run trained without the edges.

    Args:
      base_steps: training steps of the default base; by default those of its page
    """

    base_steps: PositiveInt | None = None

    headline = "shape_iou"
    input_kind = '"FILE: PROMPT / PROMPT"'

    def settings(self) -> dict[str, Setting]:
        return {**super().settings(), "base": base_setting(origin)}

    def data(self, flags: Flags) -> Splits:
        """Draw captioned shapes and their edges."""
        splits = super().data(flags)

        def hinted(source: Source) -> Source:
            arrays = source.arrays
            return Source({**arrays, "hint": edge_map(arrays["image"])}, len(source), name=source.name)

        train, valid, test, shown_split = map(hinted, (splits.train, splits.valid, splits.test, splits.shown))
        return splits._replace(train=train, valid=valid, test=test, shown=shown_split)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        network = {"model": model_of(setup), "condition": control_condition(), "locked": ("base",)}
        return {**super().arguments(setup), **network}

    def start(self, setup: Setup) -> Start:
        """Start with the first phase's weights: the base is locked, the ControlNet begins as a copy of its encoder."""
        facts = ("image_shape", "vocabulary", "length")

        def check(state):
            base_run = origin(setup.flags)
            if base_run is not None:
                earlier_run.check_facts(base_run.name, base_run.spec, setup.spec, *facts)

        def replace(state):
            flags = setup.flags
            words = [] if flags.smoke or flags.base_steps is None else [f"--steps={flags.base_steps}"]
            words += [f"--{name}={flags.get(name)}" for name in ("image_size", "grid", "num_images", *SCHEDULE)]
            words += earlier_run.words_of(flags, "unet", "words")
            folder = earlier_run.find_or_train(flags, "base", text_to_image, words)
            phase = earlier_run.load(folder)
            what = f"base={str(folder)!r}"
            earlier_run.check_same(what, phase, setup, "unet", "words", facts=facts)
            for name in SCHEDULE:
                if phase.flags.get(name) != flags.get(name):
                    raise ValueError(f"{name}={flags.get(name)}: not the base's; allowed: {phase.flags.get(name)}")
            base = jax.tree.map(jax.numpy.asarray, phase.params)
            params = {"control": copy_encoder(state.params["control"], base["unet"])}
            opt_state = jax.jit(setup.transformation().init)(params)
            return state.replace(params=params, locked={"base": base}, opt_state=opt_state)

        return Start(replace, check)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end of a run whether shapes are where the edges are, and what the prompts say."""
        evaluators_of = super().evaluators(setup, splits, split)
        return [*(shape_iou(foreground, measure.source) for measure in evaluators_of), *evaluators_of]

    def inputs(self, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
        """Read an image, whose edges are followed, and prompts: --input="drawing.png: a red circle / a green cross"."""
        from dlcore.data.decoding import load_image

        path, _, texts = flags.input.rpartition(":")
        if not path or not Path(path).is_file():
            raise FlagError(f"--input={flags.input}: no such image; allowed: FILE: a red circle / a green cross")
        height, width, channels = spec["image_shape"]
        source, names = super().inputs(flags.replace(input=texts), spec)
        hint = edge_map(load_image(Path(path), (height, width), channels)[None])
        return Source({**source.arrays, "hint": np.repeat(hint, len(names), 0)}, len(names)), names

    def drawn(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Choose prompts of the test split, with the edges of their images."""
        source, names = super().drawn(flags, spec)
        return Source({**source.arrays, "hint": edge_map(source.arrays["image"])}, len(source)), names


experiment = Experiment(
    __file__,
    __doc__,
    ddpm.learner,
    task=PromptsAndEdges(),
    optimizer=AveragedAdamW(learning_rate=1e-3, weight_decay=0.0, clip_norm=1.0, ema=0.99),
    defaults={"steps": 1000, "batch_size": 64, "guidance": 2.0, "eval_every": 500},
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
