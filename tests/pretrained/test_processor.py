"""Image processors against transformers' and timm's own on two photographs."""

import json
import pathlib

import chex
import numpy as np
import pytest

from dlcore.pretrained.processor import Processor, processor_of_timm, processor_of_transformers

FILE = pathlib.Path(__file__).parents[1] / "goldens" / "processors.npz"
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
        ({"image_mean": None}, r"preprocessor_config\.json: 'image_mean' is missing; allowed: the file as it was"),
        (
            {"image_mean": 0.5},
            r"preprocessor_config\.json: no photograph is prepared so \(.*not iterable\); allowed: the",
        ),
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


def test_a_share_that_no_crop_has_is_refused():
    config = {"input_size": [3, 8, 8], "mean": [0.5] * 3, "std": [0.5] * 3}
    assert processor_of_timm(config).shortest == 9  # floor(8 / 0.875 = 9.14)
    with pytest.raises(ValueError, match=r"^crop_pct=-1: out of range; allowed: positive numbers$"):
        processor_of_timm({**config, "crop_pct": -1})
    with pytest.raises(ValueError, match=r"^pretrained_cfg: 'mean' is missing; allowed: the file as it was published$"):
        processor_of_timm({"input_size": [3, 8, 8]})


NORM = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
BICUBIC = {"resample": "bicubic", "floor_crop": True}
READ = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"size": {"height": 4, "width": 6}}, {"size": (4, 6)}),
        ({"size": [4, 6]}, {"size": (4, 6)}),
        ({"size": 7}, {"size": (7, 7)}),
        ({"size": 7, "default_to_square": False}, {"shortest": 7}),
        ({"size": {"shortest_edge": 7, "longest_edge": 9}}, {"shortest": 7, "longest": 9}),
        ({"size": {"longest_edge": 9}}, {"longest": 9}),
        ({"size": {"shortest_edge": 7}, "max_size": 9}, {"shortest": 7, "longest": 9}),
        ({"size": {"height": 4, "width": 6}, "max_size": 9}, {"size": (4, 6)}),
        ({"size": 7, "do_resize": False}, {}),
        ({"do_resize": False, "do_center_crop": False, "crop_size": 5, "do_pad": False, "pad_size": 8}, {}),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 5}, {"crop": (5, 5), "floor_crop": True}),
        (
            {"do_resize": False, "do_center_crop": True, "crop_size": {"height": 5, "width": 3}},
            {"crop": (5, 3), "floor_crop": True},
        ),
        ({"do_resize": False, "do_pad": True, "pad_size": {"height": 8, "width": 9}}, {"pad": (8, 9)}),
        ({"do_resize": False, "do_pad": True}, {}),
        ({"do_resize": False, "size_divisor": 16}, {"divisor": 16}),
        ({"do_resize": False, "size_divisor": None}, {"divisor": 1}),
        ({"do_resize": False, "rescale_factor": 0.25}, {"scale": 0.25}),
        ({"do_resize": False, "do_rescale": False, "rescale_factor": 0.25}, {"scale": 1.0}),
        ({"size": 7, "keep_aspect_ratio": True, "ensure_multiple_of": 14}, {"size": (7, 7), "multiple": 14}),
        ({"size": 7, "keep_aspect_ratio": True}, {"size": (7, 7), "multiple": 1}),
        # ConvNeXt: 224 is the center of 224 / (224 / 256) = 256, from 384 on all is stretched.
        (
            {"size": {"shortest_edge": 224}, "image_processor_type": "ConvNextImageProcessor"},
            {"shortest": 256, "crop": (224, 224), **BICUBIC},
        ),
        (
            {"size": {"shortest_edge": 383}, "crop_pct": 0.5, "feature_extractor_type": "ConvNextImageProcessor"},
            {"shortest": 766, "crop": (383, 383), **BICUBIC},
        ),
        (
            {"size": {"shortest_edge": 384}, "image_processor_type": "ConvNextImageProcessorFast"},
            {"size": (384, 384), "resample": "bicubic"},
        ),
    ],
)
def test_each_field_of_transformers_file_is_read(config, fields):
    assert processor_of_transformers({**NORM, **config}) == Processor(**READ, **fields)
    nested = {"image_processor": {**NORM, **config}, "processor_class": "X"}
    assert processor_of_transformers(nested) == Processor(**READ, **fields)


