"""Published pipelines: each step by hand with the parts' own outputs, prompts, guidance, sharding, and bad input."""

import dataclasses
from itertools import pairwise
from types import SimpleNamespace
from unittest import mock

import chex
import jax
import numpy as np
import pytest

from dlcore.generative.flux import image_positions
from dlcore.pretrained import from_pretrained
from dlcore.pretrained.pipeline import KINDS, Pipeline, open_pipeline
from dlcore.pretrained.prompt_encoder import PromptEncoder, open_prompt_encoder, open_tokenizer
from dlcore.run.sharding import make_mesh, sharding_of
from tests.pretrained.pipelines import VOCAB, write_clip_tokenizer, write_json, write_pipeline, write_t5_tokenizer

WORDS = "a red sq"
START, END = VOCAB - 2, VOCAB - 1
CLIP_TOKENS = np.array([[START, 26, 53, 18, 16 + 26, *[END] * 7]])  # a</w> red</w> s q</w>, filled up to 12
CLIP_EMPTY = np.array([[START, *[END] * 11]])
T5_TOKENS = np.array([3, 4, 2, 1])  # a red <unk> </s>


def latents(shape, seed=0, count=2):
    return np.stack([jax.random.normal(jax.random.fold_in(jax.random.key(seed), k), shape) for k in range(count)])


def noises(shape, steps):
    """[steps, 2, *shape], of LCM's steps: each image's own."""
    keys = [jax.random.fold_in(jax.random.key(0), k) for k in range(2)]
    return np.stack(
        [[jax.random.normal(jax.random.fold_in(key, step), shape) for key in keys] for step in range(steps)]
    )


