"""Which types become flags, which values they take, what a module's fields allow, and the settings of every page."""

import dataclasses
import functools
import os
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple

import jax
import pytest
from flax import linen as nn

from dlcore.experiment.help import help_text
from dlcore.experiment.resolve import split_runs, wants_smoke
from dlcore.experiment.resolved_run import fast_compilation, prepare_process
from dlcore.experiment.settings import FOLDER, RUN
from dlcore.learner import Range
from dlcore.setting import (
    FlagError,
    Setting,
    did_you_mean,
    field_settings,
    kind_name,
    module_settings,
    read_value,
    settings_of,
    takes_several,
    text_of,
)


def read(text, default=None, kind=None, limits=Range()):
    return read_value("x", Setting(default, type=kind, limits=limits), text)


def refusal(text, kind, limits=Range()):
    with pytest.raises(FlagError) as caught:
        read(text, kind=kind, limits=limits)
    return str(caught.value)


def mixed(
    *,
    word: str | None = None,
    either: int | str = 1,
    three: int | str | None = None,
    unlike: tuple[int, str] = (1, "a"),
    nested: tuple[tuple[int, ...], ...] = (),
    gaps: tuple[int | None, ...] = (),
    bare: tuple = (),
    triple: tuple[int, int, int] = (1, 2, 3),
    young: Annotated[int, "if changed"] = 0,
    words: Annotated[tuple[str, ...], Range(1)] = (),
    anything: Any = 1,
    without_default: int,
):
    """Take arguments of types that are flags, and of types that are none."""


def test_types_of_one_value_or_of_several_alike_are_flags_and_others_are_none():
    settings = settings_of(mixed)
    assert {name: kind_name(name, setting) for name, setting in settings.items()} == {
        "word": "str", "triple": "int,...", "young": "int", "words": "str,...",
    }  # fmt: skip
    assert [takes_several(name, settings[name]) for name in settings] == [False, True, False, True]
    assert {name: setting.identity for name, setting in settings.items() if setting.identity is not True} == {
        "young": "if changed"
    }
    assert read("4,5,6", kind=tuple[int, int, int]) == (4, 5, 6)
    assert read([4, 5, 6], kind=tuple[int, int, int]) == (4, 5, 6)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        *((word, bool, True) for word in ("t", "TRUE", " 1", True)),
        *((word, bool, False) for word in ("f", "False", "0 ", False)),
        ("None", int | None, None),
        (None, str | None, None),
        (3.0, int, 3),
        ("3.0e0", int, 3),
        (True, str, "True"),
        (str(2**63 - 1), int, 2**63 - 1),
        (-3.4e38, float, -3.4e38),
        ("[a, b]", tuple[str, ...], ("a", "b")),
    ],
)
def test_texts_and_values_are_read_as_their_type(text, kind, value):
    found = read(text, kind=kind)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind", "limits", "message"),
    [
        ("", str | None, Range(), "--x=: empty; allowed: a value, or None"),
        ("a", int, Range(), "--x=a: not an int; allowed: integers"),
        ("a", float, Range(), "--x=a: not a float; allowed: numbers"),
        ("a", float, Range(0, 0.5), "--x=a: not a float; allowed: 0 to 0.5"),
        ("a", int, Range(high=5), "--x=a: not an int; allowed: at most 5"),
        ("a", int, Range(2), "--x=a: not an int; allowed: at least 2"),
        ((1, 2), int, Range(), "--x=[1, 2]: not an int; allowed: integers"),
        (["a"], str, Range(), "--x=['a']: not a str; allowed: one value"),
        (2**63, int, Range(0), f"--x={2**63}: too large; allowed: at most 9,223,372,036,854,775,807 in size"),
        (-(2**63) - 1, int, Range(), f"--x={-(2**63) - 1}: too large; allowed: at most 9,223,372,036,854,775,807 in"),
        ("-4e38", float, Range(), "--x=-4e38: too large; allowed: at most 3.4e+38 in size"),
        ("1", tuple[int, int], Range(), "--x=1: 1 value; allowed: 2 values, with commas between them"),
        ("", tuple[int, int], Range(), "--x=: 0 values; allowed: 2 values, with commas between them"),
        ("0.1", float, Range(0.25, 0.5), "--x=0.1: out of range; allowed: 0.25 to 0.5"),
        ("z", Literal["alpha", "beta"], Range(), "--x=z: unknown; allowed: alpha, beta"),
        ("gam", Literal["gama", "gamma"], Range(), "--x=gam: unknown (did you mean gama?); allowed: gama, gamma"),
    ],
)
def test_a_value_outside_of_a_type_or_its_limits_is_refused_by_name(text, kind, limits, message):
    assert refusal(text, kind, limits).startswith(message)


