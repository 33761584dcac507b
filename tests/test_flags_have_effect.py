"""Every flag of a page changes what the page does: its value reaches the learner, the data or the measures.

`build` is called with another value of one flag, and nothing is traced: all that the functions of the learner hold
(numbers, names, fields of modules, optimizers) is compared. A flag that `build` leaves out or overwrites changes
nothing there.
"""

import contextlib
import copy
import dataclasses
import functools
import importlib
import pathlib
import re
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen as nn

from dlcore.data.splits import Splits
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.models import Networks
from dlcore.models.network import model_settings
from dlcore.setting import FlagError, Setting, kind_name, module_settings, read_value, settings_of, text_of
from experiments.generative import pix2pix

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
    f"{path.parent.name}.{path.stem}"
    for path in (ROOT / "experiments").glob("*/*.py")
    if re.search("^experiment = Experiment", path.read_text(encoding="utf-8"), re.MULTILINE)
    and path.stem != "gpt2_124m"  # whose tokens are files
)
EVERY_RUN = [
    *("classification.supervised", "generative.pix2pix", "rl.a2c", "sequence.language_model", "vision3d.pointnet")
]
"""Pages that take less than a second; the others are in the slow tier."""

LONG = ["interpretability.fast_style", "transfer.fine_tuning", "vision_language.caption"]
"""Pages that train something to be built."""

ELSEWHERE = {
    "autoencoder_steps": (
        "dlcore/weights/first_stage.py",
        "the first phase, a run of its own, is short",
    ),
    "base": ("dlcore/weights/text_base.py", "the name of another run"),
    "base_steps": ("dlcore/weights/text_base.py", "the first phase, a run of its own, is short"),
    "caption_length": ("dlcore/data/image_text.py", "drawn captions are short"),
    "cut_longer": ("dlcore/generative/edge_images.py", "drawn sides have the same length"),
    "depth_scale": ("dlcore/data/depth_images.py", "drawn scenes have no files"),
    "expert_steps": ("dlcore/weights/expert.py", "the expert, a run of its own, is short"),
    "guidance_samples": ("dlcore/evaluators/class_conditional.py", "the report draws the samples"),
    "head_units": ("dlcore/transfer/fine_tuned_network.py", "only --head=mlp has units between"),
    "init_from": ("dlcore/weights/frozen_codes.py", "the name of another run"),
    "longest": ("dlcore/data/images_to_describe.py", "drawn captions are short"),
    "mask": ("dlcore/generative/edited_images.py", "--mode=predict --input=IMAGE reads the mask"),
    "mask_prompt": ("dlcore/segmentation/prompt_results.py", "--mode=predict reads the mask"),
    "mesh_resolution": ("experiments/vision3d/implicit_surface.py", "the report draws the mesh"),
    "min_count": ("dlcore/data/captioned_images.py", "the words of drawn captions are known"),
    "network_steps": ("dlcore/weights/small_classifier.py", "the network, a run of its own, is short"),
    "num_drawn": ("dlcore/report/samples.py", "--mode=predict draws the samples"),
    "own_size": ("dlcore/report/prediction.py", "--mode=predict reads the images"),
    "plateau_patience": ("dlcore/modes/train.py", "the hook of --schedule=plateau is made there"),
    "pretraining_steps": (
        "dlcore/weights/pretrained_text_encoders.py",
        "--init_from=pretraining, a run of its own, is short",
    ),
    "question": ("dlcore/data/image_text.py", "--mode=predict asks it"),
    "sample_class": ("dlcore/generative/pixel_sequences.py", "--mode=predict draws the samples"),
    "sample_pitch": ("dlcore/generative/sounds.py", "--mode=predict draws the samples"),
    "sample_seed": ("dlcore/modes/predict.py", "--mode=predict draws the samples"),
    "target_entropy_ratio": ("dlcore/rl/sac.py", "only discrete actions, as of CartPole, have the entropy"),
    "tokenizer": ("dlcore/weights/tokenizer.py", "the name of another run"),
    "tokenizer_steps": ("dlcore/weights/tokenizer.py", "the first phase, a run of its own, is short"),
    "valid_fraction": ("dlcore/data/images.py", "drawn data has a validation split"),
}
"""Flags whose effect this test does not reach: a file that reads the flag, and why a smoke run has none."""

TEXTS = [
    *("true", "false", "0", "1", "2", "3", "4", "5", "8", "16"),
    *("0.1", "0.25", "0.5", "1.5", "x", "1,2", "2,3", "1,1,1", "4,8,16", "0.2,0.7", "64"),
]
"""Values to try where a flag has no choices."""


