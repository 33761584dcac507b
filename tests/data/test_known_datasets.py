"""What `--mode=plan` knows of data sets without loading them."""

import chex
import pytest

from dlcore.data.known_datasets import TRAIN_SIZES, describe_known_dataset


@pytest.mark.parametrize(
    ("name", "classes", "shape", "train_size"),
    [  # sizes as published; a tenth is held out
        ("cifar10", 10, (32, 32, 3), 45_000),
        ("cifar100", 100, (32, 32, 3), 45_000),
        ("mnist", 10, (28, 28, 1), 54_000),
        ("fashion_mnist", 10, (28, 28, 1), 54_000),
        ("imagenet2012", 1000, (224, 224, 3), 1_153_050),
    ],
)
def test_a_known_data_set_is_described_without_its_files(name, classes, shape, train_size):
    spec, batch = describe_known_dataset(name)
    assert (spec["num_classes"], tuple(spec["image_shape"]), spec["train_size"]) == (classes, shape, train_size)
    assert spec["class_names"][-1] == str(classes - 1)
    assert len(spec["class_names"]) == classes
    assert (spec["mean"], spec["std"]) == ([0.5] * shape[-1], [0.25] * shape[-1])
    assert spec.get("crop_pct") == (0.875 if name == "imagenet2012" else None)
    chex.assert_shape(batch["image"], (1, *shape))
    assert (batch["image"].dtype, batch["label"].tolist(), batch["index"].tolist()) == ("uint8", [0], [0])


def test_the_size_of_its_images_may_be_another_and_other_data_is_not_known():
    spec, batch = describe_known_dataset("mnist", 8)
    assert spec["image_shape"] == [8, 8, 1]
    chex.assert_shape(batch["image"], (1, 8, 8, 1))
    assert describe_known_dataset("digits") is None
    # 1,797 digits, of which 500 are the test set.
    assert TRAIN_SIZES["digits"] == 1797 - 500
