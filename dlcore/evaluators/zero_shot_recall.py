"""Recall of captions, and how prompts classify new images of one shape."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.captioned_images import vocabulary
from dlcore.data.captions import CAPTIONED_SHAPES, captions, named_objects
from dlcore.data.shape_grid import COLORS, cell_names
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import END, PAD, pad_sequences
from dlcore.evaluators import image_text
from dlcore.evaluators.zero_shot import zero_shot
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.self_supervised import clip

__all__ = ["ZeroShotAndRecall"]

CLASSES = [(color, shape) for color in COLORS for shape in CAPTIONED_SHAPES]


OPENINGS = ("a", "there is a", "the image shows a", "we see a")


UNSEEN = 9
"""Seed of the images that are classified; training, validation and test have 0, 1 and 2."""


class ZeroShotAndRecall:
    """The recall of images and captions by each other, and the accuracy of prompts on new images of one shape."""

    metric = "text_r1"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators: `zero_shot` of synthetic images, `r1`, `text_r1` and so on."""
        recalls = image_text.recall_evaluators(run, splits, split)
        spec, model = run.spec, run.parts.network.build(run)
        if spec["dataset"] != "shapes":
            return recalls
        tokens = jnp.asarray(_prompts(spec))
        vectors = jax.jit(lambda params: clip.class_vectors(model, params, tokens))
        count = min(1000, 2 * len(getattr(splits, split)))
        return [zero_shot(_labeled(spec, count), lambda state: vectors(state.params)), *recalls]


def _prompts(spec: dict) -> np.ndarray:
    """Write tokens [24, prompts, T] that describe each class, at each place and with each opening."""
    words, length = vocabulary(spec), spec["batch"]["captions"][0][-1]
    cells = cell_names(spec["grid"])
    texts = [
        [f"{opening} {color} {shape} at the {cell}" for opening in OPENINGS for cell in cells]
        for color, shape in CLASSES
    ]
    return np.stack([pad_sequences([words.encode(text) for text in several], length) for several in texts]).astype(
        np.int32
    )


def _labeled(spec: dict, count: int) -> Source:
    """Draw new images of one shape, with their class."""
    source = captions(count, UNSEEN, size=spec["image_shape"][0], grid=spec["grid"], pairs=0.0)
    words = vocabulary(spec)
    label = [CLASSES.index(named_objects(words.decode(several[0]))[0]) for several in source.arrays["captions"]]
    length = spec["batch"]["captions"][0][-1]
    rows = source.arrays["captions"]
    texts = np.full((*rows.shape[:2], length), PAD, np.int32)
    texts[..., : rows.shape[2]] = rows[..., :length]
    # A caption that is longer than those of training is cut, and is read at its end token, too.
    texts[..., -1] = np.where(texts[..., -1] == PAD, PAD, END)
    return Source({"image": source.arrays["image"], "captions": texts, "label": np.asarray(label, np.int32)}, count)
