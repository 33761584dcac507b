"""Predict depth and surface normals from one image, by a fully convolutional network.

python -m experiments.vision3d.depth
python -m experiments.vision3d.depth --variance_weight=1        (depth up to a factor: compare silog)

Scenes of one to three solids on a floor are rendered with exact depth. `abs_rel` is the mean of |p - g| / g, beside
that of the mean depth map of the training scenes; `silog` ignores the scale; `normal_error` is the mean of 1 - cos.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.solids import rgbd_scenes
from dlcore.experiment import Experiment, Flags, Range, Setup, Splits
from dlcore.experiment.task import Task
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.metrics.depth import depth_errors
from dlcore.ops import depth_to_normals
from dlcore.vision3d import depth
from experiments.smoke import few_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthScenes(Task):
    """Rendered scenes with exact depth and normals.

    Args:
      num_scenes: training images; an eighth as many validate, and as many test
      image_size: side of the images in pixels, a multiple of 8
    """

    num_scenes: Annotated[int, Range(4)] = 800
    image_size: Annotated[int, Range(8), "essential"] = 32

    monitor = headline = "abs_rel"
    monitor_mode: ClassVar[str] = "min"

    def data(self, flags: Flags) -> Splits:
        few = max(4, flags.num_scenes // 8)
        counts = (flags.num_scenes, few, few)
        train, valid, test = (rgbd_scenes(count, seed, flags.image_size) for seed, count in enumerate(counts))
        mean = train.arrays["depth"].mean(0)
        errors = jax.jit(jax.vmap(lambda target: depth_errors(jnp.asarray(mean), target)["abs_rel"]))(
            test.arrays["depth"]
        )
        spec = {
            "dataset": "rgbd scenes",
            "image_size": flags.image_size,
            "trivial": {"abs_rel": (float(errors.mean()), "the mean depth map of the training scenes")},
        }
        return Splits(train, valid, test, spec)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        return {"model": depth.DepthNet(dtype=setup.dtype, **setup.flags.group("network"))}

    def panels(self, context: Any) -> list:
        """Images, depth with a color bar, and normals: true, predicted and of the predicted depth."""
        from dlcore.report.curves import curves
        from dlcore.report.figure import figure_panel, new_figure, show_image

        test, outputs = context.data.test.arrays, context.outputs
        columns = ("image", "true depth", "predicted depth", "true normals", "predicted", "of predicted depth")
        rows = min(4, len(test["image"]))
        figure, axes = new_figure((11.0, 1.9 * rows), rows, len(columns), squeeze=False)
        for i in range(rows):
            low, high = float(test["depth"][i].min()), float(test["depth"][i].max())
            of_depth = depth_to_normals(jnp.asarray(outputs["depth"][i]), jnp.asarray(test["intrinsics"][i]))
            images = [test["image"][i], test["depth"][i], np.asarray(outputs["depth"][i])]
            images += [
                (np.asarray(n) * (1, -1, -1) + 1) / 2 for n in (test["normals"][i], outputs["normals"][i], of_depth)
            ]
            for k, (name, values) in enumerate(zip(columns, images, strict=True)):
                limits = {"vmin": low, "vmax": high, "cmap": "viridis"} if values.ndim == 2 else {}
                pixels = values if limits else np.clip(values, 0, 1)
                picture = show_image(axes[i, k], pixels, "" if i else name, **limits)
                if k == 2:
                    figure.colorbar(picture, ax=list(axes[i, 1:3]), fraction=0.04)
        caption = (
            "Depth along the camera's axis; normals as colors: red to the right, green up, blue toward the camera."
        )
        return [figure_panel("Depth and normals", figure, caption), curves(context.history)]


experiment = Experiment(
    __file__,
    __doc__,
    depth.learner,
    task=DepthScenes(),
    optimizer=AdamW(learning_rate=2e-3, weight_decay=0.01),
    modules={"network": depth.DepthNet},
    defaults={"steps": 1000, "batch_size": 16, "eval_every": 250},
    smoke={**few_steps(2, 4), "eval_batch_size": 4, "image_size": 8, "num_scenes": 8, "network.widths": (4, 8)},
)

if __name__ == "__main__":
    main(experiment)
