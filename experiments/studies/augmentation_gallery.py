"""Every augmentation on one photograph: what a network sees.

python -m experiments.studies.augmentation_gallery
python -m experiments.studies.augmentation_gallery --image=flower --seed=3

Each tile is one call under jit, drawn by `--seed`; boxes move with the image where it is warped. The numbers are the
mean absolute difference of a tile from the photograph, of pixels in [0, 1].

References: Cubuk et al. 2018, arXiv:1805.09501 (AutoAugment); Cubuk et al. 2019, arXiv:1909.13719 (RandAugment); Zhang
et al. 2017, arXiv:1710.09412 (mixup); Yun et al. 2019, arXiv:1905.04899 (CutMix).
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data import augment as A
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import ORANGE, new_figure

BOXES = {"china": (0.10, 0.02, 0.53, 0.88), "flower": (0.27, 0.1, 0.68, 0.88)}
"""(x0, y0, x1, y1) as shares of the sides: what the boxes of the warped tiles start from."""


def tiles(size: tuple[int, int], mix_image: jax.Array, box: jax.Array) -> dict[str, dict]:
    """Make functions `(key, image) -> image`, or `-> (image, box)` where the box [4] moves along, by group and name."""
    side = min(size)

    def follow(image, warp):
        return A.warp_image(image, warp), A.warp_boxes(box[None], warp, size)[0][0]

    def warped(**ranges):
        draw = A.random_warp(**ranges)

        return lambda key, image: follow(image, draw(key, size))

    def pair(mix, alpha):
        def apply(key, image):
            images = jnp.stack([image, mix_image])
            # An order that swaps the two, so that the tile is a mixture.
            keys = jax.random.split(key, 16)
            mixed = jax.vmap(lambda k: mix(k, images, jnp.eye(2), alpha))(keys)
            even = jnp.abs(mixed[1][:, 0, 0] - 0.6)
            return mixed[0][even.argmin(), 0]

        return apply

    tone = {
        "brightness, contrast, saturation, hue": A.color_jitter(0.4, 0.4, 0.4, 0.1),
        "gamma 2": lambda key, x: A.adjust_gamma(x, 2.0),
        "sharpness": lambda key, x: A.adjust_sharpness(x, 4.0),
        "posterize to 2 bits": lambda key, x: A.posterize(x, 2),
        "solarize at 1/2": lambda key, x: A.solarize(x, 0.5),
        "equalize": lambda key, x: A.equalize(x),
        "autocontrast of a pale copy": lambda key, x: A.autocontrast(0.3 + 0.4 * x),
        "invert": lambda key, x: A.invert(x),
        "gray": A.random_gray(1.0),
    }
    return {
        "warped": {
            "the photograph": lambda key, x: (x, box),
            "rotate": warped(degrees=30),
            "translate": warped(translate=0.25),
            "scale": warped(scale=(0.6, 1.5)),
            "stretch": warped(stretch=2.0),
            "shear": warped(shear=25),
            "perspective": warped(perspective=0.5),
            "lens": lambda key, x: follow(x, A.lens_warp(size, 0.6)),
            "all of these": warped(
                degrees=20, translate=0.1, scale=(0.8, 1.2), stretch=1.3, shear=10, flip=0.5, perspective=0.3, lens=0.2
            ),
        },
        "tone": tone,
        "hidden": {
            "mirror": warped(flip=1.0),
            "upside down": A.random_vertical_flip(1.0),
            "resized crop": A.random_resized_crop((0.15, 0.4)),
            "scaled crop": lambda key, x: _centered(A.random_scale_crop(side, (side, 1.5 * side))(key, x), size),
            "ten crops": lambda key, x: _sheet(A.ten_crop(x, (size[0] // 2, size[1] // 2)), size),
            "cutout": A.cutout(side // 2),
            "erasing": A.random_erasing(1.0, (0.1, 0.3)),
            "blur": A.random_blur((1.5, 2.0), 1.0, radius=5),
            "noise": lambda key, x: jnp.clip(A.gaussian_noise(0.15)(key, x), 0, 1),
        },
        "mixed": {
            "mixup": pair(A.mixup, 1.0),
            "CutMix": pair(A.cutmix, 1.0),
            "RandAugment 2, 9": A.rand_augment(2, 9, fill=0.5),
            "RandAugment 2, 20": A.rand_augment(2, 20, fill=0.5),
            "RandAugment 3, 30": A.rand_augment(3, 30, fill=0.5),
            "AutoAugment ImageNet": A.auto_augment("imagenet", fill=0.5),
            "AutoAugment CIFAR-10": A.auto_augment("cifar10", fill=0.5),
            "AutoAugment SVHN": A.auto_augment("svhn", fill=0.5),
            "SimCLR": A.compose(
                A.random_resized_crop((0.2, 1.0)),
                A.random_flip(),
                A.random_apply(A.color_jitter(0.8, 0.8, 0.8, 0.2), 0.8),
                A.random_gray(),
                A.random_blur(radius=4),
            ),
        },
    }


def _centered(image, size):
    """Center an image on a white background of that size."""
    rest = size[0] - image.shape[0], size[1] - image.shape[1]
    return jnp.pad(image, [(n // 2, n - n // 2) for n in rest] + [(0, 0)], constant_values=1)


def _sheet(crops, size):
    """Lay ten crops out in two rows of five on a white background."""
    width = size[1] // 5
    height = width * crops.shape[1] // crops.shape[2]
    small = jax.image.resize(crops, (10, height - 2, width - 2, 3), "linear")
    small = jnp.pad(small, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
    rows = small.reshape(2, 5, height, width, 3).transpose(0, 2, 1, 3, 4).reshape(2 * height, 5 * width, 3)
    return _centered(rows, size)


def study(
    *,
    image: str = "china",
    height: PositiveInt = 160,
    seed: Seed = 0,
    group: Literal["all", "warped", "tone", "hidden", "mixed"] = "all",
) -> StudyResult:
    """Draw the gallery.

    Args:
      height: height of each tile in pixels, at least 16.
      seed: random numbers of the augmentations.
      group: the column to draw: warped, tone, hidden or mixed; all draws all four.
    """
    from dlcore.data.sample_images import fit_to, sample_image

    if height < 16:
        raise ValueError(f"height={height}: too small; allowed: at least 16")
    photograph = sample_image(image, height)
    other = fit_to(sample_image("flower" if image != "flower" else "china", height), photograph.shape[:2])
    image_pixels, mix_image = (jnp.asarray(pixels, jnp.float32) / 255 for pixels in (photograph, other))
    size = photograph.shape[:2]
    relative_box = BOXES.get(image, (0.25, 0.25, 0.75, 0.75))
    box = jnp.array(relative_box) * jnp.array([size[1], size[0]] * 2)

    def groups_of(mix_image):
        return {name: functions for name, functions in tiles(size, mix_image, box).items() if group in ("all", name)}

    groups = groups_of(mix_image)

    @jax.jit
    def draw(key, image_pixels, mix_image):
        return {
            group: [
                function(jax.random.fold_in(key, 100 * g + i), image_pixels)
                for i, function in enumerate(functions.values())
            ]
            for g, (group, functions) in enumerate(groups_of(mix_image).items())
        }

    augmented = jax.device_get(draw(jax.random.key(seed), image_pixels, mix_image))
    columns = max(len(functions) for functions in groups.values())
    column_width = 1.55 * size[1] / size[0]
    size_in_inches = (len(groups) * column_width + 0.1, columns * 1.83)
    figure, axes = new_figure(size_in_inches, columns, len(groups), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.01)
    distance = {}
    for column, (group, functions) in enumerate(groups.items()):
        for row in range(columns):
            panel = axes[row, column]
            panel.set_axis_off()
            if row >= len(functions):
                continue
            name, picture = list(functions)[row], augmented[group][row]
            picture, box = picture if isinstance(picture, tuple) else (picture, None)
            panel.imshow(np.clip(picture, 0, 1))
            panel.set_title(name, fontsize=8, pad=3)
            if box is not None:
                x, y = box[[0, 2, 2, 0, 0]], box[[1, 1, 3, 3, 1]]
                panel.plot(x - 0.5, y - 0.5, color=ORANGE, linewidth=1.6)
                panel.set(xlim=(-0.5, size[1] - 0.5), ylim=(size[0] - 0.5, -0.5))
            distance[name] = float(np.abs(picture - image_pixels).mean())
    untouched = distance.pop("the photograph", 0.0)
    changed = [name for name, value in distance.items() if value > 1e-3]
    finite = all(np.isfinite(value) for value in distance.values())
    verdict = (
        f"{len(changed)} of {len(distance)} augmentations changed the photograph under this seed, by "
        f"{min(distance[n] for n in changed):.3f} to {max(distance[n] for n in changed):.3f} a pixel."
    )
    headline = Headline("mean change a pixel", float(np.mean(list(distance.values()))), image)
    return StudyResult(distance, verdict, {"gallery": figure}, finite and untouched == 0, headline)


experiment = Study(__file__, __doc__, study, smoke={"height": 32, "group": "hidden"})

if __name__ == "__main__":
    main(experiment)
