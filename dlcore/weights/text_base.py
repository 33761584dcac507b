"""The text-to-image network that a second phase starts from: ControlNet's locked copy, and a personalized one."""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp

from dlcore.data.subjects import class_prompts
from dlcore.data.words import vocabulary_from_dict
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.generative.control_net import copy_encoder
from dlcore.generative.personalization import add_token, start_from
from dlcore.learner import Range
from dlcore.setting import Setting
from dlcore.weights import earlier_run
from dlcore.weights.earlier_run import EarlierPhase
from dlcore.weights.open import Weights
from dlcore.weights.start import Start

__all__ = ["BASE", "LockedBase", "PersonalizedBase", "check_base", "load_base"]

EDGE_FACTS = ("image_shape", "vocabulary", "length")
"""Facts of the data that ControlNet shares with its base."""


SUBJECT_FACTS = ("image_shape", "length")
"""Facts of the data that a personalized network shares with its base."""


SCHEDULE = ("num_timesteps", "beta_schedule", "prediction")
"""What a base was trained with, and a second phase must be trained with."""


def _origin(flags: Flags) -> Weights | None:
    """Read where the base comes from."""
    base_run = earlier_run.origin(flags, "base", "generative.text_to_image", "unet", "words")
    if base_run is not None:
        earlier_run.check_settings(base_run, {name: flags.get(name) for name in SCHEDULE})
    return base_run


BASE = {
    "base": Setting(
        None,
        "the folder of a run of generative.text_to_image; by default one is trained",
        str | None,
        essential=True,
        origin=_origin,
    )
}
"""The flag of the first phase, whose network a second one starts from."""


@dataclasses.dataclass(frozen=True)
class LockedBase:
    """The first phase's weights: the base is locked, the ControlNet begins as a copy of its encoder.

    Args:
      page: page that trains the base where `--base` names no run.
      base_steps: training steps of the default base; by default those of its page
    """

    page: Experiment
    base_steps: Annotated[int, Range(1)] | None = None

    settings: ClassVar[dict[str, Setting]] = BASE

    def start(self, run: Run) -> Start:
        """Start with the weights of the base."""

        def replace(state: Any) -> Any:
            is_default = run.flags.smoke or self.base_steps is None
            phase = load_base(run, self.page, [] if is_default else [f"--steps={self.base_steps}"], *EDGE_FACTS)
            base = jax.tree.map(jax.numpy.asarray, phase.params)
            params = {"control": copy_encoder(state.params["control"], base["unet"])}
            opt_state = jax.jit(run.optimizer().init)(params)
            return state.replace(params=params, locked={"base": base}, opt_state=opt_state)

        return Start(replace, lambda state: check_base(run, *EDGE_FACTS))


@dataclasses.dataclass(frozen=True)
class PersonalizedBase:
    """The first phase's weights with the new word, and the images of the class that its network draws.

    Args:
      page: page that trains the base where `--base` names no run.
      base_steps: training steps of the default base
    """

    page: Experiment
    base_steps: Annotated[int, Range(1)] = 600

    settings: ClassVar[dict[str, Setting]] = BASE

    def start(self, run: Run) -> Start:
        """Start with the base and the new word, and draw the images of the class."""
        flags, data = run.flags, run.parts.data

        def replace(state: Any) -> Any:
            words = [] if flags.smoke else [f"--steps={self.base_steps}", "--batch_size=32", "--ema=0.99"]
            words += [] if flags.smoke else ["--num_samples=96", f"--eval_every={self.base_steps}"]
            words += [f"--{name}={flags.get(name)}" for name in ("pairs", "guidance", "num_inference_steps")]
            phase = load_base(run, self.page, [*words, "--guidance_samples=0"], *SUBJECT_FACTS)
            inverts = flags.technique == "textual_inversion"
            vocabulary = vocabulary_from_dict(run.facts.base_vocabulary)
            initializer = int(vocabulary.encode(data.initializer)[0]) if inverts else None
            params = add_token(phase.params, jax.random.fold_in(state.rng, 1), initializer)
            state = start_from(state, params, run.optimizer())
            rows = class_prompts(run.facts, data.class_images)
            batch = {"tokens": jnp.asarray(rows.arrays["tokens"]), "index": jnp.arange(len(rows))}
            return state.replace(class_image=jax.jit(run.build().predict)(state, batch)["sample"])

        return Start(replace, lambda state: check_base(run, *SUBJECT_FACTS))


def load_base(run: Run, page: Experiment, words: list[str], *facts: str) -> EarlierPhase:
    """Load the run that `--base` names; without one, train it.

    Args:
      run: the second phase.
      page: page of the first phase.
      words: flags of the first phase, beside those that both phases share.
      *facts: facts of the data that must be the same.

    Returns:
      The first phase.
    """
    flags = run.flags
    shared = [f"--{name}={flags.get(name)}" for name in ("image_size", "grid", "num_images", *SCHEDULE)]
    words = [*words, *shared, *earlier_run.words_of(flags, "unet", "words")]
    folder = earlier_run.find_or_train(flags, "base", page, words)
    phase, name = earlier_run.load(folder), f"base={str(folder)!r}"
    earlier_run.check_same(name, phase, run, "unet", "words", facts=facts)
    return phase


def check_base(run: Run, *facts: str) -> None:
    """Check the data of the run that `--base` names, if it names one.

    Args:
      run: the second phase.
      *facts: facts of the data that must be the same.
    """
    base_run = _origin(run.flags)
    if base_run is not None:
        earlier_run.check_facts(base_run.name, base_run.spec, run.spec, *facts)
