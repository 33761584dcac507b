"""An experiment and its parts: flags replace fields before anything is built, and parts give the technique its own."""

import dataclasses
from functools import partial
from typing import Annotated, Any, ClassVar

import optax
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment import Experiment, Measure, Range, Steps
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Learner
from dlcore.models import Network
from dlcore.optim import AdamW


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise.

    Args:
      scale: standard deviation
    """

    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Images.

    Args:
      size: side in pixels
      noise: what is added
    """

    size: Annotated[int, Range(1)] = 4
    noise: Noise = dataclasses.field(default_factory=Noise)

    reads_files: ClassVar[bool] = False

    def load(self, seed: int = 0) -> Splits:
        source = Source.indices(self.size)
        return Splits(source, source, source, {"class_names": ["a", "b"], "seed": seed})

    def arguments(self, run: Any) -> dict[str, Any]:
        return {"preprocess": self.noise.scale, "augment": "not taken"}

    def wrap(self, learner: Learner, run: Any) -> Learner:
        return learner._replace(evaluate=("wrapped", run.steps))


def technique(model, optimizer, preprocess, *, l2: float = 0.5):
    """A technique.

    Args:
      l2: a penalty.
    """
    return Learner((model, optimizer), preprocess, None, None, loss=l2)


PAGE = Experiment(
    __file__,
    "A page.",
    technique=partial(technique, l2=0.25),
    data=Pixels(size=8, noise=Noise(scale=2.0)),
    network=Network(partial(nn.Dense, use_bias=False), prefix="net"),
    optimizer=AdamW(learning_rate=0.125),
    length=Steps(20, batch_size=2),
    measures=[Measure("psnr"), Measure("loss", "min")],
    smoke={"steps": 1},
)


def test_the_flags_of_a_page_are_the_fields_of_its_parts():
    flags = resolve(PAGE, [])
    assert (flags.size, flags.scale, flags.l2, flags.learning_rate, flags.steps) == (8, 2.0, 0.25, 0.125, 20)
    assert resolve(PAGE, ["--smoke"]).steps == 1
    assert (PAGE.parts.headline, PAGE.parts.monitor, PAGE.parts.mode) == ("psnr", "psnr", "max")
    other = resolve(dataclasses.replace(PAGE, defaults={"scale": 3.0}), [])
    assert (other.scale, other.size) == (3.0, 8)


def test_flags_replace_fields_before_anything_is_built():
    run = PAGE.run(resolve(PAGE, ["--size=6", "--scale=4", "--net.use_bias", "--learning_rate=0.5"]))
    assert run.parts.data == Pixels(6, Noise(4.0))
    assert run.parts.optimizer.learning_rate == 0.5
    assert run.parts.network.network.keywords["use_bias"] is True
    assert len(run.load().train) == 6
    assert PAGE.data.size == 8


def test_the_technique_gets_what_it_takes_of_its_parts():
    network = Network(nn.Dense, of_data=("features",), prefix="net")
    assert network.external_fields == ()
    page = dataclasses.replace(PAGE, network=partial(nn.Dense, 3)())
    run = page.run(resolve(page, ["--scale=4", "--l2=1"]), {"train_size": 8}, 20, "float16")
    learner = run.build()
    (model, optimizer), preprocess, l2 = learner.init, learner.update, learner.loss
    assert (model.features, model.dtype, preprocess, l2) == (3, "float16", 4.0, 1.0)
    assert isinstance(optimizer, optax.GradientTransformationExtraArgs)
    assert learner.evaluate == ("wrapped", 20)
    assert run.steps_per_epoch == 4


def test_data_are_loaded_with_the_seed_of_the_run():
    run = ResolvedRun(PAGE, resolve(PAGE, ["--seed=5"]))
    splits = run.load()
    assert splits.spec["seed"] == 5
    assert run.training_of(splits).facts.num_classes == 2


def test_a_value_that_a_flag_refuses_is_refused():
    with pytest.raises(ValueError, match="--size=0"):
        resolve(PAGE, ["--size=0"])


def test_a_field_is_no_method_of_a_part():
    """A reader of texts may hold an `encoder`, which is no encoder of the images of its page."""

    @dataclasses.dataclass(frozen=True)
    class Reader:
        encoder: Noise

        def check(self, run: Any) -> None:
            """Check nothing."""

    page = Experiment(__file__, "A page.", technique=technique, data=Reader(Noise()))
    assert list(page.parts.having("encoder")) == []
    assert [check.__name__ for check in page.parts.having("check")] == ["check"]
    assert page.parts.data.encoder == Noise()
