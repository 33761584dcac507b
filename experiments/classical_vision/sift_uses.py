"""SIFT recognizes an object, locates a camera, recovers structure from motion and follows points.

python -m experiments.classical_vision.sift_uses

Each use has a scene with a known answer, made of two photographs:

    recognition    a part of a photograph, turned, scaled and dimmed, among the objects; an image of neither is refused
    localization   strips of a photograph at three depths, seen by a second camera: its pose from a map of points
    structure      the same two images without the map: rotation, and translation up to its length
    tracking       a photograph that moves by (4, 2) pixels a frame: tracks through all frames, and flow between two

The claim is that all four answers are right: the object, each pose to 1°, the position to 5 % of the distance between
the cameras, the direction of motion to 10°, and the median track to half a pixel.

Reference: Lowe 2004, "Distinctive image features from scale-invariant keypoints", section 7.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.homography import apply_homography, warp_perspective
from dlcore.classical_vision.matching import match_descriptors
from dlcore.classical_vision.pose import ransac_pose
from dlcore.classical_vision.recognition import feature_flow, recognize, track_keypoints
from dlcore.classical_vision.sift import Keypoints, sift
from dlcore.classical_vision.two_view import structure_from_motion
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.ops.camera import intrinsic_matrix, rotation_from_vector, unproject
from dlcore.report.figure import GREEN, VERMILION, new_figure, show_image
from experiments.classical_vision.match import read_images, turn

MOTION = np.array([4.0, 2.0])
DEPTHS = (3.0, 5.0, 4.0)
LIMITS = {"localization: degrees": 1.0, "localization: distance": 0.05, "structure: degrees": 1.0}
LIMITS |= {"structure: degrees of the direction": 10.0, "tracking: px": 0.5, "flow: px": 0.5}


def layered_view(image: np.ndarray, intrinsics: np.ndarray, rotation: np.ndarray, translation: np.ndarray):
    """A second view [H, W, 1] of the columns of a gray image [H, W], thirds of it at DEPTHS from the first camera."""
    size, width = image.shape, image.shape[1]
    canvas, nearest = np.zeros((*size, 1), np.float32), np.full(size, np.inf)
    warp = jax.jit(lambda part, homography: warp_perspective(part, homography, size))
    for third, depth in enumerate(DEPTHS):
        first, last = third * width // 3, (third + 1) * width // 3
        plane = rotation + np.outer(translation, [0, 0, 1 / depth])
        shift = np.array([[1, 0, first], [0, 1, 0], [0, 0, 1]])
        homography = intrinsics @ plane @ np.linalg.inv(intrinsics) @ shift
        warped, mask = warp(jnp.asarray(image[:, first:last, None]), jnp.asarray(homography, float))
        is_front = np.asarray(mask) & (depth < nearest)
        canvas[is_front], nearest[is_front] = np.asarray(warped)[is_front], depth
    return canvas


def degrees_between(first: np.ndarray, second: np.ndarray) -> float:
    """Angle of the rotation between two rotations [3, 3]."""
    return float(np.rad2deg(np.arccos(np.clip((np.trace(np.asarray(first).T @ second) - 1) / 2, -1, 1))))


def judge(numbers: dict) -> tuple[str, bool]:
    """The verdict on the numbers of all four uses."""
    failed = [name for name, limit in LIMITS.items() if not numbers[name] <= limit]
    failed += [f"recognition: {name}" for name in ("object", "unknown") if not numbers[f"recognition: {name} is right"]]
    if not numbers["tracking: tracks"] >= 10:
        failed.append("tracking: tracks")
    if failed:
        return f"Not right: {', '.join(failed)}.", False
    return (
        f"The object is recognized and an unknown image refused; the camera is located to "
        f"{numbers['localization: distance']:.1%} of its motion and {numbers['localization: degrees']:.2f}°, its "
        f"motion without a map to {numbers['structure: degrees of the direction']:.1f}°; {numbers['tracking: tracks']} "
        f"points are followed to {numbers['tracking: px']:.2f} px."
    ), True


def study(
    *, height: PositiveInt = 200, count: PositiveInt = 400, frames: PositiveInt = 5, seed: Seed = 0
) -> StudyResult:
    """Use SIFT for recognition, localization, structure from motion and tracking.

    Args:
      count: keypoints of each image.
      frames: number of frames of the film.
    """
    china, flower = (read_images(name, height, 1)[0].mean(-1) for name in ("china", "flower"))
    width, key = min(china.shape[1], flower.shape[1]), jax.random.key(seed)
    china, flower = china[:, :width], flower[:, :width]
    detect = jax.jit(lambda image: sift(image, count))
    china_keypoints, other = detect(china), detect(flower)

    # Recognition: a turned and dimmed china among three objects; noise is none of them.
    mirrored = detect(np.ascontiguousarray(china[::-1]))
    objects = Keypoints(*(jnp.stack(parts) for parts in zip(other, china_keypoints, mirrored, strict=True)))
    scene, _ = turn(china[..., None], 15, 0.9, 0.7)
    noise = np.random.default_rng(seed).uniform(size=china.shape).astype(np.float32)
    search = jax.jit(lambda keypoints: recognize(key, objects, keypoints))
    recognized, unknown = search(detect(scene[..., 0])), search(detect(noise))
    numbers: dict = {
        "recognition: matches with each object": recognized.counts.tolist(),
        "recognition: object is right": int(recognized.index) == 1,
        "recognition: matches of an unknown image": unknown.counts.tolist(),
        "recognition: unknown is right": int(unknown.index) == -1,
    }

    # Localization: the map is the first view with its known depths.
    intrinsics = np.asarray(intrinsic_matrix(1.2 * width, 1.2 * width, (width - 1) / 2, (height - 1) / 2))
    rotation, translation = np.asarray(rotation_from_vector(jnp.array([0.01, -0.03, 0.02]))), np.array([0.3, 0.05, 0.1])
    second_image = layered_view(china, intrinsics, rotation, translation)[..., 0]
    second = detect(second_image)
    matches = match_descriptors(
        china_keypoints.descriptors, second.descriptors, first_mask=china_keypoints.mask, second_mask=second.mask
    )
    pixels = second.points[matches.index]
    third = np.clip(np.asarray(china_keypoints.points)[:, 0] * 3 // width, 0, 2).astype(int)
    world = unproject(china_keypoints.points, jnp.asarray(DEPTHS)[third], intrinsics)
    located = ransac_pose(key, world, pixels, intrinsics, 1.5, mask=matches.mask)
    center, estimated_center = (-np.asarray(r).T @ np.asarray(t) for r, t in ((rotation, translation), located.model))
    numbers["localization: degrees"] = degrees_between(rotation, np.asarray(located.model.rotation))
    numbers["localization: distance"] = float(np.linalg.norm(estimated_center - center) / np.linalg.norm(center))
    numbers["localization: inliers"] = int(located.num_inliers)

    # Structure from motion: the same matches without depths.
    structure = structure_from_motion(key, china_keypoints.points, pixels, intrinsics, 1.0, mask=matches.mask)
    numbers["structure: degrees"] = degrees_between(rotation, np.asarray(structure.rotation))
    cosine = np.asarray(structure.translation) @ translation / np.linalg.norm(translation)
    numbers["structure: degrees of the direction"] = float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))

    # Tracking: a window that moves over the photograph, so that points move against it.
    corner = (np.arange(frames)[::-1, None] * MOTION).astype(int)
    last = corner.max(0)
    film = np.stack([china[y : height - last[1] + y, x : width - last[0] + x] for x, y in corner])
    keypoints = jax.lax.map(lambda image: sift(image, count), film)
    tracks = track_keypoints(keypoints)
    tracked = np.asarray(tracks.mask).all(0)
    motion = np.asarray(tracks.points)[-1, tracked] - np.asarray(tracks.points)[0, tracked]
    error = np.linalg.norm(motion - (frames - 1) * MOTION, axis=1)
    flow, flow_mask = feature_flow(*(jax.tree.map(lambda x, t=t: x[t], keypoints) for t in (0, 1)))
    flow_error = np.linalg.norm(np.asarray(flow) - MOTION, axis=1)[np.asarray(flow_mask)]
    numbers["tracking: tracks"] = int(tracked.sum())
    numbers["tracking: px"] = float(np.median(error)) if tracked.any() else float("inf")
    numbers["flow: px"] = float(np.median(flow_error)) if len(flow_error) else float("inf")

    figure, axes = new_figure((9, 5.6), 2, 2)
    show_image(axes[0, 0], scene[..., 0], "recognition", cmap="gray", vmin=0, vmax=1)
    outline = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1], [0, 0]], np.float32)
    axes[0, 0].plot(*np.asarray(apply_homography(recognized.homographies[1], outline)).T, color=GREEN)
    axes[0, 0].set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    show_image(axes[0, 1], second_image, "localization: inliers of the pose", cmap="gray")
    rows, inliers = np.asarray(matches.mask), np.asarray(located.inliers)
    for selected, color in ((rows & ~inliers, VERMILION), (rows & inliers, GREEN)):
        axes[0, 1].plot(*np.asarray(pixels)[selected].T, ".", color=color, markersize=4)
    is_inlier = np.asarray(structure.mask)
    points = axes[1, 0].scatter(
        *np.asarray(structure.points)[is_inlier][:, [0, 2]].T,
        c=np.asarray(DEPTHS)[third][is_inlier],
        s=6,
        cmap="viridis",
    )
    figure.colorbar(points, ax=axes[1, 0], label="known depth")
    axes[1, 0].set(xlabel="x", ylabel="depth", title="structure from motion, from above")
    show_image(axes[1, 1], film[0], "tracks", cmap="gray")
    axes[1, 1].plot(*np.asarray(tracks.points)[:, tracked].transpose(2, 0, 1), color=GREEN, linewidth=1)
    verdict, holds = judge(numbers)
    headline = Headline(
        "position error, part of the motion", numbers["localization: distance"], "china", tolerance=0.05
    )
    return StudyResult(numbers, verdict, {"uses": figure}, holds, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"height": 120, "count": 150, "frames": 3})

if __name__ == "__main__":
    main(experiment)
