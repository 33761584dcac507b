"""Bundle adjustment of a few views leaves the error of the pixels' noise, and a point cloud near the true shape.

python -m experiments.vision3d.structure_from_motion
    RMS 0.403 pixels, expected 0.422; median error 0.43 % of the radius, 0.59 % with two views
python -m experiments.vision3d.structure_from_motion --views=3 --noise=1.0 --output=FOLDER
    writes points.ply, a point cloud, and mesh.ply, the same points with the faces of the solid

Structure from motion (SfM) is tried where the truth is known. Cameras on an arc see the vertices of a bumpy ball
through noise, a tenth of the pixels of each inner view wrong. The cameras and points come from the pixels and the
intrinsics alone. The claim is that the remaining RMS of a coordinate is within 10 % of σ √(1 - p / n), p parameters of
n coordinates, and that the median distance from the true points, after an alignment by a similarity, is at most 1 % of
the radius. Two views, the first and the last, stand beside it.

Reference: Triggs et al. 2000, "Bundle adjustment - a modern synthesis".
"""

from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.alignment import fit_similarity
from dlcore.data.mesh_files import write_mesh
from dlcore.experiment import Headline, PositiveInt, Range, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.ops.camera import intrinsic_matrix, look_at, project
from dlcore.ops.mesh import icosphere
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.vision3d.structure_from_motion import reconstruct, reprojection_errors


def bumpy_ball(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """(vertices [V, 3], faces [F, 3]) of a ball of radius about 1 with bumps."""
    vertices, faces = (np.asarray(x) for x in icosphere(subdivisions))
    bumps = 1 + 0.2 * np.sin(4 * vertices[:, :1]) * np.cos(3 * vertices[:, 1:2])
    return (bumps * vertices).astype(np.float32), faces


def orbit(views: int, degrees: float, distance: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Extrinsics of cameras on an arc of so many degrees around the origin."""
    angles = np.deg2rad(np.linspace(-degrees / 2, degrees / 2, views))
    centers = distance * np.stack([np.sin(angles), 0.3 * np.cos(2 * angles), -np.cos(angles)], 1)
    return [look_at(jnp.asarray(c, jnp.float32), jnp.zeros(3), jnp.array([0.0, -1.0, 0.0])) for c in centers]


def judge(rms: float, expected: float, error: float) -> tuple[str, bool]:
    """The verdict: RMS of the pixels, what the noise leaves, and the median error in radii."""
    holds = abs(rms - expected) <= 0.1 * expected and error <= 0.01
    return (
        f"RMS {rms:.3f} pixels, expected {expected:.3f}; half of the points are within {error:.2%} of the radius of "
        f"the true ones: {'as claimed' if holds else 'NOT as claimed'}."
    ), bool(holds)


def study(
    *,
    views: PositiveInt = 6,
    noise: float = 0.5,
    wrong: float = 0.1,
    degrees: float = 50.0,
    subdivisions: Annotated[int, Range(0, 5)] = 2,
    output: str | None = None,
    seed: Seed = 0,
) -> StudyResult:
    """Reconstruct a solid and the cameras that see it.

    Args:
      views: number of cameras.
      noise: deviation of the pixels.
      wrong: part of the pixels of each inner view that are random.
      degrees: degrees of the arc on which the cameras are.
      subdivisions: subdivisions of the solid; 2 gives 162 points.
      output: folder for points.ply and mesh.ply; None writes no files.
    """
    if views < 2:
        raise ValueError(f"views={views}: too few; allowed: at least 2")
    vertices, faces = bumpy_ball(subdivisions)
    intrinsics, rng = np.asarray(intrinsic_matrix(800.0, 800.0, 320.0, 240.0)), np.random.default_rng(seed)
    cameras = orbit(views, degrees, 5.0)
    pixels = np.stack([np.asarray(project(jnp.asarray(vertices), intrinsics, r, t)[0]) for r, t in cameras])
    pixels = pixels + noise * rng.normal(size=pixels.shape)
    is_wrong = rng.uniform(size=pixels.shape[:2]) < wrong
    is_wrong[[0, -1]] = False
    pixels[is_wrong] = rng.uniform([0, 0], [640, 480], (is_wrong.sum(), 2))
    pixels = jnp.asarray(pixels, jnp.float32)

    run = jax.jit(lambda pixels: (b := reconstruct(jax.random.key(seed), pixels, intrinsics), fit(b)))

    def fit(bundle):
        weights = bundle.mask.any(0).astype(jnp.float32)
        aligned = fit_similarity(bundle.points, jnp.asarray(vertices), weights).apply(bundle.points)
        return aligned, reprojection_errors(bundle, pixels, intrinsics) if len(bundle.mask) == views else 0.0

    (bundle, (aligned, errors)), (pair, (pair_aligned, _)) = run(pixels), run(pixels[jnp.array([0, -1])])
    mask, aligned = np.asarray(bundle.mask), np.asarray(aligned)
    is_known = mask.any(0)
    distance = np.linalg.norm(aligned - vertices, axis=1)[is_known]
    pair_distance = np.linalg.norm(np.asarray(pair_aligned) - vertices, axis=1)[np.asarray(pair.mask).any(0)]
    parameters = 6 * (views - 1) - 1 + 3 * int(is_known.sum())
    expected = noise * np.sqrt(1 - parameters / (2 * mask.sum()))
    rms, error = float(np.sqrt(np.square(np.asarray(errors))[mask].mean())), float(np.median(distance))
    verdict, holds = judge(rms, float(expected), error)
    numbers = {
        "points": int(is_known.sum()),
        "wrong pixels kept": int((mask & is_wrong).sum()),
        "RMS, px": rms,
        "expected RMS, px": float(expected),
        "median error, radii": error,
        "median error of two views, radii": float(np.median(pair_distance)),
    }
    if output is not None:
        folder = Path(output)
        folder.mkdir(parents=True, exist_ok=True)
        write_mesh(folder / "points.ply", aligned[is_known], np.zeros((0, 3), np.int32))
        index = np.cumsum(is_known) - 1
        write_mesh(folder / "mesh.ply", aligned[is_known], index[faces[is_known[faces].all(1)]])

    figure, axes = new_figure((9, 4), 1, 2)
    for ax, name, (i, j) in zip(axes, ("front", "above"), ((0, 1), (0, 2)), strict=True):
        triangles = faces[is_known[faces].all(1)]
        front = vertices[triangles].mean(1)[:, 3 - i - j] < 0 if name == "front" else slice(None)
        ax.triplot(vertices[:, i], vertices[:, j], triangles[front], color=GRAY, linewidth=0.4)
        ax.plot(aligned[is_known, i], aligned[is_known, j], ".", color=BLUE, markersize=4, label="reconstructed")
        if name == "above":
            centers = np.stack([-np.asarray(r).T @ np.asarray(t) for r, t in cameras])
            ax.plot(centers[:, 0], centers[:, 2], "^", color=VERMILION, label="true cameras")
        ax.set(title=name, aspect="equal")
        ax.invert_yaxis()
        ax.legend(frameon=False, fontsize=8)
    headline = Headline("median error, radii", error, "bumpy ball", tolerance=0.005)
    return StudyResult(numbers, verdict, {"reconstruction": figure}, holds, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"views": 3, "subdivisions": 1})

if __name__ == "__main__":
    main(experiment)