def test_glpn_keeps_the_size_but_for_a_divisor_and_does_not_normalize():
    for name in ("GLPNImageProcessor", "GLPNFeatureExtractor", "GLPNImageProcessorFast"):
        config = {"image_processor_type": name, "do_resize": True, "size": 480}
        assert processor_of_transformers(config) == Processor(divisor=32, rounds_down=True)
    assert Processor(divisor=32, rounds_down=True).resized(95, 31) == (64, 32)  # 2 x 32 fit, and never 0


def test_a_filter_has_pillows_number_and_a_size_of_no_form_is_refused():
    for number, name in enumerate(("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")):
        assert processor_of_transformers({**NORM, "size": 7, "resample": number}).resample == name
    assert processor_of_transformers({"size": 7, "do_normalize": False}) == Processor(size=(7, 7))
    with pytest.raises(ValueError, match=r"size={'edge': 7}: unknown form; allowed: height and width, shortest_edge"):
        processor_of_transformers({**NORM, "size": {"edge": 7}})


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        # floor(56 / 0.875) = 64, floor(70 / 0.875) = 80; the shorter side becomes 64
        ({}, {"shortest": 64, "resample": "bilinear"}),
        ({"interpolation": "bicubic", "crop_pct": 0.7}, {"shortest": 80, "resample": "bicubic"}),
        ({"crop_mode": "squash", "crop_pct": 1.0}, {"size": (56, 70)}),
        ({"crop_mode": "border"}, {"longest": 80, "fill": (128, 102, 76)}),  # 127.5, 102 and 76.5 to the even
    ],
)
def test_each_field_of_timms_file_is_read(config, fields):
    found = processor_of_timm(
        {"input_size": [3, 56, 70], "mean": NORM["image_mean"], "std": NORM["image_std"], **config}
    )
    assert found == Processor(**READ, crop=(56, 70), **fields)


def test_a_crop_is_the_center_and_what_lies_outside_is_filled():
    """The crop of 3 x 6 from 5 x 4 pixels has rows 1 to 3, and a column of the fill on each side."""
    image = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    got = Processor(crop=(3, 6), fill=(7, 8, 9)).pixels(image)
    chex.assert_shape(got, (3, 6, 3))
    np.testing.assert_array_equal(got[:, 1:5], image[1:4])
    np.testing.assert_array_equal(got[:, [0, 5]], np.broadcast_to([7, 8, 9], (3, 2, 3)))


def test_the_center_of_odd_rests_is_rounded_to_the_even_and_a_fill_is_black():
    """(11 - 4) / 2 = 3.5 becomes 4, (8 - 3) / 2 = 2.5 becomes 2; of 3 missing rows one is above, of 1 column none."""
    image = np.arange(11 * 8 * 3).reshape(11, 8, 3).astype(np.uint8)
    np.testing.assert_array_equal(Processor(crop=(4, 3)).pixels(image), image[4:8, 2:5])
    got = Processor(crop=(7, 4)).pixels(image[:4, :3] | 1)
    np.testing.assert_array_equal(got, np.pad(image[:4, :3] | 1, ((1, 2), (0, 1), (0, 0))))


def test_a_batch_is_as_high_and_wide_as_its_highest_and_its_widest():
    batch = Processor()([np.full(size, 255, np.uint8) for size in ((2, 5, 3), (4, 3), (1, 1))])
    chex.assert_shape(batch["pixel_values"], (3, 4, 5, 3))
    np.testing.assert_array_equal(batch["pixel_mask"].sum((1, 2)), [10, 12, 1])
    np.testing.assert_array_equal(batch["pixel_values"][:, 0, :, 0].sum(1), [5, 3, 1])


def test_gray_levels_and_transparency_are_read_and_normalized_by_hand():
    """A level of 51 becomes (51 / 255 - 0.5) / 0.2 = -1.5; a fourth channel is left out."""
    processor = Processor(mean=(0.5, 0.1, 0.2), std=(0.2, 0.1, 0.4))
    for image in (np.full((1, 2), 51, np.uint8), np.full((1, 2, 1), 51, np.uint8), np.full((1, 2, 4), 51, np.uint8)):
        values = processor(image)["pixel_values"]
        np.testing.assert_allclose(values, np.broadcast_to([-1.5, 1.0, 0.0], (1, 1, 2, 3)), atol=1e-6)
    assert Processor(scale=2.0).normalize(np.uint8([51])) == 102  # no mean: 51 times the factor


