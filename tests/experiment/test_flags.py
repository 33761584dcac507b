"""Flags from signatures, and the precedence: command line, an earlier run, --smoke, experiment, signature."""

import contextlib
import dataclasses
import json
import re
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple

import pytest

from dlcore.data.splits import Splits
from dlcore.detection.fcos import FCOS
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags, parse
from dlcore.experiment.parts import Measure
from dlcore.experiment.resolve import read_config, resolve, split_runs
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.settings import RUN
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.learner import Range, check_arguments
from dlcore.main import MODES, run
from dlcore.models import Zoo, list_models
from dlcore.models.network import model_settings
from dlcore.models.registry import MODELS
from dlcore.setting import FlagError, NonNegativeFloat, PositiveInt, Setting, module_settings, read_value, settings_of
from experiments.classification import supervised
from experiments.transfer import domain_adaptation
from tests.experiment.arguments import arguments_of


def factory(
    *,
    model: Any,
    callback=print,
    switch: bool = False,
    on: bool = True,
    count: PositiveInt = 3,
    rate: float = 0.5,
    name: str = "a",
    kind: Literal["alpha", "beta", "gamma"] = "alpha",
    level: Literal[1, 2, 4] = 2,
    sizes: tuple[int, ...] = (8, 16),
    pair: tuple[float, float] = (0.9, 0.999),
    words: tuple[str, ...] = (),
    limit: int | None = None,
    share: Annotated[float, Range(0, 1)] = 0.25,
    positive: PositiveInt | None = None,
    choice: Literal["x", "y"] | None = None,
    schedule: Any = None,
):
    """A factory.

    Args:
      model: not a flag.
      count: how many, at
        least one.
      rate: how fast.
    """


def read(*argv, config=None, **extra):
    groups = {"learner": settings_of(factory), **extra}
    return parse(groups, list(argv), config, usage="What it does.")


# Types


def test_defaults_are_the_signatures():
    flags = read()
    assert flags.sizes == (8, 16)
    assert flags.words == ()
    assert (flags.limit, flags.positive, flags.choice) == (None, None, None)
    assert (flags.switch, flags.on) == (False, True)
    assert set(flags) == {
        "switch",
        "on",
        "count",
        "rate",
        "name",
        "kind",
        "level",
        "sizes",
        "pair",
        "words",
        "limit",
        "share",
        "positive",
        "choice",
    }
    assert flags.given == frozenset()


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--switch", "switch", True),
        ("--switch=true", "switch", True),
        ("--switch=1", "switch", True),
        ("--noon", "on", False),
        ("--on=false", "on", False),
        ("--count=7", "count", 7),
        ("--limit=-7", "limit", -7),
        ("--count=1e3", "count", 1000),
        ("--count=9007199254740993", "count", 9007199254740993),  # 2^53 + 1, which no float holds
        ("--rate=1", "rate", 1.0),
        ("--rate=1e-3", "rate", 0.001),
        ("--name=None", "name", "None"),
        ("--name=", "name", ""),
        ("--kind=beta", "kind", "beta"),
        ("--level=4", "level", 4),
        ("--sizes=1,2,3", "sizes", (1, 2, 3)),
        ("--sizes=(1, 2)", "sizes", (1, 2)),
        ("--sizes=[5]", "sizes", (5,)),
        ("--sizes=", "sizes", ()),
        ("--sizes=4,", "sizes", (4,)),
        ("--pair=0.5,1", "pair", (0.5, 1.0)),
        ("--words=a, b", "words", ("a", "b")),
        ("--limit=5", "limit", 5),
        ("--limit=None", "limit", None),
        ("--limit=none", "limit", None),
        ("--share=0", "share", 0.0),
        ("--share=1", "share", 1.0),
        ("--positive=1", "positive", 1),
        ("--choice=y", "choice", "y"),
    ],
)
def test_values(argument, name, value):
    flags = read(argument)
    assert flags[name] == value
    assert type(flags[name]) is type(value)


def test_given_are_those_of_the_command_line():
    assert read("--count=4", "--noon", config={"rate": 1.0}).given == {"count", "on"}


