"""Torchvision's segmenters: the outputs of the goldens, numbers of parameters, errors that name what is wrong."""

import importlib.util
import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.models.resnet import BasicBlock, ResNet
from dlcore.segmentation import published_segmenters
from dlcore.segmentation.deeplab import DeepLabV3
from dlcore.segmentation.fcn import FCN
from dlcore.segmentation.lraspp import LRASPP
from dlcore.segmentation.torch_segmenters import (
    MODELS,
    SEGMENTERS,
    count_classes,
    create_segmenter,
    example_inputs,
    from_torch_names,
)

GOLDENS = Path(__file__).parents[1] / "goldens"


def golden_of(name):
    spec = importlib.util.spec_from_file_location("det_weights", GOLDENS / "det_weights.py")
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    golden = np.load(GOLDENS / f"tvseg_{name}.npz")
    meta = json.loads(str(golden["meta"]))
    return golden, meta, rule.det_state_dict(meta), rule.det_input(meta["inputs"]["x"]).transpose(0, 2, 3, 1)


def parameters(name, **fields):
    model = create_segmenter(name, **fields)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_each_segmenter_has_the_head_and_the_dilated_backbone_of_its_name():
    """Torchvision dilates the last two stages of a ResNet, and the last blocks of MobileNet V3; output stride 8 or 16.

    Its auxiliary heads read layer3, and of MobileNet V3 the first block of stride 16.
    """
    for name, (kind, aux_stage) in {
        "fcn_resnet50": (FCN, "layer3"),
        "fcn_resnet101": (FCN, "layer3"),
        "deeplabv3_resnet50": (DeepLabV3, "layer3"),
        "deeplabv3_resnet101": (DeepLabV3, "layer3"),
        "deeplabv3_mobilenet_v3_large": (DeepLabV3, "stage3_first"),
        "lraspp_mobilenet_v3_large": (LRASPP, None),
    }.items():
        plain, published = create_segmenter(name, 3, aux=False), MODELS[name]()
        for model, classes, aux in ((plain, 3, None), (create_segmenter(name, 3, aux=True), 3, aux_stage)):
            assert (type(model), model.num_classes, getattr(model, "aux_stage", None)) == (kind, classes, aux), name
        assert (type(published), published.num_classes) == (kind, 21)
        assert getattr(published, "aux_stage", None) == aux_stage  # published files have auxiliary heads
        if "resnet" in name:
            depth = 23 if "101" in name else 6
            assert (plain.backbone.stages, plain.stage) == ((3, 4, depth, 3), "layer4")
            assert plain.backbone.dilate == (False, True, True)
        else:
            assert (plain.backbone.first_blocks, plain.backbone.dilate) == (True, True)
            assert plain.backbone.settings == create_model("mobilenet_v3_large").settings
    assert create_segmenter("deeplabv3_mobilenet_v3_large").stage == "last"
    assert create_segmenter("fcn_resnet50").num_classes == 21
    assert tuple(MODELS) == SEGMENTERS


def test_classes_are_counted_in_the_last_layer_of_the_head():
    """A small FCN of 3 classes, on weights of 5: the last kernel of a head is [C, K, 1, 1] with a bias of C."""
    small = FCN(ResNet(stages=(1, 1), block=BasicBlock, width=4), 3, stage="layer2")
    weights = {"classifier.4.weight": np.zeros((5, 2, 1, 1)), "classifier.4.bias": np.zeros(5)}
    assert count_classes(small, weights) == 5
    assert count_classes(small, {"backbone.conv1.weight": np.zeros((4, 3, 7, 7))}) is None
    with pytest.raises(ValueError, match="classes"):
        count_classes(small, weights | {"classifier.4.bias": np.zeros(4)})


@pytest.mark.slow
@pytest.mark.covers("SG-03")
def test_fcn_has_torchvisions_number_of_parameters():
    assert parameters("fcn_resnet50", aux=True) == 35_322_218
    assert parameters("fcn_resnet50") == 32_957_013


@pytest.mark.slow
@pytest.mark.covers("SG-05")
def test_deeplab_and_lraspp_have_torchvisions_number_of_parameters():
    assert parameters("deeplabv3_resnet50", aux=True) == 42_004_074
    assert parameters("lraspp_mobilenet_v3_large") == 3_221_538


@pytest.mark.weekly
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("fcn_resnet50", marks=pytest.mark.covers("SG-03")),
        pytest.param("deeplabv3_resnet50", marks=pytest.mark.covers("SG-05")),
        pytest.param("lraspp_mobilenet_v3_large", marks=pytest.mark.covers("SG-05")),
    ],
)
def test_outputs_equal_torchvisions(name):
    """At 97 x 97, which no stride divides."""
    golden, meta, weights, x = golden_of(name)
    classes = meta["outputs"]["out"]["shape"][1]
    model = create_segmenter(name, classes, any("aux_classifier." in key for key in weights))
    variables = from_torch_names(model, weights)
    outputs = jax.jit(lambda v, x: model.apply(v, x))(variables, x)
    outputs = outputs if isinstance(outputs, dict) else {"out": outputs}
    for key in {"out", "aux"} & set(meta["outputs"]):
        want = meta["outputs"][key]
        got = np.asarray(outputs[key]).transpose(0, 3, 1, 2)
        assert list(got.shape) == want["shape"]
        np.testing.assert_allclose(
            got.reshape(-1)[:: want["stride"]], golden[key].reshape(-1), atol=1e-4 * want["std"], err_msg=key
        )


def test_published_segmenters_have_the_classes_and_sizes_of_their_authors():
    """VOC has 20 classes beside the background, ADE20K 150, and COCO's panoptic maps have 133."""
    numbers = {"fcn": 21, "deeplabv3": 21, "lraspp": 21, "maskformer": 150, "mask2former": 133, "eomt": 133}
    numbers |= {"segformer": 150, "upernet": 150, "sam": None, "dpt": 150, "detr": None}
    built = {name: build() for name, build in (MODELS | published_segmenters.MODELS).items()}
    classes = {name: getattr(net, "num_classes", None) for name, net in built.items()}
    of_authors = {name: count for name, count in classes.items() if name.split("_")[0] in numbers}
    assert of_authors == {name: numbers[name.split("_")[0]] for name in of_authors}
    features = {name.removeprefix("segformer_"): net.features for name, net in built.items() if "segformer" in name}
    assert features == {"b0": 256, "b1": 256, "b2": 768, "b3": 768, "b4": 768, "b5": 768}
    assert {net.aux_stage for name, net in built.items() if name.startswith("upernet")} == {"stage3"}
    others = [
        net for name, net in built.items() if name.startswith(("segformer", "upernet", "maskformer", "mask2former"))
    ]
    assert {net.backbone.num_classes for net in others if hasattr(net.backbone, "num_classes")} == {0}
    encoders = [net.encoder for name, net in built.items() if name.startswith("sam_vit")]
    fields = {(net.num_classes, net.image_size, net.pretrain_size, net.drop_path) for net in encoders}
    assert fields == {(0, 1024, 1024, 0)}
    assert [(net.width, net.depth) for net in encoders] == [(768, 12), (1024, 24), (1280, 32)]


def test_one_image_initializes_a_segmenter():
    (image,) = example_inputs(create_segmenter("lraspp_mobilenet_v3_large"))
    chex.assert_shape(image, (1, None, None, 3))
    assert all(side % 32 == 0 for side in image.shape[1:3])  # the stride of the coarsest map