class RecordedFlags(Flags):
    """Flags that note the names that are read, other than in groups."""

    reads: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.reads.add(name)
        return super().__getattr__(name)

    def __getitem__(self, name: str) -> Any:
        self.reads.add(name)
        return super().__getitem__(name)


def contents(value: Any, visited: dict[int, tuple[int, Any]]) -> Any:
    """All that a value holds, as nested tuples that can be compared."""
    if value is None or isinstance(value, bool | int | float | str | bytes | complex):
        return (type(value).__name__, repr(value))
    if isinstance(value, np.ndarray | jax.Array | np.generic):
        if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        array = np.asarray(value)
        return (array.shape, str(array.dtype), hash(array.tobytes()) if array.dtype != object else 0)
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
        return getattr(value, "__qualname__", str(value))
    if id(value) in visited:
        return ("again", visited[id(value)][0])
    visited[id(value)] = (len(visited), value)  # the value stays alive, so that its id stays its own
    if isinstance(value, list | tuple):
        return (type(value).__name__, *(contents(item, visited) for item in value))
    if isinstance(value, dict | types.MappingProxyType):
        return tuple((str(key), contents(item, visited)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return tuple(sorted(map(str, value)))
    if isinstance(value, functools.partial):
        return ("partial", *(contents(part, visited) for part in (value.func, value.args, value.keywords)))
    if isinstance(value, types.MethodType):
        return (value.__name__, contents(value.__self__, visited))
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_full(cell)]
        parts = (value.__defaults__, value.__kwdefaults__, cells)
        return (value.__code__.co_qualname, *(contents(part, visited) for part in parts))
    if wrapped := getattr(value, "__wrapped__", None):
        return ("wrapped", contents(wrapped, visited))
    fields = {k: v for k, v in getattr(value, "__dict__", {}).items() if k not in ("parent", "scope", "_state", "_id")}
    slots = {k: getattr(value, k, None) for k in getattr(type(value), "__slots__", ()) if isinstance(k, str)}
    return (type(value).__qualname__, contents({**fields, **slots}, visited))


def _is_full(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def settings_of_page(experiment: Experiment, flags: Flags) -> dict[str, Setting]:
    """The flags of a page without those of the engine."""
    settings = {**experiment.settings, **settings_of(experiment.parts.technique)}
    if experiment.model is not None:
        settings |= model_settings(flags.model)
    for prefix, module in experiment.modules.items():
        settings |= module_settings(prefix, module)
    return {name: setting for name, setting in settings.items() if name not in experiment.external_fields}


def other_values(name: str, setting: Setting, value: Any, count: int = 3) -> list[Any]:
    """Values that the flag allows, other than the one it has."""
    found = []
    for text in [*choices_of(setting), *TEXTS]:
        try:
            other = read_value(name, setting, text)
        except (FlagError, TypeError):
            continue
        if other != value and other not in found:
            found.append(other)
    most = max(count, len(choices_of(setting)))
    return found if len(found) <= most else [*found[: most - 1], found[-1]]  # small values and a great one


def choices_of(setting: Setting) -> list[str]:
    """The values of a flag that takes names or a bool."""
    kind = kind_name("", setting)
    return ["true", "false"] if kind == "bool" else kind.split("|") if "|" in kind else []


def contexts(settings: dict[str, Setting], flags: Flags) -> Iterator[dict[str, Any]]:
    """Changes of one flag that may give others their effect: another name, a switch, a number instead of none."""
    yield {}
    if "dataset" in settings:
        yield from ({"dataset": name} for name in ("digits", "factors", "folder") if name != flags.dataset)
    for name, setting in settings.items():
        if choices_of(setting):
            yield from ({name: value} for value in other_values(name, setting, flags[name]))
        elif not flags[name]:
            yield from ({name: value} for value in other_values(name, setting, flags[name], 1))


def built(run: ResolvedRun, data: Splits, flags: Flags) -> Any:
    """What the learner of `build` holds; the text of an error where there is none."""
    try:
        return contents(run.training_of(data, flags).build(), {})
    except Exception as error:
        return repr(error)


def recording(part: Any, reads: set[str]) -> Any:
    """A copy of a part, and of the parts in it, that notes which of its fields are read."""
    if type(part) is tuple:
        return tuple(recording(inner, reads) for inner in part)
    if not dataclasses.is_dataclass(part) or isinstance(part, nn.Module | type | Experiment):
        return part
    kind, names = type(part), {field.name for field in dataclasses.fields(part)}

    class Recording(kind):
        def __getattribute__(self, name: str) -> Any:
            if name in names:
                reads.add(name)
            return super().__getattribute__(name)

    copied = copy.copy(part)
    for name in names:
        object.__setattr__(copied, name, recording(getattr(part, name), reads))
    object.__setattr__(copied, "__class__", Recording)
    return copied


def names_read(run: Run, *asks: Callable[[Run], Any]) -> set[str]:
    """The flags that parts of an experiment read, as fields or by name; also of a part that refuses their values."""
    flags = run.flags
    recorded = RecordedFlags(dict(flags), flags._groups, flags.given, flags._identity, flags._records)
    recorded.reads = set()
    other = run.replace(flags=recorded)
    try:
        vars(other)["parts"] = recording(run.parts, recorded.reads)
    except ValueError:  # such as a data set that this page does not know
        return set()
    recorded.reads.clear()
    for ask in asks:
        with contextlib.suppress(Exception):
            ask(other)
    return set(recorded.reads)


def flags_without_effect(name: str, folder: pathlib.Path) -> set[str]:
    """The flags of a page that change neither its learner nor are read for its data and measures."""
    page = importlib.import_module(f"experiments.{name}").experiment
    flags = resolve(page, ["--smoke"])
    run, settings = ResolvedRun(page, flags), settings_of_page(page, flags)
    data = page.run(flags).load()

    def training(flags: Flags) -> Run:
        return run.training_of(data).replace(flags=flags)

    beside = [Run.rate_of_step, Run.hooks, Run.report_hooks, Run.start]
    measures = [lambda one: one.messages(data), lambda one: one.evaluators(data, "test")]
    single = {key for key, setting in settings.items() if kind_name(key, setting) == text_of(setting.default)}
    read_by_data = names_read(page.run(flags), Run.load)
    pending = settings.keys() - single - read_by_data
    pending -= names_read(page.run(flags), Run.check, Run.planned) | names_read(training(flags), *measures, *beside)
    for context in contexts(settings, flags):
        around = flags.replace(**context)
        if pending and context.keys() & read_by_data:
            elsewhere = around.replace(data_dir=str(folder)) if "data_dir" in around else around
            pending -= names_read(page.run(elsewhere), Run.load)
        pending -= names_read(training(around), *beside)
        before = built(run, data, around) if pending else None
        for key in sorted(pending - context.keys()):
            values = other_values(key, settings[key], around[key])
            if any(built(run, data, around.replace(**{key: value})) != before for value in values):
                pending.discard(key)
        if not pending:
            break
    return pending


@pytest.mark.slow(unless=EVERY_RUN)
@pytest.mark.weekly(only=LONG)
@pytest.mark.parametrize("name", PAGES)
def test_every_flag_of_a_page_has_an_effect(name, tmp_path):
    missing = flags_without_effect(name, tmp_path) - ELSEWHERE.keys()
    assert not missing, f"{name}: {sorted(missing)} change nothing: remove them, or name them in external_fields"


def test_flags_with_an_effect_elsewhere_are_read_there():
    for name, (path, _) in ELSEWHERE.items():
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), f"{path} reads no {name}"


def test_a_field_that_the_data_overwrite_is_found(tmp_path, monkeypatch):
    """pix2pix makes images of as many channels as the data has, whatever its generator's field says."""
    monkeypatch.setattr(Networks, "external_fields", ())
    assert flags_without_effect("generative.pix2pix", tmp_path) == {"generator.channels"}


def test_a_field_from_the_data_is_no_flag_and_moves_no_run(capsys, monkeypatch):
    flags = resolve(pix2pix.experiment, [])
    assert flags["generator.channels"] == flags.identity["generator.channels"] == 3
    with pytest.raises(FlagError, match=r"--generator\.channels: unknown"):
        resolve(pix2pix.experiment, ["--generator.channels=7"])
    with pytest.raises(SystemExit):
        resolve(pix2pix.experiment, ["--help=all"])
    out = capsys.readouterr().out
    assert "--generator.width=" in out
    assert "--generator.channels" not in out
    monkeypatch.setattr(Networks, "external_fields", ("generator.chanels",))
    with pytest.raises(TypeError, match=r"pix2pix has external_fields \['generator.chanels'\], but no module has"):
        resolve(pix2pix.experiment, [])
