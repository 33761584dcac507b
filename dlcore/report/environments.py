"""Pictures of reinforcement learning's environments, drawn from their states.

Cart and pole, mountain car and acrobot are drawn as in their papers (Barto, Sutton & Anderson 1983; Moore 1990;
Sutton 1996), the pendulum as a rod; image observations (MinAtar) are shown with one color per channel.
"""

import math
from typing import Any

import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, ORANGE, PINK, SKY, VERMILION, YELLOW, rgb

__all__ = ["draw_environment"]

_SIZE = (560, 280)
_SUPERSAMPLING = 2
"""Factor of supersampling, for smooth edges."""
_PAPER, _INK = (250, 250, 250), (40, 44, 50)
_CHANNELS = tuple(rgb(color) for color in (SKY, ORANGE, GREEN, VERMILION, YELLOW, PINK, BLUE, GRAY))


def draw_environment(name: str, state: Any, observation: np.ndarray) -> np.ndarray | None:
    """Draw one state of an environment.

    Args:
      name: name of the environment in gymnax.
      state: gymnax state of one instance: x, theta for CartPole; position for both of MountainCar; joint_angle1,
        joint_angle2 for Acrobot; theta for Pendulum.
      observation: observation at this step.

    Returns:
      uint8 [H, W, 3]; None for an environment that cannot be drawn.
    """
    observation = np.asarray(observation)
    kind = name.partition("-")[0]
    if kind in _DRAWINGS:
        return _DRAWINGS[kind](state)
    if observation.ndim == 3:
        return _channels(observation)
    return None


def _canvas() -> tuple[Any, Any]:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (_SUPERSAMPLING * _SIZE[0], _SUPERSAMPLING * _SIZE[1]), _PAPER)
    return picture, ImageDraw.Draw(picture)


def _downsampled(picture: Any) -> np.ndarray:
    return np.asarray(picture.reduce(_SUPERSAMPLING))


def _cart_pole(state: Any) -> np.ndarray:
    """Draw cart and pole; the track spans |x| < 2.4, an upright pole has theta 0, positive theta leans right."""
    picture, draw = _canvas()
    middle, ground, length = picture.width / 2, 450, 320
    x, theta = middle + float(state.x) * middle / 2.6, float(state.theta)
    draw.line((0, ground + 40, picture.width, ground + 40), fill=_INK, width=4)
    draw.rectangle((x - 80, ground - 40, x + 80, ground + 38), fill=rgb(BLUE))
    tip = (x + length * math.sin(theta), ground - 40 - length * math.cos(theta))
    draw.line((x, ground - 40, *tip), fill=rgb(VERMILION), width=24)
    return _downsampled(picture)


def _mountain_car(state: Any) -> np.ndarray:
    """Draw the mountain car; the hill is sin 3 p for positions -1.2 to 0.6, the flag is at 0.5."""
    picture, draw = _canvas()

    def pixel_of(position):
        return (position + 1.2) / 1.8 * picture.width, 320 - 180 * math.sin(3 * position)

    draw.line([pixel_of(p) for p in np.linspace(-1.2, 0.6, 90)], fill=_INK, width=8)
    flag = pixel_of(0.5)
    draw.line((*flag, flag[0], flag[1] - 88), fill=rgb(GREEN), width=12)
    x, y = pixel_of(float(state.position))
    draw.ellipse((x - 28, y - 56, x + 28, y), fill=rgb(BLUE))
    return _downsampled(picture)


def _acrobot(state: Any) -> np.ndarray:
    """Draw the acrobot; both links have length 1 and hang at angle 0, the goal is the line at height 1."""
    picture, draw = _canvas()
    first, second = float(state.joint_angle1), float(state.joint_angle2)
    unit, x, y = 128, picture.width / 2, picture.height / 2
    elbow = (x + unit * math.sin(first), y + unit * math.cos(first))
    tip = (elbow[0] + unit * math.sin(first + second), elbow[1] + unit * math.cos(first + second))
    draw.line((0, y - unit, picture.width, y - unit), fill=rgb(GREEN), width=4)
    draw.line((x, y, *elbow), fill=rgb(BLUE), width=28)
    draw.line((*elbow, *tip), fill=rgb(VERMILION), width=28)
    return _downsampled(picture)


def _pendulum(state: Any) -> np.ndarray:
    """Draw the pendulum; it points up at angle 0 and turns counterclockwise, as in the reward."""
    picture, draw = _canvas()
    x, y, length, theta = picture.width / 2, picture.height / 2, 200, float(state.theta)
    draw.line((x, y, x - length * math.sin(theta), y - length * math.cos(theta)), fill=rgb(VERMILION), width=32)
    draw.ellipse((x - 20, y - 20, x + 20, y + 20), fill=_INK)
    return _downsampled(picture)


def _channels(observation: np.ndarray) -> np.ndarray:
    """Color a binary observation [H, W, C] by channel, later channels on top, enlarged to about 280 pixels."""
    picture = np.zeros((*observation.shape[:2], 3), np.uint8)
    for channel in range(observation.shape[-1]):
        picture[observation[..., channel] > 0] = _CHANNELS[channel % len(_CHANNELS)]
    scale = max(1, _SIZE[1] // len(picture))
    return picture.repeat(scale, 0).repeat(scale, 1)


_DRAWINGS = {
    "CartPole": _cart_pole,
    "MountainCar": _mountain_car,
    "MountainCarContinuous": _mountain_car,
    "Acrobot": _acrobot,
    "Pendulum": _pendulum,
}
