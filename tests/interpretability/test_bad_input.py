"""Images, maps, labels and numbers that a method cannot explain are refused by name."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.interpretability import (
    attention_maps,
    cam,
    class_image,
    deep_dream,
    dissection,
    occlusion,
    saliency,
    scores,
    style_transfer,
    texture_synthesis,
    unit_images,
    units,
)
from dlcore.interpretability.generator_prior import ascend_code

NAN, KEY = float("nan"), jax.random.key(0)
IMAGES, MAPS, MASKS = np.ones((2, 4, 4, 3), np.float32), np.ones((2, 4, 4)), np.ones((2, 4, 4), bool)
BAD = np.full((2, 4, 4), NAN)
LABELS = np.zeros(2, int)
REACH = (units.Reach(1, 0, 0),) * 2


def score(images):
    return images.mean((1, 2))


def forward(images, perturbations=None):
    maps = {"last": images + (perturbations or {}).get("last", 0)}
    return score(maps["last"]), maps


def climb(image=IMAGES[0], **options):
    return deep_dream.ascend(jnp.sum, image, KEY, **options)


def image_of(module, **options):
    arguments = {"model": nn.Dense(2), "variables": {}, "optimizer": optax.sgd(0.1)}
    return module.learner(**arguments, **{"mean": np.zeros(3), "std": np.ones(3), **options})


CASES = {
    "labels of fewer images": (
        lambda: saliency.gradient_saliency(score, IMAGES, LABELS[:1]),
        r"labels=int32\[1\]: wrong shape",
    ),
    "an image of 3 axes": (lambda: saliency.input_gradient(score, IMAGES[0]), "images=.*: wrong shape"),
    "no map": (lambda: saliency.pixel_saliency(jnp.float32(1)), "gradient=1.0: no map"),
    "bytes to dream": (lambda: climb(IMAGES[0].astype(np.uint8)), "image=uint8: no floats"),
    "half a pixel": (lambda: cam.resize_map(MAPS, (2.5, 2)), r"size=\(2.5, 2\): no size"),
    "unit": (
        lambda: unit_images.unit_activation({"a": IMAGES}, unit_images.Unit("a", 3)),
        "unit: channel 3 of a; allowed: 0 to 2",
    ),
    "layer of a style": (
        lambda: style_transfer.style_grams({"a": IMAGES}, ("b",)),
        "maps: holds a, no 'b'; allowed: b",
    ),
    "noisy copies": (lambda: saliency.smooth_gradient(score, IMAGES, KEY, samples=1.5), "samples=1.5: no whole number"),
    "noise": (lambda: saliency.smooth_gradient(score, IMAGES, KEY, noise=NAN), "noise=nan: not finite"),
    "class of noisy images": (
        lambda: saliency.smooth_gradient(score, IMAGES, KEY, LABELS + 3),
        r"labels\[0\]=3: out of range; allowed: 0 to 2, of 3 classes",
    ),
    "steps of an integral": (lambda: saliency.integration_points(1.5), "steps=1.5: no whole number"),
    "chunk of an integral": (lambda: saliency.integrated_gradients(score, IMAGES, chunk=NAN), "chunk=nan: no whole"),
    "class of an integral": (
        lambda: saliency.integrated_gradients(score, IMAGES, LABELS - 1),
        r"labels\[0\]=-1: out of range",
    ),
    "map to point at": (lambda: scores.pointing_game(BAD, MASKS), r"maps\[0, 0, 0\]=nan: not finite"),
    "mask to point at": (lambda: scores.pointing_game(MAPS, 2 * MAPS), r"masks\[0, 0, 0\]=2: unknown; allowed: 0, 1"),
    "map of a box": (lambda: scores.box_of_map(BAD[0]), r"values\[0, 0\]=nan: not finite"),
    "no map of a box": (lambda: scores.box_of_map(MAPS[:, :0, 0]), r"values=\(2, 0\): no pixel"),
    "steps of deletion": (
        lambda: scores.deletion_insertion(score, IMAGES, MAPS, LABELS, steps=4.5),
        "steps=4.5: no whole number",
    ),
    "map of deletion": (lambda: scores.deletion_insertion(score, IMAGES, BAD, LABELS), r"maps\[0, 0, 0\]=nan"),
    "cover": (
        lambda: scores.deletion_insertion(score, IMAGES, MAPS, LABELS, baseline=NAN),
        "baseline=nan: not finite",
    ),
    "a point": (lambda: scores.area_under_curve(np.ones((2, 1))), r"curve=\(2, 1\): no area under a point"),
    "ranks": (lambda: scores.rank_correlation(MAPS, MAPS[:1]), r"b=.*\[1, 4, 4\]: wrong shape"),
    "stride": (lambda: occlusion.window_starts(8, 2, 1.5), "stride=1.5: no whole number"),
    "chunk of windows": (lambda: occlusion.occlusion_grid(score, IMAGES, window=2, chunk=0), "chunk=0: out of range"),
    "covered pixels": (lambda: occlusion.occlusion_map(score, IMAGES, window=2, value=NAN), "value=nan: not finite"),
    "patches": (lambda: attention_maps.token_map(MAPS, (2, 2.5)), "grid=2.5: no whole number"),
    "side of patches": (lambda: attention_maps.token_map(MAPS, (2,)), r"grid=.*\[1\]: wrong shape"),
    "token": (lambda: attention_maps.token_map(MAPS, (2, 2), 0.5), "query=0.5: no whole number"),
    "images of a detector": (lambda: attention_maps.query_attention_maps(None, {}, MAPS), "images=.*: wrong shape"),
    "no layer": (lambda: cam.default_layer(None, ()), r"layers=\(\): none; allowed: at least one"),
    "kernel of a head": (
        lambda: cam.class_activation_map(IMAGES, np.ones((2, 3)), LABELS),
        r"kernel=.*\[2, 3\]: wrong shape or dtype; allowed: \[3, K\]",
    ),
    "labels of a gradient": (lambda: cam.grad_cam(forward, IMAGES, LABELS[:1]), r"labels=int32\[1\]: wrong shape"),
    "blur": (lambda: class_image.blur(IMAGES[0], -1.0), "sigma=-1: out of range; allowed: at least 0"),
    "octaves": (lambda: deep_dream.octave_sizes((64, 64), 1.5, 2.0), "octaves=1.5: no whole number"),
    "scale": (lambda: deep_dream.octave_sizes((64, 64), 2, np.inf), "scale=inf: not finite"),
    "side of an octave": (lambda: deep_dream.octave_sizes((64, 0), 2, 2.0), "size=0: too small; allowed: at least 1"),
    "steps of a dream": (lambda: climb(steps=0), "steps=0: out of range; allowed: at least 1"),
    "length of a step": (lambda: climb(step_size=-1.0), "step_size=-1: out of range; allowed: above 0"),
    "shift": (lambda: climb(jitter=0.5), "jitter=0.5: no whole number"),
    "image of a dream": (lambda: climb(IMAGES), "image=.*: wrong shape"),
    "share of no places": (lambda: dissection.activation_thresholds(IMAGES[:0]), r"maps=\(0, 4, 4, 3\): no place"),
    "activation of a concept": (
        lambda: dissection.concept_iou(BAD[..., None], MASKS[..., None], np.ones(1)),
        r"maps\[0, 0, 0, 0\]=nan: not finite",
    ),
    "mask of a concept": (
        lambda: dissection.concept_iou(MAPS[..., None], 0.5 * MAPS[..., None], np.ones(1)),
        r"masks\[0, 0, 0, 0\]=0.5: unknown; allowed: 0, 1",
    ),
    "selectivity of fewer images": (
        lambda: dissection.class_selectivity(np.ones((2, 3)), LABELS[:1]),
        r"labels=.*\[1\]: wrong shape",
    ),
    "activation of a class": (lambda: dissection.class_selectivity(BAD[0], np.arange(4)), r"activations\[0, 0\]=nan"),
    "noise of no image": (lambda: style_transfer.noise_image(KEY, (4, 0, 3)), "shape=0: too small"),
    "noise of 2 axes": (lambda: style_transfer.noise_image(KEY, (4, 4)), "shape=.*: wrong shape"),
    "size of a texture": (lambda: texture_synthesis.tile_sample(IMAGES[0], (4, 4.5)), "size=4.5: no whole number"),
    "sample of a texture": (lambda: texture_synthesis.tile_sample(IMAGES[0, :0], (4, 4)), r"sample=\(0, 4, 3\): no"),
    "period": (lambda: texture_synthesis.repetition(IMAGES[0], (0, 2)), "period=0: too small"),
    "pixel of a texture": (lambda: texture_synthesis.repetition(BAD[:, :, :1], (1, 1)), r"image\[0, 0, 0\]=nan"),
    "deviation of pixels": (lambda: image_of(class_image, std=np.zeros(3)), "std=0: out of range; allowed: above 0"),
    "deviations of fewer channels": (lambda: image_of(class_image, std=np.ones(2)), r"std=.*\[2\]: wrong shape"),
    "codes": (
        lambda: ascend_code(lambda z: z, score, np.ones((2, 3)), LABELS[:1], optax.sgd(0.1)),
        r"labels=int32\[1\]: wrong shape",
    ),
    "weight of codes": (
        lambda: ascend_code(lambda z: z, score, np.ones((2, 3)), LABELS, optax.sgd(0.1), weight=NAN),
        "steps=200, weight=nan: out of range",
    ),
    "shape of images": (lambda: units.receptive_field(score, (1, 4, 4)), "shape=.*: wrong shape"),
    "maps of fewer images": (
        lambda: units.top_patches(IMAGES[:1], IMAGES, 0, REACH),
        r"images=.*\[2, 4, 4, 3\]: wrong shape",
    ),
    "half a channel": (lambda: units.top_patches(IMAGES, IMAGES, 0.5, REACH, 1), "channel=0.5: no whole number"),
    "reach": (lambda: units.top_patches(IMAGES, IMAGES, 0, REACH[:1], 1), "reach: 1 of them; allowed: two"),
    "channel from the end": (
        lambda: unit_images.check_units((unit_images.Unit("a", -1),), {"a": (1, 2, 2, 3)}),
        "unit: channel -1 of a; allowed: 0 to 2",
    ),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
