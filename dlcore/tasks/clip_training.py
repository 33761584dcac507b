"""Images with captions, the two encoders of CLIP, and how prompts classify new images of one shape.

data=ImagesWithCaptions("shapes"), network=TwoEncoders({"patch_size": 8}), measures=[ZeroShotAndRecall()]
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data import augment
from dlcore.data.captions import CAPTIONED_SHAPES, captions, named_objects
from dlcore.data.normalization import normalizer
from dlcore.data.shape_grid import COLORS, cell_names
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import END, PAD, pad_sequences
from dlcore.evaluators.fine_tuning import Encoder, module_encoder
from dlcore.evaluators.zero_shot import zero_shot
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import Setting
from dlcore.kits.vision_language import image_text_results
from dlcore.kits.vision_language.captioned_images import vocabulary
from dlcore.learner import Evaluator, Range, check_record
from dlcore.models.clip import CLIP, SigLIP
from dlcore.self_supervised import clip
from dlcore.tasks.image_text import load_captioned
from dlcore.weights.start import NETWORK, Start, start_network

__all__ = ["EncoderWeights", "ImagesWithCaptions", "TwoEncoders", "ZeroShotAndRecall"]

CLASSES = [(color, shape) for color in COLORS for shape in CAPTIONED_SHAPES]
OPENINGS = ("a", "there is a", "the image shows a", "we see a")
WORDS = ("token_embed", "text_positions")
"""Modules whose shapes depend on the data's vocabulary and on its longest caption."""
UNSEEN = 9
"""Seed of the images that are classified; training, validation and test have 0, 1 and 2."""


@dataclasses.dataclass(frozen=True)
class ImagesWithCaptions:
    """Images with captions, of which each finds the other.

    Args:
      dataset: shapes (synthetic: one or two in a sentence), or flickr8k
      data_dir: flickr8k: the folder of captions_train.json.gz and train.zip
      image_size: side of the images; by default 32 for shapes, 96 for flickr8k
      grid: shapes: cells in a row and in a column of an image
      num_images: shapes: images for training; a tenth as many again to validate, 1,000 at most to test
      min_count: flickr8k: how often a word must come in training to be known
      caption_length: flickr8k: most words of a caption; training leaves longer ones out, and says how many
      augment: augmentation of training images: crop shows 30 to 100 %; photo: that, mirrored at random, with color
        jitter
    """

    dataset: Annotated[Literal["shapes", "flickr8k"], "essential"] = "shapes"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[int | None, Range(16), "essential"] = None
    grid: Literal[2, 3] = 3
    num_images: Annotated[int, Range(10)] = 8000
    min_count: Annotated[int, Range(1)] = 5
    caption_length: Annotated[int, Range(1)] = 24
    augment: Literal["none", "crop", "photo"] = "none"

    reads_files: ClassVar[bool] = True

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Load the splits, see `load_captioned`."""
        return load_captioned(self)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique `preprocess`, and `augment`, `(key, normalized image) -> image`; None for none."""
        mean, std = run.facts.mean, run.facts.std
        values: dict[str, Any] = {"preprocess": normalizer(mean, std, dtype=run.dtype), "augment": None}
        if self.augment != "none":
            view = augment.random_resized_crop((0.3, 1.0))
            if self.augment == "photo":
                view = augment.compose(view, augment.random_flip(), augment.color_jitter(0.3, 0.3, 0.3))
            values["augment"] = augment.on_unit(view, mean, std)
        return values


@dataclasses.dataclass(frozen=True)
class TwoEncoders:
    """An encoder of images and one of captions, of CLIP or of SigLIP by the loss; flags are `--clip.FIELD`.

    Args:
      fields: fields of `CLIP`.
    """

    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    external_fields: ClassVar[tuple[str, ...]] = ("clip.image_size", "clip.window")

    @property
    def modules(self) -> dict[str, Callable]:
        """The network by the prefix of its flags."""
        return {"clip": partial(CLIP, **self.fields)}

    def with_flags(self, flags: Flags) -> "TwoEncoders":
        """Return the network with the values of its flags in its fields."""
        return TwoEncoders(flags.group("clip"))

    def build(self, run: Run) -> CLIP:
        """Build the network, for the vocabulary and the captions of the data.

        Args:
          run: the run.
        """
        spec = run.setup.spec
        size = {"image_size": spec["image_shape"][0], "window": spec["batch"]["captions"][0][-1]}
        kind = SigLIP if run.parts.technique.keywords["loss"] == "sigmoid" else CLIP
        return kind(len(vocabulary(spec)), END, **{**self.fields, **size, "dtype": run.dtype})

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": self.build(run)}

    def encoder(self, run: Run) -> Encoder:
        """Describe the encoder of images."""
        return module_encoder(
            self.build(run),
            run.parts.data.arguments(run)["preprocess"],
            run.facts.image_shape,
            lambda state: {"params": state.params},
            lambda vectors: vectors,
            method="encode_image",
            takes_train=False,
        )


class EncoderWeights:
    """Weights of both encoders, published or of a run; the words of the data have embeddings of their own."""

    settings: ClassVar[dict[str, Setting]] = NETWORK

    def start(self, run: Run) -> Start | None:
        """Start from the weights of `--init_from`."""
        return start_network(run.setup, WORDS)


class ZeroShotAndRecall:
    """The recall of images and captions by each other, and the accuracy of prompts on new images of one shape."""

    metric = "text_r1"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators: `zero_shot` of synthetic images, `r1`, `text_r1` and so on."""
        recalls = image_text_results.recall_evaluators(run.setup, splits, split)
        spec, model = run.setup.spec, run.parts.network.build(run)
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
