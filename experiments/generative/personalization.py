"""DreamBooth, LoRA and textual inversion: teach a text-to-image network one subject from four images, in two phases.

python -m experiments.generative.personalization
python -m experiments.generative.personalization --technique=lora --learning_rate=1e-2
python -m experiments.generative.personalization --technique=textual_inversion --learning_rate=0.1
python -m experiments.generative.personalization --prior_weight=0
python -m experiments.generative.personalization --mode=predict --run=RUN --output=samples \\
    --input="8x a sks circle at the top left / 8x a red circle at the top left"

The first command first trains `experiments.generative.text_to_image` of captions of one object, a run of its own that
is found again. The subject is an orange circle with a blue core, which no caption names; its word is "sks".
`subject_similarity` is the mean cosine of the pixels of the samples' objects and of 24 other images of the subject,
`class_similarity` that of samples of circles in the colors of captions, of which `object_correctness` are right.

                          subject_similarity   class_similarity   object_correctness
    untrained word               -0.19              0.00               100 %
    dreambooth                    0.72             -0.01               100 %
    without the prior             0.71              0.45                47 %
    lora                          0.66              0.00               100 %
    textual_inversion             0.26              0.00               100 %

One seed each; other images of the subject reach 0.71. A run takes 1 to 2 minutes of one core, its base 3 more. The row
"untrained word" is a run with `--steps=1 --learning_rate=0`.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.captions import caption_words
from dlcore.data.shape_grid import COLORS, cell_names, paint
from dlcore.data.source import Source
from dlcore.data.words import Words, pad_sequences, tokenize, vocabulary_from_dict
from dlcore.experiment import Experiment, PositiveInt, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.generative import personalization
from dlcore.generative.personalization import add_token, start_from, subject_similarity
from dlcore.kits.training import earlier_run
from dlcore.kits.training.optimizer import AdamW
from dlcore.learner import Evaluator, Range
from dlcore.main import main
from dlcore.tasks.text_prompts import SMOKE, Prompts, base_setting, text_unet
from dlcore.weights.open import Weights
from dlcore.weights.start import Start
from experiments.generative.text_to_image import experiment as text_to_image

BASE = "generative.text_to_image"
"""The page of the first phase."""

SAME = ("num_timesteps", "beta_schedule", "prediction")
"""What the base was trained with, and must be personalized with."""

CLASS = "circle"
"""The word of the subject's class."""

OPENINGS = ("", "there is ", "the image shows ", "we see ")
"""What stands before the subject in the prompts of its images."""

RIM, CORE = (240, 130, 30), (50, 80, 230)
"""Colors of the subject: orange, which no caption names, around blue."""


