"""What a measure is worth without learning."""

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.diagnostics.trivial import Trivial, baseline, trivial_measures


def labeled(label, **arrays):
    return Source({"label": np.array(label, np.int32), **arrays}, len(label), ("a", "b", "c"))


def test_accuracy_of_the_most_frequent_training_class():
    found = trivial_measures(
        labeled([0, 1, 1, 2]), labeled([1, 1, 0, 2, 2]), ["accuracy", "robust_accuracy", "top5", "loss"]
    )
    assert found["accuracy"] == found["robust_accuracy"] == (2 / 5, "the most frequent class")  # class 1: two of five
    assert found["top5"].value == 1
    assert "loss" not in found


def test_the_five_most_frequent_classes_and_measures_of_their_own():
    """Classes 3 (three times), 0 and 1 (twice), 2, 4, 5 and 6; of equal counts the lower goes first: 3, 0, 1, 2, 4."""
    labels = [3, 3, 3, 0, 0, 1, 1, 2, 4, 5, 6], [3, 0, 1, 2, 4, 5, 6, 6]
    train, test = (Source({"label": np.array(label)}) for label in labels)
    names = ["accuracy", "accuracy_5way1shot", "top5", "map50"]
    parts = {"none": Source.indices(3), "labeled": train, "other": labeled([0])}
    for source in (train, parts):
        found = trivial_measures(source, test, names)
        assert {name: value.value for name, value in found.items()} == {"accuracy": 1 / 8, "top5": 5 / 8, "map50": 0}
    assert trivial_measures({"none": Source.indices(3)}, test, names).keys() == {"map50"}
    assert trivial_measures(train, labeled([]), ["accuracy"]) == {}
    # Of 60 classes the even ones have three examples and the others two: 0 is the first, and 0, 2, 4, 6 and 8 are five.
    many = Source({"label": np.repeat(np.arange(60), [3, 2] * 30)})
    found = trivial_measures(many, Source({"label": np.array([0, 2, 4, 5, 6, 8, 10, 58])}), ["accuracy", "top5"])
    assert (found["accuracy"].value, found["top5"].value) == (1 / 8, 5 / 8)


def test_labels_judge_features_where_there_are_any():
    found = trivial_measures(labeled([0, 0, 1]), labeled([0, 1]), ["accuracy", "knn", "fine_tune_20_untrained"])
    assert found.keys() == {"knn", "fine_tune_20_untrained"}  # the accuracy is the pretext's
    assert found["knn"].value == 1 / 2


def test_labels_of_images_without_classes_say_nothing():
    """MoCo on a flat folder: its accuracy is of views, and 100 % of the labels are 0."""
    assert trivial_measures(labeled([0, 0, 0]), labeled([0, 0]), ["accuracy", "top5", "knn"]) == {}
    assert trivial_measures(labeled([0, 0, 0]), labeled([0, 1]), ["accuracy"])["accuracy"].value == 1 / 2


def test_segmentation_by_one_class():
    maps = np.array([[[0, 0], [0, 1]]], np.int32)
    source = Source({"semantic": maps}, 1, ("ground", "thing"))
    found = trivial_measures(source, source, ["mean_iou", "pixel_accuracy"])
    assert found["pixel_accuracy"].value == 3 / 4
    assert found["mean_iou"].value == (3 / 4 + 0) / 2  # of ground 3 of 4 pixels, of thing none


