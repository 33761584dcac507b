"""Every page is built on the same scenes; sizes of scenes, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import experiment_names
from experiments.studies import detector_table as study

SETTINGS = {"steps": 3, "batch_size": 4, "num_scenes": 96, "image_size": 64}


@pytest.mark.slow
@pytest.mark.parametrize("name", study.DETECTORS)
def test_every_detector_is_built_on_the_scenes(name):
    learner, splits = study.build(name, *SETTINGS.values())
    batch = {key: jnp.asarray(values[:4]) for key, values in splits.train.arrays.items()}
    assert (len(splits.train), batch["image"].shape) == (96, (4, 64, 64, 3))
    state = jax.eval_shape(learner.init, jax.random.key(0), {**batch, "index": jnp.arange(4)})
    assert jax.tree.leaves(state.params)


def test_the_table_has_every_page_that_detects_boxes():
    """Fast R-CNN and R-CNN need proposals, and the others predict no boxes, or one box, or are parts of the rest."""
    others = {"fast_rcnn", "rcnn", "keypoint_rcnn", "localization", "pose", "selective_search", "single_stage",
              "sliding_window"}  # fmt: skip
    pages = {entry.name.split(".")[1] for entry in experiment_names() if entry.name.startswith("detection.")}
    assert set(study.PAGES) == pages - others


def test_sizes_are_thirds_of_the_diameters():
    # Diameters of 16 to 64 pixels in scenes of 128 pixels: 32 and 48 split them.
    np.testing.assert_allclose(study.size_limits(128), (32**2, 48**2))


def test_photographs_split_their_objects_into_thirds_of_the_areas():
    # Sides 1 to 7 have the areas 1, 4, ..., 49; the quantiles at a third and two thirds are sides 3 and 5. The box of
    # side 100 is padding.
    sides = np.array([[1, 2, 3, 4], [5, 6, 7, 100]], np.float32)
    boxes = np.stack([sides, sides, 2 * sides, 2 * sides], -1)
    limits = study.size_limits_of({"boxes": boxes, "box_mask": sides < 100})
    np.testing.assert_allclose(limits, (9, 25), rtol=1e-6)


def test_photographs_have_more_queries_and_detections():
    assert study.flags_of("detr", 64) == []
    shared = ["--dataset=coco", "--data_dir=D", "--detections_per_img=50"]
    assert study.flags_of("fcos", 64, "D") == shared
    assert study.flags_of("detr", 64, "D") == [*shared, "--detr.num_queries=50"]
    assert study.flags_of("vitdet", 96)[:2] == ["--model.image_size=96", "--model.pretrain_size=96"]


def test_photographs_need_a_folder_and_have_no_masks():
    with pytest.raises(ValueError, match="data_dir=None with dataset=coco; allowed: a folder with coco"):
        study.study(dataset="coco")
    with pytest.raises(ValueError, match="data_dir=D with dataset=scenes"):
        study.study(data_dir="D")
    for name in ("mask_rcnn", "vitdet"):
        with pytest.raises(ValueError, match=f"detectors={name}: dataset=coco is read without masks"):
            study.study(detectors=("fcos", name), dataset="coco", data_dir="D")


def row_of(*precisions):
    measures = [dict.fromkeys(study.MEASURES, precision) for precision in precisions]
    return {
        "seeds": {str(i): values for i, values in enumerate(measures)},
        "parameters": 1000,
        "images a second": 100.4,
    }


def test_the_verdict_turns():
    rows = {"fcos": row_of(0.5, 0.7), "detr": row_of(0.1, 0.2), study.THIRD: row_of(0.3, 0.2)}
    result = study.report(rows)
    assert result.holds is True
    # 0.3 - 0.1 and 0.2 - 0.2, in points.
    np.testing.assert_allclose(result.headline.values, [20, 0], atol=1e-6)
    assert result.verdict == (
        "AP in %: fcos 60.0, rt_detr_third 25.0, detr 15.0. RT-DETR at a third of the steps is +10.0 points of AP from "
        "DETR at all of them: it reaches DETR's AP on each seed."
    )
    assert result.numbers["fcos"]["AP"] == "60.0 ± 10.0"
    assert (result.numbers["fcos"]["images a second"], result.numbers["fcos"]["seeds"]) == (100, 2)
    turned = study.report({**rows, study.THIRD: row_of(0.3, 0.1)})
    assert turned.holds is False
    assert "it does NOT reach DETR's AP on each seed" in turned.verdict
    early = study.report({**rows, "detr": row_of(0.1, 0.009)})
    assert (early.holds, early.headline) == (None, None)
    assert "DETR's AP is below 1 % on a seed: too few steps" in early.verdict
    for part in ({"fcos": rows["fcos"]}, {**rows, "detr": row_of(0.1)}):
        assert (study.report(part).holds, study.report(part).headline) == (None, None)


def test_bad_detectors_and_sizes():
    with pytest.raises(ValueError, match=r"detectors=yolo9000: unknown; allowed: faster_rcnn, mask_rcnn, "):
        study.study(detectors=("yolo9000",))
    with pytest.raises(ValueError, match=r"image_size=80: no stride of 32 divides it; allowed: multiples of 32"):
        study.study(image_size=80)
