"""Lucas-Kanade and Horn-Schunck estimate the motion between two images.

python -m experiments.classical_vision.flow
    a photograph, moved by (1.6, -0.8) pixels
python -m experiments.classical_vision.flow --input=A.jpg,B.jpg

Without `--input` the motion is known: the claim is that the median endpoint error of Lucas-Kanade is at most 0.1 pixel.
Horn-Schunck, one energy of the whole image without a pyramid, and no motion at all stand beside it.

References: Lucas & Kanade 1981, "An iterative image registration technique"; Horn & Schunck 1981, "Determining optical
flow"; Baker et al. 2007, "A database and evaluation methodology for optical flow".
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.optical_flow import dense_lucas_kanade, endpoint_error, horn_schunck, warp_back
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import new_figure, show_image
from experiments.classical_vision.match import read_images


def study(
    *,
    input: str | None = None,
    height: PositiveInt = 180,
    right: float = 1.6,
    down: float = -0.8,
    window: PositiveInt = 9,
    levels: PositiveInt = 3,
    alpha: float = 0.02,
) -> StudyResult:
    """Estimate the motion between two images.

    Args:
      input: two image files with a comma between; None for a photograph that was moved.
      right: motion in pixels without input.
      down: motion in pixels without input.
      window: side of Lucas-Kanade's windows.
      levels: number of levels of its pyramid.
      alpha: weight of Horn-Schunck's smoothness.
    """
    if input is None:
        from scipy.ndimage import shift

        first = read_images("china", height, 1)[0].mean(-1)
        second = shift(first, (down, right), order=3, mode="nearest").astype(np.float32)
    else:
        first, second = (image.mean(-1) for image in read_images(input, height)[:2])
    local = jax.jit(lambda a, b: dense_lucas_kanade(a, b, window, levels))(first, second)
    flows = {"Lucas-Kanade": local.flow, "Horn-Schunck": jax.jit(lambda a, b: horn_schunck(a, b, alpha))(first, second)}
    flows["no motion"] = jnp.zeros_like(local.flow)
    inner = np.zeros(first.shape, bool)
    inner[16:-16, 16:-16] = True
    inner &= np.asarray(local.mask)
    numbers: dict = {"pixels with texture": float(np.asarray(local.mask).mean())}
    for name, flow in flows.items():
        difference = np.abs(np.asarray(warp_back(jnp.asarray(second), flow)) - first)[inner]
        numbers[f"{name}: image difference"] = float(difference.mean())
        if input is None:
            error = np.asarray(endpoint_error(flow, jnp.array([right, down])))[inner]
            numbers[f"{name}: endpoint error"] = float(np.median(error))
    holds, headline = None, None
    verdict = "; ".join(f"{name}: images differ by {numbers[f'{name}: image difference']:.4f}" for name in flows) + "."
    if input is None:
        errors = {name: numbers[f"{name}: endpoint error"] for name in flows}
        holds = errors["Lucas-Kanade"] <= 0.1
        verdict = "Median endpoint error: " + ", ".join(f"{n} {e:.3f} px" for n, e in errors.items()) + "."
        headline = Headline("endpoint error of Lucas-Kanade, px", errors["Lucas-Kanade"], "china", tolerance=0.05)
    figure, axes = new_figure((9, 3), 1, 3)
    step = max(4, height // 16)
    y, x = np.mgrid[step // 2 : first.shape[0] : step, step // 2 : first.shape[1] : step]
    show_image(axes[0], np.abs(second - first), "difference of the images", cmap="gray")
    for ax, name in zip(axes[1:], flows, strict=False):
        show_image(ax, first, name, cmap="gray", alpha=0.6)
        u, v = np.moveaxis(np.asarray(flows[name])[y, x], -1, 0)
        ax.quiver(x, y, u, v, angles="xy", color="#d55e00")
    return StudyResult(numbers, verdict, {"flow": figure}, holds, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"height": 64})

if __name__ == "__main__":
    main(experiment)
