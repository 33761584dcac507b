"""Tasks that begin with what an earlier run trained: latents, codes and teachers; and images of the first phase."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from PIL import Image

from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.generative import latent_networks
from dlcore.report import reconstructions
from dlcore.weights import earlier_run, first_stage, frozen_codes, teacher
from dlcore.weights.first_stage import FirstStage
from dlcore.weights.frozen_codes import FrozenCodes
from dlcore.weights.open import Weights
from dlcore.weights.teacher import Teacher
from tests import overriding

SPEC = {"image_shape": [4, 6, 3], "class_names": ["a", "b"], "num_classes": 2}


@struct.dataclass
class Held:
    """A state with what tasks replace."""

    params: object = None
    opt_state: object = None
    locked: object = None
    frozen: object = None


class Autoencoder:
    """Stands for AutoencoderKL: it encodes x as w x and 1."""

    downsampling, latent_channels, channels = 2, 5, (8, 8)

    def __init__(self, **fields):
        self.fields = fields

    def apply(self, variables, x, method):
        assert (method, self.fields["dtype"]) == ("encode", None)
        return variables["params"]["w"] * x, jnp.ones_like(x)


@pytest.fixture
def phase(monkeypatch):
    """The first phase's run: what it was asked for, and what was compared."""
    calls = []
    monkeypatch.setattr(earlier_run, "find_or_train", lambda *rest: calls.append(rest) or Path("run"))
    monkeypatch.setattr(earlier_run, "check_same", lambda *rest: calls.append(rest))
    monkeypatch.setattr(earlier_run, "check_facts", lambda *rest: calls.append(rest))
    return calls


def flags_of(**values):
    known = {
        "smoke": False,
        "autoencoder_steps": 9,
        "dataset": "digits",
        "first_stage": None,
        "init_from": None,
        "seed": 0,
    }
    return Flags(known | {"autoencoder.groups": 4} | values, {"autoencoder": ("autoencoder.groups",)})


def run_of(flags, data=None, dtype=None, spec=SPEC):
    network = latent_networks.ImageAutoencoder(partial(Autoencoder, groups=4))
    return overriding.run_of(
        flags, spec, dtype=dtype, network=network, data=data, technique=partial(print, num_codes=16)
    )


def test_latents_are_scaled_by_the_first_training_images(phase, monkeypatch):
    """Three of five images with pixels 0, 1/2 and 1, that is -1, 0 and 1, times 10: a deviation of 10 sqrt(2/3)."""
    images = np.ones((5, 4, 6, 3), np.float32) * np.array([0, 0.5, 1, 1, 1], np.float32)[:, None, None, None]
    data = SimpleNamespace(load=lambda seed: Splits(Source({"image": images}), 0, 0, {}))
    monkeypatch.setattr(first_stage, "NUM_SCALED", 3)
    monkeypatch.setattr(first_stage, "latent_scale", lambda mean, deviation: float(mean.std() * deviation.mean()))
    monkeypatch.setattr(earlier_run, "load", lambda folder: earlier_run.EarlierPhase(None, {"w": np.float32(10)}))
    run = run_of(flags_of(), data, jnp.float32)
    start = FirstStage("the page").start(run)
    locked = start.replace(Held()).locked
    assert locked["scale"] == pytest.approx(10 * np.sqrt(2 / 3), rel=1e-5)
    assert locked["autoencoder"] == {"w": 10}
    (_, argument, page, words), (name, _, compared, module) = phase
    assert (argument, page) == ("first_stage", "the page")
    assert words == ["--steps=9", "--dataset=digits", "--autoencoder.groups=4"]
    assert (name, compared, module) == ("first_stage='run'", run, "autoencoder")
    found = SimpleNamespace(name="it", spec={"image_shape": [1]})
    monkeypatch.setattr(earlier_run, "origin", lambda *rest: phase.append(rest) or found)
    start.check(Held())
    assert phase[2:] == [
        (run.flags, "first_stage", "generative.autoencoder_kl", "autoencoder"),
        ("it", found.spec, SPEC, "image_shape"),
    ]
    setting = FirstStage.settings["first_stage"]
    assert (setting.default, setting.origin("flags")) == (None, found)
    assert phase[-1] == ("flags", "first_stage", "generative.autoencoder_kl", "autoencoder")
    monkeypatch.setattr(earlier_run, "origin", lambda *rest: None)
    start.check(Held())
    assert len(phase) == 5, "without a run there is nothing to compare"


