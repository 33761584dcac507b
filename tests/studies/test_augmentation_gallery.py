"""The gallery draws every tile, and the photograph as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data import sample_images
from experiments.studies import augmentation_gallery


@pytest.mark.slow
def test_a_group_of_tiles():
    result = augmentation_gallery.experiment.function(height=24, group="tone")
    assert result.holds
    assert len(result.numbers) == 9
    assert all(np.isfinite(value) and value > 0 for value in result.numbers.values())
    assert "9 of 9" in result.verdict or "8 of 9" in result.verdict
    assert [axes.get_title() for axes in result.figures["gallery"].axes][:2] == list(result.numbers)[:2]


def test_bad_height():
    with pytest.raises(ValueError, match="height=3: too small"):
        augmentation_gallery.study(height=3)


@pytest.mark.parametrize(("image", "partner"), [("china", "flower"), ("flower", "china"), ("own.png", "flower")])
def test_the_partner_of_a_picture_is_another_one(monkeypatch, image, partner):
    names = []

    def sample_image(name, height):
        names.append((name, height))
        return np.zeros((height, height, 3), np.uint8)

    def fit_to(pixels, size):
        raise InterruptedError(size)

    monkeypatch.setattr(sample_images, "sample_image", sample_image)
    monkeypatch.setattr(sample_images, "fit_to", fit_to)
    with pytest.raises(InterruptedError, match=r"\(20, 20\)"):
        augmentation_gallery.study(image=image, height=20)
    assert names == [(image, 20), (partner, 20)]


def drawn_tiles(*names, x):
    """{title: picture} of 8 x 8 pixels, whose partner is white."""
    groups = augmentation_gallery.tiles((8, 8), jnp.ones((8, 8, 3)), BOX)
    functions = {name: function for group in groups.values() for name, function in group.items()}
    return jax.device_get(jax.jit(lambda x: {name: functions[name](jax.random.key(0), x) for name in names})(x))


BOX = np.float32([1, 2, 5, 7])
PIXELS = np.random.default_rng(0).uniform(0.05, 0.95, (8, 8, 3)).astype(np.float32)


def test_each_tile_does_what_its_title_says():
    x = PIXELS
    drawn = drawn_tiles("the photograph", "gamma 2", "posterize to 2 bits", "solarize at 1/2", "invert", "gray",
                        "upside down", "autocontrast of a pale copy", x=x)  # fmt: skip
    photograph, box = drawn["the photograph"]
    np.testing.assert_array_equal(photograph, x)
    np.testing.assert_array_equal(box, BOX)
    np.testing.assert_array_equal(drawn["upside down"], x[::-1])
    np.testing.assert_allclose(drawn["gamma 2"], x**2, rtol=1e-5)
    np.testing.assert_allclose(drawn["invert"], 1 - x, rtol=1e-5)
    np.testing.assert_allclose(drawn["solarize at 1/2"], np.where(x < 0.5, x, 1 - x), rtol=1e-5)
    np.testing.assert_allclose(drawn["gray"], drawn["gray"][..., :1].repeat(3, -1))
    low, high = x.min((0, 1)), x.max((0, 1))  # whatever was pale before
    np.testing.assert_allclose(drawn["autocontrast of a pale copy"], (x - low) / (high - low), atol=1e-4)
    assert len(np.unique(drawn["posterize to 2 bits"])) == 4


@pytest.mark.weekly
def test_each_tile_that_draws_does_what_its_title_says():
    """Mixed tiles have a black photograph and a white partner."""
    drawn = drawn_tiles("mirror", "cutout", "brightness, contrast, saturation, hue", "noise", x=PIXELS)
    mirror, moved = drawn["mirror"]
    np.testing.assert_allclose(mirror, PIXELS[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(moved, [3, 2, 7, 7], atol=1e-5)
    changed = (drawn["cutout"] != PIXELS).any(-1)
    assert 4 <= changed.sum() <= 16  # a square of half the side, less what lies outside
    assert len(np.unique(drawn["cutout"][changed], axis=0)) == 1
    for name in ("brightness, contrast, saturation, hue", "noise"):
        assert np.abs(drawn[name] - PIXELS).mean() > 1e-3
    mixed = drawn_tiles("mixup", "CutMix", x=np.zeros((8, 8, 3), np.float32))
    assert np.ptp(mixed["mixup"]) == pytest.approx(0, abs=1e-6)
    assert 0 < mixed["mixup"].mean() < 1
    assert set(np.unique(mixed["CutMix"])) == {0, 1}


def test_each_stop_calls_the_augmentation_of_its_title(monkeypatch):
    """Augmentations that only say how they were called: `random_warp(degrees=30)`."""

    class Call(str):
        def __call__(self, *args):
            return Call(self)

    class Names:
        def __getattr__(self, name):
            def augmentation(*args, **options):
                words = [str(a) for a in args if isinstance(a, str | int | float | tuple)]
                return Call(f"{name}({', '.join(words + [f'{key}={value}' for key, value in options.items()])})")

            return augmentation

        def warp_image(self, image, warp):
            return warp

        def warp_boxes(self, boxes, warp, size):
            return [[f"box of {warp}"]]

        def random_scale_crop(self, *args):
            raise InterruptedError(f"random_scale_crop{args}")

        def ten_crop(self, image, size):
            raise InterruptedError(f"ten_crop{size}")

        def mixup(self, *args):
            raise InterruptedError("mixup")

        def cutmix(self, *args):
            raise InterruptedError("cutmix")

    monkeypatch.setattr(augmentation_gallery, "A", Names())
    monkeypatch.setattr(jnp, "clip", lambda image, low, high: Call(f"clip {image} to {low}, {high}"))
    groups = augmentation_gallery.tiles((8, 10), PIXELS, BOX)
    calls = {}
    for group, functions in groups.items():
        for name, function in functions.items():
            try:
                drawn = function(jax.random.key(0), PIXELS)
            except InterruptedError as error:
                drawn = str(error)
            if isinstance(drawn, tuple) and name != "the photograph":
                warp, box = drawn
                assert box == f"box of {warp}"
                drawn = warp
            calls.setdefault(group, {})[name] = drawn
    warped, tone, hidden, mixed = calls.values()
    assert list(calls) == ["warped", "tone", "hidden", "mixed"]
    assert {name: call for name, call in warped.items() if name != "the photograph"} == {
        "rotate": "random_warp(degrees=30)",
        "translate": "random_warp(translate=0.25)",
        "scale": "random_warp(scale=(0.6, 1.5))",
        "stretch": "random_warp(stretch=2.0)",
        "shear": "random_warp(shear=25)",
        "perspective": "random_warp(perspective=0.5)",
        "lens": "lens_warp((8, 10), 0.6)",
        "all of these": "random_warp(degrees=20, translate=0.1, scale=(0.8, 1.2), stretch=1.3, shear=10, flip=0.5, "
        "perspective=0.3, lens=0.2)",
    }
    assert tone["brightness, contrast, saturation, hue"] == "color_jitter(0.4, 0.4, 0.4, 0.1)"
    assert tone["sharpness"] == "adjust_sharpness(4.0)"
    assert tone["equalize"] == "equalize()"
    assert hidden == {
        "mirror": "random_warp(flip=1.0)",
        "upside down": "random_vertical_flip(1.0)",
        "resized crop": "random_resized_crop((0.15, 0.4))",
        "scaled crop": "random_scale_crop(8, (8, 12.0))",
        "ten crops": "ten_crop(4, 5)",
        "cutout": "cutout(4)",
        "erasing": "random_erasing(1.0, (0.1, 0.3))",
        "blur": "random_blur((1.5, 2.0), 1.0, radius=5)",
        "noise": "clip gaussian_noise(0.15) to 0, 1",
    }
    assert mixed == {
        "mixup": "mixup",
        "CutMix": "cutmix",
        "RandAugment 2, 9": "rand_augment(2, 9, fill=0.5)",
        "RandAugment 2, 20": "rand_augment(2, 20, fill=0.5)",
        "RandAugment 3, 30": "rand_augment(3, 30, fill=0.5)",
        "AutoAugment ImageNet": "auto_augment(imagenet, fill=0.5)",
        "AutoAugment CIFAR-10": "auto_augment(cifar10, fill=0.5)",
        "AutoAugment SVHN": "auto_augment(svhn, fill=0.5)",
        "SimCLR": "compose(random_resized_crop((0.2, 1.0)), random_flip(), "
        "random_apply(color_jitter(0.8, 0.8, 0.8, 0.2), 0.8), random_gray(), random_blur(radius=4))",
    }


def test_a_group_alone_is_drawn_and_the_photograph_is_to_stay_as_it_is(monkeypatch):
    """The photograph is gray 0.2; one tile adds 0.1, and what should be the photograph adds 0 or 0.3."""
    pixels = np.full((16, 16, 3), 51, np.uint8)
    boxes = {}
    monkeypatch.setattr(sample_images, "sample_image", lambda name, height: pixels)
    monkeypatch.setattr(sample_images, "fit_to", lambda pixels, size: pixels)
    for image, change in (("china", 0.0), ("flower", 0.3)):

        def tiles(size, partner, box, image=image, change=change):
            boxes[image] = np.asarray(box) / 16
            photograph = {"the photograph": lambda key, x: (x + change, box), "moved": lambda key, x: (x + 0.1, box)}
            return {"warped": photograph, "tone": {"lighter": lambda key, x: x + 0.2}}

        monkeypatch.setattr(augmentation_gallery, "tiles", tiles)
        result = augmentation_gallery.study(image=image, height=16, group="warped")
        assert result.numbers == {"moved": pytest.approx(0.1)}
        assert result.holds is (change == 0)
        assert [axes.get_title() for axes in result.figures["gallery"].axes] == ["the photograph", "moved"]
    np.testing.assert_allclose(boxes["china"], [0.10, 0.02, 0.53, 0.88])
    np.testing.assert_allclose(boxes["flower"], [0.27, 0.1, 0.68, 0.88])
