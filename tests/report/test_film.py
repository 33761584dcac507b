"""Films: their frames, their size, and how they become smaller."""

import base64
import io
import re

import numpy as np
from PIL import Image, ImageSequence

from dlcore.report.film import film, film_webp


def frames_of(content):
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "WEBP"
    return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]


def test_small_films_keep_every_pixel():
    frames = [np.random.default_rng(k).integers(0, 256, (8, 9, 3)).astype(np.uint8) for k in range(5)]
    np.testing.assert_array_equal(frames_of(film_webp(frames)), frames)


def test_large_films_become_smaller_and_keep_first_and_last():
    rng = np.random.default_rng(0)
    frames = [(rng.integers(0, 64, (64, 64, 3)) + 6 * k).astype(np.uint8) for k in range(32)]
    assert len(film_webp(frames, max_bytes=10**9)) > 60_000
    content = film_webp(frames, max_bytes=9_000)
    assert len(content) <= 9_000
    shown = frames_of(content)
    assert 6 <= len(shown) < 32
    assert shown[0].mean() < 45
    assert shown[-1].mean() > 200


def test_the_panel_holds_one_animation_enlarged_by_a_whole_factor():
    panel = film([np.full((4, 6, 1), v, np.float32) for v in (0, 0.5, 1)], "a <film>", "note", width=20)
    (width,) = re.findall(r'width="(\d+)"', panel.html)
    assert width == "18"
    assert "a &lt;film&gt;" in panel.html
    shown = frames_of(base64.b64decode(re.search(r"data:image/webp;base64,([^\"]+)", panel.html)[1]))
    assert [int(frame[0, 0, 0]) for frame in shown] == [0, 128, 255]


def test_a_film_of_few_frames_keeps_them_though_it_is_large():
    """Six stay; of seven the first, the third, the fifth and the last are left."""
    frames = [np.random.default_rng(k).integers(0, 256, (16, 16, 3)).astype(np.uint8) for k in range(7)]
    assert len(frames_of(film_webp(frames[:6], max_bytes=10))) == 6
    assert len(frames_of(film_webp(frames, max_bytes=10))) == 4


def durations_of(content):
    picture = Image.open(io.BytesIO(content))
    found = []
    for k in range(picture.n_frames):
        picture.seek(k)
        picture.load()
        found.append(picture.info["duration"])
    return found, picture.info["loop"]


def test_frames_last_as_long_as_asked_and_the_last_one_a_second_and_a_half():
    frames = [np.full((4, 4), 80 * k, np.uint8) for k in range(3)]
    assert durations_of(film_webp(frames, 100)) == ([100, 100, 1500], 0)
    assert durations_of(film_webp(frames, 2000))[0] == [2000] * 3
    rng = np.random.default_rng(0)
    dropped = film_webp([rng.integers(0, 256, (16, 16)).astype(np.uint8) for _ in range(7)], 100, max_bytes=10)
    assert durations_of(dropped)[0] == [200, 200, 200, 1500], "half of the frames last twice as long"


def test_a_large_film_is_shown_at_its_size_and_smooth():
    small, large = (film([np.zeros((2, side), np.uint8)], "t", "s") for side in (373, 380))
    assert 'width="746"' in small.html  # 560 / 373 = 1.501, rounded to 2
    assert "smooth" not in small.html
    assert '<img class="smooth" alt="t" width="380"' in large.html
    assert (large.subtitle, large.half) == ("s", True)


def test_a_film_that_does_not_fit_keeps_every_second_frame_and_the_last():
    """Of eight frames, each brighter than the one before it, the first, third, fifth, seventh and eighth are left."""
    noise = np.random.default_rng(0).integers(-9, 10, (8, 16, 16))
    frames = [(20 + 30 * k + noise[k]).astype(np.uint8) for k in range(8)]
    shown = [round((float(frame.mean()) - 20) / 30) for frame in frames_of(film_webp(frames, max_bytes=10))]
    assert shown == [0, 2, 4, 6, 7]
