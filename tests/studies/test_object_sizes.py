"""The three detectors: which maps each reads, that no pyramid is but FPN's, AP of each size, and the verdict."""

import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.studies import object_sizes as study
from experiments.studies.small_detectors import average_precision_by_size

GOOD = {
    "YOLO": [[0.1, 0.4, 0.6], [0.12, 0.4, 0.6]],
    "SSD": [[0.3, 0.5, 0.65], [0.35, 0.5, 0.65]],
    "FPN": [[0.4, 0.6, 0.7], [0.5, 0.6, 0.7]],
}


@pytest.fixture(scope="module")
def traced():
    """{name: (outputs, locations, parameters)} of each detector on 64 pixels."""
    image = np.zeros((1, 64, 64, 3), np.float32)
    found = {}
    for name, model in study.detectors(4, 64).items():
        locations = []

        def call(key, model=model, locations=locations):
            (outputs, where), variables = model.init_with_output(key, image)
            locations.append(where)
            return outputs, variables["params"]

        outputs, params = jax.eval_shape(call, jax.random.key(0))
        found[name] = outputs, locations[0], params
    return found


@pytest.mark.slow
@pytest.mark.covers("DE-16", "DE-26")
def test_yolo_reads_one_map_of_stride_16(traced):
    outputs, cells, params = traced["YOLO"]
    assert cells.grid == (4, 4)
    assert cells.boxes_per_cell == 2
    chex.assert_shape(outputs.cells, (1, 16, 5 * 2 + 5))
    assert "fpn" not in params


@pytest.mark.covers("DE-17", "DE-20", "DE-26")
def test_ssd_and_fpn_read_strides_4_8_and_16_with_boxes_of_like_sides(traced):
    for name, larger in (("SSD", 2**0.5), ("FPN", 1.5)):
        sides = np.repeat(np.outer([8, 16, 32], [1, larger]), (16**2, 8**2, 4**2), 0).ravel()
        outputs, anchors, _ = traced[name]
        assert anchors.counts == (2 * 16**2, 2 * 8**2, 2 * 4**2), name
        np.testing.assert_allclose(anchors.boxes[:, 2:] - anchors.boxes[:, :2], np.tile(sides, (2, 1)).T, rtol=1e-5)
        chex.assert_shape(outputs.logits, (1, len(sides), 1 + 5), custom_message=name)


@pytest.mark.covers("DE-20", "DE-26")
def test_fpn_alone_has_a_top_down_path_and_all_have_one_backbone(traced):
    assert {name: "fpn" in params for name, (_, _, params) in traced.items()} == {
        "YOLO": False,
        "SSD": False,
        "FPN": True,
    }
    assert "scale_weight" not in traced["SSD"][2]
    lateral = {f"inner{i}" for i in range(3)}
    assert lateral <= set(traced["FPN"][2]["fpn"])
    backbones = [jax.tree.map(lambda x: x.shape, params["backbone"]) for _, _, params in traced.values()]
    assert backbones[0] == backbones[1] == backbones[2]


@pytest.mark.weekly
def test_ssd_s_fine_map_does_not_depend_on_the_coarse_ones_and_fpn_s_does():
    """The boxes of the finest level have a gradient at the backbone's last stage with FPN, and none with SSD."""
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    moved = {}
    for name, model in study.detectors(4, 64).items():
        if name == "YOLO":
            continue

        def finest(params, model=model, image=image):
            variables = {"params": params, "batch_stats": stats}
            return model.apply(variables, image)[0].deltas[:, : 2 * 16**2].mean()

        variables = jax.jit(model.init)(jax.random.key(0), image)
        stats = variables["batch_stats"]
        gradient = jax.jit(jax.grad(finest))(variables["params"])["backbone"]
        last = [layer for layer in gradient if layer.startswith(("stage4", "layer4"))]
        moved[name] = max(float(np.abs(leaf).max()) for layer in last for leaf in jax.tree.leaves(gradient[layer]))
    assert moved["SSD"] == 0
    assert moved["FPN"] > 0