def schedule(steps):
    """Of DIFFUSION: betas whose roots are even; timesteps 1 + k (1000 / N), falling; the end is the first timestep."""
    abar = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    times = np.arange(steps)[::-1] * (1000 // steps) + 1
    return times, [*abar[times], abar[0]]


def ddim(network, z, steps):
    times, abar = schedule(steps)
    for t, now, after in zip(times, abar[:-1], abar[1:], strict=True):
        eps = np.asarray(network(z.astype(np.float32), t), np.float64)
        clean = (z - np.sqrt(1 - now) * eps) / np.sqrt(now)
        z = np.sqrt(after) * clean + np.sqrt(1 - after) * eps
    return z


def euler(network, z, times):
    for t, after in pairwise(times):
        z = z + (after - t) * np.asarray(network(z.astype(np.float32), 1000 * t), np.float64)
    return z


def shifted(t, shift):
    return shift * t / (1 + (shift - 1) * t)


def decoded(folder, z):
    images = from_pretrained(folder / "vae")(z=(z / 0.18215).astype(np.float32))["dec"]
    return np.clip(np.asarray(images) / 2 + 0.5, 0, 1)


def guided(unconditional, conditional, scale):
    return unconditional + scale * (conditional - unconditional)


def both(x):
    return np.repeat(np.asarray(x), 2, 0)


def stable_diffusion(folder, steps, scale):
    text, unet = from_pretrained(folder / "text_encoder"), from_pretrained(folder / "unet")
    states = [both(text(input_ids=tokens)["last_hidden_state"]) for tokens in (CLIP_EMPTY, CLIP_TOKENS)]

    def network(z, t):
        return guided(*(unet(sample=z, timestep=t, encoder_hidden_states=x)["sample"] for x in states), scale)

    return ddim(network, latents((8, 4, 4)), steps)


def stable_diffusion_xl(folder, steps, scale):
    texts = [from_pretrained(folder / name)(input_ids=CLIP_TOKENS) for name in ("text_encoder", "text_encoder_2")]
    unet = from_pretrained(folder / "unet")
    states = both(np.concatenate([x["penultimate"] for x in texts], -1))
    pooled, sizes = both(texts[1]["text_embeds"]), both([[16.0, 8, 0, 0, 16, 8]])

    def network(z, t):
        def call(x, vector):
            inputs = {"encoder_hidden_states": x, "text_embeds": vector, "time_ids": sizes}
            return unet(sample=z, timestep=t, **inputs)["sample"]

        return guided(call(0 * states, 0 * pooled), call(states, pooled), scale)  # no words are zeros

    return ddim(network, latents((8, 4, 4)), steps)


def stable_diffusion_3(folder, steps, scale):
    clips = [from_pretrained(folder / name) for name in ("text_encoder", "text_encoder_2")]
    t5, transformer = from_pretrained(folder / "text_encoder_3"), from_pretrained(folder / "transformer")

    def condition(clip_tokens, t5_tokens):
        texts = [clip(input_ids=clip_tokens) for clip in clips]
        more = t5(input_ids=np.pad(t5_tokens, (0, 256 - len(t5_tokens)))[None])["last_hidden_state"]
        context = np.concatenate([np.concatenate([x["penultimate"] for x in texts], -1), more], 1)
        return both(context), both(np.concatenate([x["text_embeds"] for x in texts], -1))

    conditions = condition(CLIP_EMPTY, T5_TOKENS[-1:]), condition(CLIP_TOKENS, T5_TOKENS)

    def network(z, t):
        def call(context, pooled):
            inputs = {"encoder_hidden_states": context, "pooled_projections": pooled}
            return transformer(hidden_states=z, timestep=np.float32(t), **inputs)["sample"]

        return guided(*(call(*condition) for condition in conditions), scale)

    times = [*shifted(np.linspace(1, shifted(0.001, 3), steps), 3), 0]
    return euler(network, latents((8, 4, 4)), times)


def flux(folder, steps, scale):
    clip, t5 = from_pretrained(folder / "text_encoder"), from_pretrained(folder / "text_encoder_2")
    transformer = from_pretrained(folder / "transformer")
    pooled = both(clip(input_ids=CLIP_TOKENS)["pooler_output"])
    context = both(t5(input_ids=np.pad(T5_TOKENS, (0, 508))[None])["last_hidden_state"])
    rows = np.array([[0, y, x] for y in range(4) for x in range(2)], np.float32)

    def network(z, t):
        tokens = np.zeros((2, 8, 4), np.float32)
        for place, (_, y, x) in enumerate(rows.astype(int)):  # a square of 2 x 2 latents of one channel
            tokens[:, place] = z[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, 0].reshape(2, 4)
        inputs = {"encoder_hidden_states": context, "pooled_projections": pooled, "img_ids": rows}
        outputs = transformer(hidden_states=tokens, timestep=np.float32(t / 1000), **inputs)["sample"]
        velocity = np.zeros_like(z)
        for place, (_, y, x) in enumerate(rows.astype(int)):
            velocity[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, 0] = np.asarray(outputs)[:, place].reshape(2, 2, 2)
        return velocity

    return euler(network, latents((8, 4, 1)), [*shifted(np.linspace(1, 1 / steps, steps), 3), 0])


def pixart(folder, steps, scale):
    t5, transformer = from_pretrained(folder / "text_encoder"), from_pretrained(folder / "transformer")
    states = [both(t5(input_ids=tokens[None])["last_hidden_state"]) for tokens in (T5_TOKENS[-1:], T5_TOKENS)]

    def network(z, t):
        def call(x):
            return transformer(hidden_states=z, timestep=t, encoder_hidden_states=x)["sample"][..., :4]

        return guided(*map(call, states), scale)

    return ddim(network, latents((8, 4, 4)), steps)


@pytest.mark.weekly
@pytest.mark.covers("GE-40")
@pytest.mark.parametrize(
    ("kind", "by_hand", "guidance"),
    [
        ("StableDiffusionPipeline", stable_diffusion, 3.0),
        ("StableDiffusionXLPipeline", stable_diffusion_xl, 3.0),
        ("StableDiffusion3Pipeline", stable_diffusion_3, 3.0),
        ("FluxPipeline", flux, 1.0),
        ("PixArtAlphaPipeline", pixart, 3.0),
    ],
)
def test_a_pipeline_draws_what_its_parts_give_step_by_step(kind, by_hand, guidance, tmp_path):
    folder = write_pipeline(tmp_path, kind)
    pipeline = open_pipeline(folder)
    images = pipeline.draw(WORDS, count=2, steps=3, guidance=guidance, size=(16, 8))
    expected = decoded(folder, by_hand(folder, 3, guidance))
    assert expected.std() > 0.05
    np.testing.assert_allclose(images, expected, atol=2e-4)
    # Another seed and, where prompts are padded, another prompt need no other program.
    words = WORDS if kind == "PixArtAlphaPipeline" else WORDS.split()[0]
    others = pipeline.draw(words, count=2, steps=3, guidance=guidance, size=(16, 8), seed=1)
    assert np.abs(others - images).max() > 1e-3
    assert pipeline._run._cache_size() == 1


@pytest.mark.weekly
@pytest.mark.covers("GE-40")
def test_a_pipeline_whose_arrays_lie_on_eight_devices_draws_the_same(tmp_path):
    """Without its T5, which Stable Diffusion 3 may leave out."""
    folder = write_pipeline(tmp_path, "StableDiffusion3Pipeline", text_encoder_3=[None, None])
    mesh = make_mesh("data:8", jax.devices()[:8])
    one, eight = open_pipeline(folder), open_pipeline(folder, sharding=sharding_of(mesh, "fsdp"))
    assert len(one.encoders) == 2
    assert any(not x.sharding.is_fully_replicated for x in jax.tree.leaves(eight.network.variables))
    options = {"steps": 2, "size": (8, 8)}
    np.testing.assert_allclose(eight.draw(WORDS, **options), one.draw(WORDS, **options), atol=1e-5)


@pytest.mark.covers("GE-40")
def test_prompts_are_the_tokens_of_both_tokenizers(tmp_path):
    """CLIP: lower case, byte pairs by hand; "red" is r e d -> re d -> red. T5: words."""
    write_clip_tokenizer(tmp_path / "clip")
    write_t5_tokenizer(tmp_path / "t5")
    clip, t5 = (PromptEncoder("text", None, open_tokenizer(tmp_path / name), END, 12) for name in ("clip", "t5"))
    assert clip.tokens("A  Red sq").tolist() == CLIP_TOKENS[0, :6].tolist()
    assert clip.tokens("").tolist() == [START, END]
    assert t5.tokens(WORDS).tolist() == T5_TOKENS.tolist()
    # A byte that no entry of the vocabulary stands for becomes the token of the end: é has two bytes.
    assert clip.tokens("a \u00e9").tolist() == [START, 26, END, END, END]


@pytest.mark.covers("GE-40")
def test_the_end_of_a_long_prompt_is_said(tmp_path):
    write_clip_tokenizer(tmp_path)
    encoder = PromptEncoder("text_encoder_2", None, open_tokenizer(tmp_path), END, 6)
    assert encoder.rest("a red sq") == ""  # six tokens with both ends
    assert encoder.rest("a red sq on a Red") == "on a Red"
    assert encoder.tokens("a red sq on a Red").tolist() == CLIP_TOKENS[0, :6].tolist()
    pipeline = Pipeline("StableDiffusionPipeline", None, None, (encoder,), {}, {})
    assert pipeline.rests("a red sq on") == {"text_encoder_2": "on"}
    assert pipeline.rests("a red") == {}


@pytest.mark.covers("GE-40")
@pytest.mark.parametrize(
    ("name", "embeds", "words", "guidance", "expected"),
    [
        ("StableDiffusionPipeline", None, "a red", None, 7.5),
        ("StableDiffusionPipeline", None, "", None, 1.0),
        ("StableDiffusionPipeline", None, "a red", 2, 2.0),
        ("StableDiffusionPipeline", None, " ", 7.5, r"guidance=7.5: words=' ' are no condition; allowed: 1, or words"),
        (
            "StableDiffusionPipeline",
            None,
            "a red",
            -1,
            "guidance=-1: out of range; allowed: finite numbers, at least 0",
        ),
        ("StableDiffusionPipeline", None, "a red", 0, 0.0),
        ("StableDiffusionPipeline", None, " ", 1, 1.0),
        ("StableDiffusionPipeline", None, "a red", np.inf, "guidance=inf: out of range; allowed: finite numbers"),
        ("FluxPipeline", True, "a red", None, 3.5),
        ("FluxPipeline", True, "", None, 3.5),
        ("FluxPipeline", True, "", 2, 2.0),
        ("FluxPipeline", False, "a red", None, 1.0),
        ("FluxPipeline", False, "a red", 3.5, "guidance=3.5: the network embeds none; allowed: 1"),
    ],
)
def test_guidance_needs_a_condition(name, embeds, words, guidance, expected):
    model = SimpleNamespace() if embeds is None else SimpleNamespace(has_guidance=embeds)
    pipeline = Pipeline(name, SimpleNamespace(model=model), None, (), {}, {})
    if isinstance(expected, float):
        assert pipeline._guidance(words, guidance) == expected
        return
    with pytest.raises(ValueError, match=expected):
        pipeline._guidance(words, guidance)


def test_numbers_out_of_range_are_named():
    parts = SimpleNamespace(downsampling=2), SimpleNamespace(channels=(8, 16))
    autoencoder, network = (SimpleNamespace(model=model, config={"sample_size": 8}) for model in parts)
    pipeline = Pipeline("StableDiffusionPipeline", network, autoencoder, (), {}, {})
    assert pipeline.side == 16
    for options, text in (
        ({"count": 0}, "count=0: out of range; allowed: at least 1"),
        ({"steps": 0}, "steps=0: out of range; allowed: at least 1"),
        ({"size": (16, 10)}, "size=16x10: sides do not divide; allowed: multiples of 4 pixels"),
    ):
        with pytest.raises(ValueError, match=text):
            pipeline.draw("a", **options)
    with pytest.raises(ValueError, match="beta_schedule='sigmoid': not in dlcore's DDIMScheduler; allowed: 'li"):
        dataclasses.replace(pipeline, scheduler={"beta_schedule": "sigmoid"})._diffusion(5)


def test_folders_that_are_no_pipeline_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no model_index.json; allowed: a pipeline of diffusers"):
        open_pipeline(tmp_path)
    write_json(tmp_path / "model_index.json", {"_class_name": "AudioLDMPipeline"})
    with pytest.raises(ValueError, match="AudioLDMPipeline is not in dlcore; allowed: StableDiffusionPipeline, "):
        open_pipeline(tmp_path)
    index = {"_class_name": "FluxPipeline", "text_encoder": ["transformers", "CLIPTextModel"]}
    write_json(tmp_path / "model_index.json", index | {"text_encoder_2": [None, None]})
    with pytest.raises(ValueError, match="text_encoder_2 was left out; allowed: all text encoders of a FluxPipeline"):
        open_pipeline(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no vocab.json; allowed: a folder with tokenizer.json"):
        open_tokenizer(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        open_pipeline(tmp_path)


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path, monkeypatch):
    write_t5_tokenizer(tmp_path / "tokenizer")
    network = SimpleNamespace(model=SimpleNamespace(vocab_size=4))
    monkeypatch.setattr("dlcore.pretrained.prompt_encoder.from_pretrained", lambda *_, **__: network)
    with pytest.raises(ValueError, match="7 tokens; allowed: at most 4, the vocabulary of text_encoder"):
        open_prompt_encoder(tmp_path, "text_encoder", "tokenizer", 77)


@pytest.mark.covers("PT-11")
def test_each_pipeline_has_the_parts_and_defaults_of_diffusers():
    """Folders, guidance, steps, the windows of its texts, and whether it is a flow."""
    for name, *expected in (
        ("StableDiffusionPipeline", "unet", 7.5, 50, [77], False),
        ("LatentConsistencyModelPipeline", "unet", 8.5, 4, [77], False),
        ("StableDiffusionXLPipeline", "unet", 5.0, 50, [77, 77], False),
        ("StableDiffusion3Pipeline", "transformer", 7.0, 28, [77, 77, 256], True),
        ("FluxPipeline", "transformer", 3.5, 28, [77, 512], True),
        ("PixArtAlphaPipeline", "transformer", 4.5, 20, [120], False),
    ):
        kind = KINDS[name]
        windows = [window for *_, window in kind.encoders]
        assert [kind.network, kind.guidance, kind.steps, windows, kind.is_flow] == expected
        ends = ("", "_2", "_3")[: len(windows)]
        assert [part[:2] for part in kind.encoders] == [(f"text_encoder{end}", f"tokenizer{end}") for end in ends]


class Reader:
    """A text encoder of two words, whose outputs are number + 0 to 3; it notes what it reads."""

    def __init__(self, number, width, without_words=None):
        self.number, self.width, self.read = number, width, []
        self.without_words = number if without_words is None else without_words

    def encode(self, words, pad=True):
        self.read.append((words, pad))
        number = self.number if words else self.without_words
        states, pooled = np.full((1, 2, self.width), number), np.full((1, self.width), number)
        names = {"last_hidden_state": states, "penultimate": states, "pooler_output": pooled, "text_embeds": pooled}
        return {name: value + k for k, (name, value) in enumerate(names.items())}


class Recorder:
    """A network, twice its input by default, which notes what it is given."""

    def __init__(self, output=lambda z, *_: 2 * z, **fields):
        self.output, self.calls = output, []
        vars(self).update(fields)

    def apply(self, variables, z, *arguments):
        self.calls.append((variables, z, *arguments))
        return self.output(np.asarray(z), *arguments)


def pipeline_of(name, encoders, model=None, scheduler=None, index=None):
    """A pipeline of latents of 3 channels at half the sides, whose images have these sides: z / 10 + 0.1."""
    config = {"sample_size": 8, "joint_attention_dim": 9}
    network = SimpleNamespace(model=model or Recorder(), config=config, variables="weights")
    decoder = SimpleNamespace(
        downsampling=2,
        latent_channels=3,
        unscale_latents=lambda z: z / 10,
        apply=lambda variables, z, method: z + variables[method],
    )
    autoencoder = SimpleNamespace(model=decoder, variables={"decode": 0.1})
    return Pipeline(name, network, autoencoder, encoders, scheduler or {}, index or {})


def without_jit(function, **_):
    def run(*arguments):
        with jax.disable_jit():
            return function(*arguments)

    return run


def draw(pipeline, words="a", **options):
    """(images, [what the network is given in each call]); the pipeline's program runs with numbers, uncompiled."""
    with mock.patch("jax.jit", without_jit):
        images = pipeline.draw(words, **options)
    calls = list(pipeline.network.model.calls)
    pipeline.network.model.calls.clear()
    return images, calls


@pytest.fixture
def one_call(monkeypatch):
    """Solvers that call the network once, at timestep 250, and note how many steps they have."""
    steps = []

    def solver(config, count, *_):
        steps.append(count)
        return lambda network, start: network(start, 250.0)

    monkeypatch.setattr("dlcore.pretrained.pipeline.diffusion_solver", solver)
    monkeypatch.setattr("dlcore.pretrained.pipeline.flow_solver", solver)
    return steps


def with_variance(z, *_):
    return np.concatenate([2 * z, 0 * z], -1)


def test_the_condition_of_each_pipeline_is_made_of_its_texts(one_call):
    """Texts 10, 20 and 30, of 3, 5 and 9 features."""

    def conditions(name, *encoders, model=None, index=None):
        _, calls = draw(pipeline_of(name, encoders, model, index=index), size=(16, 8), steps=1)
        return [arguments for _, _, _, *arguments in calls]

    def rows(*parts):
        return np.concatenate([np.full((1, 2, width), value) for value, width in parts], -1)

    def readers():
        return Reader(10, 3), Reader(20, 5), Reader(30, 9)

    first, _, _ = readers()
    for _, states, *_ in conditions("StableDiffusionPipeline", first):
        np.testing.assert_array_equal(states, rows((10, 3)))
    assert first.read == [("a", True), ("", True)]
    first, _, _ = readers()
    for (states,) in conditions("PixArtAlphaPipeline", first, model=Recorder(with_variance)):
        np.testing.assert_array_equal(states, rows((10, 3)))
    assert first.read == [("a", False), ("", False)]
    ((states, pooled, *_),) = conditions("FluxPipeline", *readers()[:2], model=Recorder(has_guidance=True))
    np.testing.assert_array_equal(states, rows((20, 5)))
    np.testing.assert_array_equal(pooled, np.full((1, 3), 12))
    words, nothing = conditions("StableDiffusionXLPipeline", *readers()[:2])
    for factor, (_, states, _, (pooled, sizes)) in ((1, words), (0, nothing)):
        np.testing.assert_array_equal(states, factor * rows((11, 3), (21, 5)))
        np.testing.assert_array_equal(pooled, factor * np.full((1, 5), 23))
        np.testing.assert_array_equal(sizes, [[16, 8, 0, 0, 16, 8]])
    index = {"force_zeros_for_empty_prompt": False}
    _, (_, states, *_) = conditions("StableDiffusionXLPipeline", *readers()[:2], index=index)
    np.testing.assert_array_equal(states, rows((11, 3), (21, 5)))
    # Both CLIPs are filled up with a zero to the nine features of the T5, whose words follow; it may be missing.
    clips, both_pooled = rows((11, 3), (21, 5), (0, 1)), np.array([[13] * 3 + [23] * 5])
    for count, more in ((3, rows((30, 9))), (2, rows((0, 9)))):
        (states, pooled), _ = conditions("StableDiffusion3Pipeline", *readers()[:count])
        np.testing.assert_array_equal(states, np.concatenate([clips, more], 1))
        np.testing.assert_array_equal(pooled, both_pooled)


@pytest.mark.parametrize("guidance", [3.0, None])
def test_flux_reads_squares_of_four_latents_channel_by_channel(guidance, one_call):
    z = latents((4, 6, 3), count=1)
    model = Recorder(has_guidance=guidance is not None)
    pipeline = pipeline_of("FluxPipeline", (Reader(10, 3), Reader(20, 5)), model)
    images, calls = draw(pipeline, size=(8, 12), guidance=guidance)
    np.testing.assert_allclose(images, (1 + 2 * z / 10 + 0.1) / 2, rtol=1e-5)
    ((_, tokens, times, _, _, positions, word_positions, strength),) = calls
    chex.assert_shape(tokens, (1, 6, 12))
    for k, (y, x) in enumerate((y, x) for y in range(2) for x in range(3)):
        square = z[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]  # [1, 2, 2, 3]
        expected = np.concatenate([square[..., c].reshape(1, 4) for c in range(3)], 1)
        np.testing.assert_allclose(tokens[:, k], expected, rtol=1e-6)
    np.testing.assert_allclose(times, [0.25])
    assert word_positions is None
    np.testing.assert_array_equal(positions, image_positions(2, 3))
    assert strength is None if guidance is None else strength.tolist() == [3]


def test_sides_are_multiples_of_what_network_and_autoencoder_cannot_divide(one_call):
    """Two pixels a latent; two latents for each halving of a U-Net, for a patch and for Flux's square."""
    for name, fields, unit in (
        ("StableDiffusionPipeline", {"channels": (8, 16, 16)}, 8),
        ("StableDiffusion3Pipeline", {"patch_size": 3}, 6),
        ("FluxPipeline", {"has_guidance": False}, 4),
    ):
        pipeline = pipeline_of(name, (Reader(1, 1), Reader(2, 1)), Recorder(**fields))
        images, _ = draw(pipeline, "", size=(unit, 2 * unit), guidance=1)
        chex.assert_shape(images, (1, unit // 2, unit, 3))
        for size in ((unit + 2, unit), (unit, unit + 2), (0, unit)):
            with pytest.raises(ValueError, match=f"sides do not divide; allowed: multiples of {unit} pixels"):
                pipeline.draw("", size=size)
    del pipeline.network.config["sample_size"]
    assert pipeline.side == 256  # 128 latents


def test_words_guide_and_latents_are_decoded(one_call):
    """The network gives .3 for the words and .1 without them, which strength g guides to .1 + .2 g."""
    model = Recorder(lambda z, times, label, states, *_: 0 * z + np.mean(states))
    pipeline = pipeline_of("StableDiffusionPipeline", (Reader(0.3, 1, without_words=0.1),), model)
    for guidance, strength in ((2, 2), (1, 1), (0, 0), (None, 7.5)):
        images, _ = draw(pipeline, guidance=guidance, size=(16, 8))
        expected = (1 + (0.1 + 0.2 * strength) / 10 + 0.1) / 2
        np.testing.assert_allclose(images, np.full((1, 8, 4, 3), expected), rtol=1e-6)


def test_open_pipeline_opens_each_part_in_its_folder(tmp_path, monkeypatch):
    options = {"sharding": "split", "param_dtype": "bfloat16"}
    monkeypatch.setattr("dlcore.pretrained.pipeline.from_pretrained", lambda folder, **given: (folder.name, given))
    monkeypatch.setattr("dlcore.pretrained.pipeline.open_prompt_encoder", lambda *part, **given: (*part, given))
    write_json(tmp_path / "scheduler" / "scheduler_config.json", {"shift": 3.0})
    parts = {f"text_encoder{end}": ["transformers", "Encoder"] for end in ("", "_2", "_3")}
    index = {"_class_name": "StableDiffusion3Pipeline", **parts}
    for count, left_out in ((3, {}), (2, {"text_encoder_3": [None, None]})):
        write_json(tmp_path / "model_index.json", index | left_out)
        pipeline = open_pipeline(tmp_path, **options)
        assert (pipeline.name, pipeline.scheduler) == ("StableDiffusion3Pipeline", {"shift": 3.0})
        assert (pipeline.network, pipeline.autoencoder) == (("transformer", options), ("vae", options))
        encoders = KINDS["StableDiffusion3Pipeline"].encoders[:count]
        assert pipeline.encoders == tuple((tmp_path, *part, options) for part in encoders)
        assert pipeline.index == index | left_out
    write_json(tmp_path / "model_index.json", index | {"text_encoder_2": [None, None], "text_encoder_3": [None, None]})
    with pytest.raises(ValueError, match="text_encoder_2 was left out; allowed: all text encoders of a Stable"):
        open_pipeline(tmp_path)


def test_a_prompt_is_filled_up_to_its_window_where_asked(tmp_path, monkeypatch):
    write_clip_tokenizer(tmp_path / "clip")
    write_t5_tokenizer(tmp_path / "t5")
    encoder = PromptEncoder("text", lambda input_ids: input_ids, open_tokenizer(tmp_path / "clip"), 9, 8)
    six = CLIP_TOKENS[0, :6].tolist()
    assert encoder.encode(WORDS).tolist() == [[*six, 9, 9]]
    assert encoder.encode(WORDS, pad=False).tolist() == [six]
    # A CLIP has a window of its own, and a tokenizer may have as many tokens as the network.
    calls, sizes = [], {"clip": VOCAB, "t5": 7}
    for name, fields, window, pad in (("clip", {"window": 12}, 12, END), ("t5", {}, 300, 0)):
        network = SimpleNamespace(model=SimpleNamespace(vocab_size=sizes[name], **fields))
        monkeypatch.setattr(
            "dlcore.pretrained.prompt_encoder.from_pretrained",
            lambda folder, network=network, **options: calls.append((folder, options)) or network,
        )
        opened = open_prompt_encoder(tmp_path, "text", name, 300, sharding="split", param_dtype="half")
        assert (opened.name, opened.network, opened.window, opened.pad_token) == ("text", network, window, pad)
    assert calls == [(tmp_path / "text", {"sharding": "split", "param_dtype": "half"})] * 2
    # Words of the files, if the tokenizer has them; else CLIP's end, or 0.
    (tmp_path / "clip" / "special_tokens_map.json").unlink()
    monkeypatch.setattr(
        "dlcore.pretrained.prompt_encoder.from_pretrained",
        lambda *_, **__: SimpleNamespace(model=SimpleNamespace(vocab_size=VOCAB)),
    )

    def pad_token(name):
        return open_prompt_encoder(tmp_path, "text", name, 8).pad_token

    assert pad_token("clip") == END
    for word, token in (("square", 5), ("circle", 0)):
        write_json(tmp_path / "t5" / "tokenizer_config.json", {"pad_token": word})
        assert pad_token("t5") == token
