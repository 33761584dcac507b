"""Packed photographs: grids beside all scales tried one by one, patches by hand, and a folder of SigLIP 2."""

import json
import math
from fractions import Fraction

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore.pretrained import from_pretrained
from dlcore.pretrained.packing import PatchProcessor, fitting_grid, pack_image, patch_processor_of_transformers
from tests.models.parity import check_output, read_golden, weight_rule


def largest_grid(height, width, patch_size, max_num_patches):
    """By exact fractions: a grid grows where a side passes a multiple of the patch; scales up to 100 count."""
    sides = [Fraction(height, patch_size), Fraction(width, patch_size)]
    steps = {k / side for side in sides for k in range(1, max_num_patches + 1)} | {Fraction(100)}
    grids = [tuple(math.ceil(s * side) for side in sides) for s in sorted(steps) if s <= 100]
    return [grid for grid in grids if math.prod(grid) <= max_num_patches][-1]


@pytest.mark.covers("AT-45")
@pytest.mark.parametrize(
    ("size", "patch_size", "most", "expected"),
    [
        ((224, 224), 16, 256, (16, 16)),
        ((480, 640), 16, 256, (14, 18)),  # 13.5 x 18 at scale 0.45, above it 14 x 19 = 266
        ((640, 480), 16, 256, (18, 14)),
        ((5000, 10), 16, 256, (256, 1)),
        ((10, 10), 16, 1, (1, 1)),
        ((1, 3), 16, 1024, (7, 19)),  # scale 100: 6.25 x 18.75
        ((333, 517), 14, 729, (22, 33)),  # 33 of 36.9 columns: 21.3 of 23.8 rows; 22 x 34 = 748
    ],
)
def test_the_largest_grid_that_fits(size, patch_size, most, expected):
    assert largest_grid(*size, patch_size, most) == expected
    assert fitting_grid(*size, patch_size, most) == expected