def test_a_value_may_be_the_next_word_and_the_last_one_counts():
    assert read("--count", "4", "--rate", "-2").count == 4
    assert read("--rate", "-2").rate == -2.0
    assert read("--count=4", "--count=5").count == 5


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--switch=maybe", r"^--switch=maybe: not a bool; allowed: true, false$"),
        ("--count=many", r"--count=many: not an int; allowed: "),
        ("--count=1.5", r"--count=1.5: not an int"),
        ("--limit=", r"--limit=: empty; allowed: a value, or None"),
        ("--rate=fast", r"--rate=fast: not a float"),
        ("--rate=nan", r"--rate=nan: not finite; allowed: finite numbers$"),
        ("--pair=nan,1", r"--pair=nan: not finite; allowed: finite numbers$"),
        ("--share=-inf", r"--share=-inf: not finite; allowed: 0 to 1$"),
        ("--kind=betta", r"--kind=betta: unknown \(did you mean beta\?\); allowed: alpha, beta, gamma"),
        ("--level=3", r"--level=3: unknown.*; allowed: 1, 2, 4"),
        ("--sizes=1,x", r"--sizes=x: not an int"),
        ("--pair=1,2,3", r"--pair=1,2,3: 3 values; allowed: 2 values"),
        ("--share=1.5", r"--share=1.5: out of range; allowed: 0 to 1"),
        ("--positive=0", r"--positive=0: out of range; allowed: at least 1"),
        ("--choice=z", r"--choice=z: unknown; allowed: x, y"),
        ("--coutn=3", r"--coutn: unknown \(did you mean count"),
        ("--model=3", r"--model: unknown"),
        ("--schedule=1", r"--schedule: unknown"),
        ("--nocount", r"--nocount: unknown"),
        ("word", r"'word': not a flag; allowed: --name=value"),
        ("--count", "count"),
    ],
)
def test_bad_values(argument, message):
    with pytest.raises(FlagError, match=message) as caught:
        read(argument)
    assert "\n" not in str(caught.value).strip()


def test_limits_of_tuples_and_of_settings():
    own = {
        "experiment": {"momenta": Setting((0.9,), "each", limits=Range(0, 1)), "top": Setting(1, limits=Range(high=5))}
    }
    assert read("--momenta=0,1", **own).momenta == (0.0, 1.0)
    with pytest.raises(FlagError, match=r"--momenta=2.0: out of range; allowed: 0 to 1"):
        read("--momenta=0,2", **own)
    with pytest.raises(FlagError, match=r"--top=6: out of range; allowed: at most 5$"):
        read("--top=6", **own)


def listing(
    *,
    words: tuple[Literal["naive", "replay"], ...] = ("naive",),
    shares: tuple[Annotated[float, Range(0, 1)], ...] = (0.5,),
    train_sizes: tuple[PositiveInt, ...] = (10, 20),
    learning_rates: tuple[NonNegativeFloat, ...] = (0.1,),
    workers: tuple[int, ...] = (0, 1),
):
    """Lists whose elements are checked one by one."""


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--words=naive,foo", "--words=foo: unknown; allowed: naive, replay"),
        ("--words=", "--words=: no value; allowed: naive, replay"),
        ("--shares=0.1,2", "--shares=2.0: out of range; allowed: 0 to 1"),
        ("--train_sizes=5,0", "--train_sizes=0: out of range; allowed: at least 1"),
        ("--learning_rates=0.1,-1", "--learning_rates=-1.0: out of range; allowed: at least 0"),
    ],
)
def test_each_of_several_values_is_checked_before_anything_runs(argument, message):
    settings = {"study": settings_of(listing)}
    assert parse(settings, ["--words=replay,naive"], usage="").words == ("replay", "naive")
    assert parse(settings, ["--workers=0,2", "--train_sizes="], usage="").workers == (0, 2)
    with pytest.raises(FlagError, match=re.escape(message)):
        parse(settings, [argument], usage="")