def test_a_batch_is_padded_to_the_size_that_is_asked_for():
    batch = Processor(pad=(3, 5))([np.full((2, 4, 3), 255, np.uint8)])
    np.testing.assert_array_equal(batch["pixel_values"][0, :, :, 0], np.pad(np.ones((2, 4)), ((0, 1), (0, 1))))
    np.testing.assert_array_equal(batch["original_sizes"], [[2, 4]])
    assert batch["pixel_mask"].sum() == 8


@pytest.mark.parametrize(
    ("processor", "size", "expected"),
    [
        (Processor(size=(10, 20)), (5, 7), (10, 20)),
        (Processor(shortest=64), (120, 90), (85, 64)),
        (Processor(shortest=90), (90, 120), (90, 120)),
        (Processor(shortest=64, longest=86), (90, 120), (64, 85)),  # 85.33 is not above 86
        (Processor(shortest=64, longest=80), (120, 90), (80, 60)),
        (Processor(longest=7), (3, 4), (5, 7)),  # 5.25 + 0.5
        (Processor(longest=7), (4, 3), (7, 5)),
        (Processor(longest=64, divisor=32), (90, 120), (64, 64)),  # 48 up to 64
        (Processor(size=(4, 4), multiple=14), (90, 120), (14, 14)),  # never 0
        (Processor(size=(28, 56), multiple=7), (90, 120), (42, 56)),  # 0.47 is nearer 1 than 0.31
        (Processor(size=(56, 56), multiple=7), (28, 40), (42, 56)),  # 1.4 is nearer 1 than 2: 39.2 / 7 = 5.6
        (Processor(longest=7), (1, 100), (1, 7)),  # 0.07 + 0.5 is a pixel all the same
    ],
)
def test_the_size_of_each_rule_by_hand(processor, size, expected):
    assert processor.resized(*size) == expected


CLIP_OF_2021 = {  # openai/clip-vit-base-patch32
    "feature_extractor_type": "CLIPFeatureExtractor",
    "crop_size": 224,
    "do_center_crop": True,
    "resample": 3,
    "size": 224,
}
DETR_OF_2020 = {"feature_extractor_type": "DetrFeatureExtractor", "size": 800, "max_size": 1333}
MASKFORMER_OF_2022 = {"feature_extractor_type": "MaskFormerFeatureExtractor", "size": 512, "max_size": 2048}
MOBILEVIT = {  # apple/mobilevit-small
    "feature_extractor_type": "MobileViTFeatureExtractor",
    "crop_size": 4,
    "do_center_crop": True,
    "do_flip_channel_order": True,
    "size": 4,
}


def test_files_of_older_years_stretch_no_photograph():
    clip = processor_of_transformers(NORM | CLIP_OF_2021)
    assert (clip.shortest, clip.size, clip.crop, clip.resample) == (224, None, (224, 224), "bicubic")
    detr = processor_of_transformers(NORM | DETR_OF_2020)
    assert (detr.shortest, detr.longest, detr.size) == (800, 1333, None)
    maskformer = processor_of_transformers(NORM | MASKFORMER_OF_2022 | {"size_divisibility": 32})
    assert (maskformer.shortest, maskformer.longest, maskformer.divisor) == (512, 2048, 32)
    convnext = processor_of_transformers(NORM | {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224})
    assert (convnext.shortest, convnext.crop) == (256, (224, 224))  # 224 / (224 / 256)
    vit = processor_of_transformers(NORM | {"feature_extractor_type": "ViTFeatureExtractor", "size": 224})
    assert (vit.size, vit.shortest) == ((224, 224), None)


def test_mobilevit_reads_blue_first_and_is_not_normalized():
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 2] = 255
    values = processor_of_transformers(MOBILEVIT)(image)["pixel_values"]
    np.testing.assert_allclose(values[0, 0, 0], [1, 0, 0])
