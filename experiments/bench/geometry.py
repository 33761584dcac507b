"""Time RANSAC, Harris, SIFT and dense optical flow against scikit-image, as ratios measured in one run.

python -m experiments.bench.geometry

Needs scikit-image. A ratio above one means that dlcore is faster; the claim is at least 20 for RANSAC and at least one
for the others. The photograph `china` is 640 x 480 for Harris and SIFT, 240 x 180 for flow. RANSAC has 500 pairs, half
of them wrong, and 1,000 hypotheses in both libraries. OpenCV is timed too where it is installed. The turns are
shuffled.

Measured on two CPU cores of a busy machine, three turns (medians, lowest and highest), without OpenCV: RANSAC 18.5
(14.1 to 47.6; 27 ms), Harris 14.7 (6.7 to 21.5; 2.1 ms), SIFT 1.09 (0.97 to 1.11; 2.3 s, and 0.56 in processor time),
flow 8.6 (5.7 to 8.7; 43 ms). The claim on RANSAC did not hold in this run.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dlcore.classical_vision.corners import harris_response
from dlcore.classical_vision.homography import ransac_homography
from dlcore.classical_vision.optical_flow import dense_lucas_kanade
from dlcore.classical_vision.sift import sift
from dlcore.data.sample_images import sample_image
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.extras import require
from dlcore.main import main
from dlcore.run import provenance
from experiments.bench.timing import bar_chart, interleaved, ratio

LEAST = {"RANSAC": 20.0, "Harris": 1.0, "SIFT": 1.0, "flow": 1.0}


def pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(source, target [count, 2] float32): one homography with 0.3 pixels of noise, the second half at random."""
    rng = np.random.default_rng(seed)
    source = rng.uniform([0, 0], [640, 480], (count, 2))
    mapped = (
        np.append(source, np.ones((count, 1)), 1) @ np.array([[0.9, -0.1, 30], [0.1, 0.95, -10], [1e-4, 5e-5, 1]]).T
    )
    target = mapped[:, :2] / mapped[:, 2:] + 0.3 * rng.normal(size=(count, 2))
    target[count // 2 :] = rng.uniform([0, 0], [640, 480], (count - count // 2, 2))
    return source.astype(np.float32), target.astype(np.float32)


def contenders(size: tuple[int, int], flow_size: tuple[int, int], count: int, hypotheses: int) -> dict[str, dict]:
    """{task: {library: function}} on the same arrays."""
    from skimage import feature, measure, registration, transform

    photograph = sample_image("china", size[0]).astype(np.float32).mean(-1)[:, : size[1]] / 255
    small = sample_image("china", flow_size[0]).astype(np.float32).mean(-1) / 255
    first, second = small[:, 2 : flow_size[1] + 2], small[:, : flow_size[1]]
    source, target = pairs(count, 0)
    key = jax.random.key(0)
    harris = jax.jit(harris_response)
    describe = jax.jit(functools.partial(sift, count=2000))
    flow = jax.jit(dense_lucas_kanade)
    consensus = jax.jit(lambda a, b: ransac_homography(key, a, b, 2.0, hypotheses))
    tasks: dict[str, dict[str, Callable[[], Any]]] = {
        "RANSAC": {
            "ours": lambda: consensus(source, target),
            "scikit-image": lambda: measure.ransac(
                (source, target),
                transform.ProjectiveTransform,
                4,
                2.0,
                max_trials=hypotheses,
                stop_probability=1,
                rng=0,
            )[1],
        },
        "Harris": {"ours": lambda: harris(photograph), "scikit-image": lambda: feature.corner_harris(photograph)},
        "SIFT": {
            "ours": lambda: describe(photograph),
            "scikit-image": lambda: feature.SIFT().detect_and_extract(photograph),
        },
        "flow": {
            "ours": lambda: flow(first, second),
            "scikit-image": lambda: registration.optical_flow_ilk(first, second, radius=4),
        },
    }
    if importlib.util.find_spec("cv2"):
        import cv2

        bytes_of = (photograph * 255).astype(np.uint8)
        tasks["RANSAC"]["OpenCV"] = lambda: cv2.findHomography(source, target, cv2.RANSAC, 2.0, maxIters=hypotheses)[1]
        tasks["Harris"]["OpenCV"] = lambda: cv2.cornerHarris(photograph, 5, 3, 0.05)
        tasks["SIFT"]["OpenCV"] = lambda: cv2.SIFT_create(2000).detectAndCompute(bytes_of, None)[1]
    return tasks


def study(
    *,
    height: PositiveInt = 480,
    flow_height: PositiveInt = 180,
    count: PositiveInt = 500,
    hypotheses: PositiveInt = 1000,
    num_repeats: PositiveInt = 7,
) -> StudyResult:
    """Time the geometry of images in both libraries.

    Args:
      height: height of the image for Harris and SIFT, in pixels; 4/3 as wide.
      flow_height: height of the images for flow, in pixels; 4/3 as wide.
      count: pairs of points for RANSAC.
      hypotheses: samples of RANSAC.
    """
    require("skimage", what="experiments.bench.geometry")
    numbers, ratios = {}, {}
    tasks = contenders((height, height * 4 // 3), (flow_height, flow_height * 4 // 3), count, hypotheses)
    for task, functions in tasks.items():
        times = interleaved(functions, num_repeats)
        ratios[task] = {name: ratio(times, name, "ours") for name in functions if name != "ours"}
        for name, value in ratios[task].items():
            numbers |= value.rows(f"{task}: {name} over ours")
        numbers |= {f"{task}: ms, {name}": 1000 * t.median for name, t in times.items()}
    medians = {task: r["scikit-image"].median for task, r in ratios.items()}
    verdict = f"{provenance.hardware()}: " + ", ".join(
        f"{task} {value:.2f}× scikit-image's speed" for task, value in medians.items()
    )
    chart = bar_chart({task: {"ratio": value} for task, value in medians.items()}, "scikit-image's time over dlcore's")
    headline = Headline("scikit-image's time over ours, RANSAC", medians["RANSAC"], "china", tolerance=0.5)
    return StudyResult(
        numbers,
        verdict + ".",
        {"ratios": chart},
        all(medians[task] >= least for task, least in LEAST.items()),
        headline,
    )


experiment = Study(
    __file__, __doc__, study, smoke={"height": 96, "flow_height": 48, "count": 40, "hypotheses": 50, "num_repeats": 1}
)

if __name__ == "__main__":
    main(experiment)
