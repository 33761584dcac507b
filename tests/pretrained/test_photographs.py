"""What people give a published network: arrays, paths, images of Pillow, clips, and images of another size."""

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.pretrained import from_pretrained
from dlcore.pretrained.processor import Processor, clips_of, photographs_of
from tests.pretrained.test_from_pretrained import HUB

PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)


def test_a_path_and_an_image_of_pillow_are_the_array(tmp_path):
    path = tmp_path / "cat.png"
    Image.fromarray(PHOTOGRAPH).save(path)
    for images in (path, str(path), [path], Image.open(path), [PHOTOGRAPH], PHOTOGRAPH[None]):
        (found,) = photographs_of(images)
        np.testing.assert_array_equal(found, PHOTOGRAPH)
    assert len(photographs_of([path, PHOTOGRAPH])) == 2
    with pytest.raises(FileNotFoundError, match=r"dog.png': no such file; allowed: an image file"):
        photographs_of(tmp_path / "dog.png")


@pytest.mark.parametrize(
    ("clips", "count"),
    [
        (np.zeros((8, 4, 4, 3)), 1),
        (np.zeros((2, 8, 4, 4, 3)), 2),
        ([np.zeros((4, 4, 3))] * 8, 1),
        ([[np.zeros((4, 4, 3))] * 8] * 2, 2),
        ([np.zeros((8, 4, 4, 3))] * 3, 3),
    ],
)
def test_clips_are_told_from_frames(clips, count):
    assert len(clips_of(clips)) == count


@pytest.mark.slow
def test_a_clip_of_frames_is_its_prepared_values():
    """TimeSformer of 8 frames, by transformers' processor of videos."""
    net = from_pretrained(HUB / "facebook--timesformer-tiny")
    side = net.model.image_size
    net.preprocess = Processor(shortest=side, crop=(side, side), mean=(0.5,) * 3, std=(0.2,) * 3)
    frames = [np.roll(PHOTOGRAPH, i, 0) for i in range(net.model.frames)]
    values = np.stack([net.preprocess(frame)["pixel_values"][0] for frame in frames])[None]
    expected = net(pixel_values=values)
    for images in (frames, np.stack(frames), [frames]):
        chex.assert_trees_all_close(net(images), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (Processor(size=(224, 224)), Processor(size=(320, 320))),
        (Processor(shortest=256, crop=(224, 224)), Processor(shortest=366, crop=(320, 320))),  # 256 * 320 / 224 = 365.7
        (Processor(size=(248, 248), crop=(224, 224)), Processor(size=(354, 354), crop=(320, 320))),  # 354.3
        (Processor(shortest=800, longest=1333), Processor(shortest=800, longest=1333)),
    ],
)
def test_a_processor_of_another_size_cuts_the_same_share(processor, expected):
    assert processor.at_size(320, 320) == expected


def test_a_larger_image_size_is_that_of_photographs_too():
    net = from_pretrained(HUB / "google--vit-tiny", image_size=48)
    chex.assert_shape(net.preprocess(PHOTOGRAPH)["pixel_values"], (1, 48, 48, 3))