def test_the_first_phase_is_measured_at_the_end(phase, monkeypatch, tmp_path):
    monkeypatch.setattr(earlier_run, "find_or_train", lambda *rest: tmp_path)
    run, splits = run_of(flags_of(smoke=True)), Splits(None, None, None, {}, shown="shown")
    assert FirstStage().evaluators(run, splits, "test") == []
    (tmp_path / "result.json").write_text(json.dumps({"value": 21.5}))
    assert FirstStage().evaluators(run, splits, "valid") == []
    (psnr,) = FirstStage().evaluators(run, splits, "test")
    assert psnr.finish(psnr.add(None, None, None)) == {"reconstruction_psnr": 21.5}
    assert (psnr.source, psnr.names) == ("shown", ("reconstruction_psnr",))


def test_latents_have_the_sides_and_channels_that_the_autoencoder_leaves(phase, monkeypatch):
    applied = SimpleNamespace(apply=lambda variables, *rest, method: (variables, *rest, method))
    monkeypatch.setattr(latent_networks, "LatentDiffusion", lambda network, autoencoder: applied)
    run = run_of(flags_of(), dtype=jnp.bfloat16)
    arguments = latent_networks.latent_arguments(run, "network")
    assert (arguments["shape"], arguments["locked"]) == ((2, 3, 5), ("autoencoder", "scale"))
    assert arguments["encode"]("p", "keys", {"image": "x"}) == ({"params": "p"}, "x", "keys", "encoded")
    assert arguments["decode"]("p", "z") == ({"params": "p"}, "z", "decoded")
    for shape in ([5, 6, 3], [4, 7, 3]):
        with pytest.raises(
            ValueError, match=rf"sides do not divide; allowed: levels that divide {shape[0]}x{shape[1]}"
        ):
            latent_networks.latent_arguments(run_of(flags_of(), spec={"image_shape": shape}), None)
    model = run.parts.network.arguments(run)["model"]
    assert model.fields == {"groups": 4, "image_channels": 3, "dtype": jnp.bfloat16}


def test_reconstructions_stand_beside_their_images(monkeypatch, tmp_path):
    use = reconstructions.WriteReconstructions()
    outputs = {"mean": np.zeros((2, 2, 3, 5)), "image": np.float32([[[[0.2]]], [[[0.4]]]])}
    assert use.describe(outputs, Facts()) == [{"text": "reconstructed from 2 x 3 x 5 numbers"}] * 2
    source = Source({"image": np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)})
    files = use.write(tmp_path, outputs, source, ["some/a.png", "b.jpg"], Facts())
    assert [file.name for file in files] == ["0_a_reconstruction.png", "1_b_reconstruction.png"]
    pictures = [np.asarray(Image.open(file)) for file in files]
    for picture, pair in zip(pictures, ((0, 51), (255, 102)), strict=True):
        scale = picture.shape[0]
        assert picture.shape == (scale, 3 * scale)
        assert (int(picture[0, 0]), int(picture[0, -1])) == pair
    monkeypatch.setattr(reconstructions, "sample_rows", lambda rows, *rest: rows)
    monkeypatch.setattr(reconstructions, "curves", lambda history: history)
    context = SimpleNamespace(
        data=SimpleNamespace(test=SimpleNamespace(arrays={"image": np.arange(13)})), outputs={"image": -np.arange(13)},
        history="curves",
    )  # fmt: skip
    rows, curves = reconstructions.ReconstructedImages().panels(context, None)
    assert curves == "curves"
    assert rows["test images"].tolist() == [*range(12)]
    assert rows["reconstructed"].tolist() == [-k for k in range(12)]


