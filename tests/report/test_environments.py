"""Environments are drawn where their states say."""

import types

import chex
import numpy as np
import pytest

from dlcore.report.environments import draw_environment
from dlcore.report.figure import BLUE, GREEN, ORANGE, SKY, VERMILION, rgb


def columns(picture, color):
    """Mean column and row of a color's pixels."""
    rows, columns = np.nonzero((picture == rgb(color)).all(-1))
    return columns.mean(), rows.mean()


@pytest.mark.parametrize(("x", "theta"), [(0.0, 0.0), (-1.2, 0.3), (1.2, -0.3)])
def test_cart_and_pole(x, theta):
    picture = draw_environment("CartPole-v1", types.SimpleNamespace(x=x, theta=theta), np.zeros(4))
    cart, pole = columns(picture, BLUE)[0], columns(picture, VERMILION)[0]
    assert cart == pytest.approx(280 + x * 280 / 2.6, abs=5)
    assert np.sign(round((pole - cart) / 8)) == np.sign(theta)  # it leans to the side of its angle


def test_the_car_stands_on_its_hill():
    low, high = (
        columns(draw_environment("MountainCar-v0", types.SimpleNamespace(position=p), np.zeros(2)), BLUE)
        for p in (-np.pi / 6, 0.5)
    )
    assert low[0] < high[0]
    assert low[1] > high[1]  # the valley is at -pi / 6, and rows count downward


def test_the_acrobot_hangs_at_angle_zero():
    state = types.SimpleNamespace(joint_angle1=0.0, joint_angle2=0.0)
    picture = draw_environment("Acrobot-v1", state, np.zeros(6))
    (x, first), (x2, second) = columns(picture, BLUE), columns(picture, VERMILION)
    assert (x, x2) == pytest.approx((280, 280), abs=3)
    assert second > first > 140


def test_the_pendulum_stands_at_angle_zero_and_turns_to_the_left():
    (x, up), (left, middle) = (
        columns(draw_environment("Pendulum-v1", types.SimpleNamespace(theta=angle), np.zeros(3)), VERMILION)
        for angle in (0.0, np.pi / 2)
    )
    assert (x, up < 100, left < 250) == (pytest.approx(280, abs=3), True, True)
    assert middle == pytest.approx(140, abs=6)


def test_image_observations_are_shown_and_others_are_not():
    board = np.zeros((10, 10, 4))
    board[2, 3, 1] = 1
    picture = draw_environment("Breakout-MinAtar", None, board)
    chex.assert_shape(picture, (280, 280, 3))
    assert tuple(picture[2 * 28, 3 * 28]) == rgb(ORANGE)
    assert (picture > 0).any(-1).sum() == 28 * 28
    assert draw_environment("Catch-bsuite", None, np.zeros(3)) is None


INK = (40, 44, 50)


def box(picture, color):
    """Return the first and the last column, and the first and the last row, of the pixels of a color."""
    rows, columns = np.nonzero((picture == (color if isinstance(color, tuple) else rgb(color))).all(-1))
    return columns.min(), columns.max(), rows.min(), rows.max()


def drawn(name, size=4, **state):
    return draw_environment(name, types.SimpleNamespace(**state), np.zeros(size))


def near(*numbers):
    return pytest.approx(numbers, abs=2.5)


def test_the_cart_is_40_pixels_high_and_its_pole_160_long():
    """A picture of 560 x 280 pixels spans 5.2 units, so that 1.3 units are 140; at 90 degrees the pole is level."""
    picture = drawn("CartPole-v1", x=0.0, theta=0.0)
    chex.assert_shape(picture, (280, 560, 3))
    assert box(picture, BLUE) == near(240, 320, 205, 244)
    assert box(picture, VERMILION) == near(274, 286, 45, 205)
    assert tuple(picture[245, 3]) == INK
    assert tuple(picture[3, 3]) == (250, 250, 250)
    picture = drawn("CartPole-v1", x=1.3, theta=np.pi / 2)
    assert box(picture, BLUE)[:2] == near(380, 460)
    assert box(picture, VERMILION) == near(420, 560, 199, 211)


@pytest.mark.parametrize("name", ["MountainCar-v0", "MountainCarContinuous-v0"])
def test_the_car_stands_on_the_curve_and_the_flag_near_its_end(name):
    """The 560 pixels span 1.8 units: the flag is at 1.7, pixel 529, and the valley at 0.676, pixel 210."""
    picture = drawn(name, position=-np.pi / 6)
    assert box(picture, BLUE) == near(196, 224, 222, 250)
    assert box(picture, GREEN) == near(526, 532, 26, 70)
    assert box(picture, INK) == near(0, 559, 68, 252)
    assert box(drawn(name, position=0.5), BLUE) == near(515, 543, 42, 70)


def test_the_links_of_the_acrobot_are_64_pixels_long_and_its_goal_is_one_link_above():
    """Both links hang, then both are level to the right, then the first is level and the second hangs."""
    picture = drawn("Acrobot-v1", joint_angle1=0.0, joint_angle2=0.0)
    assert box(picture, BLUE)[:3] == near(273, 287, 140)
    assert box(picture, VERMILION) == near(273, 287, 204, 268)
    assert box(picture, GREEN) == near(0, 559, 75, 77)
    picture = drawn("Acrobot-v1", joint_angle1=np.pi / 2, joint_angle2=0.0)
    assert box(picture, VERMILION) == near(344, 408, 133, 147)
    picture = drawn("Acrobot-v1", joint_angle1=np.pi / 2, joint_angle2=-np.pi / 2)
    assert box(picture, VERMILION) == near(337, 351, 140, 204)
    assert box(picture, BLUE)[0] == pytest.approx(280, abs=1.5)


def test_the_pendulum_is_100_pixels_long_and_turns_about_its_hub():
    picture = drawn("Pendulum-v1", 3, theta=0.0)
    assert box(picture, VERMILION)[:3] == near(272, 288, 40)
    assert box(picture, INK) == near(270, 290, 130, 150)
    assert box(drawn("Pendulum-v1", 3, theta=np.pi / 2), VERMILION)[0] == pytest.approx(180, abs=1.5)


def test_later_channels_lie_on_top_and_the_ninth_has_the_color_of_the_first():
    board = np.zeros((2, 3, 9))
    board[0, 0, :2] = 1
    board[1, 2, 8] = 1
    picture = draw_environment("Any-MinAtar", None, board)
    chex.assert_shape(picture, (280, 420, 3))  # 140 pixels a cell
    assert tuple(picture[139, 139]) == rgb(ORANGE)
    assert tuple(picture[140, 280]) == rgb(SKY)
    assert not picture[139, 140].any()
    chex.assert_shape(draw_environment("Large-MinAtar", None, np.zeros((300, 2, 1))), (300, 2, 3))
