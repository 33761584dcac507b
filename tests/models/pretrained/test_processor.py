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


PLAIN = {"size": {"height": 8, "width": 8}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_std": [0.5, 0, 0.5]}, r"image_std=\[0.5, 0, 0.5\]: out of range; allowed: three positive numbers"),
        ({"image_std": [float("nan")] * 3}, "image_std="),
        ({"image_mean": [0.5] * 2}, r"image_mean=\[0.5, 0.5\]: out of range; allowed: three numbers"),
        ({"image_mean": None}, r"preprocessor_config\.json: 'image_mean' is missing; allowed: files of transformers"),
        ({"rescale_factor": 0}, "rescale_factor=0: out of range; allowed: positive numbers"),
        ({"rescale_factor": float("nan")}, "rescale_factor=nan"),
        ({"resample": 99}, "resample=99: unknown; allowed: nearest, lanczos"),
        ({"size": {"height": 32.5, "width": 32}}, r"size\[0\]=32.5: no whole number"),
        ({"size": {"height": 32, "width": 0}}, r"size\[1\]=0: too small"),
        ({"size": {"shortest_edge": -1}}, "shortest=-1: too small"),
        ({"do_center_crop": True}, "preprocessor_config.json: 'crop_size' is missing"),
        ({"do_pad": True, "pad_size": {"height": 0, "width": 4}}, r"pad\[0\]=0: too small"),
    ],
)
def test_numbers_that_prepare_no_photograph_are_refused(changes, message):
    config = {key: value for key, value in (PLAIN | changes).items() if value is not None}
    with pytest.raises(ValueError, match=f"^{message}"):
        processor_of_transformers(config)


def test_a_share_of_no_crop_is_refused():
    config = {"input_size": [3, 8, 8], "mean": [0.5] * 3, "std": [0.5] * 3}
    assert processor_of_timm(config).shortest == 9  # floor(8 / 0.875 = 9.14)
    with pytest.raises(ValueError, match=r"^crop_pct=-1: out of range; allowed: positive numbers$"):
        processor_of_timm({**config, "crop_pct": -1})
