"""The task of segments by queries: what it builds for each network, and settings that do not fit."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import pytest

from dlcore.data.facts import Facts
from dlcore.evaluators import box_measures
from dlcore.evaluators.segment_quality import SegmentQuality
from dlcore.experiment.resolve import resolve
from dlcore.segmentation.eomt import EoMT
from dlcore.segmentation.mask2former import Mask2Former
from dlcore.segmentation.maskformer import MaskFormer
from dlcore.setting import FlagError
from experiments.segmentation.mask2former import experiment

SPEC = {"class_names": ["cat", "dog"], "stuff_names": ["grass"], "num_classes": 2, "max_boxes": 6}
SPEC |= {"image_shape": [32, 32, 3], "mean": [0.0] * 3, "std": [1.0] * 3, "masks": True}


def build(*argv):
    flags = resolve(experiment, ["--smoke", "--image_size=32,32", *argv])
    return experiment.run(flags, SPEC, 10).arguments()


@pytest.mark.parametrize(
    ("name", "network"), [("mask2former", Mask2Former), ("maskformer", MaskFormer), ("eomt", EoMT)]
)
def test_each_network_predicts_stuff_and_things(name, network):
    arguments = build(f"--network={name}")
    assert isinstance(arguments["model"], network)
    assert arguments["num_stuff"] == 1
    assert arguments["model"].num_classes == 3
    assert hasattr(arguments["model"], "backbone") == (name != "eomt")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maskformer", "eomt"])
def test_the_other_networks_give_masks_and_classes_of_all_queries(name):
    model = build(f"--network={name}")["model"]
    outputs = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], jnp.zeros((2, 32, 32, 3)))
    chex.assert_shape(outputs.class_logits, (2, None, 10, 4))
    chex.assert_shape(outputs.mask_logits, (2, None, None, None, 10))


def test_fewer_queries_than_segments_are_an_error():
    message = r"mask2former\.num_queries=6: too few; allowed: at least 7 segments of an image"
    with pytest.raises(ValueError, match=message):
        build("--mask2former.num_queries=6")
    assert build("--mask2former.num_queries=7")["model"].num_queries == 7


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--network=eomt", "--image_size=36,36"],
            r"image_size=\(36, 36\): patches do not cover it; allowed: multiples",
        ),
        (["--network=eomt", "--adapt=lora"], "adapt=lora: --network=eomt has no backbone; allowed: full, or another"),
        (["--mask2former.stages=stage2,stage3,stage4,stage9"], r"no map stage9, which --mask2former\.stages names"),
    ],
)
def test_settings_that_do_not_fit_a_network_are_named(argv, message):
    with pytest.raises(FlagError, match=message):
        experiment.run(resolve(experiment, argv)).check()


def test_segments_are_measured_by_the_classes_of_stuff_and_things(monkeypatch):
    monkeypatch.setattr("dlcore.segmentation.panoptic.panoptic_evaluator", lambda names, num_stuff: (names, num_stuff))
    monkeypatch.setattr(box_measures, "mask_evaluators", lambda names, splits, split: [split])
    found = SegmentQuality().evaluators(SimpleNamespace(facts=Facts.of(SPEC)), None, "test")
    assert found == [(["grass", "cat", "dog"], 1), "test"]


def test_patches_must_cover_both_sides_of_an_image():
    """Patches of 8 cover 32 pixels, and do not cover 36."""
    words = ["--smoke", "--network=eomt", "--eomt.patch_size=8"]
    experiment.run(resolve(experiment, [*words, "--image_size=32,32"])).check()
    for size in ("32,36", "36,32"):
        with pytest.raises(FlagError, match=r"patches do not cover it; allowed: multiples of eomt\.patch_size=8"):
            experiment.run(resolve(experiment, [*words, f"--image_size={size}"])).check()


def test_the_plain_network_has_the_side_of_the_images_and_the_dtype_of_the_run():
    model = build("--network=eomt")["model"]
    assert (model.image_size, model.dtype) == (32, None)
