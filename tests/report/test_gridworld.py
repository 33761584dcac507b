"""Pictures of grids: walls are left out, and an arrow points where the policy goes."""

import numpy as np

from dlcore.report.figure import new_figure
from dlcore.report.gridworld import draw_grid


def test_arrows_point_where_the_policy_goes():
    values = np.array([[1.0, np.nan], [2.0, 4.0]])
    policy = np.zeros((2, 2, 4))
    policy[0, 0, 2] = 1.0  # down
    policy[0, 1] = np.nan
    policy[1, 0] = [0.5, 0.5, 0, 0]  # up or right
    policy[1, 1] = 0.25  # alike: no arrow
    _, ax = new_figure()
    draw_grid(ax, values, policy, "a grid")
    (arrows,), (image,) = ax.collections, ax.images
    # Rows grow downwards, so that up is negative; arrows are centered on their cells.
    middles = np.stack([arrows.X + arrows.U / 2, arrows.Y + arrows.V / 2], 1)
    np.testing.assert_allclose(middles, [[0, 0], [0, 1], [0, 1]], atol=1e-12)
    np.testing.assert_array_equal(np.sign(np.stack([arrows.U, arrows.V], 1)), [[0, 1], [0, -1], [1, 0]])
    np.testing.assert_array_equal(image.get_array().mask, [[False, True], [False, False]])
    assert image.get_clim() == (1, 4)
    draw_grid(new_figure()[1], values, limits=(0, 9))


def test_arrows_are_six_tenths_of_a_cell_long_for_actions_above_a_third():
    """In a row of three cells: left with 0.34 and right with 0.33, up with all, and none."""
    policy = np.array([[[0, 0.33, 0.33, 0.34], [1, 0, 0, 0], [0.25] * 4]])
    _, ax = new_figure()
    draw_grid(ax, np.array([[1.0, 2, 3]]), policy, "worlds", (0, 9))
    (arrows,) = ax.collections
    np.testing.assert_allclose(np.stack([arrows.X, arrows.Y, arrows.U, arrows.V], 1), [
        [0.3, 0, -0.6, 0], [1, 0.3, 0, -0.6],
    ], atol=1e-12)  # fmt: skip
    assert (ax.images[0].get_clim(), ax.get_title(), len(ax.get_xticks())) == ((0, 9), "worlds", 0)
    assert len(ax.figure.axes) == 2, "the grid and its color bar"
    assert not any(spine.get_visible() for spine in ax.spines.values())