def subject_images(count: int, seed: int, size: int, grid: int) -> np.ndarray:
    """Draw the subject, an orange circle with a blue core, in the cells in turn: [count, size, size, 3] uint8."""
    images, side = np.zeros((count, size, size, 3), np.uint8), size / grid
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        canvas = np.full((size, size, 3), rng.uniform(90, 150), np.float32)
        x, y = (np.array([i % grid, i // grid % grid]) + 0.5) * side + rng.uniform(-0.05, 0.05, 2) * side
        for color, radius in ((RIM, 0.45), (CORE, 0.22)):
            paint(canvas, "circle", np.add(color, rng.uniform(-15, 15, 3)), (x, y), radius * side)
        images[i] = (canvas + rng.normal(0, 6, canvas.shape)).clip(0, 255)
    return images


def origin(flags: Flags) -> Weights | None:
    """Read where the base comes from."""
    base_run = earlier_run.origin(flags, "base", BASE, "unet", "words")
    if base_run is not None:
        earlier_run.check_settings(base_run, {name: flags.get(name) for name in SAME})
    return base_run


@dataclasses.dataclass(frozen=True)
class Subject(Prompts):
    """A few images of one subject, a new word for it, and a network that an earlier run trained without it.

    Args:
      base_steps: training steps of the default base
      token: the new word; no word of the captions
      initializer: textual_inversion: word whose embedding the new word starts with
      subject_images: images of the subject to train on, each with four prompts; 24 more to measure
      class_images: images of the class that the base draws for the prior's loss
    """

    base_steps: PositiveInt = 600
    token: Annotated[str, "essential"] = "sks"
    initializer: str = "yellow"
    subject_images: Annotated[int, Range(1), "essential"] = 4
    class_images: PositiveInt = 48

    headline = "subject_similarity"
    plain = {"weight_decay": 0.0}

    def settings(self) -> dict[str, Setting]:
        return {**super().settings(), "base": base_setting(origin)}

    def check(self, flags: Flags) -> None:
        words = caption_words()
        if tokenize(flags.token) != [flags.token] or flags.token in words.words:
            raise FlagError(f"--token={flags.token}: no new word; allowed: one word, in small letters, of no caption")
        if flags.initializer not in words.words:
            raise FlagError(f"--initializer={flags.initializer}: in no caption; allowed: {', '.join(words.words)}")

    def data(self, flags: Flags) -> Splits:
        """Draw images of the subject with their prompts, and name it by the new word."""
        base = super().data(flags)
        words = Words((*vocabulary_from_dict(base.spec["vocabulary"]).words, flags.token))
        spec = {**base.spec, "vocabulary": words.to_dict(), "base_vocabulary": base.spec["vocabulary"]}
        cells = cell_names(flags.grid)

        def subject(count: int, seed: int, openings: tuple[str, ...], name: str) -> Source:
            images = subject_images(count, seed, flags.image_size, flags.grid)
            texts = [
                f"{opening}a {flags.token} {CLASS} at the {cells[i % len(cells)]}"
                for i in range(count)
                for opening in openings
            ]
            tokens = pad_sequences([words.encode(text) for text in texts], spec["length"])
            arrays = {"image": images.repeat(len(openings), 0), "tokens": tokens}
            return Source(arrays, len(tokens), name=f"the subject ({name})")

        train = subject(flags.subject_images, 0, OPENINGS, "train")
        valid, test = subject(24, 1, OPENINGS[:1], "valid"), subject(24, 2, OPENINGS[:1], "test")
        message = (
            f"subject_similarity: {flags.num_samples} samples of the subject's prompts, class_similarity and "
            f"object_correctness: as many of {CLASS}s in the colors of captions"
        )
        return Splits(train, valid, test, spec, (message,), shown=test)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the base with the new word, and the prompts of its class."""
        words = vocabulary_from_dict(setup.spec["vocabulary"])
        network = {"model": text_unet(setup), "shape": tuple(setup.spec["image_shape"])}
        class_tokens = class_prompts(setup.spec, setup.flags.class_images).arrays["tokens"]
        return {**network, "token": len(words) - 1, "class_tokens": class_tokens}

    def start(self, setup: Setup) -> Start:
        """Start with the base and the new word, and draw the images of the class."""
        flags, facts = setup.flags, ("image_shape", "length")

        def check(state):
            base_run = origin(flags)
            if base_run is not None:
                earlier_run.check_facts(base_run.name, base_run.spec, setup.spec, *facts)

        def replace(state):
            words = [] if flags.smoke else [f"--steps={flags.base_steps}", "--batch_size=32", "--ema=0.99"]
            words += [f"--{name}={flags.get(name)}" for name in ("image_size", "grid", "num_images", "pairs", *SAME)]
            words += [f"--{name}={flags.get(name)}" for name in ("guidance", "num_inference_steps")]
            words += [] if flags.smoke else ["--num_samples=96", f"--eval_every={flags.base_steps}"]
            words += ["--guidance_samples=0", *earlier_run.words_of(flags, "unet", "words")]
            folder = earlier_run.find_or_train(flags, "base", text_to_image, words)
            phase = earlier_run.load(folder)
            earlier_run.check_same(f"base={str(folder)!r}", phase, setup, "unet", "words", facts=facts)
            vocabulary = vocabulary_from_dict(setup.spec["base_vocabulary"])
            inverts = flags.technique == "textual_inversion"
            initializer = int(vocabulary.encode(flags.initializer)[0]) if inverts else None
            params = add_token(phase.params, jax.random.fold_in(state.rng, 1), initializer)
            state = start_from(state, params, setup.transformation())
            rows = class_prompts(setup.spec, flags.class_images)
            batch = {"tokens": jnp.asarray(rows.arrays["tokens"]), "index": jnp.arange(len(rows))}
            return state.replace(class_image=jax.jit(experiment.build(setup).predict)(state, batch)["sample"])

        return Start(replace, check)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end of a run the samples of the subject's prompts, and of the class's."""
        if split == "valid":
            return []
        flags = setup.flags
        prompts = splits.test.subset(np.arange(flags.num_samples) % len(splits.test))
        class_source, side = class_prompts(setup.spec, flags.num_samples), flags.image_size // flags.grid
        reference = splits.test.arrays["image"]
        correct = super().evaluators(setup, splits._replace(test=class_source), split)
        return [
            subject_similarity(reference, prompts, side),
            subject_similarity(reference, class_source, side, "class_similarity"),
            *correct,
        ]

    def panels(self, context: Any) -> list:
        """Show samples of the subject beside its images, those of its class by strength of guidance, and curves."""
        class_source = class_prompts(context.spec, context.flags.num_samples)
        return super().panels(context._replace(data=context.data._replace(test=class_source)))


def class_prompts(spec: dict, count: int) -> Source:
    """List prompts of the class: its colors, and the cells, take turns."""
    words, cells, colors = vocabulary_from_dict(spec["vocabulary"]), cell_names(spec["grid"]), list(COLORS)
    texts = [f"a {colors[i % len(colors)]} {CLASS} at the {cells[i // len(colors) % len(cells)]}" for i in range(count)]
    tokens = pad_sequences([words.encode(text) for text in texts], spec["length"])
    return Source({"tokens": tokens}, count, name="prompts of the class")


experiment = Experiment(
    __file__,
    __doc__,
    personalization.learner,
    task=Subject(num_images=4000, pairs=0.0, num_samples=96, guidance_samples=0),
    optimizer=AdamW(learning_rate=5e-4, weight_decay=0.0, clip_norm=1.0),
    defaults={
        "steps": 150,
        "batch_size": 16,
        "guidance": 2.0,
        "prediction": "sample",
        "num_inference_steps": 20,
        "eval_every": 150,
        "unet.channels": (24, 48),
    },
    smoke={**SMOKE, "class_images": 8},
)

if __name__ == "__main__":
    main(experiment)