def test_a_limit_that_a_setting_names_may_be_above_what_an_array_holds():
    assert read(2**65, 1, limits=Range(0, 2**66)) == 2**65
    assert read(None) is None, "a setting without a value stays without one"


def test_a_check_of_a_setting_names_the_flag():
    def check(value):
        if value == 3:
            raise ValueError("x=3: odd; allowed: 2")

    setting = Setting(2, check=check)
    assert read_value("x", setting, "4") == 4
    with pytest.raises(FlagError, match=r"^--x=3: odd; allowed: 2$"):
        read_value("x", setting, "3")


def test_values_are_written_as_a_command_line_takes_them():
    assert [text_of(value) for value in ((1, 2), [0.5], (), None, "a", 3)] == ["1,2", "0.5", "", "None", "a", "3"]


def test_at_most_three_names_are_suggested_and_no_name_that_is_far():
    """Half of the letters must agree: of the 6 letters of "ab" and "axyz" 2 do, of the 5 of "ab" and "axb" 4."""
    assert did_you_mean("rate", ["rates", "rated", "rater", "ratex"]).count(",") == 2
    assert did_you_mean("rate", ["rates", "rated"], 1).count(",") == 0
    assert did_you_mean("ab", ["axyz"]) == ""
    assert did_you_mean("learning_rat", ["learning_rate", "sharding"]) == " (did you mean learning_rate?)"
    assert did_you_mean("lr", ["l1", "l2", "learning_rate"]) == " (did you mean learning_rate?)"
    assert did_you_mean("ab", iter(["axb"])) == " (did you mean axb?)"


def check_even(value):
    if value % 2:
        raise ValueError(f"size={value}: odd; allowed: even numbers")


@dataclasses.dataclass(frozen=True)
class Base:
    """A record.

    Args:
      size: how
        large
      rate: how fast
    """

    size: Annotated[int, Range(0, 8), "essential", check_even] = 4
    rate: Annotated[float, "no identity"] = 0.5


@dataclasses.dataclass(frozen=True)
class Derived(Base):
    """A record of more.

    Args:
      rate: its own words
      penalty: of weights
    """

    penalty: Annotated[float, "if changed", "regularizes"] = 0.0
    table: dict[str, int] = dataclasses.field(default_factory=dict)


def test_marks_of_a_field_are_those_of_its_setting():
    found = field_settings(Derived(rate=0.25))
    assert {name: s[:2] for name, s in found.items()} == {
        "size": (4, "how large"), "rate": (0.25, "its own words"), "penalty": (0.0, "of weights"),
    }  # fmt: skip
    marks = {name: (s.identity, s.essential, s.check, s.regularizes) for name, s in found.items()}
    assert marks == {
        "size": (True, True, check_even, False),
        "rate": (False, False, None, False),
        "penalty": ("if changed", False, None, True),
    }


class Pair(NamedTuple):
    """Two numbers.

    Args:
      low: the lower one
    """

    low: Annotated[int, "if changed"] = 1
    high: int = 2


def test_fields_of_a_record_say_which_parameter_takes_them():
    def function(*, pair: Pair = Pair(high=5)):
        """A factory."""

    assert settings_of(function) == {
        "low": Setting(1, "the lower one", Annotated[int, "if changed"], identity="if changed", record=("pair", Pair)),
        "high": Setting(5, "", int, record=("pair", Pair)),
    }