@pytest.mark.covers("DE-26")
@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"YOLO": GOOD["SSD"], "SSD": GOOD["YOLO"]}, False),
        ({"SSD": GOOD["FPN"], "FPN": GOOD["SSD"]}, False),
        ({"YOLO": GOOD["FPN"], "FPN": GOOD["YOLO"]}, False),
        # SSD is worse than YOLO at small objects alone.
        ({"SSD": [[0.05, 0.5, 0.65]] * 2}, False),
        # On one seed of two.
        ({"FPN": [[0.4, 0.6, 0.7], [0.2, 0.6, 0.7]]}, False),
        # FPN is merely better at everything.
        ({"YOLO": [[0.1, 0.1, 0.1]] * 2}, False),
    ],
)
def test_the_verdict(changes, holds):
    result = study.report({name: np.array(rows) for name, rows in (GOOD | changes).items()})
    assert result.holds is holds
    if not changes:
        np.testing.assert_allclose(result.headline.values, [0.3, 0.38])
        assert result.numbers["SSD, medium: AP50 by seed"] == [0.5, 0.5]


@pytest.mark.covers("DE-26")
def test_average_precision_is_of_each_size_s_own_objects():
    """Two images with squares of 8, 16 and 32 pixels of class 0. Large: both are found, behind a large box on nothing,
    so that precision is 2/3 at most. Medium: none is found. Small: that of the first image is found, behind a box in
    the second where the first has its object: precision 1/2 at the 51 of 101 recalls up to 1/2."""
    boxes = np.array([[[0.0, 0, 8, 8], [0, 20, 16, 36], [40, 0, 72, 32]]] * 2, np.float32)
    arrays = {
        "image": np.zeros((2, 4, 4, 3), np.uint8),
        "boxes": boxes,
        "labels": np.zeros((2, 3), np.int32),
        "box_mask": np.ones((2, 3), bool),
    }
    found = boxes.copy()
    boxes[1, 0] = (0, 48, 8, 56)
    found[:, 1] = (100, 100, 140, 140)
    outputs = {
        "boxes": found,
        "labels": arrays["labels"],
        "scores": np.array([[0.5, 0.9, 0.8], [0.7, 0.9, 0.8]], np.float32),
        "valid": np.array([[True, True, True], [True, False, True]]),
    }

    def predict(state, rows):
        return {name: jnp.asarray(values)[rows["index"]] for name, values in outputs.items()}

    learner = types.SimpleNamespace(predict=predict)
    for batch_size in (1, 2):
        precision = average_precision_by_size(learner, None, arrays, (12**2, 24**2), batch_size)
        assert precision == pytest.approx({"small": 51 / 101 / 2, "medium": 0, "large": 2 / 3}), batch_size
    # Sizes are those in the original images, as `coco_evaluator` counts them: of twice the sides none is small.
    arrays |= {"image_size": np.full((2, 2), 4), "original_size": np.full((2, 2), 8)}
    precision = average_precision_by_size(learner, None, arrays, (12**2, 24**2), 2)
    assert np.isnan(precision["small"])
    assert precision["medium"] == pytest.approx(51 / 101 / 2)


@pytest.mark.slow
def test_each_learner_has_its_own_loss():
    batch = {
        "image": np.zeros((1, 64, 64, 3), np.uint8),
        "boxes": np.array([[[8.0, 8, 24, 24]]], np.float32),
        "labels": np.zeros((1, 1), np.int32),
        "box_mask": np.ones((1, 1), bool),
        "index": np.arange(1, dtype=np.int32),
    }
    parts = {}
    for name, learner in study.learners(4, 64, lambda: optax.sgd(0.1)).items():
        state = jax.eval_shape(learner.init, jax.random.key(0), batch)
        parts[name] = set(jax.eval_shape(learner.evaluate, state, batch))
    assert "no_object" in parts["YOLO"]
    assert parts["SSD"] == parts["FPN"] == {"loss", "classification", "box"}
