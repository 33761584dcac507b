"""A run computes in one type: each network that a page builds has it, and so have the images that they get.

In float64, as `--mode=gradcheck` asks: images are normalized in float32 at least, so that bfloat16 would not show.
"""

import dataclasses
import importlib
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from dlcore.data.captions import caption_words
from dlcore.experiment.resolve import resolve

ROOT = pathlib.Path(__file__).parents[2] / "experiments"
TOPICS = (
    "detection",
    "generative",
    "segmentation",
    "self_supervised",
    "sequence",
    "video",
    "vision3d",
    "vision_language",
)
UNTYPED = {"generative.energy_based", "generative.normalizing_flow", "generative.ring_gan", "sequence.neural_ode"}
UNTYPED |= {"vision_language.text_reading"}
"""Pages of small networks in float32 alone."""
ELSEWHERE = {"sequence.text_classification"}
"""A page that describes its network in its splits."""
PAGES = sorted(
    f"{path.parent.name}.{path.stem}"
    for topic in TOPICS
    for path in (ROOT / topic).glob("*.py")
    if re.search("^experiment = Experiment", path.read_text(encoding="utf-8"), re.MULTILINE)
)
PAGES = [page for page in PAGES if page not in UNTYPED | ELSEWHERE]
QUICK = ["detection.mask_rcnn", "generative.consistency", "generative.pixel_cnn", "generative.text_to_image"]
QUICK += ["generative.vae", "generative.vq_vae_2", "segmentation.promptable", "segmentation.volumes"]
QUICK += ["self_supervised.dino", "self_supervised.inpainting", "self_supervised.jigsaw", "self_supervised.mae"]
QUICK += ["sequence.seq2seq", "video.classification", "vision3d.pixel2mesh", "vision3d.voxel_generator"]
QUICK += ["vision_language.caption", "vision_language.vqa"]
"""Pages of the default tier: one of each task that gives its networks a type."""
FLOAT32 = {"detection.pose", "self_supervised.video_mae", "self_supervised.vjepa", "video.classification"}
FLOAT32 |= {"video.optical_flow", "vision3d.voxel_classifier"}
"""Pages whose images or grids are in float32, whatever the type of the run."""
WORDS = caption_words().to_dict()
SPEC = {
    "num_classes": 4, "class_names": list("abcd"), "image_shape": [16, 16, 3], "mean": [0.5] * 3, "std": [0.25] * 3,
    "train_size": 64, "vocabulary": WORDS, "words": WORDS, "source": WORDS, "target": WORDS, "stuff_names": ["grass"],
    "max_boxes": 3, "spacing": [1.0] * 3, "class_fractions": [0.25] * 4, "resolution": 16, "length": 9,
    "answers": ["red"], "kinds": ["color"], "class_pixels": [1, 2, 3, 4], "pixels_beside": [9] * 4,
    "image_size": [16, 16], "grid": 2, "factor_scale": [1.0] * 9,
    "batch": {"question": [[5], "int32"], "captions": [[2, 5], "int32"]},
}  # fmt: skip
"""What splits say of some data; each page reads its own part."""
FIXED = {"network", "tokenizer", "teacher"}
"""Networks of earlier runs and of published weights have their own type."""


def networks(value, path):
    """(Where, type) of each network with a type of its own, in an argument of a learner."""
    if isinstance(value, nn.Module):
        if hasattr(value, "dtype"):
            yield path, value.dtype
        for field in dataclasses.fields(value):
            if field.name not in ("parent", "name"):
                yield from networks(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(getattr(value, "model", None), nn.Module):  # partly frozen
        yield from networks(value.model, f"{path}.model")
    elif isinstance(value, tuple | list):
        for i, part in enumerate(value):
            yield from networks(part, f"{path}.{i}")


@pytest.mark.slow(unless=QUICK)
@pytest.mark.parametrize("name", PAGES)
def test_networks_and_their_images_have_the_type_of_the_run(name):
    experiment = importlib.import_module(f"experiments.{name}").experiment
    setup = experiment.run(resolve(experiment, ["--smoke"]), SPEC, 10, jnp.float64)
    arguments = setup.arguments()
    found = [pair for key, value in arguments.items() if key not in FIXED for pair in networks(value, key)]
    assert found
    assert [pair for pair in found if pair[1] != jnp.float64] == []
    images, wanted = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.uint8), jnp.float32 if name in FLOAT32 else jnp.float64
    with jax.enable_x64(True):
        for argument in {"preprocess", "normalize"} & set(arguments):
            assert jax.eval_shape(arguments[argument], images).dtype == wanted, argument
