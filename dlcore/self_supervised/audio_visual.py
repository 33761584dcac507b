"""Audio-visual correspondence: show a clip with its sound or with a displaced one, and have a network tell which.

Arandjelovic & Zisserman 2017, arXiv:1705.08168; Owens & Efros 2018, arXiv:1804.03641 (displaced in time).

    logits = W mean_t v(frame t) * a(sound t)

The displaced sound is the clip's own, shifted in time: its end comes first. Neither frames nor sound alone tell.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess, to_float
from dlcore.learner import Learner, Range, check_arguments
from dlcore.nn import Dense
from dlcore.ops import adaptive_avg_pool
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.self_supervised.networks import pool_features
from dlcore.self_supervised.pretext import Task, pretext_learner

__all__ = ["NUM_CLASSES", "AudioVisual", "correspondence", "learner"]

NUM_CLASSES = 2


class AudioVisual(nn.Module):
    """A backbone of frames, a small network of sounds, and a head that sees their products, averaged over time.

    Args:
      backbone: a model of dlcore.models.
      width: width of the multiplied vectors.
      side: the last map is averaged to side x side, so that where things are is seen.
    """

    backbone: nn.Module
    width: Annotated[int, Range(1)] = 64
    side: Annotated[int, Range(1)] = 3

    @nn.compact
    def __call__(self, pieces: dict[str, jax.Array], train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Tell whether sound and frames belong together.

        Args:
          pieces: `frames: [B, F, H, W, C]`, normalized, and `sound: [B, F, S]`.
          train: normalize by batch statistics, and update the running ones.

        Returns:
          (logits [B, 2], features of the frames [B, F, D]), at least float32.
        """
        frames, sound = pieces["frames"], pieces["sound"]
        count, length = frames.shape[:2]
        maps = self.backbone.features(frames.reshape(-1, *frames.shape[2:]), train)
        last = list(maps.values())[-1]
        last = to_acc_dtype(last)
        visual = nn.relu(Dense(self.width, name="seen")(adaptive_avg_pool(last, self.side).reshape(count, length, -1)))
        audio = nn.relu(Dense(self.width, name="heard_hidden")(sound.astype(last.dtype)))
        audio = nn.relu(Dense(self.width, name="heard")(audio))
        logits = Dense(NUM_CLASSES, name="head")((visual * audio).mean(1))
        return logits, pool_features(maps).reshape(count, length, -1)

    def features(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Encode single frames.

        Args:
          x: [B, H, W, C], normalized.
          train: training mode, see `__call__`.

        Returns:
          [B, D].
        """
        return pool_features(self.backbone.features(x, train))


def correspondence(shift: int = 2) -> Task:
    """Build the task.

    Args:
      shift: frames by which a displaced sound is early or late, at least.

    Returns:
      (key, example with `clip: [F, H, W, C]` and `sound: [F, S]`) -> ({"frames", "sound"}, 1 where they correspond).
    """
    check_shapes(shift=(shift, "int >= 1"))

    def task(key: jax.Array, example: dict) -> tuple[dict[str, jax.Array], jax.Array]:
        frames, sound = to_float(example["clip"]), example["sound"]
        if len(sound) != len(frames):
            raise ValueError(f"sound: {len(sound)} frames; allowed: {len(frames)}, as the clip")
        if 2 * shift > len(frames):
            most = len(frames) // 2
            raise ValueError(f"shift={shift}: too far for clips of {len(frames)} frames; allowed: 1 to {most}")
        label_key, far = jax.random.split(key)
        label = jax.random.bernoulli(label_key).astype(jnp.int32)
        # A negative has its sound shifted in time.
        moved = jax.random.randint(far, (), shift, len(frames) - shift + 1)
        return {"frames": frames, "sound": jnp.roll(sound, jnp.where(label == 1, 0, moved), 0)}, label

    return task


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    shift: Annotated[int, Range(1)] = 2,
) -> Learner:
    """Train a network to tell whether sound and frames correspond, on `{"clip", "sound", "image", "index"}`.

    Args:
      model: see `AudioVisual`.
      optimizer: any optax transformation.
      prepare: batch of images, single frames [B, H, W, C], to floats in [0, 1].
      normalize: frames to the model's input.
      shift: frames by which a displaced sound is early or late, at least.

    Returns:
      The learner, see `pretext_learner`; features are those of `image`.
    """

    def normalized(pieces: Any) -> Any:
        return {**pieces, "frames": normalize(pieces["frames"])} if isinstance(pieces, dict) else normalize(pieces)

    return pretext_learner(model, optimizer, correspondence(shift), prepare, normalized, NUM_CLASSES)
