"""Figure of dlcore.vision_language.captioning; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.words import END, PAD, START
from dlcore.models import create_model
from dlcore.report.figure import new_figure
from dlcore.vision_language.caption_transformer import CaptionTransformer
from dlcore.vision_language.captioning import learner
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["captioning"]


def captioning() -> "Figure":
    """What one caption teaches, and what each of its words may use.

    Left: the negative gradient of the loss by the logits at each place. The next word rises (blue) and all others fall
    (light red), the end included; padding gives none. Right: which inputs change the logits of each word of an
    untrained transformer. All words use the image, and none uses later words.
    """
    figure, (left, right) = new_figure((7.2, 3.2), 1, 2)
    words = ["PAD", "START", "END", "?", "a", "dog", "runs", "fast"]
    caption = jnp.array([[[START, 4, 5, 6, 7, END, PAD, PAD]]])
    batch = {"image": jnp.zeros((1, 8, 8, 3)), "captions": caption, "index": jnp.arange(1)}
    train = learner(model=Table(7, 8), optimizer=optax.sgd(1.0))
    state = train.init(jax.random.key(0), batch)
    push = -jax.grad(lambda params: train.loss(params, state, batch)[0])(state.params)["logits"]
    left.imshow(push.T, cmap="RdBu", vmin=-abs(push).max(), vmax=abs(push).max())
    left.set(yticks=range(8), xticks=range(7), xlabel="word before", ylabel="logit")
    left.set_yticklabels(words)
    left.set_xticklabels([words[k] for k in caption[0, 0, :-1]], rotation=45)
    moved = dependence(caption[0, :, :5])
    right.imshow(moved > 1e-5, cmap="Blues", vmin=0, vmax=2)
    right.set(xticks=range(6), yticks=range(5), xlabel="input that changes", ylabel="word that is predicted")
    right.set_xticklabels(["image", *(words[k] for k in caption[0, 0, :5])], rotation=45)
    right.set_yticklabels([words[k] for k in caption[0, 0, 1:6]])
    return figure


class Table(nn.Module):
    """A captioner whose logits [length, words] are parameters."""

    length: int
    words: int

    def setup(self):
        """Start from equal logits."""
        self.logits = self.param("logits", nn.initializers.zeros, (self.length, self.words))

    def __call__(self, images: jax.Array, tokens: jax.Array, train: bool = False) -> jax.Array:
        """Give the same logits for each image."""
        return jnp.broadcast_to(self.logits, (len(images), self.length, self.words))

    def encode(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Remember the images."""
        return images

    def decode(self, memory: jax.Array, tokens: jax.Array, train: bool = False) -> jax.Array:
        """Give the logits."""
        return self(memory, tokens)


def dependence(tokens: jax.Array) -> np.ndarray:
    """Change [T, 1 + T] of each word's logits if the image, or one token of [1, T], is another one."""
    model = CaptionTransformer(create_model("small_cnn"), 8, width=32)
    image = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))
    count = tokens.shape[1]
    images = jnp.concatenate([image, -image, *[image] * count])
    changed = jnp.repeat(tokens, 2 + count, 0).at[jnp.arange(2, 2 + count), jnp.arange(count)].set(3)
    logits = jax.jit(model.apply)(nonzero_variables(model, image, tokens), images, changed)
    return np.linalg.norm(logits[1:] - logits[0], axis=-1).T