def test_codes_are_those_of_the_frozen_first_phase(phase, monkeypatch):
    values = {"architecture": "net", "num_codes": 16, "net.width": 3, "data_dir": None}
    flags = Flags(dict(flags_of()) | values, {"net": ("net.width",)})
    loaded = earlier_run.EarlierPhase(None, {"w": 1}, fields={"codebook": {"vectors": np.ones(2), "usage": 5}})
    monkeypatch.setattr(earlier_run, "load", lambda *rest: phase.append(rest) or loaded)
    run = run_of(flags)
    start = FrozenCodes("the page").start(run)
    frozen = start.replace(Held()).frozen
    assert (frozen["autoencoder"], frozen["codebook"].tolist()) == ({"w": 1}, [1, 1])
    (_, argument, page, words), load = phase
    assert (argument, page, load) == ("init_from", "the page", (Path("run"), "codebook"))
    assert words == ["--steps=9", "--dataset=digits", "--architecture=net", "--num_codes=16", "--net.width=3"]
    start.check(Held())
    found = Weights("init_from", Path("there"), spec={"image_shape": [1]}, settings={"num_codes": 16, "net.width": 3})
    monkeypatch.setattr(earlier_run, "origin", lambda *rest: found)
    start.check(Held())
    assert phase[2:] == [(found.name, found.spec, SPEC, "image_shape")]
    for setting in ("num_codes", "net.width", "architecture"):
        monkeypatch.setattr(earlier_run, "origin", lambda *rest, name=setting: found._replace(settings={name: 4}))
        with pytest.raises(ValueError, match=rf"init_from='there': trained with {setting}=4; allowed: "):
            frozen_codes.origin(flags)
    assert frozen_codes.uniform_codes(run) == pytest.approx(np.log(16))


TEACHER = Teacher("generative.ddpm", "whose network it follows", same=("num_timesteps",))


def test_a_pupil_follows_the_network_of_an_earlier_run_or_its_pupil(phase, monkeypatch):
    """The run's own pupil, where it has one, else its network: 2 in place of 1."""
    saved = {"w": np.float32(1)}
    run = SimpleNamespace(
        name="run", spec="its spec", settings={"num_timesteps": 7}, variables=lambda: {"params": saved}
    )
    monkeypatch.setattr(earlier_run, "origin", lambda flags, *rest: phase.append(rest) or (flags.init_from and run))
    monkeypatch.setattr(teacher, "fit_weights", lambda new, old, name: ({**old, **new}, phase.append(name)))
    optimizer = SimpleNamespace(build=lambda *length: optax.trace(0.9))
    flags = Flags({"init_from": "run", "num_timesteps": 7})
    network = SimpleNamespace(clone=lambda dtype: ("a copy", dtype))
    training = overriding.run_of(flags, SPEC, 7, jnp.float32, optimizer=optimizer, network=network)
    start = TEACHER.start(training)
    start.check(Held())
    assert phase == [("init_from", "generative.ddpm", "unet"), ("run", "its spec", SPEC, "image_shape")]
    state = start.replace(Held(locked={"teacher": {"w": 0, "b": 5}}))
    assert state.params == {"student": {"w": 1, "b": 5}}
    assert state.locked == {"teacher": {"w": 1, "b": 5}}
    assert jax.tree.map(np.shape, state.opt_state.trace) == {"student": {"w": (), "b": ()}}
    saved["student"] = {"w": np.float32(2)}
    assert start.replace(Held(locked={"teacher": {"w": 0}})).params == {"student": {"w": 2}}
    with pytest.raises(ValueError, match="run: trained with num_timesteps=7; allowed: 8"):
        TEACHER.origin(flags.replace(num_timesteps=8))
    none = training.replace(flags=flags.replace(init_from=None))
    assert TEACHER.start(none) is None
    assert TEACHER.origin(none.flags) is None
    setting = TEACHER.settings["init_from"]
    assert setting.help == "the folder of a run of generative.ddpm, whose network it follows"
    assert TEACHER.arguments(training) == {"teacher": ("a copy", jnp.float32), "num_steps": 7}
    assert TEACHER.arguments(none) == {"teacher": None, "num_steps": 7}