class Tower(nn.Module):
    """A network.

    Args:
      width: channels
    """

    num_classes: int
    width: int = 4
    depth: Annotated[int, Range(2)] = 3
    num_layers: int = 1
    stages: tuple[int, ...] = (1, 2)
    offset: int = -1
    shifts: tuple[int, ...] = (1, -1)
    bits: Annotated[int, Range(1, 8)] = 8
    side: Annotated[int, Range(1)] = 2
    size: Literal[1, 2] = 1
    most: int | None = None
    rate: float = 0.5
    units: int = dataclasses.field(default=2, kw_only=True)
    needed: int = dataclasses.field(kw_only=True)
    young: Annotated[int, "if changed"] = dataclasses.field(default=0, kw_only=True)


COUNT, BLOCKS, FREE = Range(0, 2**31 - 1), Range(0, 10_000), Range()


def test_numbers_of_a_module_count_or_measure_something_unless_they_say_otherwise():
    """A network has at most 10,000 blocks, and a float is at least 0.

    An integer with a negative default, choices or limits counts nothing.
    """
    found = module_settings("net", Tower)
    assert {name.removeprefix("net."): setting.limits for name, setting in found.items()} == {
        "width": COUNT, "depth": Range(2, 10_000), "num_layers": BLOCKS, "stages": BLOCKS, "offset": FREE,
        "shifts": FREE, "bits": FREE, "side": FREE, "size": FREE, "most": COUNT, "rate": Range(0), "units": COUNT,
        "young": COUNT,
    }  # fmt: skip
    for name, low in (("depth", 2), ("side", 1), ("bits", 1)):
        assert read_value(name, found[f"net.{name}"], low) == low
        with pytest.raises(FlagError, match=f"--{name}={low - 1}: out of range"):
            read_value(name, found[f"net.{name}"], low - 1)
    assert found["net.width"][:2] == (4, "channels")
    assert [name for name, setting in found.items() if setting.identity is not True] == ["net.young"]


def test_keywords_of_a_variant_are_defaults_and_the_page_gives_other_fields():
    found = module_settings("net", functools.partial(Tower, width=-2, needed=5), frozenset({"units"}))
    assert (found["net.width"].default, found["net.needed"].default) == (-2, 5)
    assert found["net.width"].limits == FREE
    assert not {"net.units", "net.num_classes", "net.parent", "net.name"} & set(found)
    given = functools.partial(Tower, num_classes=3)
    assert "net.num_classes" in module_settings("net", given, frozenset())
    assert "net.num_classes" not in module_settings("net", given)


# The settings of every page


def test_settings_of_every_page_keep_their_defaults():
    """This is a regression test: another default changes the runs of every page."""
    assert {name: setting.default for name, setting in RUN.items() if setting.default is not None} == {
        "epochs": 10.0, "batch_size": 128, "seed": 0, "select": "best", "patience": 0, "eval_batch_size": 256,
        "precision": "f32", "sharding": "replicate", "spmd": "jit", "device_data": False, "input_pipeline": "dlcore",
        "deterministic": False, "distributed": "auto", "heartbeat_seconds": 10.0, "join_seconds": 300.0,
        "checkpoint_seconds": 60.0, "checkpoint_steps": 0, "grace_seconds": 60.0, "keep_last": 2,
        "fresh": False, "changed_data": False,
        "progress": True, "track": ("tensorboard",), "watch": 0, "smoke": False, "runs": "runs", "traceback": False,
    }  # fmt: skip
    assert {name: RUN[name] for name in FOLDER} == FOLDER


def test_settings_that_change_a_result_name_the_folder_of_a_run_and_no_others():
    assert {name for name, setting in RUN.items() if setting.identity is True} == {
        "epochs", "steps", "batch_size", "seed", "select", "eval_every", "patience", "precision", "mesh", "sharding",
        "spmd", "deterministic",
    }  # fmt: skip
    assert [name for name, setting in RUN.items() if setting.identity == "if changed"] == ["input_pipeline"]


