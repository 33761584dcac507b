"""Learn a scene as a neural radiance field (NeRF) from posed images, and render it from new views.

python -m experiments.vision3d.nerf                                (PSNR 26.0 dB, mean color 13.2)
python -m experiments.vision3d.nerf --field.point_frequencies=0    (without positional encoding)

Three solids on a checkered floor are seen by cameras on a half sphere. Pixels of all training views are drawn together;
the test split is the pixels of views that were not trained on, and `psnr` is that of all of them together, beside that
of the mean color of the training pixels. The report shows the new views, true and rendered, and their depth.
"""

import dataclasses
from typing import Annotated, Any

import numpy as np

from dlcore.data.scene_rays import scene_rays
from dlcore.experiment import Experiment, Flags, PositiveInt, Range, Setup, Splits
from dlcore.experiment.task import Task
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.vision3d import nerf
from dlcore.vision3d.nerf import RadianceField
from experiments.smoke import few_steps

SHOWN = 4


def mean_color_psnr(train: np.ndarray, test: np.ndarray) -> float:
    """PSNR of the mean of the training colors [N, 3] for the test colors [M, 3]."""
    return float(-10 * np.log10(np.square(test - train.mean(0)).mean()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneViews(Task):
    """The rays of rendered views of a scene.

    Args:
      num_views: views to train on; an eighth as many test
      image_size: side of the views in pixels
    """

    num_views: Annotated[PositiveInt, "essential"] = 64
    image_size: Annotated[int, Range(8), "essential"] = 32

    monitor = headline = "psnr"

    def data(self, flags: Flags) -> Splits:
        train, valid, test = (
            scene_rays(views, seed, flags.image_size)
            for seed, views in enumerate((flags.num_views, max(1, flags.num_views // 16), max(1, flags.num_views // 8)))
        )
        mean_psnr = mean_color_psnr(train.arrays["color"], test.arrays["color"])
        spec = {
            "dataset": "scene rays",
            "image_size": flags.image_size,
            "trivial": {"psnr": (mean_psnr, "the mean color of the training pixels")},
        }
        return Splits(train, valid, test, spec)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        return {"model": RadianceField(dtype=setup.dtype, **setup.flags.group("field"))}

    def panels(self, context: Any) -> list:
        """New views: true and rendered, the error, and depth with a color bar; and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.figure import figure_panel, new_figure, show_image

        side = context.spec["image_size"]
        test, outputs = context.data.test.arrays, context.outputs
        num_shown = min(SHOWN, len(outputs["color"]) // side**2)
        columns = ("true", "rendered", "absolute error", "true depth", "rendered depth")
        figure, axes = new_figure((9.0, 1.8 * num_shown), num_shown, len(columns), squeeze=False)
        for i in range(num_shown):
            rows = slice(i * side**2, (i + 1) * side**2)
            target_color, color = (
                np.asarray(v[rows]).reshape(side, side, 3) for v in (test["color"], outputs["color"])
            )
            depths = [np.asarray(v[rows]).reshape(side, side) for v in (test["depth"], outputs["depth"])]
            limits = {"vmin": depths[0].min(), "vmax": depths[0].max(), "cmap": "viridis"}
            for k, image in enumerate((target_color, color, np.abs(color - target_color), *depths)):
                clipped = np.clip(image, 0, 1) if image.ndim == 3 else image
                image_artist = show_image(axes[i, k], clipped, "" if i else columns[k], **limits)
            figure.colorbar(image_artist, ax=list(axes[i, 3:]), fraction=0.05)
        caption = "The first views of the test split, unselected. Depth is along the rays."
        return [figure_panel("New views", figure, caption), curves(context.history)]


experiment = Experiment(
    __file__,
    __doc__,
    nerf.learner,
    task=SceneViews(),
    optimizer=AdamW(learning_rate=5e-3, weight_decay=0.0),
    modules={"field": RadianceField},
    defaults={
        "steps": 3000,
        "batch_size": 256,
        "eval_batch_size": 1024,
        "eval_every": 500,
        "num_samples": 48,
        "near": 2.2,
        "far": 7.5,
    },
    smoke={
        **few_steps(3),
        "eval_batch_size": 64,
        "num_views": 2,
        "image_size": 8,
        "num_samples": 4,
        "field.hidden": (8,),
    },
)

if __name__ == "__main__":
    main(experiment)