def test_one_dash_does_not_slip_past():
    """absl takes -name too: then the name must be checked, and mean the same, as with two."""
    with pytest.raises(FlagError, match="coutn"):
        read("-coutn=3")
    with contextlib.suppress(FlagError):
        assert read("-count=4").count == 4
    with contextlib.suppress(FlagError):
        assert resolve(PAGE, ["-model=mlp"])["model.hidden"] == (128, 128)
    with contextlib.suppress(FlagError):
        assert resolve(PAGE, ["-smoke"]).steps == 3


def test_page_errors_are_type_errors():
    with pytest.raises(TypeError, match="two settings are called 'count'"):
        read(experiment={"count": Setting(1)})
    with pytest.raises(TypeError, match=r"setting 'odd': type .* cannot be a flag"):
        read(experiment={"odd": Setting({"a": 1})})
    with pytest.raises(TypeError, match="setting 'unknown'"):
        read(experiment={"unknown": Setting(None)})


# Help


def test_help_names_every_flag_with_type_default_and_text(capsys):
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("What it does.")
    for line in (
        "--switch=bool  (default False)",
        "--count=int  (default 3)",
        "how many, at least one.",
        "how fast.",
        "--kind=alpha|beta|gamma  (default alpha)",
        "--level=1|2|4  (default 2)",
        "--sizes=int,...  (default 8,16)",
        "--pair=float,...  (default 0.9,0.999)",
        "--limit=int  (default None)",
        "--share=float  (default 0.25)",
    ):
        assert line in text, line
    assert "axis" not in text
    assert "callback" not in text


def test_help_of_a_page_is_complete(capsys):
    from experiments.classification.supervised import experiment

    for word in ("--helpfull", "--help=all"):
        with pytest.raises(SystemExit) as caught:
            run(experiment, [word])
        assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "Train a small ResNet on handwritten digits." in text
    settings = {**RUN, **experiment.settings}
    for name, setting in settings.items():
        assert f"  --{name}=" in text, name
        if setting.help:
            assert setting.help in text, name
    for name in (
        "l2",
        "label_smoothing",
        "model.width",
        "model.dropout" if "model.dropout" in text else "model.stages",
    ):
        assert f"--{name}=" in text
    assert "|".join(MODES) in text
    assert "weight of half the squared norm of the kernels" in text
    defaults = {line.split("=")[0].strip(): line for line in text.splitlines() if line.startswith("  --")}
    assert "(default 0.1)" in defaults["--label_smoothing"], "the experiment's default, not the signature's"


def test_help_shows_the_essentials_and_counts_the_rest(capsys):
    from experiments.classification.supervised import experiment

    for word in ("--help", "-h"):
        with pytest.raises(SystemExit) as caught:
            run(experiment, [word])
        assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in ("dataset", "model", "optimizer", "learning_rate", "epochs", "steps", "batch_size", "run_dir", "mode"):
        assert f"  --{name}=" in text, name
    for name in ("heartbeat_seconds", "keep_last", "decoder", "topology", "gradcheck_h"):
        assert f"  --{name}=" not in text, name
    assert "--help=all lists the others too" in text


def test_help_of_a_mode_shows_its_flags(capsys):
    from experiments.classification.supervised import experiment

    with pytest.raises(SystemExit):
        run(experiment, ["--mode=plan", "--help"])
    text = capsys.readouterr().out
    assert "  --topology=str" in text
    assert "gradcheck_h" not in text


def test_a_flag_of_another_mode_is_an_error_that_names_the_mode(capsys):
    from experiments.classification.supervised import experiment

    assert run(experiment, ["--topology=v5e:4x4"]) == 2
    assert "--topology: unknown" in (err := capsys.readouterr().err)
    assert "--topology belongs to --mode=plan" in err


def test_help_of_another_model_shows_its_fields(capsys):
    from experiments.classification.supervised import experiment

    with pytest.raises(SystemExit):
        run(experiment, ["--model=mlp", "--help=all"])
    text = capsys.readouterr().out
    assert "--model.hidden=int,...  (default 128,128)" in text
    assert "--model.activation=relu|tanh|sigmoid|gelu|identity  (default relu)" in text
    assert "--model.width=int" not in text