@pytest.mark.covers("AT-45")
def test_a_photograph_is_packed_by_hand():
    """4 x 6 pixels in patches of 2 fill 2 x 3 of 6 patches at scale 1; a gray level g is g / 127.5 - 1."""
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    packed = pack_image(image, patch_size=2, max_num_patches=7)
    chex.assert_shape(packed.pixel_values, (7, 12))
    np.testing.assert_array_equal(packed.spatial_shapes, [2, 3])
    np.testing.assert_array_equal(packed.pixel_attention_mask, [1, 1, 1, 1, 1, 1, 0])
    fifth = np.array(
        [42, 43, 44, 45, 46, 47, 60, 61, 62, 63, 64, 65]
    )  # rows 2 and 3 (18 numbers each), columns 2 and 3
    np.testing.assert_allclose(packed.pixel_values[4], fifth / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(packed.pixel_values[6], 0)


def test_patches_are_of_16_pixels_and_at_most_256_unless_it_is_said():
    """16 pixels beside 4,112 are 257 patches; at a little less than scale 1 they are 256."""
    assert fitting_grid(16, 4112) == (1, 256)
    packed = pack_image(np.full((16, 40), 255, np.uint8), mean=None)
    chex.assert_shape(packed.pixel_values, (256, 16 * 16 * 3))
    assert packed.spatial_shapes.tolist() == list(largest_grid(16, 40, 16, 256))
    assert packed.pixel_values.max() == 1.0


@pytest.mark.parametrize(
    ("image", "sizes", "message"),
    [
        (
            np.zeros((4, 4, 3), np.float32),
            {},
            r"images: float32 \[4, 4, 3\]: no photograph; allowed: \[H, W, 3\] uint8",
        ),
        (np.zeros((0, 4, 3), np.uint8), {}, r"images: \[0, 4, 3\]: no pixels; allowed: at least 1 x 1"),
        (np.zeros((4, 4, 3), np.uint8), {"max_num_patches": 0}, "max_num_patches=0: too small; allowed: at least 1"),
        (np.zeros((4, 4, 3), np.uint8), {"patch_size": 1.5}, "patch_size=1.5: no whole number; allowed: integers"),
    ],
)
def test_errors(image, sizes, message):
    with pytest.raises(ValueError, match=message):
        pack_image(image, **sizes)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(golden, meta, network of a folder as a hub serves it)."""
    folder = tmp_path_factory.mktemp("siglip2")
    golden, meta, weights = read_golden("hf_siglip2")
    config = {"architectures": ["Siglip2Model"], "model_type": "siglip2", **meta["kwargs"]}
    processor = {"image_processor_type": "Siglip2ImageProcessorFast", "patch_size": 4, "max_num_patches": 16}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    save_file(weights, folder / "model.safetensors")
    return golden, meta, from_pretrained(folder)


@pytest.mark.slow
@pytest.mark.covers("AT-45", "PT-01")
def test_a_folder_of_siglip2_computes_what_transformers_computes(published):
    golden, meta, net = published
    inputs = {key: weight_rule().det_input(about) for key, about in meta["inputs"].items()}
    outputs = net(**inputs)
    for name in meta["outputs"]:
        check_output(golden, meta, name, outputs[name], least=1e-5)
    with pytest.raises(ValueError, match="pixel_attention_mask: missing beside pixel_values; allowed: pixel_values"):
        net(pixel_values=inputs["pixel_values"])


@pytest.mark.slow
@pytest.mark.covers("AT-45", "PT-02")
def test_photographs_of_several_proportions_go_through_one_network(published):
    *_, net = published
    assert net.preprocess == PatchProcessor(4, 16)
    photographs = [np.full((40, 20, 3), 200, np.uint8), np.zeros((8, 64), np.uint8)]
    batch = net.preprocess(photographs)
    np.testing.assert_array_equal(batch["spatial_shapes"], [[5, 3], [1, 8]])  # 2 x 9 is too much
    together = net(photographs)["image_embeds"]
    chex.assert_shape(together, (2, 32))
    alone = jnp.concatenate([net(image)["image_embeds"] for image in photographs])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    with pytest.raises(ValueError, match=r"images=\[\]: no image; allowed: one or more"):
        net([])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, PatchProcessor(16, 256, "bilinear", 1 / 255, (0.5,) * 3, (0.5,) * 3)),
        (
            {"patch_size": 4, "max_num_patches": 9, "resample": 3, "rescale_factor": 0.25}
            | {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
            PatchProcessor(4, 9, "bicubic", 0.25, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ),
        (
            {"do_rescale": False, "rescale_factor": 0.25, "do_normalize": False, "image_mean": [0.1, 0.2, 0.3]},
            PatchProcessor(16, 256, "bilinear", 1.0, None, None),
        ),
    ],
)
def test_each_field_of_the_configuration_is_read(config, expected):
    assert patch_processor_of_transformers(config) == expected


def test_a_processor_packs_one_photograph_or_several_with_its_own_fields():
    """A gray level of 10 becomes (10 · 2 - 1) / 0.5 = 38; 2 x 2 pixels are one patch."""
    processor = PatchProcessor(2, 3, scale=2.0, mean=(1.0,) * 3, std=(0.5,) * 3)
    for images, count in ((np.full((2, 2), 10, np.uint8), 1), (np.full((2, 2, 2, 3), 10, np.uint8), 2)):
        batch = processor(images)
        chex.assert_shape(batch["pixel_values"], (count, 3, 12))
        np.testing.assert_array_equal(batch["pixel_attention_mask"].sum(1), batch["spatial_shapes"].prod(1))
        np.testing.assert_array_equal(batch["pixel_values"][:, 0], 38.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"resample": 99}, "resample=99: unknown; allowed: nearest, lanczos"),
        ({"image_std": [0, 0, 0]}, r"image_std=\[0, 0, 0\]: out of range; allowed: three positive numbers"),
    ],
)
def test_numbers_that_pack_no_photograph_are_refused(config, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        patch_processor_of_transformers(config)
