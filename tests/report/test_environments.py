"""Environments are drawn where their states say."""

import types

import chex
import numpy as np
import pytest

from dlcore.report.environments import draw_environment
from dlcore.report.figure import BLUE, ORANGE, VERMILION, rgb


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