# The mapping


def test_flags_are_a_mapping_with_groups():
    flags = read(experiment={"model.width": Setting(8), "model.depth": Setting(2)}, other={})
    assert flags["model.width"] == 8
    assert flags.group("experiment") == {"model.width": 8, "model.depth": 2}
    assert len(flags) == len(list(flags)) == len(dict(flags))
    with pytest.raises(AttributeError, match="no flag 'speed'; there are"):
        _ = flags.speed
    other = flags.replace(**{"model.width": 4, "count": 9})
    assert (other["model.width"], other.count, flags.count) == (4, 9, 3)
    with pytest.raises(FlagError, match="no flag 'speed'"):
        flags.replace(speed=1)


def test_groups_give_names_as_their_function_knows_them():
    flags = Flags({"model.width": 8, "l2": 0.1}, {"model": ("model.width",), "learner": ("l2",)})
    assert flags.group("model") == {"width": 8}
    assert flags.group("learner") == {"l2": 0.1}
    assert flags.group("none") == {}


class Schedule(NamedTuple):
    """When.

    Args:
      warmup: steps before
        the first.
      decay: how fast.
    """

    warmup: PositiveInt = 3
    decay: Annotated[float, Range(0, 1)] = 0.5


@check_arguments
def scheduled(*, model: object, rate: float = 0.1, schedule: Schedule = Schedule(decay=0.25)):
    """A factory.

    Args:
      model: not a flag.
      rate: how fast.
      schedule: when.
    """
    return rate, schedule


def test_fields_of_a_record_are_flags():
    settings = settings_of(scheduled)
    assert set(settings) == {"rate", "warmup", "decay"}
    assert [settings["warmup"].default, settings["decay"].default] == [3, 0.25]
    assert settings["warmup"].help == "steps before the first."
    flags = parse({"learner": settings, "model": {"model.warmup": Setting(7)}}, ["--warmup=5"])
    assert dict(flags) == {"rate": 0.1, "warmup": 5, "decay": 0.25, "model.warmup": 7}
    assert flags.identity == dict(flags)
    assert flags.group("learner") == {"rate": 0.1, "schedule": Schedule(5, 0.25)}
    assert flags.replace(decay=0.75).group("learner")["schedule"] == Schedule(5, 0.75)
    assert scheduled(model=None, **flags.group("learner")) == (0.1, Schedule(5, 0.25))
    assert arguments_of(scheduled, model=1, warmup=9) == {"model": 1, "schedule": Schedule(9, 0.25)}
    for word, message in (("--decay=2", "decay=2.0: out of range; allowed: 0 to 1"), ("--warmup=0", "at least 1")):
        with pytest.raises(FlagError, match=message):
            parse({"learner": settings}, [word])


def test_a_record_is_checked_where_a_caller_gives_one():
    with pytest.raises(ValueError, match="decay=2: out of range; allowed: at least 0, at most 1"):
        scheduled(model=None, schedule=Schedule(decay=2))
    with pytest.raises(ValueError, match=r"schedule=\(1, 0.5\): no Schedule; allowed: Schedule"):
        scheduled(model=None, schedule=(1, 0.5))


def test_models_fields():
    fields = model_settings("mlp")
    young = {"model.dropout_form", "model.drop_connect"}
    assert set(fields) == {"model.hidden", "model.activation", "model.dropout", *young}
    assert {name for name, field in fields.items() if field.identity == "if changed"} == young
    assert fields["model.hidden"].default == (128, 128)
    assert model_settings("resnet20_cifar")["model.stages"].default == (3, 3, 3)
    kinds = {getattr(variant, "func", variant): name for name, variant in MODELS.items() if name in list_models()}
    for name in kinds.values():
        assert not {"model.num_classes", "model.dtype", "model.axis_name", "model.parent"} & set(model_settings(name))
    with pytest.raises(FlagError, match=r"--model=resnet20_cifra: unknown \(did you mean resnet20_cifar"):
        model_settings("resnet20_cifra")
    with pytest.raises(FlagError, match=r"--model=fcn_resnet50: unknown.*; allowed: the \d+ names of `dlcore models`"):
        model_settings("fcn_resnet50")  # a segmenter is no model of a page


