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