def test_void_and_classes_that_train_lacks():
    # Without names there are four classes. Of train most is 1; of the test's five pixels without void two are 1; there
    # are the classes 0, 1 and 3: IoU 2/5 of three.
    train = Source({"semantic": np.array([[[1, 1, -1], [0, 1, 2]]])})
    test = Source({"semantic": np.array([[[1, 3, -1], [0, 1, 0]]])})
    found = trivial_measures(train, test, ["mean_iou", "accuracy"])
    assert (found["mean_iou"].value, found["accuracy"].value) == pytest.approx((2 / 5 / 3, 2 / 5))
    named = Source(train.arrays, class_names=("a", "b"))
    # Of two classes, 0 and 1 of the truth: two of four pixels.
    assert trivial_measures(named, test, ["mean_iou"])["mean_iou"].value == 2 / 4 / 2
    for split in (0, 1):
        sources = [train, test]
        sources[split] = Source({"semantic": np.full((1, 2, 2), 9)}, class_names=("a", "b"))
        sources[1 - split] = Source(sources[1 - split].arrays, class_names=("a", "b"))
        assert trivial_measures(*sources, ["mean_iou"]) == {}


def test_the_mean_image_of_larger_images_by_numpy():
    train, test = np.random.default_rng(0).integers(0, 256, (2, 3, 2, 4, 3), np.uint8)
    test[0] = train[0]
    errors = (test / 255 - train.mean(0) / 255).reshape(3, -1)
    found = trivial_measures(Source({"image": train}), Source({"image": test}), ["psnr", "mse", "l1"])
    assert found["l1"].value == pytest.approx(np.abs(errors).mean())
    assert found["mse"].value == pytest.approx(np.square(errors).mean())
    assert found["psnr"].value == pytest.approx((-10 * np.log10(np.square(errors).mean(1))).mean())
    # One image for all: an error of 0 counts as 1e-12, 120 dB.
    one = Source({"image": train[:1]})
    assert trivial_measures(one, one, ["psnr"])["psnr"].value == pytest.approx(120)
    assert trivial_measures(one, Source({"image": test[:, :, :2]}), ["psnr"]) == {}


def test_the_mean_image():
    train = Source({"image": np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)}, 2)
    test = Source({"image": np.array([255], np.uint8).reshape(1, 1, 1, 1)}, 1)
    found = trivial_measures(train, test, ["psnr", "mse", "l1"])
    assert found["l1"].value == pytest.approx(0.5)  # 1 - 1/2
    assert found["mse"].value == pytest.approx(0.25)
    assert found["psnr"].value == pytest.approx(6.0206, abs=1e-4)  # -10 log10(1/4)


def test_baselines_of_the_data_are_taken_over():
    found = trivial_measures(None, None, ["nll_nats_dynamic"], {"nll_nats_dynamic": (90.0, "independent pixels")})
    assert found == {"nll_nats_dynamic": (90.0, "independent pixels")}


def test_baselines_of_the_data_replace_the_most_frequent_class():
    source = Source({"image": np.zeros((3, 2, 2, 1), np.uint8), "label": np.array([0, 0, 1])})
    found = trivial_measures(source, source, ["accuracy"], {"accuracy": (0.9, "the nearest neighbor")})
    assert found["accuracy"] == (0.9, "the nearest neighbor")  # and not the 2 / 3 of class 0


def test_detection_without_detections():
    assert trivial_measures(None, None, ["map", "recall100"])["map"].value == 0


@pytest.mark.parametrize(
    ("headline", "numbers", "expected"),
    [
        ("knn", {"knn": 0.9, "knn_untrained": 0.8}, (0.8, "the untrained network")),
        ("accuracy", {"accuracy_supervised": 0.7}, (0.7, "the same training on the labeled images alone")),
        ("psnr", {"psnr_bicubic": 30, "psnr": 31}, (30.0, "bicubic interpolation")),
        ("gram_loss", {"gram_loss": 1e-4, "gram_loss_noise": 0.03}, (0.03, "the noise that it starts from")),
        ("knn", {"knn_untrained": None}, (0.1, "the most frequent class")),
        ("accuracy", {"knn_untrained": 0.8}, None),
    ],
)
def test_the_baseline_of_a_headline_is_its_twin_or_what_needs_no_learning(headline, numbers, expected):
    assert baseline(headline, numbers, {"knn": Trivial(0.1, "the most frequent class")}) == expected