# Precedence


def learner(*, l2: float = 1.0, smoothing: float = 1.0, plain: float = 1.0, sizes: tuple[int, ...] = (1,)):
    """A learner.

    Args:
      l2: a penalty.
    """


def never(*args):
    raise AssertionError("flags are read before anything else")


@dataclasses.dataclass(frozen=True)
class Own:
    """Data.

    Args:
      own: the experiment's own
      kind: a word
    """

    own: float = 1.0
    kind: Literal["a", "b"] = "a"

    reads_files = False


PAGE = Experiment(
    file=__file__,
    doc="An experiment.",
    technique=learner,
    data=Own(),
    network=Zoo("resnet8_cifar"),
    measures=[Measure("accuracy")],
    defaults={"l2": 2.0, "own": 2.0, "model.width": 2, "batch_size": 2},
    smoke={"l2": 3.0, "model.width": 3, "steps": 3},
)


def written(tmp_path, settings):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"experiment": PAGE.name, "settings": settings}))
    return path


def test_signature_page_smoke_config_command_line(tmp_path):
    """Each level in turn over the one below; a level that says nothing leaves it."""
    path = written(tmp_path, {"l2": 4.0, "model.width": 4, "sizes": [4, 4]})
    assert (resolve(PAGE, []).plain, resolve(PAGE, []).smoothing) == (1.0, 1.0)
    assert (resolve(PAGE, []).l2, resolve(PAGE, []).own, resolve(PAGE, [])["model.width"]) == (2.0, 2.0, 2)
    smoke = resolve(PAGE, ["--smoke"])
    assert (smoke.l2, smoke["model.width"], smoke.steps, smoke.own, smoke.smoke) == (3.0, 3, 3, 2.0, True)
    config = resolve(PAGE, ["--smoke", f"--config_json={path}"])
    assert (config.l2, config["model.width"], config.steps, config.sizes) == (4.0, 4, 3, (4, 4))
    line = resolve(PAGE, ["--smoke", f"--config_json={path}", "--l2=5", "--model.width=5"])
    assert (line.l2, line["model.width"], line.sizes) == (5.0, 5, (4, 4))
    assert resolve(PAGE, ["--l2=0"]).l2 == 0.0
    assert resolve(PAGE, [f"--config_json={path}", "--l2=0"]).l2 == 0.0


@pytest.mark.parametrize("word", ["--smoke=true", "--smoke=True", "--smoke=1", "--smoke=t"])
def test_however_smoke_is_said_it_is_small(word):
    flags = resolve(PAGE, [word])
    assert flags.smoke is True
    assert flags.steps == 3, "a run that calls itself a smoke test must not be the full job"


@pytest.mark.parametrize("words", [["--smoke=false"], ["--nosmoke"], ["--smoke", "--nosmoke"], []])
def test_no_smoke_is_the_full_job(words):
    flags = resolve(PAGE, words)
    assert (flags.smoke, flags.steps) == (False, None)


def test_a_folder_stands_for_its_config_and_paths_may_be_the_next_word(tmp_path):
    written(tmp_path, {"l2": 4.0})
    for words in ([f"--config_json={tmp_path}"], ["--config_json", str(tmp_path)], [f"--run={tmp_path}"]):
        assert resolve(PAGE, words).l2 == 4.0


def test_settings_alone_are_a_configuration(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"l2": 7, "own": 0.5}')
    flags = resolve(PAGE, [f"--config_json={path}"])
    assert (flags.l2, flags.own) == (7.0, 0.5)


def test_flags_of_one_call_are_not_read_from_a_config(tmp_path):
    path = written(tmp_path, {"mode": "sanity", "smoke": True, "run_dir": "elsewhere", "fresh": True, "l2": 4.0})
    flags = resolve(PAGE, [f"--config_json={path}"])
    assert (flags.smoke, flags.run_dir, flags.fresh, flags.l2) == (False, None, False, 4.0)


