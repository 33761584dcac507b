"""Synthetic clips of a colored shape that moves over a textured background, with labels, captions and optical flow.

    caption             "the red circle moves left"
    action label        the direction of the motion
    appearance label    the color and the shape

The frame wraps around (a torus): what leaves it on one side enters on the other. So the shape is equally likely
anywhere in a single frame, and one frame does not tell the direction. On a straight path, frames in random order still
show the axis of the motion. On a hopping path they do not: along its direction the shape moves one step per frame, and
across it visits as many positions, one step apart, in random order. A moving camera shifts the whole frame; directions
are relative to the background.
"""

from typing import Any, Literal

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.scenes import SHAPES
from dlcore.data.shape_grid import COLORS, paint
from dlcore.data.source import Source, whole_numbers
from dlcore.data.words import Words, pad_sequences
from dlcore.ops.checks import check_shapes

__all__ = ["DIRECTIONS", "Path", "clip_sentences", "clip_words", "clips"]

DIRECTIONS = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "up left": (-1, -1),
    "up right": (1, -1),
    "down left": (-1, 1),
    "down right": (1, 1),
}
"""Direction -> (x, y), y downward; the first four are the action labels where there are four directions."""

Path = Literal["straight", "hopping"]


@whole_numbers
def clip_sentences(directions: int = 4) -> list[str]:
    """List the captions of all combinations of appearance and action.

    Args:
      directions: number of directions, 4 or 8.

    Returns:
      The captions; a clip has the one at index appearance * directions + action.
    """
    check_choice("directions", directions, (4, 8))
    ways = list(DIRECTIONS)[:directions]
    return [f"the {color} {shape} moves {way}" for color in COLORS for shape in SHAPES for way in ways]


def clip_words() -> Words:
    """Build the vocabulary of the captions.

    Returns:
      The vocabulary, the same for every seed.
    """
    return Words(tuple(sorted({word for sentence in clip_sentences() for word in sentence.split()})))


@whole_numbers
def clips(
    count: int,
    seed: int = 0,
    *,
    frames: int = 8,
    size: int = 32,
    path: Path = "straight",
    directions: int = 4,
    camera: bool = False,
    flow: bool = False,
    shuffled: bool = False,
    distinct: bool = False,
) -> Source:
    """Draw clips of a moving shape.

    The arrays are `clip: [N, F, size, size, 3] uint8`, `action: [N] int32` (index of DIRECTIONS),
    `appearance: [N] int32` (color * 5 + shape), `captions: [N, 1, T] int32` (START w1 .. wn END in the tokens of
    `clip_words()`), and with `flow` also the optical flow `flow: [N, F - 1, size, size, 2] float32`: the displacement
    (x, y) in pixels, from a frame to the next, of what each pixel shows.

    Args:
      count: N, number of clips.
      seed: random seed; clip i depends on (seed, i) and not on `count`.
      frames: F, number of frames of a clip, at least 2.
      size: side of a frame in pixels, at least 16.
      path: "straight", or "hopping", whose axis cannot be told from shuffled frames.
      directions: number of directions, 4, or 8 with the diagonals.
      camera: whether the camera moves, by up to 2 pixels a frame along each axis.
      flow: whether to add the optical flow.
      shuffled: whether the frames of each clip are in random order.
      distinct: whether all clips have different captions.

    Returns:
      The source.
    """
    sentences = clip_sentences(directions)
    check_choice("path", path, Path)
    check_shapes(frames=(frames, ">= 2"), size=(size, ">= 16"))
    if path == "hopping" and directions != 4:
        raise ValueError(f"directions={directions}: a hopping path has no diagonals; allowed: 4")
    if shuffled and flow:
        raise ValueError("flow=True: frames in random order have no flow; allowed: False where shuffled")
    if distinct and count > len(sentences):
        raise ValueError(f"count={count}: more than the {len(sentences)} sentences; allowed: at most {len(sentences)}")
    clip = np.zeros((count, frames, size, size, 3), np.uint8)
    motion = np.zeros((count, frames - 1, size, size, 2), np.float32) if flow else None
    kind = np.zeros(count, np.int32)
    order = np.random.default_rng((seed, 2**32)).permutation(len(sentences))
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        sentence_id = rng.integers(len(sentences))
        kind[i] = order[i] if distinct else sentence_id
        appearance, action = divmod(int(kind[i]), directions)
        velocity = _velocity(rng, list(DIRECTIONS.values())[action], frames, path)
        pan = rng.integers(-2, 3, 2) if camera else np.zeros(2, int)
        for f, (picture, inside) in enumerate(_pictures(rng, appearance, velocity, pan, size)):
            clip[i, f] = picture
            if motion is not None and f < frames - 1:
                motion[i, f] = np.where(inside[..., None], velocity[f] + pan, pan)
        if shuffled:
            clip[i] = clip[i][rng.permutation(frames)]
    words = clip_words()
    tokens = pad_sequences([words.encode(sentences[k]) for k in kind])[:, None]
    arrays: dict[str, Any] = {
        "clip": clip,
        "action": kind % directions,
        "appearance": kind // directions,
        "captions": tokens,
    }
    if motion is not None:
        arrays["flow"] = motion
    return Source(arrays, count, name=f"clips of {path} paths{', frames shuffled' if shuffled else ''}")


def _velocity(rng: np.random.Generator, direction: tuple[int, int], frames: int, path: str) -> np.ndarray:
    """Return the moves (x, y) of the shape over the background from frame to frame, in pixels: [F - 1, 2]."""
    step = rng.uniform(1.5, 3.0)
    velocity = np.tile(step * np.array(direction, float), (frames - 1, 1))
    if path == "hopping":
        velocity[:, 0 if direction[0] == 0 else 1] = step * np.diff(rng.permutation(frames))
    return velocity


def _pictures(rng: np.random.Generator, appearance: int, velocity: np.ndarray, pan: np.ndarray, size: int):
    """Yield each frame, and the mask of the pixels that show the shape."""
    color, shape = divmod(appearance, len(SHAPES))
    shade = np.add(list(COLORS.values())[color], rng.uniform(-15, 15, 3))
    radius = size / 32 * rng.uniform(4.5, 6.0)
    ground = _ground(rng, size)
    positions = rng.uniform(0, size, 2) + np.cumsum(np.concatenate([np.zeros((1, 2)), velocity + pan]), 0)
    for f, center in enumerate(positions):
        canvas = np.roll(ground, f * pan[::-1], (0, 1))
        inside = paint(canvas, SHAPES[shape], shade, tuple(center % size), radius, wrap=True)
        yield (canvas + rng.normal(0, 4, canvas.shape)).clip(0, 255).astype(np.uint8), inside


def _ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a gray texture that wraps around: [size, size, 3]."""
    blocks = rng.normal(0, 14, (8, 8))
    tiles = blocks[np.ix_(*[np.arange(size) * 8 // size] * 2)]
    return np.repeat((rng.uniform(90, 150) + tiles)[..., None], 3, -1)