def test_the_short_help_shows_what_every_run_chooses():
    assert {name for name, setting in RUN.items() if setting.essential} == {
        "epochs", "steps", "batch_size", "seed", "precision", "mesh", "sharding", "fresh", "run", "smoke", "run_dir",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "least"),
    [
        *dict.fromkeys(("steps", "batch_size", "eval_every", "eval_batch_size", "keep_last", "log_every"), 1).items(),
        *dict.fromkeys(("seed", "patience", "checkpoint_seconds", "checkpoint_steps", "watch"), 0).items(),
        *dict.fromkeys(("heartbeat_seconds", "join_seconds"), 1).items(),
        ("epochs", 1e-6),
    ],
)
def test_numbers_of_a_run_have_a_least_value(name, least):
    assert read_value(name, RUN[name], least) == least
    below = 9e-7 if name == "epochs" else least - 1
    with pytest.raises(FlagError, match=rf"--{name}=.*: out of range; allowed: (at least )?{least}"):
        read_value(name, RUN[name], below)


# The text of --help, and words of a command line


def test_help_shows_all_flags_of_the_technique_and_counts_those_of_other_groups_that_it_leaves_out():
    plain, shown = Setting(1), Setting((2, 3), "sides", essential=True)
    groups = {
        "learner": {"rate": plain},
        "experiment": {"own": plain, "sides": shown, "given": plain._replace(external=True)},
        "model": {"width": plain, "depth": plain},
    }
    assert help_text(groups) == (
        "flags:\n  --rate=int  (default 1)\n  --sides=int,...  (default 2,3)\n      sides\n"
        "--help=all lists the others too: 1 of this experiment, 2 of the model."
    )
    assert help_text({"study": {"a": plain}, "mode": {"b": plain}}) == (
        "flags:\n  --a=int  (default 1)\n  --b=int  (default 1)"
    )
    assert help_text({**groups, "run": {}, "other": {"c": plain}}, everything=True) == (
        "the technique:\n  --rate=int  (default 1)\n"
        "this experiment:\n  --own=int  (default 1)\n  --sides=int,...  (default 2,3)\n      sides\n"
        "the model:\n  --width=int  (default 1)\n  --depth=int  (default 1)\n"
        "other:\n  --c=int  (default 1)"
    )


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(["--smoke=T"], True), (["--smoke=false", "--smoke"], True), (["--smoked"], False), (["--smoke=0"], False)],
)
def test_the_last_word_says_whether_a_run_is_a_smoke_run(words, wanted):
    assert wants_smoke(words) is wanted


def test_one_run_whose_folder_has_a_comma_is_one_run(tmp_path):
    folder = tmp_path / "a,b"
    folder.mkdir()
    for argv in ([f"--run={folder}"], ["--run=a"], ["--steps=3"]):
        assert split_runs(argv, {}) is argv
    members = {"members": Setting((), type=tuple[str, ...])}
    assert split_runs(["--run=a,b,c"], members) == ["--run=a,b,c", "--run=a", "--members=b,c"]
    with pytest.raises(FlagError, match=r"^--run=a,b: several runs; allowed: one, or several with --mode=evaluate or"):
        split_runs(["--run=a,b"], {})


# The process


def test_a_process_computes_in_full_precision_for_f32_and_deterministically_where_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: asked.append((name, value)))
    monkeypatch.setenv("XLA_FLAGS", "--a=1")
    prepare_process(SimpleNamespace(deterministic=False, precision="bf16"))
    assert os.environ["XLA_FLAGS"] == "--a=1"
    for _ in range(2):
        prepare_process(SimpleNamespace(deterministic=True, precision="f32"))
        assert os.environ["XLA_FLAGS"] == "--a=1 --xla_gpu_deterministic_ops=true"
    assert asked == [("jax_default_matmul_precision", None)] + [("jax_default_matmul_precision", "highest")] * 2


@pytest.mark.parametrize("before", [False, True])
def test_a_smoke_run_compiles_fast_and_leaves_the_setting_as_it_was(monkeypatch, before):
    values = {"jax_disable_most_optimizations": before}
    monkeypatch.setattr(jax.config, "read", values.__getitem__)
    monkeypatch.setattr(jax.config, "update", values.__setitem__)
    for wanted in (False, True):
        with fast_compilation(wanted):
            assert values["jax_disable_most_optimizations"] is (wanted or before)
        assert values["jax_disable_most_optimizations"] is before