def test_the_model_of_a_configuration_brings_its_fields(tmp_path):
    path = written(tmp_path, {"model": "mlp", "model.hidden": [32]})
    flags = resolve(PAGE, [f"--config_json={path}"])
    assert (flags.model, flags["model.hidden"]) == ("mlp", (32,))
    assert "model.width" not in flags


def test_another_model_than_the_configurations_goes_over_it(tmp_path):
    path = written(tmp_path, {"model": "resnet8_cifar", "model.width": 4, "l2": 4.0})
    flags = resolve(PAGE, [f"--config_json={path}", "--model=mlp"])
    assert (flags.model, flags.l2) == ("mlp", 4.0)


def test_another_model_leaves_the_pages_fields_behind():
    for words in (["--model=mlp"], ["--model", "mlp"], ["--model=mlp", "--smoke"]):
        flags = resolve(PAGE, words)
        assert flags.model == "mlp"
        assert flags["model.hidden"] == (128, 128)
    assert resolve(PAGE, ["--model=mlp", "--model=resnet8_cifar"])["model.width"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"settings": {"l3": 1.0}}, r"--config_json=.*: sets 'l3', which is unknown \(did you mean l2"),
        (
            {"settings": {"l2": "heavy"}},
            r"^--config_json=.*config.json: sets --l2=heavy: not a float; allowed: numbers$",
        ),
        ({"settings": {"kind": "c"}}, r"--kind=c: unknown; allowed: a, b"),
        ({"settings": {"l2": [1.0]}}, r"--l2=\[1.0\]: not a float"),
        ({"settings": {"batch_size": True}}, r"--batch_size=True: not an int"),
        ({"settings": {"smoothing": float("nan")}}, r"--smoothing=nan: not finite"),
        ({"settings": {"batch_size": None}}, r"--batch_size: a value is missing"),
        ({"settings": {"model": "mlpp"}}, r"--model=mlpp: unknown \(did you mean mlp"),
        ([1, 2], r"holds no settings"),
    ],
)
def test_bad_configurations(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    with pytest.raises(FlagError, match=message):
        resolve(PAGE, [f"--config_json={path}"])


def test_configurations_that_are_not_there_or_not_json(tmp_path):
    with pytest.raises(FlagError, match=r"nothing.*: no such file"):
        read_config(tmp_path / "nothing")
    (tmp_path / "config.json").write_text('{"settings": {"l2"')
    with pytest.raises(FlagError, match=r"config.json: not JSON .*line 1"):
        resolve(PAGE, [f"--run={tmp_path}"])
    (tmp_path / "config.json").write_bytes(b"\x80\x02\xff")
    with pytest.raises(FlagError, match=r"config.json: not JSON .*decode"):
        resolve(PAGE, [f"--run={tmp_path}"])
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(FlagError, match=r"config.json: not JSON .*recursion"):
        resolve(PAGE, [f"--run={tmp_path}"])


def test_a_run_of_another_page_is_named(tmp_path):
    """Of its settings only some are unknown here, which says nothing."""
    (tmp_path / "config.json").write_text('{"experiment": "topic.other", "settings": {"l2": 1.0}}')
    for word in ("run", "config_json"):
        with pytest.raises(FlagError, match=rf"^--{word}=.*: a run of topic.other; allowed: runs of {PAGE.name}$"):
            resolve(PAGE, [f"--{word}={tmp_path}"])


def test_the_log_follows_the_looks():
    """Looks are taken where the log has a line: 20 of 50 would become 50."""
    for words, log_every in (
        (["--watch=20"], 20),
        (["--watch=120"], 10),
        (["--watch=100"], 50),
        (["--watch=0"], resolve(PAGE, []).log_every),
        (["--watch=20", "--log_every=5"], 5),
    ):
        assert resolve(PAGE, words).log_every == log_every, words
    with pytest.raises(FlagError, match=r"--watch=20: looks are taken .*; allowed: multiples of --log_every=50"):
        resolve(PAGE, ["--watch=20", "--log_every=50"])


# The length of a run


def length(flags, train_size=1000):
    return ResolvedRun(PAGE, flags).steps(train_size)


def test_epochs_of_the_command_line_replace_steps_set_further_down(tmp_path):
    page = dataclasses.replace(PAGE, defaults={**PAGE.defaults, "steps": 500, "batch_size": 100})
    path = written(tmp_path, {"steps": 700, "epochs": 10.0})
    for words, steps in (
        ([], 500),
        (["--epochs=3"], 30),
        (["--epochs", "3"], 30),
        (["--steps=7"], 7),
        (["--smoke"], 3),
        (["--smoke", "--epochs=2"], 20),
        ([f"--config_json={path}"], 700),
        ([f"--config_json={path}", "--epochs=3"], 30),
        ([f"--config_json={path}", "--steps=9"], 9),
        (["--steps=none", "--epochs=3"], 30),
    ):
        assert length(resolve(page, words)) == steps, words
    only_epochs = written(tmp_path, {"epochs": 4.0})
    assert length(resolve(page, [f"--config_json={only_epochs}"])) == 40
    assert length(resolve(page, [f"--config_json={only_epochs}", "--steps=9"])) == 9


def test_a_run_has_one_length():
    with pytest.raises(FlagError, match=r"--epochs=3 --steps=7: both are given; allowed: one of them"):
        resolve(PAGE, ["--epochs=3", "--steps=7"])
    with pytest.raises(FlagError, match=r"--epochs=1e\+30: .*steps; allowed: at most 2147483647 steps"):
        length(resolve(PAGE, ["--epochs=1e30"]))


def test_no_update_would_be_made():
    page = dataclasses.replace(PAGE, use=SimpleNamespace(settings={"accumulate": Setting(1)}))
    flags = resolve(page, ["--accumulate=4", "--steps=4"])
    assert ResolvedRun(page, flags).steps(10) == 4
    with pytest.raises(FlagError, match=r"--accumulate=4: no update in 3 steps; allowed: 1 to 3"):
        ResolvedRun(page, flags.replace(steps=3)).steps(10)


def test_short_names_of_other_programs_stand_for_the_long_ones():
    settings = {"learning_rate": Setting(0.1), "weight_decay": Setting(0.0), "bs": Setting(1)}
    flags = parse({"run": settings}, ["--lr=0.5", "--wd", "0.25", "--bs=7"])
    assert dict(flags) == {"learning_rate": 0.5, "weight_decay": 0.25, "bs": 7}
    assert flags.given == {"learning_rate", "weight_decay", "bs"}
    with pytest.raises(FlagError, match=r"^--learning_rate=x: not a float; allowed"):
        parse({"run": settings}, ["--lr=x"])
    assert resolve(PAGE, ["--bs=7"]).batch_size == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model=resnet21_cifar"], r"error: --model=resnet21_cifar: unknown (did you mean resnet"),
        (["--mode=trian"], r"error: --mode=trian: unknown (did you mean train?); allowed: train, evaluate"),
        (["--batch_size=0"], r"error: --batch_size=0: out of range; allowed: at least 1"),
        (["--seed=-1"], r"error: --seed=-1: out of range; allowed: 0 to 4294967295"),
        (["--batch_siz=3"], r"error: --batch_siz: unknown (did you mean batch_size?); --help"),
        (["--model.widht=3"], r"error: --model.widht: unknown (did you mean model.width"),
        (["--epochs=0"], r"error: --epochs=0.0: out of range; allowed: at least 1e-06"),
        (["--steps=4294967296"], r"error: --steps=4294967296: out of range; allowed: 1 to 2147483647"),
        (["train"], r"error: 'train': not a flag"),
    ],
)
def test_bad_flags_are_one_line_and_status_2_before_any_data_is_read(capsys, words, message):
    assert run(PAGE, words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message), err
    assert err.count("\n") == 1


