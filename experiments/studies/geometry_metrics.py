"""A metric of shape sees some mistakes and is blind to others: scale, outliers, noise, missing parts.

python -m experiments.studies.geometry_metrics

A depth map (a floor, a wall and a ball) and a point set (the ball's surface) are spoiled in four ways, and measured by
the metrics of `dlcore.metrics.depth` and `dlcore.metrics.point_sets`. The scale is wrong by 20 %; 2 % of the pixels or
points are far off; all are off a little; a third is missing (depth 1.5 times as far, points dropped). The claim holds
where the scale-invariant error is the only depth error that a wrong scale leaves at 0, where outliers raise the mean
distance of point sets (chamfer) above that of noise everywhere while F1 ranks them the other way round, and where a
missing part lowers recall and not precision.

Measured with the defaults: it held. RMSE and scale-invariant error of depth: scale 0.90 and 0, outliers 2.52 and 21.9,
noise 0.13 and 3.0, missing 1.65 and 19.1. Chamfer and F1 of points: scale 0.080 and 0, outliers 0.064 and 0.98, noise
0.007 and 0.51, missing 0.090 and 0.80.

Reference: Eigen, Puhrsch & Fergus 2014, arXiv:1406.2283 (scale-invariant error); Knapitsch et al. 2017, "Tanks and
temples" (F1 of points).
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.metrics.depth import depth_errors
from dlcore.metrics.point_sets import chamfer_distance, point_f1
from dlcore.report.figure import new_figure, show_image

THRESHOLD = 0.05
"""Distance up to which a point is correct; the ball has radius 1."""


def depth_scene(side: int) -> jax.Array:
    """A ball [side, side] of radius 1 at depth 4, before a wall at 6, over a floor."""
    y, x = jnp.meshgrid(jnp.linspace(-1, 1, side), jnp.linspace(-1, 1, side), indexing="ij")
    wall = jnp.minimum(6.0, 1.5 / jnp.maximum(y, 1e-3))
    inside = 0.36 - x**2 - y**2
    return jnp.where(inside > 0, 4 - jnp.sqrt(jnp.maximum(inside, 0)) / 0.6, wall)


def sphere(count: int) -> jax.Array:
    """Points [count, 3] spread over the unit sphere along a Fibonacci spiral."""
    i = jnp.arange(count) + 0.5
    z, angle = 1 - 2 * i / count, jnp.pi * (1 + 5**0.5) * i
    return jnp.stack([jnp.cos(angle) * jnp.sqrt(1 - z**2), jnp.sin(angle) * jnp.sqrt(1 - z**2), z], 1)


def spoiled_depths(target: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """The depth map with each mistake."""
    outliers = jax.random.uniform(jax.random.fold_in(key, 0), target.shape) < 0.02
    noise = 0.03 * jax.random.normal(jax.random.fold_in(key, 1), target.shape)
    return {
        "scale": 1.2 * target,
        "outliers": jnp.where(outliers, 5 * target, target),
        "noise": target * jnp.exp(noise),
        "missing": target.at[: len(target) // 3].multiply(1.5),
    }


def spoiled_points(target: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """The points with each mistake."""
    outliers = jax.random.uniform(jax.random.fold_in(key, 0), target.shape[:1]) < 0.02
    noise = 0.05 * jax.random.normal(jax.random.fold_in(key, 1), target.shape)
    return {
        "scale": 1.2 * target,
        "outliers": jnp.where(outliers[:, None], 3 * target, target),
        "noise": target + noise,
        "missing": target[len(target) // 3 :],
    }


def measure(side: int, count: int, seed: int) -> tuple[dict, dict, dict]:
    """(depth maps, errors of depth by mistake, scores of points by mistake)."""

    @jax.jit
    def run(key):
        keys = jax.random.split(key)
        target, points = depth_scene(side), sphere(count)
        maps = spoiled_depths(target, keys[0])
        errors = {name: depth_errors(depth, target) for name, depth in maps.items()}
        scores = {
            name: {"chamfer": chamfer_distance(p, points), **point_f1(p, points, THRESHOLD)}
            for name, p in spoiled_points(points, keys[1]).items()
        }
        return {"truth": target, **maps}, errors, scores

    maps, *tables = jax.device_get(run(jax.random.key(seed)))
    errors, scores = jax.tree.map(float, tables)
    return {"truth": maps.pop("truth"), **maps}, errors, scores


def judge(errors: dict, scores: dict) -> bool:
    """Whether each metric sees the mistakes that it is known to see."""
    scaled = errors["scale"]
    blind = [name for name, value in scaled.items() if not name.startswith("delta") and abs(value) < 1e-3]
    outliers, noise, missing = (scores[name] for name in ("outliers", "noise", "missing"))
    return (
        blind == ["silog"]
        and outliers["chamfer"] > noise["chamfer"]
        and outliers["f1"] > noise["f1"]
        and missing["precision"] > 0.99 > missing["recall"] + 0.2
    )


def draw(maps: dict, errors: dict, scores: dict):
    figure, axes = new_figure((10.0, 3.0), 1, len(maps))
    for panel, (name, depth) in zip(axes, maps.items(), strict=True):
        lines = [name]
        if name in errors:
            lines += [f"rmse {errors[name]['rmse']:.2f}, silog {errors[name]['silog']:.2f}"]
            lines += [f"chamfer {scores[name]['chamfer']:.3f}, F1 {scores[name]['f1']:.2f}"]
        show_image(panel, np.asarray(depth), "\n".join(lines), cmap="viridis", vmin=1, vmax=8)
    return figure


def study(*, side: PositiveInt = 96, num_points: PositiveInt = 2000, seed: Seed = 0) -> StudyResult:
    """Measure each mistake by each metric.

    Args:
      side: side of the depth map, at least 8.
      num_points: number of points of the point set, at least 500, so that neighbors lie within the threshold.
    """
    if side < 8 or num_points < 500:
        raise ValueError(f"side={side}, num_points={num_points}: too small; allowed: at least 8 and 500")
    maps, errors, scores = measure(side, num_points, seed)
    numbers = {f"depth, {name}: {key}": value for name, row in errors.items() for key, value in row.items()}
    numbers |= {f"points, {name}: {key}": value for name, row in scores.items() for key, value in row.items()}
    verdict = "Depth, rmse and scale-invariant error: " + ", ".join(
        f"{name} {row['rmse']:.2f} and {row['silog']:.3f}" for name, row in errors.items()
    )
    verdict += ". Points, chamfer and F1: " + ", ".join(
        f"{name} {row['chamfer']:.3f} and {row['f1']:.2f}" for name, row in scores.items()
    )
    headline = Headline("chamfer distance, outliers", scores["outliers"]["chamfer"], "procedural shapes")
    return StudyResult(numbers, verdict + ".", {"depth": draw(maps, errors, scores)}, judge(errors, scores), headline)


experiment = Study(__file__, __doc__, study, smoke={"side": 16, "num_points": 500})

if __name__ == "__main__":
    main(experiment)
