"""The learner of captions: references, losses by hand, rows that end, and captions that are learnt from images."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.words import END, PAD, START, UNKNOWN
from dlcore.learner import ModelState
from dlcore.optim import create_optimizer
from dlcore.sequence.decoding import Beam
from dlcore.vision_language import captioning
from dlcore.vision_language.caption_rnn import CaptionRNN
from dlcore.vision_language.caption_transformer import CaptionTransformer
from dlcore.vision_language.show_attend_tell import ShowAttendTell
from tests.passes import PASSED, count_pass, passes
from tests.siamese_toys import log_softmax
from tests.vision_language.test_caption_rnn import IMAGES, Patches

CAPTIONS = np.array(
    [[[START, 4, 5, END, PAD], [START, 6, END, PAD, PAD]], [[START, 5, 5, 6, END], [PAD, PAD, PAD, PAD, PAD]]], np.int32
)
BATCH = {"image": IMAGES, "captions": CAPTIONS, "index": np.arange(2, dtype=np.int32)}


class Written(nn.Module):
    """A model whose "image" [B, L, V] holds the logits of each place, whatever came before."""

    def setup(self):
        self.scale = self.param("scale", nn.initializers.ones, ())

    def __call__(self, images, tokens, train=False):
        return self.decode(self.encode(images), tokens)

    def encode(self, images, train=False):
        count_pass(self, train)
        return {"table": self.scale * images}

    def decode(self, memory, tokens, train=False):
        return memory["table"][:, : tokens.shape[1]]

    def start(self, memory, length):
        return {"table": memory["table"], "place": jnp.zeros(memory["table"].shape[0], jnp.int32)}

    def step(self, carry, tokens):
        logits = jnp.take_along_axis(carry["table"], carry["place"][:, None, None], 1)[:, 0]
        return carry | {"place": carry["place"] + 1}, logits

    @staticmethod
    def alignment(intermediates):
        return None


class Looking(Written):
    """What `Written` says, and a look of `scale` at place k mod 3 of a 1 x 3 grid for each token k."""

    alignment_penalty: float = 0.5

    def encode(self, images, train=False):
        return super().encode(images, train) | {"grid": jnp.zeros((len(images), 1, 3, 1))}

    def decode(self, memory, tokens, train=False):
        self.sow("intermediates", "looks", self.scale * jax.nn.one_hot(tokens % 3, 3))
        return super().decode(memory, tokens, train)

    @staticmethod
    def alignment(intermediates):
        return intermediates["looks"][0]


def written(rows, size=7):
    """Logits that ask for a list of tokens in each row, the first most; the second-best is token 4."""
    table = np.zeros((len(rows), len(rows[0]), size), np.float32)
    table[..., END] = -9.0
    for b, row in enumerate(rows):
        for t, token in enumerate(row):
            table[b, t, 4] = 4.0
            table[b, t, token] = 9.0
    return table


@pytest.mark.slow
@pytest.mark.covers("CP-06")
@pytest.mark.parametrize("beam_size", [1, 2])
def test_every_row_ends_at_its_first_end_and_no_token_follows(beam_size):
    table = written(
        [
            [5, 6, END, 5, 5],
            [END, 5, 5, 5, 5],
            [5, 5, 6, 6, 5],  # never ends by itself
            [PAD, START, UNKNOWN, END, 5],  # may not be written: 4 is next
        ]
    )
    learner = captioning.learner(model=Written(), optimizer=optax.sgd(0.1), max_length=5, beam=Beam(beam_size))
    batch = {"image": table, "captions": np.ones((4, 1, 5), np.int32), "index": np.arange(4)}
    out = learner.predict(learner.init(jax.random.key(0), batch), batch)
    want = [[5, 6, END, PAD, PAD], [END, PAD, PAD, PAD, PAD], [5, 5, 6, 6, END], [4, 4, 4, END, PAD]]
    np.testing.assert_array_equal(out["tokens"], want)
    np.testing.assert_array_equal(out["length"], [3, 1, 5, 4])


def nats_by_hand(logits, targets):
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return [-log_p[t, token] for t, token in enumerate(targets) if token != PAD]


def test_the_loss_is_the_mean_over_the_tokens_of_all_references_without_padding():
    table = np.random.default_rng(2).normal(size=(2, 4, 7)).astype(np.float32)
    batch = {"image": table / 2, "captions": CAPTIONS, "index": np.arange(2)}
    learner = captioning.learner(model=Written(), optimizer=optax.sgd(0.1), preprocess=lambda images: 2 * images)
    state = ModelState(np.int32(0), jax.random.key(0), {"scale": np.float32(1)}, (), {})
    rows = [(0, 0), (0, 1), (1, 0)]
    nats = [nats_by_hand(table[i], CAPTIONS[i, r, 1:]) for i, r in rows]
    evaluate = jax.jit(learner.evaluate)
    metrics = evaluate(state, batch | {"mask": np.ones(2, np.float32)})
    assert int(metrics["loss"].count) == 3 + 2 + 4
    assert metrics["loss"].compute() == pytest.approx(np.mean(np.concatenate(nats)), rel=1e-5)
    masked = evaluate(state, batch | {"mask": np.array([1.0, 0.0], np.float32)})
    assert masked["loss"].compute() == pytest.approx(np.mean(nats[0] + nats[1]), rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("CP-03")
def test_the_penalty_asks_for_one_look_at_each_position_and_leaves_padding_out():
    sizes = {"hidden_size": 4, "embedding_dim": 3, "attention_features": 3, "image_features": 5}
    values = {}
    for weight in (0.0, 0.5):
        model = ShowAttendTell(Patches(), 7, alignment_penalty=weight, **sizes)
        learner = captioning.learner(model=model, optimizer=optax.sgd(0.1))
        state = learner.init(jax.random.key(0), BATCH)
        values[weight] = float(learner.loss(state.params, state, BATCH)[0])
    tokens, images = CAPTIONS.reshape(4, 5)[:, :-1], np.repeat(IMAGES, 2, 0)
    _, sown = model.apply({"params": state.params}, images, tokens, mutable=["intermediates"])
    alpha, lengths = np.asarray(model.alignment(sown["intermediates"])), (3, 2, 4)
    misses = [np.square(1 - alpha[row, :n].sum(0)).sum() for row, n in enumerate(lengths)]
    assert values[0.5] - values[0.0] == pytest.approx(0.5 * sum(misses) / 9, rel=1e-4)


@pytest.mark.weekly
def test_the_blind_model_says_the_same_of_every_image():
    model = CaptionRNN(Patches(), 7, "lstm", hidden_size=4, embedding_dim=3, image_channels=2, image_features=5)
    learner = captioning.learner(model=model, optimizer=optax.sgd(0.5), blind=True)
    state = learner.init(jax.random.key(0), BATCH)
    state, _ = learner.update(state, BATCH)
    other = BATCH | {"image": IMAGES[::-1] * 3}
    assert learner.evaluate(state, BATCH)["loss"].compute() == learner.evaluate(state, other)["loss"].compute()
    seeing = captioning.learner(model=model, optimizer=optax.sgd(0.5))
    assert seeing.evaluate(state, BATCH)["loss"].compute() != seeing.evaluate(state, other)["loss"].compute()


WORDS = np.array([[START, 4, 7, END, PAD], [START, 5, 8, 9, END], [START, 6, 4, 7, END], [START, 4, END, PAD, PAD]])
MODELS = {
    "initial": lambda: CaptionRNN(Patches(), 10, "rnn", hidden_size=32, embedding_dim=8, image_features=16),
    "every_step": lambda: CaptionRNN(Patches(), 10, "gru", "every_step", hidden_size=32, embedding_dim=8),
    "lstm": lambda: CaptionRNN(Patches(), 10, "lstm", hidden_size=32, embedding_dim=8, image_features=16),
    "attention": lambda: ShowAttendTell(
        Patches(), 10, 0.1, hidden_size=32, embedding_dim=8, attention_features=16, image_features=16
    ),
    "transformer": lambda: CaptionTransformer(
        Patches(), 10, window=8, width=16, num_heads=2, encoder_layers=0, decoder_layers=1
    ),
}


@pytest.mark.slow
@pytest.mark.weekly(only=["attention", "transformer"])
@pytest.mark.covers("CP-01", "CP-02", "CP-03", "CP-04", "CP-05")
@pytest.mark.parametrize("name", MODELS)
def test_captions_are_learnt_and_follow_their_images(name):
    images = np.random.default_rng(3).normal(size=(4, 4, 4, 3)).astype(np.float32)
    batch = {"image": images, "captions": WORDS[:, None].astype(np.int32), "index": np.arange(4, dtype=np.int32)}
    learner = captioning.learner(
        model=MODELS[name](), optimizer=create_optimizer("adam", 0.01, clip_norm=1.0), max_length=6
    )
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    update = jax.jit(learner.update)
    for _ in range(120):
        state, metrics = update(state, batch)
    assert metrics["loss"].total / metrics["loss"].count < 0.2
    predict = jax.jit(learner.predict)
    want = np.pad(WORDS[:, 1:], ((0, 0), (0, 2)))
    np.testing.assert_array_equal(predict(state, batch)["tokens"], want)
    np.testing.assert_array_equal(predict(state, batch | {"image": images[[1, 0, 3, 2]]})["tokens"], want[[1, 0, 3, 2]])


@pytest.mark.covers("CP-01", "CP-03")
def test_one_update_by_hand():
    """A caption drawn of each image: its tokens' smoothed losses and half of the squared misses of its looks.

    All over all tokens of the batch.
    """
    rate, smoothing, scale = 0.1, 0.2, 0.8
    learner = captioning.learner(
        model=Looking(), optimizer=optax.sgd(rate), label_smoothing=smoothing,
        preprocess=lambda images: 2 * images, augment=lambda key, image: image * jax.random.uniform(key),
    )  # fmt: skip
    table = np.random.default_rng(0).normal(size=(2, 4, 7)).astype(np.float32)
    before = {"scale": np.float32(scale)}
    state = ModelState(np.int32(4), jax.random.key(3), before, optax.sgd(rate).init(before), PASSED)

    @jax.jit
    def run(state, batch):
        rng = jax.random.fold_in(jax.random.key(3), 4)
        keys = [[jax.random.fold_in(jax.random.fold_in(rng, k), i) for i in range(2)] for k in range(2)]
        # Two captions of the first image, the smaller number first; the second image has one.
        first = jax.random.uniform(keys[0][0], (2,)).argmin()
        return learner.update(state, batch), first, jnp.stack([jax.random.uniform(key) for key in keys[1]])

    (after, metrics), first, factors = jax.device_get(run(state, BATCH | {"image": table / 2}))
    captions = [CAPTIONS[0, first], CAPTIONS[1, 0]]
    images = table * factors[:, None, None].astype(np.float64)
    count = sum((caption[1:] != PAD).sum() for caption in captions)

    def missed(scale, caption):
        read = caption[:-1][caption[1:] != PAD]
        return np.square(1 - scale * np.eye(3)[read % 3].sum(0)).sum()

    def loss(scale):
        total = 0
        for image, caption in zip(images, captions, strict=True):
            log_p = log_softmax(scale * image)
            nats = nats_by_hand(scale * image, caption[1:])
            spread = [-log_p[t].mean() for t, token in enumerate(caption[1:]) if token != PAD]
            total += (1 - smoothing) * np.sum(nats) + smoothing * np.sum(spread) + 0.5 * missed(scale, caption)
        return total / count

    assert passes(after.model_state) == 3 + 1
    slope = (loss(scale + 1e-6) - loss(scale - 1e-6)) / 2e-6
    assert after.params["scale"] == pytest.approx(scale - rate * slope, rel=1e-5)
    nats = [nats_by_hand(scale * image, caption[1:]) for image, caption in zip(images, captions, strict=True)]
    assert metrics["loss"].compute() == pytest.approx(np.concatenate(nats).mean(), rel=1e-5)
    assert metrics["misses"].compute() == pytest.approx(np.mean([missed(scale, c) for c in captions]), rel=1e-5)


def test_each_written_token_has_the_look_that_chose_it_and_a_blind_model_guesses():
    """Looks are read where the token before is: START, then what was written. Blind, all 7 tokens are as probable.

    Images are turned to their negative, which says what is to be written.
    """
    state = ModelState(np.int32(0), jax.random.key(0), {"scale": np.float32(2)}, (), {})
    batch = BATCH | {"image": -written([[5, 6, END, 5], [4, END, 5, 5]])}
    settings = {"optimizer": optax.sgd(0.1), "preprocess": lambda images: -images, "max_length": 4}
    learner, blind = (captioning.learner(model=Looking(), blind=blind, **settings) for blind in (False, True))
    predicted, guessed = jax.jit(lambda s, b: (learner.predict(s, b), blind.evaluate(s, b)))(state, batch)
    assert predicted["tokens"].tolist() == [[5, 6, END, PAD], [4, END, PAD, PAD]]
    before = np.array([[START, 5, 6, END], [START, 4, END, PAD]])
    np.testing.assert_array_equal(predicted["alignment"], 2 * np.eye(3)[before % 3][:, :, None])
    assert guessed["loss"].compute() == pytest.approx(np.log(7), rel=1e-6)