def test_a_folder_that_the_data_set_does_not_read_is_refused(tmp_path):
    """A user who names a folder and forgets --dataset would train on digits; a run of before may be used."""
    page, words = supervised.experiment, ["--data_dir=d", "--dataset=digits"]
    with pytest.raises(FlagError, match="--data_dir=d: --dataset=digits reads no files; allowed: another --dataset"):
        resolve(page, words[:1])
    assert resolve(page, [words[0], "--dataset=cifar10"]).data_dir == "d"
    assert resolve(page, [*words[1:], "--data_dir=None"]).data_dir is None
    (tmp_path / "config.json").write_text(json.dumps({"data_dir": "d"}))
    assert resolve(page, [f"--config_json={tmp_path}"]).data_dir == "d"
    patches = domain_adaptation.experiment
    assert resolve(patches, ["--data_dir=d", "--patches=cifar10"]).data_dir == "d"
    with pytest.raises(FlagError, match="--data_dir=d: --dataset=digits reads no files"):
        resolve(patches, ["--data_dir=d"])


def test_a_page_that_sets_what_is_no_flag():
    experiment = dataclasses.replace(PAGE, defaults={"lr": 1.0})
    with pytest.raises(TypeError, match=r"sets \['lr'\], but has no such flags"):
        resolve(experiment, [])


