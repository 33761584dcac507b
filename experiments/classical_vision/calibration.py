"""Zhang's calibration finds the focal length within 1 %, with the expected error of the pixels.

python -m experiments.classical_vision.calibration
    views of a board of 9 x 7 points with half a pixel of noise, by a camera with a wide lens
python -m experiments.classical_vision.calibration --input=FOLDER --columns=9 --rows=6
    photographs of a checkerboard with 9 x 6 inner corners, found by OpenCV (extra `input`)
python -m experiments.classical_vision.calibration --input=BOARD.npz
    `points` [N, 2] on the board and `pixels` [V, N, 2] of the same points in each image, from any detector

Without `--input` the camera is known. The claim is that the focal length is within 1 %, and the remaining RMS of a
coordinate within 5 % of σ √(1 - p / 2VN), p the number of parameters.

Reference: Zhang 2000, "A flexible new technique for camera calibration".
"""

from pathlib import Path

import numpy as np

from dlcore.classical_vision.calibration import calibrate_plane
from dlcore.data.decoding import load_image
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.extras import require
from dlcore.main import main
from dlcore.models.weight_files import read_npz
from dlcore.report.figure import PALETTE, new_figure

INTRINSICS = np.array([[820.0, 0, 330], [0, 800, 240], [0, 0, 1]])
LENS = np.array([-0.25, 0.08, 0.001, -0.0015])


def board_views(views: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(points [63, 2] of a board, in squares; pixels [views, 63, 2] of a known camera, with noise)."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    points = np.stack(np.meshgrid(np.arange(9.0) - 4, np.arange(7.0) - 3), -1).reshape(-1, 2)
    solid = np.concatenate([points, np.zeros((len(points), 1))], 1)
    rotations = Rotation.from_rotvec(rng.uniform(-0.6, 0.6, (views, 3))).as_matrix()
    camera = solid @ rotations.transpose(0, 2, 1) + rng.uniform([-1, -1, 10], [1, 1, 14], (views, 3))[:, None]
    x, y = camera[..., 0] / camera[..., 2], camera[..., 1] / camera[..., 2]
    (k1, k2, p1, p2), r2 = LENS, x**2 + y**2
    radial = 1 + k1 * r2 + k2 * r2**2
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
    v = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    pixels = np.stack([u, v], -1) * np.diag(INTRINSICS)[:2] + INTRINSICS[:2, 2]
    return points, pixels + noise * rng.normal(size=pixels.shape)


def read_board(path: str, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """`points` and `pixels` of a file, or of the photographs of a checkerboard in a folder."""
    if Path(path).is_dir():
        return find_checkerboards(Path(path), columns, rows)
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"input={path}: no such file; allowed: a folder of photographs, or an .npz of points [N, 2] and pixels "
            "[V, N, 2]"
        )
    content = read_npz(Path(path))
    if missing := {"points", "pixels"} - set(content):
        raise ValueError(f"input={path}: lacks {', '.join(sorted(missing))}; allowed: an .npz of points and pixels")
    return content["points"], content["pixels"]


def find_checkerboards(folder: Path, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(points [N, 2], in squares; pixels [V, N, 2]) of the photographs that show the board; N is columns * rows."""
    if min(columns, rows) < 3:
        raise ValueError(f"columns={columns}, rows={rows}: too few inner corners; allowed: at least 3 of both")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in {".jpg", ".jpeg", ".png", ".bmp"})
    if len(files) < 2:
        raise ValueError(f"input={folder}: {len(files)} photographs; allowed: at least 2 (.jpg, .png, .bmp)")
    require("cv2", what="--input=FOLDER")
    import cv2

    pixels, sizes = [], set()
    for file in files:
        gray = load_image(str(file)).mean(-1).astype(np.uint8)
        sizes.add(gray.shape)
        is_found, corners = cv2.findChessboardCorners(gray, (columns, rows))
        if is_found:
            criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-3)
            pixels.append(cv2.cornerSubPix(gray, corners, (5, 5), (-1, -1), criteria).reshape(-1, 2))
    if len(sizes) > 1:
        raise ValueError(f"input={folder}: photographs of {len(sizes)} sizes; allowed: one camera, one size")
    if len(pixels) < 2:
        raise ValueError(
            f"input={folder}: {len(pixels)} of {len(files)} photographs show {columns} x {rows} inner corners; "
            "allowed: at least 2"
        )
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
    return grid.astype(np.float64), np.stack(pixels).astype(np.float64)


def study(
    *,
    input: str | None = None,
    columns: PositiveInt = 9,
    rows: PositiveInt = 6,
    views: PositiveInt = 12,
    noise: float = 0.5,
    seed: Seed = 0,
) -> StudyResult:
    """Calibrate a camera from images of a board.

    Args:
      input: folder of photographs of a checkerboard, or an .npz of points [N, 2] and pixels [V, N, 2]; None for a
        known camera.
      columns: inner corners of the checkerboard along a row.
      rows: inner corners of the checkerboard along a column.
      views: images without input.
      noise: deviation of the pixels without input.
    """
    points, pixels = board_views(views, noise, seed) if input is None else read_board(input, columns, rows)
    camera = calibrate_plane(points, pixels, num_distortion=4)
    (fx, _, cx), (_, fy, cy) = camera.intrinsics[:2]
    numbers = {
        "fx": fx,
        "fy": fy,
        "cx": cx,
        "cy": cy,
        "distortion": camera.distortion[:4].tolist(),
        "RMS, px": camera.rms,
    }
    verdict, holds, headline = f"Focal length {fx:.1f} and {fy:.1f} pixels; RMS {camera.rms:.3f} pixels.", None, None
    if input is None:
        error = max(abs(fx / INTRINSICS[0, 0] - 1), abs(fy / INTRINSICS[1, 1] - 1))
        expected = noise * np.sqrt(1 - camera.num_parameters / pixels.size)
        holds = bool(error <= 0.01 and abs(camera.rms - expected) <= 0.05 * expected)
        numbers |= {"error of the focal length": error, "expected RMS, px": expected}
        verdict = f"The focal length is off by {error:.2%}; RMS {camera.rms:.3f} pixels, expected {expected:.3f}."
        headline = Headline("error of the focal length", error, "board", tolerance=0.1)
    figure, (left, right) = new_figure((9, 3.6), 1, 2)
    for index, (view, errors) in enumerate(zip(pixels, camera.errors, strict=True)):
        color = PALETTE[index % len(PALETTE)]
        left.plot(*view.T, ".", color=color, markersize=3)
        right.plot(*errors.T, ".", color=color, markersize=3)
    left.plot(cx, cy, "+", color="black", markersize=12)
    left.set(title="points and principal point", aspect="equal")
    left.invert_yaxis()
    right.set(title="errors, px", aspect="equal")
    return StudyResult(numbers, verdict, {"calibration": figure}, holds, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"views": 4})

if __name__ == "__main__":
    main(experiment)
