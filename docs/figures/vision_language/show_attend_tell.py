"""Figure of dlcore.vision_language.show_attend_tell; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from dlcore.data.words import PAD, START
from dlcore.models import create_model
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image
from dlcore.vision_language.captioning import learner
from dlcore.vision_language.show_attend_tell import ShowAttendTell
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["show_attend_tell"]


def show_attend_tell() -> "Figure":
    """Where a captioner of random weights looks before three words, and what the penalty asks for.

    Left: each word has its own weights over the 64 places (dark is much), and reads the mean by these weights. Right:
    the penalty by the number of words. Up to 63 words, even looks cost less than these, so that the penalty can
    discourage looking.
    """
    figure, (*axes, right) = new_figure((7.4, 2.3), 1, 4, width_ratios=(1, 1, 1, 1.6))
    model = ShowAttendTell(create_model("small_cnn"), 70, hidden_size=64, embedding_dim=32)
    image, tokens = jax.random.normal(jax.random.key(0), (1, 32, 32, 3)), jnp.array([[START, *range(4, 68)]])
    sharp = nonzero_variables(model, image, tokens[:, :-1], gain=4.0)
    even = jax.tree_util.tree_map_with_path(lambda path, x: x * ("attend" not in str(path)), sharp)
    memory = model.apply(sharp, image, method="encode")
    _, sown = model.apply(sharp, memory, tokens, method="decode", mutable=["intermediates"])
    weights = model.alignment(sown["intermediates"])[0]
    for t, ax in enumerate(axes):
        show_image(ax, weights[t].reshape(memory["grid"].shape[1:3]), f"word {t + 1}", cmap="Blues")
    train, counts = learner(model=model, optimizer=optax.sgd(1.0)), (1, 4, 8, 16, 32, 48, 63)
    batch = {"image": image, "captions": tokens[:, None], "index": jnp.arange(1)}
    state, evaluate = train.init(jax.random.key(0), batch), jax.jit(train.evaluate)
    for name, variables, style, color in (("sharp", sharp, "s--", VERMILION), ("even", even, "o-", BLUE)):
        state = state.replace(params=variables["params"])
        rows = [tokens.at[:, n + 1 :].set(PAD)[:, None] for n in counts]
        misses = [float(evaluate(state, {**batch, "captions": row})["misses"].total) for row in rows]
        right.plot(counts, misses, style, color=color, markersize=4, label=name)
    right.set(xlabel="words", ylabel="penalty", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    return figure