def test_many_pages_in_one_process():
    other = dataclasses.replace(PAGE, defaults={"l2": 9.0})
    assert (resolve(PAGE, []).l2, resolve(other, []).l2, resolve(PAGE, ["--l2=1"]).l2) == (2.0, 9.0, 1.0)
    assert Splits(None, None, None, {}).notes == ()


def test_each_run_of_an_ensemble_stands_once(tmp_path):
    """A run counted twice would weigh twice in the average."""
    settings = {"members": Setting((), "", tuple[str, ...])}
    assert split_runs([f"--run={tmp_path}/a,{tmp_path}/b"], settings)[-1] == f"--members={tmp_path}/b"
    for twice in (f"{tmp_path}/a,{tmp_path}/a", f"{tmp_path}/a,{tmp_path}/b,{tmp_path}/b/../a/"):
        with pytest.raises(FlagError, match=r"once more; allowed: each run once$"):
            split_runs([f"--run={twice}"], settings)


def test_a_depth_that_is_never_built_is_refused_and_keeps_its_own_least():
    from experiments.self_supervised.mae import experiment

    for value in ("2000000000", "0"):
        with pytest.raises(FlagError, match=f"--mae.depth={value}: out of range; allowed: 1 to 10000"):
            resolve(experiment, [f"--mae.depth={value}"])


@pytest.mark.parametrize(
    ("flag", "error"),
    [
        ("--log_every=99999999999999999999", "too large; allowed: at most 9,223,372,036,854,775,807 in size"),
        ("--learning_rate=1e40", "too large; allowed: at most 3.4e+38 in size"),
        ("--model.width=99999999999999999999", "out of range; allowed: 0 to 2147483647"),
        ("--model.stem_stride=0", "out of range; allowed: at least 1"),
        ("--model.width=-1", "out of range; allowed: 0 to 2147483647"),
        ("--model.stages=-2", "out of range; allowed: 0 to 10000"),
    ],
)
def test_numbers_that_no_array_holds_and_negative_counts_are_refused(flag, error):
    from experiments.classification.supervised import experiment

    with pytest.raises(FlagError, match=re.escape(f"{flag}: {error}")):
        resolve(experiment, ["--model=resnet8_cifar", flag])


def test_numbers_of_a_module_are_at_least_0_or_as_their_name_says():
    settings = module_settings("fcos", FCOS) | module_settings("autoencoder", AutoencoderKL)
    for name, text, allowed in (
        ("fcos.prior_probability", "0", r"1e-06 to 0\.999"),
        ("autoencoder.scaling_factor", "-1", "at least 0"),
        ("autoencoder.scaling_factor", "nan", "at least 0"),
    ):
        with pytest.raises(FlagError, match=f"^--{name}={text}.*; allowed: {allowed}$"):
            read_value(name, settings[name], text)
    assert read_value("autoencoder.shift_factor", settings["autoencoder.shift_factor"], "-1") == -1
