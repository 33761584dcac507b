"""Learn a scene as a neural radiance field (NeRF) from posed images, and render it from new views.

python -m experiments.vision3d.nerf                                (PSNR 26.0 dB, mean color 13.2)
python -m experiments.vision3d.nerf --field.point_frequencies=0    (without positional encoding)

Three solids on a checkered floor are seen by cameras on a half sphere. Pixels of all training views are drawn together;
the test split is the pixels of views that were not trained on, and `psnr` is that of all of them together, beside that
of the mean color of the training pixels. The report shows the new views, true and rendered, and their depth.
"""

from functools import partial
from typing import Any

import numpy as np

from dlcore.data.scene_rays import SceneViews
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AdamW
from dlcore.vision3d import nerf
from dlcore.vision3d.nerf import RadianceField
from experiments.smoke import few_steps

SHOWN = 4


def view_panels(context: Any) -> list:
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
        target_color, color = (np.asarray(v[rows]).reshape(side, side, 3) for v in (test["color"], outputs["color"]))
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
    technique=partial(nerf.learner, num_samples=48, near=2.2, far=7.5),
    data=SceneViews(num_views=64, image_size=32),
    network=Network(RadianceField, prefix="field"),
    optimizer=AdamW(learning_rate=5e-3, schedule="cosine", warmup=0.1, weight_decay=0.0),
    length=Steps(3000, batch_size=256, eval_every=500, eval_batch_size=1024),
    measures=[Measure("psnr")],
    report=[view_panels],
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
