"""Every page is built with one budget on the same scenes; sizes of scenes, rows, seeds that are added, the verdict."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.learner import Learner
from experiments import experiment_names
from experiments.studies import detector_table as study

SETTINGS = {"steps": 3, "batch_size": 4, "num_scenes": 96, "image_size": 64}


@pytest.fixture
def scenes(monkeypatch):
    """The flags that pages draw their scenes with; the scenes are the same few for all."""
    from dlcore.data.scenes import scenes
    from dlcore.experiment.splits import Splits
    from dlcore.tasks import boxes

    flags_of_pages = []
    parts = [scenes(8, seed, size=64, largest=32, masks=True) for seed in range(3)]
    spec = {
        "dataset": "scenes", "class_names": list(parts[0].class_names), "num_classes": 5, "image_shape": [64, 64, 3],
        "max_boxes": 6, "mean": [0.5] * 3, "std": [0.2] * 3, "masks": True,
    }  # fmt: skip

    def data(flags, *loaded):
        flags_of_pages.append(flags)
        return Splits(*parts, spec, ())

    monkeypatch.setattr(boxes, "data", data)
    return flags_of_pages


@pytest.mark.slow
@pytest.mark.parametrize("name", study.DETECTORS)
def test_every_detector_has_the_budget_and_the_scenes(scenes, name):
    learner, splits = study.build(name, *SETTINGS.values())
    (flags,) = scenes
    assert (flags.steps, flags.batch_size, flags.num_scenes) == (1 if name == study.THIRD else 3, 4, 96)
    assert tuple(flags.image_size) == (64, 64)
    batch = {key: jnp.asarray(values[:4]) for key, values in splits.train.arrays.items()}
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


def test_photographs_need_a_folder_and_have_no_masks(monkeypatch):
    with pytest.raises(ValueError, match="data_dir=None with dataset=coco; allowed: a folder with coco"):
        study.study(dataset="coco")
    with pytest.raises(ValueError, match="data_dir=D with dataset=scenes"):
        study.study(data_dir="D")
    for name in ("mask_rcnn", "vitdet"):
        with pytest.raises(ValueError, match=f"detectors={name}: dataset=coco is read without masks"):
            study.study(detectors=("fcos", name), dataset="coco", data_dir="D")
    measured = []
    row = {"seeds": {"0": dict.fromkeys(study.MEASURES, 0.5)}, "images a second": 1.0, "parameters": 1}
    monkeypatch.setattr(study, "measure", lambda name, *_, data_dir, **__: measured.append((name, data_dir)) or row)
    study.study(dataset="coco", data_dir="D", num_seeds=1)
    assert measured == [(name, "D") for name in study.DETECTORS if name not in study.OF_MASKS]


def test_a_row_is_of_its_steps_and_seeds(monkeypatch):
    """The learner of RT-DETR's third is trained for a third of the steps; AP and sizes are COCO's numbers."""
    runs, stats = [], np.arange(12) / 100
    state = SimpleNamespace(params={"w": np.zeros((2, 3)), "b": np.zeros(3)})
    part = SimpleNamespace(arrays={"image": np.zeros(2)}, class_names=("a", "b"))
    splits = SimpleNamespace(train=part, test=part)
    monkeypatch.setattr(study, "build", lambda *_: (Learner(None, None, None, None, None), splits))
    monkeypatch.setattr(study, "train", lambda *call: runs.append(call[2:]) or state)
    classes = []
    monkeypatch.setattr(
        study, "coco_result", lambda *_, num_classes: classes.append(num_classes) or SimpleNamespace(stats=stats)
    )
    monkeypatch.setattr(study, "milliseconds", lambda *_: 20.0)
    row = study.measure(study.THIRD, [0, 2], 30, 4, 96, 64)
    assert runs == [(10, 4, 0), (10, 4, 2)]
    expected = {"AP": 0.0, "AP50": 0.01, "small": 0.03, "medium": 0.04, "large": 0.05}
    assert row == {"seeds": {"0": expected, "2": expected}, "parameters": 9, "images a second": 50.0}
    runs.clear()
    study.measure("detr", [0], 30, 4, 96, 64)
    assert runs == [(30, 4, 0)]
    assert classes == [2, 2, 2]


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


def test_rows_and_seeds_join_in_a_file(monkeypatch, tmp_path):
    calls, path = [], str(tmp_path / "rows.json")

    def measure(name, seeds, **settings):
        calls.append((name, seeds, settings))
        return {**row_of(), "seeds": {str(seed): dict.fromkeys(study.MEASURES, seed / 10) for seed in seeds}}

    monkeypatch.setattr(study, "measure", measure)
    study.study(detectors=("fcos",), num_seeds=1, rows=path, **SETTINGS)
    joined = study.study(detectors=("fcos", "ssd"), num_seeds=2, rows=path, **SETTINGS)
    assert [call[:2] for call in calls] == [("fcos", [0]), ("fcos", [1]), ("ssd", [0, 1])]
    assert calls[0][2] == SETTINGS
    assert joined.numbers["AP, fcos"] == [0.0, 0.1]
    with pytest.raises(ValueError, match=r"rows=.*: measured with steps=3; allowed: rows of steps=4"):
        study.study(**{**SETTINGS, "steps": 4}, rows=path)
    with pytest.raises(ValueError, match=r"detectors=yolo9000: unknown; allowed: faster_rcnn, mask_rcnn, "):
        study.study(detectors=("yolo9000",))
    with pytest.raises(ValueError, match=r"image_size=80: no stride of 32 divides it; allowed: multiples of 32"):
        study.study(image_size=80)
