"""Bad geometry gets one clear line before any work: a kind of mistake, and every function that can be given it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classical_vision.alignment import fit_similarity
from dlcore.classical_vision.calibration import decompose_camera_matrix, fit_camera_matrix
from dlcore.classical_vision.corners import detect_corners
from dlcore.classical_vision.homography import (
    apply_homography,
    fit_homography,
    homography_from_four_points,
    warp_perspective,
)
from dlcore.classical_vision.matching import match_descriptors
from dlcore.classical_vision.pose import ransac_pose, solve_pose
from dlcore.classical_vision.ransac import fit_line, ransac_line
from dlcore.classical_vision.stereo import depth_to_disparity, disparity_to_depth, disparity_to_points
from dlcore.classical_vision.two_view import fit_essential, triangulate
from dlcore.data.rasterizer import rasterize, shade
from dlcore.losses import chamfer_loss, chamfer_normal_loss, edge_length_loss, normal_consistency_loss
from dlcore.metrics import chamfer_distance
from dlcore.ops import mesh
from dlcore.ops.camera import camera_matrix, distort, project, unproject
from dlcore.ops.point_sets import nearest_neighbors, stack_points
from dlcore.ops.surface_nets import surface_nets
from dlcore.vision3d.implicit_surface import extract_surface
from dlcore.vision3d.octree import octree_occupancy
from dlcore.vision3d.structure_from_motion import Bundle, reprojection_errors
from dlcore.vision3d.vertex_align import vertex_align
from dlcore.vision3d.voxnet import voxelize

EYE, KEY = np.eye(3), jax.random.key(0)
FLAT = np.diag([0.0, 100, 1])  # fx = 0
RNG = np.random.default_rng(0)
PIXELS, POINTS = RNG.uniform(0, 100, (9, 2)).astype(np.float32), RNG.normal(size=(9, 3)).astype(np.float32)
ON_A_LINE = np.stack([np.arange(9.0), 2 * np.arange(9.0)], 1).astype(np.float32)
ON_A_LINE_3D = np.stack([np.arange(9.0), 2 * np.arange(9.0), np.ones(9)], 1).astype(np.float32)
NAN_PIXELS, NAN_POINTS = PIXELS.copy(), POINTS.copy()
NAN_PIXELS[2, 1] = NAN_POINTS[2, 1] = np.nan
VERTICES, FACES = mesh.icosphere(0)
OPEN, OUT_OF_RANGE, NEGATIVE = FACES[1:], FACES.copy(), FACES.copy()
OUT_OF_RANGE[4, 1], NEGATIVE[4, 1] = 12, -1
BUNDLE = Bundle(np.tile(EYE, (2, 1, 1)), np.zeros((2, 3)), POINTS, np.ones((2, 9), bool))
TRACKS = np.stack([PIXELS, PIXELS])
MASK = np.arange(9) != 2

CASES = {
    "singular intrinsics": (
        r"^intrinsics=\[\[0.0, 0.0, 0.0\], .*: singular or not a matrix K; allowed: \[\[fx, skew, cx\]",
        {
            "camera_matrix": lambda: camera_matrix(FLAT, EYE, np.zeros(3)),
            "project": lambda: project(POINTS, FLAT),
            "solve_pose": lambda: solve_pose(POINTS, PIXELS, FLAT),
            "reprojection_errors": lambda: reprojection_errors(BUNDLE, TRACKS, FLAT),
            "vertex_align": lambda: vertex_align([jnp.zeros((1, 4, 4, 2))], POINTS[None], FLAT, (8, 8)),
        },
    ),
    "singular matrices": (
        r"singular; allowed: ",
        {
            "warp_perspective": lambda: warp_perspective(np.zeros((4, 4, 1)), np.diag([1.0, 0, 1]), (4, 4)),
            "decompose_camera_matrix": lambda: decompose_camera_matrix(np.eye(3, 4) * [1, 0, 1, 1]),
        },
    ),
    "too few points": (
        r"allowed: .*(N at least|at least \d|N, D\]|\[4, 2\])",
        {
            "homography_from_four_points": lambda: homography_from_four_points(PIXELS[:3], PIXELS[:3]),
            "fit_homography": lambda: fit_homography(PIXELS[:3], PIXELS[:3]),
            "fit_line": lambda: fit_line(PIXELS[:1]),
            "fit_camera_matrix": lambda: fit_camera_matrix(POINTS[:5], PIXELS[:5]),
            "solve_pose": lambda: solve_pose(POINTS[:5], PIXELS[:5], EYE),
            "fit_essential": lambda: fit_essential(PIXELS[:7], PIXELS[:7]),
        },
    ),
    "collinear points": (
        r"three on a line; allowed|on one line; allowed|on one plane; allowed|in one place; allowed",
        {
            "homography_from_four_points": lambda: homography_from_four_points(ON_A_LINE[:4], PIXELS[:4]),
            "fit_essential": lambda: fit_essential(PIXELS, ON_A_LINE),
            "fit_similarity": lambda: fit_similarity(ON_A_LINE_3D, POINTS),
            "fit_similarity, one place": lambda: fit_similarity(np.ones((3, 2)), PIXELS[:3]),
            "fit_camera_matrix": lambda: fit_camera_matrix(ON_A_LINE_3D, PIXELS),
            "fit_line, one place": lambda: fit_line(np.ones((4, 2))),
        },
    ),
    "a depth of 0": (
        r"(depth of 0|not positive( and finite)?|not in front of the cameras|no depth); allowed: ",
        {
            "project": lambda: project(POINTS * (1, 1, 0), EYE),
            "depth_to_disparity": lambda: depth_to_disparity(0.0, 100, 0.2),
            "disparity_to_depth, one": lambda: disparity_to_depth(np.array([1.0, -1.0]), 100, 0.2, np.ones(2, bool)),
            "disparity_to_points": lambda: disparity_to_points(np.zeros((2, 2)), EYE, 0.1),
            "vertex_align": lambda: vertex_align([jnp.zeros((1, 4, 4, 2))], jnp.zeros((1, 5, 3)), EYE, (8, 8)),
        },
    ),
    "an open mesh": (
        r"no closed mesh, edge .* has one face; allowed: closed meshes|the mesh would be open; allowed: ",
        {
            "check_mesh": lambda: mesh.check_mesh(VERTICES, OPEN, closed=True),
            "surface_nets": lambda: surface_nets(np.ones((3, 3, 3))),
            "extract_surface": lambda: extract_surface(lambda x: np.ones(len(x)), 4),
        },
    ),
    "clouds of different length": (
        r"(sets of 8 to 9 points; allowed: one length|8 pixels of 9 pairs; allowed|"
        r"lengths \[9, 8\]; allowed)",
        {
            "stack_points": lambda: stack_points([POINTS, POINTS[:8]]),
            "chamfer_loss": lambda: chamfer_loss([POINTS, POINTS[:8]], np.stack([POINTS, POINTS])),
            "chamfer_normal_loss": lambda: chamfer_normal_loss([POINTS, POINTS[:8]], POINTS, POINTS, POINTS),
            "ransac_pose": lambda: ransac_pose(KEY, POINTS, PIXELS[:8], EYE),
        },
    ),
    "an index out of range": (
        r"(faces\[4, 1\]=(12|-1)|edges\[0, 0\]=12|pairs\[0, 1\]=20): out of range; allowed: 0 to (11|19)|"
        r"index -1 is negative",
        {
            **{
                f"{name}, {kind}": lambda call=call, faces=faces: call(VERTICES, faces)
                for name, call in {
                    "check_mesh": mesh.check_mesh,
                    "sample_mesh": lambda v, f: mesh.sample_mesh(KEY, v, f, 4),
                    "shade": shade,
                    "rasterize": lambda v, f: rasterize(v[:, :2], v[:, 2], f, 4, 4),
                    "normal_consistency_loss": lambda v, f: normal_consistency_loss(v, f, mesh.adjacent_faces(FACES)),
                }.items()
                for kind, faces in {"too large": OUT_OF_RANGE, "negative": NEGATIVE}.items()
            },
            "mesh_edges": lambda: mesh.mesh_edges(NEGATIVE),
            "edge_length_loss": lambda: edge_length_loss(VERTICES, np.array([[12, 0]])),
            "normal_consistency_loss": lambda: normal_consistency_loss(VERTICES, FACES, np.array([[0, 20]])),
        },
    ),
    "NaN": (
        r"\[?2?,? ?1?\]?=nan: not finite; allowed: |not finite; allowed: numbers",
        {
            "project": lambda: project(NAN_POINTS, EYE),
            "distort": lambda: distort(NAN_PIXELS, np.zeros(4)),
            "apply_homography": lambda: apply_homography(EYE, NAN_PIXELS),
            "ransac_line, masked": lambda: ransac_line(KEY, NAN_PIXELS, 1.0, mask=np.ones(9, bool)),
            "fit_similarity": lambda: fit_similarity(POINTS, NAN_POINTS),
            "fit_essential": lambda: fit_essential(NAN_PIXELS, PIXELS),
            "triangulate": lambda: triangulate(np.stack([np.eye(3, 4), np.full((3, 4), np.nan)]), TRACKS),
            "fit_camera_matrix": lambda: fit_camera_matrix(NAN_POINTS, PIXELS),
            "match_descriptors": lambda: match_descriptors(jnp.asarray(NAN_POINTS), jnp.asarray(POINTS)),
            "detect_corners": lambda: detect_corners(jnp.full((8, 8), jnp.nan), 4),
            "chamfer_loss": lambda: chamfer_loss(POINTS, NAN_POINTS),
            "chamfer_distance": lambda: chamfer_distance(NAN_POINTS, POINTS),
            "nearest_neighbors": lambda: nearest_neighbors(POINTS, NAN_POINTS),
            "voxelize": lambda: voxelize(NAN_POINTS[None], 4),
            "check_mesh": lambda: mesh.check_mesh(np.full((12, 3), np.nan), FACES),
            "octree_occupancy": lambda: octree_occupancy(np.array([-1]), NAN_POINTS),
        },
    ),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, calls) in CASES.items() for name in calls])
def test_bad_geometry_is_one_clear_line(kind, name):
    line, calls = CASES[kind]
    with pytest.raises(ValueError, match=line) as error:
        calls[name]()
    assert "\n" not in str(error.value)


def test_masked_values_may_be_nan_or_zero():
    assert float(chamfer_distance(NAN_POINTS, NAN_POINTS, p_mask=MASK, q_mask=MASK)) == 0
    depth = disparity_to_depth(np.array([2.0, 0, np.nan]), 100, 0.2, np.array([True, False, False]))
    np.testing.assert_allclose(depth, [10, np.inf, np.inf])  # 100 0.2 / 2
    points = disparity_to_points(np.array([[2.0, 0]]), np.diag([100.0, 100, 1]), 0.2, np.array([[True, False]]))
    np.testing.assert_allclose(points[0, 0], [0, 0, 10])


def test_traced_values_pass():
    jitted = jax.jit(lambda d, p, k: (disparity_to_depth(d, 100, 0.2), unproject(p, d, k), fit_line(p)))
    depth, _, line = jitted(np.zeros(9, np.float32), np.ones((9, 2), np.float32), EYE.astype(np.float32))
    assert np.isinf(depth).all()
    assert np.isnan(line).all()
