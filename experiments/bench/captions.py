"""Count the captions a second that a transformer writes with its cache, and without, as a ratio measured in one run.

python -m experiments.bench.captions                        (6.2x: 621 captions a second and 100, two cores)
python -m experiments.bench.captions --batch_size=500 --num_repeats=3

Both write greedily, by the same modules and parameters, from grids that are encoded already. With the cache a word
costs one row of attention in each block, and the image's keys and values are computed once. Without it the decoder
reads all words and the image again for each word. The claim is ten times as many captions a second, and the same words.
On two cores it does not hold: a third of the time with the cache goes into products of one word with the image, which
are as slow as reading memory is. The second command was not run.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.words import PAD, START
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.run import provenance
from dlcore.sequence.decoding import generate
from dlcore.vision_language.caption_transformer import CaptionTransformer
from experiments.bench.timing import bar_chart, interleaved, ratio


class Grid(nn.Module):
    """A backbone that gives back its input: what is timed begins behind the backbone."""

    def features(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        return {"map": x}


def writers(model: CaptionTransformer, variables: Any, length: int) -> dict[str, Any]:
    """Two jitted functions from a memory {"grid": [B, h, w, C]} to tokens [B, length]: "cached" and "re-run"."""

    def decode_step(step: Any, carry: Any, batch: int) -> jax.Array:
        carry, logits = step(carry, jnp.full(batch, START, jnp.int32))
        keys = jax.random.split(jax.random.key(0), batch)
        return generate(step, carry, logits, keys, length, 0.0)[0]

    def cached(memory: dict) -> jax.Array:
        carry = model.apply(variables, memory, length, method="start")
        step = functools.partial(model.apply, variables, method="step")
        return decode_step(step, carry, memory["grid"].shape[0])

    def rerun(memory: dict) -> jax.Array:
        batch = memory["grid"].shape[0]

        def step(carry: Any, tokens: jax.Array) -> Any:
            words, position = carry["words"], carry["place"]
            words = words.at[:, position[0]].set(tokens)
            logits = model.apply(variables, carry["memory"], words, method="decode")
            return carry | {"words": words, "place": position + 1}, jnp.take(logits, position[0], 1)

        carry = {"memory": memory, "words": jnp.full((batch, length), PAD), "place": jnp.zeros(batch, jnp.int32)}
        return decode_step(step, carry, batch)

    return {"cached": jax.jit(cached), "re-run": jax.jit(rerun)}


def measure(
    *,
    num_images: PositiveInt = 1000,
    batch_size: PositiveInt = 100,
    length: Annotated[int, Range(2)] = 20,
    side: PositiveInt = 8,
    width: PositiveInt = 256,
    decoder_layers: PositiveInt = 3,
    vocab_size: Annotated[int, Range(5)] = 2054,
    num_repeats: PositiveInt = 5,
    least: float = 10.0,
) -> StudyResult:
    """Time greedy captions with the cache and without.

    Args:
      num_images: captioned in a turn, whole batches of them.
      batch_size: images that are captioned together.
      length: words of every caption.
      side: side of the grid of positions that the decoder attends to.
      width: features of a token; four heads.
      decoder_layers: blocks of the decoder.
      vocab_size: different words.
      least: the claimed ratio.
    """
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(batch_size, side, side, width)).astype(np.float32)
    model = CaptionTransformer(
        Grid(), vocab_size, window=length, width=width, encoder_layers=0, decoder_layers=decoder_layers
    )
    params = model.init(jax.random.key(0), grid[:1], np.full((1, 2), START))["params"]
    head = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params["head"])
    variables = {"params": {**params, "head": head}}
    memory = {"grid": jnp.asarray(grid)}
    decoders = writers(model, variables, length)
    same = bool((decoders["cached"](memory) == decoders["re-run"](memory)).all())
    batches = max(1, num_images // batch_size)

    def turn(name: str) -> None:
        for _ in range(batches):
            decoders[name](memory).block_until_ready()

    times = interleaved({name: functools.partial(turn, name) for name in decoders}, num_repeats)
    speed = ratio(times, "re-run", "cached")
    rates = {name: batches * batch_size / t.median for name, t in times.items()}
    numbers = {f"captions/s, {name}": rate for name, rate in rates.items()} | {"the same words": same}
    verdict = (
        f"{provenance.hardware()}: {rates['cached']:.0f} captions of {length} words a second with the cache, "
        f"{rates['re-run']:.0f} without: {speed.median:.1f}x; the words are {'the same' if same else 'different'}."
    )
    chart = bar_chart({"greedy": rates}, "captions a second")
    headline = Headline("time without the cache over time with it", speed.median, "synthetic", tolerance=0.5)
    return StudyResult(
        numbers | speed.rows("without over with"), verdict, {"rates": chart}, same and speed.median >= least, headline
    )


SMOKE = {
    "num_images": 4,
    "batch_size": 2,
    "length": 4,
    "side": 2,
    "width": 8,
    "decoder_layers": 1,
    "vocab_size": 12,
    "num_repeats": 1,
    "least": 0.0,
}
experiment = Study(__file__, __doc__, measure, SMOKE)

if __name__ == "__main__":
    main(experiment)
