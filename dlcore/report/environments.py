"""Pictures of reinforcement learning's environments, drawn from their states.

Cart and pole, mountain car and acrobot are drawn as in their papers (Barto, Sutton & Anderson 1983; Moore 1990;
Sutton 1996); an observation that is an image (MinAtar's) is shown itself, a color a channel.
"""

import math
from typing import Any

import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, ORANGE, PINK, SKY, VERMILION, YELLOW, rgb

__all__ = ["draw_environment"]

_SIZE = (280, 140)
_PAPER, _INK = (250, 250, 250), (40, 44, 50)
_CHANNELS = tuple(rgb(color) for color in (SKY, ORANGE, GREEN, VERMILION, YELLOW, PINK, BLUE, GRAY))


def draw_environment(name: str, state: Any, observation: np.ndarray) -> np.ndarray | None:
    """Draw one moment of an environment.

    Args:
      name: as gymnax lists it.
      state: of gymnax, of one instance: x, theta for CartPole; position for MountainCar; joint_angle1, joint_angle2 for
        Acrobot.
      observation: of this moment.

    Returns:
      uint8 [H, W, 3]; None for an environment that cannot be drawn.
    """
    observation = np.asarray(observation)
    kind = name.partition("-")[0]
    if kind in _DRAWN:
        return _DRAWN[kind](state)
    if observation.ndim == 3:
        return _channels(observation)
    return None


def _canvas() -> tuple[Any, Any]:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", _SIZE, _PAPER)
    return picture, ImageDraw.Draw(picture)


def _cart_pole(state: Any) -> np.ndarray:
    """The track is as wide as the episode lasts, |x| < 2.4; an upright pole has theta 0 and falls to the right."""
    picture, draw = _canvas()
    ground, reach, length = 112, _SIZE[0] / 2 / 2.6, 78
    x, theta = _SIZE[0] / 2 + float(state.x) * reach, float(state.theta)
    draw.line((0, ground + 10, _SIZE[0], ground + 10), fill=_INK)
    draw.rectangle((x - 20, ground - 10, x + 20, ground + 9), fill=rgb(BLUE))
    tip = (x + length * math.sin(theta), ground - 10 - length * math.cos(theta))
    draw.line((x, ground - 10, *tip), fill=rgb(VERMILION), width=6)
    return np.asarray(picture)


def _mountain_car(state: Any) -> np.ndarray:
    """The hill is sin 3 p for positions -1.2 to 0.6; the flag stands at 0.5."""
    picture, draw = _canvas()

    def at(position):
        return (position + 1.2) / 1.8 * _SIZE[0], 80 - 45 * math.sin(3 * position)

    draw.line([at(p) for p in np.linspace(-1.2, 0.6, 90)], fill=_INK, width=2)
    flag = at(0.5)
    draw.line((*flag, flag[0], flag[1] - 22), fill=rgb(GREEN), width=3)
    x, y = at(float(state.position))
    draw.ellipse((x - 7, y - 14, x + 7, y), fill=rgb(BLUE))
    return np.asarray(picture)


def _acrobot(state: Any) -> np.ndarray:
    """Both links have length 1 and hang at angle 0; the tip has to rise above the line at height 1."""
    picture, draw = _canvas()
    first, second = float(state.joint_angle1), float(state.joint_angle2)
    unit, x, y = 32, _SIZE[0] / 2, _SIZE[1] / 2
    elbow = (x + unit * math.sin(first), y + unit * math.cos(first))
    tip = (elbow[0] + unit * math.sin(first + second), elbow[1] + unit * math.cos(first + second))
    draw.line((0, y - unit, _SIZE[0], y - unit), fill=rgb(GREEN))
    draw.line((x, y, *elbow), fill=rgb(BLUE), width=7)
    draw.line((*elbow, *tip), fill=rgb(VERMILION), width=7)
    return np.asarray(picture)


def _channels(observation: np.ndarray) -> np.ndarray:
    """[H, W, C] of zeros and ones as colors, a later channel on top, enlarged to about 140 pixels."""
    picture = np.zeros((*observation.shape[:2], 3), np.uint8)
    for channel in range(observation.shape[-1]):
        picture[observation[..., channel] > 0] = _CHANNELS[channel % len(_CHANNELS)]
    scale = max(1, _SIZE[1] // len(picture))
    return picture.repeat(scale, 0).repeat(scale, 1)


_DRAWN = {"CartPole": _cart_pole, "MountainCar": _mountain_car, "Acrobot": _acrobot}
