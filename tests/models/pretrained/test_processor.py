"""Image processors against transformers' and timm's own on two photographs."""

import json
import pathlib

import chex
import numpy as np
import pytest

from dlcore.models.pretrained.processor import Processor, processor_of_timm, processor_of_transformers

FILE = pathlib.Path(__file__).parents[2] / "goldens" / "processors.npz"
with np.load(FILE) as file:
    GOLDEN = dict(file)
CASES = json.loads(str(GOLDEN["meta"]))["cases"]


@pytest.mark.covers("PT-02")
@pytest.mark.parametrize("case", CASES)
def test_a_photograph_is_prepared_within_one_gray_level(case):
    about = CASES[case]
    read = processor_of_timm if case.startswith("timm") else processor_of_transformers
    processor = read(about["args"])
    values = processor(GOLDEN[f"data/photo{about['photo']}"])["pixel_values"][0].transpose(2, 0, 1)
    chex.assert_shape(values, tuple(about["shape"]))
    differences = np.abs(values.reshape(-1)[:: about["stride"]] - GOLDEN[f"{case}/out"])
    gray_level = 1 / 255 / min(processor.std or (1.0,))
    assert differences.max() <= 1.001 * gray_level


@pytest.mark.parametrize(
    ("processor", "size", "expected"),
    [
        (Processor(shortest=64), (90, 120), (64, 85)),  # int(64 * 120 / 90 = 85.33)
        (Processor(shortest=64, longest=80), (90, 120), (60, 80)),  # 120 / 90 * 64 = 85 > 80; 80 * 90 / 120 = 60
        (Processor(longest=64), (90, 120), (48, 64)),
        (Processor(size=(56, 56), multiple=14), (90, 120), (56, 70)),  # .622 is nearer 1 than .467: 74.7 / 14 = 5.3
        (Processor(shortest=56, divisor=32), (90, 120), (64, 96)),  # 56 x 74, each up to a multiple of 32
        (Processor(), (90, 120), (90, 120)),
    ],
)
def test_sizes_by_hand(processor, size, expected):
    assert processor.resized(*size) == expected


def test_a_batch_of_several_sizes_is_padded_and_masked():
    processor = Processor(shortest=8)
    batch = processor([np.full((16, 16, 3), 255, np.uint8), np.full((16, 32), 255, np.uint8)])
    chex.assert_shape(batch["pixel_values"], (2, 8, 16, 3))
    np.testing.assert_array_equal(batch["pixel_mask"].sum((1, 2)), [64, 128])
    np.testing.assert_array_equal(batch["resized_sizes"], [[8, 8], [8, 16]])
    np.testing.assert_array_equal(batch["pixel_values"][0, :, 8:], 0)
    np.testing.assert_allclose(batch["pixel_values"][1], 1.0)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"images: float32 \[4, 4, 3\]: no photograph; allowed: \[H, W, 3\] uint8"),
        (np.zeros((4, 4, 2), np.uint8), r"images: uint8 \[4, 4, 2\]: no photograph"),
        (np.zeros((0, 4, 3), np.uint8), r"images: \[0, 4, 3\]: no pixels; allowed: at least 1 x 1"),
        ([], r"images=\[\]: no image; allowed: one or more"),
    ],
)
def test_arrays_that_are_no_photographs_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        Processor()(image)
