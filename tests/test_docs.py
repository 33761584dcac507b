"""The documents say what is so: their examples run, their links lead somewhere, their commands and excerpts are real.

After a change of dlcore's files that is meant: DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/test_docs.py -n 0
"""

import ast
import difflib
import functools
import importlib
import itertools
import math
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import check_names
from dlcore.experiment.resolve import resolve
from dlcore.experiment.settings import FOLDER
from dlcore.experiment.study import Study
from dlcore.main import mode_of
from dlcore.models import create_model, torch_names
from dlcore.search.__main__ import SETTINGS as SEARCH
from dlcore.search.__main__ import split_arguments
from dlcore.search.space import parse_space
from dlcore.setting import settings_of
from experiments import results
from experiments.classification import supervised
from experiments.generative import dit
from experiments.segmentation import deeplab
from experiments.transfer import fine_tuning
from tests.layers import LAYERS, TOPICS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for depth in ("*.md", "[!.]*/*.md") for path in ROOT.glob(depth))
COMMANDS = (
    "python -m pip install -e . && python -m experiments.classification.supervised --epochs=15",
    "python -m pip install -e '.[test]' && python -m pytest",
)
BEGIN, END = "<!-- index:begin -->", "<!-- index:end -->"


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def blocks(path, language):
    """The fenced blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", read(path), re.MULTILINE | re.DOTALL)


def shown_commands(text):
    """(module, arguments) of every `python -m MODULE ...` that a line of the text starts with or chains; two spaces end
    a command and begin a remark, a backslash at the end of a line continues it.
    """
    text = re.sub(r" *\\\n *", " ", text)
    for module, rest in re.findall(
        r"(?:^\s*|&& |until |\d |: `)python -m ([a-z_][\w.]*)([^;&|`\n]*)", text, re.MULTILINE
    ):
        yield module, shlex.split(re.split(r"\s{2,}", rest)[0])


@functools.cache
def all_commands():
    """Every command that the documents and the docstrings of the experiments show.

    Returns:
      {package: {(module, *arguments): a place that shows it}}.
    """
    copies = dict(
        re.findall(r"^cp experiments/(\S+)\.py experiments/(\S+)\.py$", read("docs/running.md"), re.MULTILINE)
    )
    originals = {f"experiments.{b.replace('/', '.')}": f"experiments.{a.replace('/', '.')}" for a, b in copies.items()}
    texts = {path: read(path) for path in PAGES}
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        texts[path.relative_to(ROOT).as_posix()] = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    found = {}
    for path, text in texts.items():
        for module, arguments in shown_commands(text):
            package = ".".join(module.split(".")[:2])
            found.setdefault(package, {}).setdefault((originals.get(module, module), *arguments), path)
    return found


STAND_INS = {
    "hf:depth-anything/Depth-Anything-V2-Small-hf": "depth-anything--depth-anything-tiny",
    "hf:facebook/detr-resnet-50": "facebook--detr-tiny",
    "hf:facebook/vit-mae-base": "facebook--vit-mae-tiny",
    "hf:google-bert/bert-base-uncased": "google-bert--bert-tiny",
    "hf:google/siglip-base-patch16-224": "google--siglip-tiny",
    "hf:openai/clip-vit-base-patch32": "openai--clip-tiny",
    "hf:stabilityai/sd-vae-ft-mse": "stabilityai--sd-vae-tiny",
}
"""Published networks that commands name, and folders of the same architecture, as a test reaches no hub."""


def without_hub(argument):
    name, _, value = argument.partition("=")
    return f"{name}={ROOT / 'tests' / 'goldens' / 'hub' / STAND_INS[value]}" if value in STAND_INS else argument


def check_arguments(module, arguments):
    """Nothing is run: the names and values must be known."""
    arguments = [without_hub(argument) for argument in arguments]
    if module == "pytest":
        files = [argument for argument in arguments if argument.startswith("tests")]
        assert all((ROOT / file).exists() for file in files), arguments
        return
    if module in ("build", "pip", "sphinx", "venv"):
        return
    if module == "dlcore.search":
        own, space, words = split_arguments(arguments[1:])
        flags = resolve(importlib.import_module(arguments[0]).experiment, words)
        assert own.trials > 0
        assert parse_space(space).keys() <= set(flags)
        return
    found = importlib.import_module(module)
    experiment = getattr(found, "experiment", None)
    if isinstance(experiment, Experiment):
        words = [argument for argument in arguments if not re.match(r"--(run|config_json|help)\b", argument)]
        resolve(experiment, words, mode_of(words)[1])
    elif isinstance(experiment, Study):
        check_names(arguments, {**FOLDER, **settings_of(experiment.function), "help": FOLDER["smoke"]})
    elif module == "experiments.results":
        results._parser().parse_args([argument.strip("[].") for argument in arguments if argument.strip("[].")])
    else:
        source = Path(found.__file__).read_text()
        assert all(a.split("=")[0] in source for a in arguments if a.startswith("--")), arguments


@pytest.mark.parametrize("package", sorted(all_commands()))
def test_commands_name_modules_and_flags_that_exist(package):
    wrong = []
    for (module, *arguments), path in all_commands()[package].items():
        try:
            check_arguments(module, arguments)
        except (Exception, SystemExit) as error:
            wrong.append(f"{path}: python -m {module} {shlex.join(arguments)}: {error!r}")
    assert not wrong, "\n".join(wrong)


@functools.cache
def flags_of_modes():
    return resolve(supervised.experiment, [], mode_of(["--help=all"])[1])


@functools.cache
def flags_of_others():
    """Those of other experiments, programs and pytest."""
    return {
        "help",
        "latest",
        "catalog",
        "cpu",
        "lf",
        "run",
        "config_json",
        *SEARCH,
        *resolve(dit.experiment, []),
        *resolve(fine_tuning.experiment, []),
        *resolve(deeplab.experiment, []),
        *re.findall(r'"--(\w+)"', Path(results.__file__).read_text()),
        *re.findall(r'"--(\w+)"', read("experiments/accelerator.py")),
        *re.findall(r'"--(\w+)"', read("dlcore/cli.py")),
    }


@pytest.mark.parametrize("path", PAGES)
def test_flags_in_running_text_exist(path):
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", read(path)):
        if code.startswith("python -m "):
            continue  # a whole command, which is checked as such
        for name, values in re.findall(r"(?<!\S)--([a-z_.]+)(?:=(\S+))?(?!\S)", code.replace("\\|", "|")):
            if name not in flags_of_others():
                assert name in flags_of_modes(), f"{path}: {code}"
                for value in values.split("|") if values else ():
                    resolve(supervised.experiment, [f"--{name}={value}"], mode_of(["--help=all"])[1])


def test_links_lead_somewhere():
    missing = []
    for path in PAGES:
        targets = re.findall(
            r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", read(path), flags=re.MULTILINE | re.DOTALL)
        )
        local = [target.split("#")[0] for target in targets if not re.match(r"https?:|#|mailto:", target)]
        missing += [f"{path}: {target}" for target in local if not ((ROOT / path).parent / target).exists()]
    assert not missing


def shell_faults(texts):
    """What bash says of texts that are no shell; it reads them and runs nothing."""
    script = 'for text; do bash -n <<< "$text" || echo "in: $text" >&2; done'
    return subprocess.run(["bash", "-c", script, "bash", *texts], capture_output=True, text=True, check=True).stderr


def test_shell_blocks_are_shell():
    texts = [block for path in PAGES for block in blocks(path, "bash")]
    assert len(texts) > 50
    assert not shell_faults(texts)


def test_a_block_that_is_no_shell_is_shown():
    assert "in: if true; fi" in shell_faults(["echo good", "if true; fi", "echo 'also good'"])
    assert "in: echo 'open" in shell_faults(["echo 'open", "it's shut'"])


def test_the_two_commands_stand_in_the_readme():
    lines = read("README.md").split("\n")
    assert [lines.count(command) for command in COMMANDS] == [1, 1]


def test_the_readme_fits_one_screen():
    assert len(read("README.md").splitlines()) <= 120


@pytest.mark.slow
def test_the_readme_s_example_runs():
    values = {}
    exec(blocks("README.md", "python")[0], values)
    assert values["result"].step == 100
    assert values["measures"]["accuracy"] > 0.8


@pytest.mark.slow
def test_an_own_model_loss_data_and_metric(tmp_path, monkeypatch):
    """The example of docs/api.md, which takes 40 lines."""
    code, values = blocks("docs/api.md", "python")[0], {}
    assert len([line for line in code.splitlines() if line]) <= 40
    monkeypatch.chdir(tmp_path)
    exec(code, values)
    measures = values["measures"]
    assert measures["accuracy"] > 0.9
    assert 0.5 < measures["confidence"] < 1
    assert measures["details"]["confusion"].sum() == 128
    assert all(isinstance(value, float | None) for name, value in measures.items() if name != "details")
    page = (tmp_path / "runs" / "stripes" / "report.html").read_text()
    for title in ("Learning curves", "Worst mistakes", "Confusion", "Calibration", "Memory of a step"):
        assert title in page


@pytest.mark.slow
def test_single_parts_run():
    values = {}
    exec(blocks("docs/api.md", "python")[1], values)
    # The head starts at zero, so that every class is equally likely: -log(1/10).
    assert values["losses"].tolist() == pytest.approx([math.log(10)] * 2, abs=1e-6)


def test_the_fast_convolutions_are_switched_on(monkeypatch):
    called = []
    monkeypatch.setattr("dlcore.run.xla_flags.use_fast_cpu_convolutions", lambda: called.append(True))
    exec(blocks("docs/performance.md", "python")[0], {})
    assert called == [True]


@pytest.mark.slow
def test_the_zoo_s_example_runs():
    names = torch_names("resnet18")
    shapes = jax.eval_shape(lambda: create_model("resnet18").init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
    leaves = {
        jax.tree_util.keystr(p, simple=True, separator="/"): v.shape for p, v in jax.tree.leaves_with_path(shapes)
    }
    turned = {path: (*shape[-1:], *shape[-2:-1], *shape[:-2]) for path, shape in leaves.items()}
    values = {"state_dict": {key: np.zeros(turned[path]) for path, key in names.items()}}
    exec(blocks("docs/models.md", "python")[1], values)
    assert jax.tree.map(jnp.shape, values["variables"]) == jax.tree.map(jnp.shape, shapes)
    assert values["stages"]["stem"] == {"stride": 2, "channels": 64}
    assert next(iter(values["stages"])) == "stem"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "result"), [(0, "out"), (2, "net"), pytest.param(3, "learner", id="adapters")])
def test_the_examples_of_published_networks_run(number, result):
    """With folders of tests in place of the hub's."""
    code, hub = blocks("docs/models.md", "python")[number], ROOT / "tests" / "goldens" / "hub"
    for name, folder in (
        ("facebook/dinov2-base", "facebook--dinov2-tiny"),
        ("timm/convnextv2_tiny.fcmae_ft_in22k_in1k", "timm--convnextv2_atto.tiny"),
        ("google/vit-base-patch16-224", "google--vit-tiny"),
        ("timm/resnet18.a1_in1k", "timm--resnet18.tiny"),
    ):
        code = code.replace(f'"{name}"', repr(str(hub / folder)))
    code = "\n".join(line for line in code.splitlines() if "ResNet50_Weights" not in line)
    values = {"photograph": np.zeros((40, 50, 3), np.uint8), "array": np.zeros((1, 64, 64, 3), np.float32)}
    exec(code, values)
    assert result in values


def test_the_photograph_s_example_runs():
    learner = SimpleNamespace(predict=lambda state, batch: batch)
    values = {"photograph": np.full((48, 64, 3), 9, np.uint8), "learner": learner, "state": None}
    exec(blocks("docs/models.md", "python")[4], values)
    batch = values["detections"]
    chex.assert_shape(batch["image"], (1, 800, 1088, 3))
    assert (batch["image_size"].tolist(), batch["original_size"].tolist()) == ([[800, 1066]], [[48, 64]])
    assert batch["image"].sum() == 9 * 800 * 1066 * 3


@pytest.mark.slow
def test_the_language_model_s_example_runs():
    fields = {"num_layers": 1, "num_heads": 2, "width": 8}
    code = blocks("docs/models.md", "python")[5].replace('("gpt2")', '("gpt2", **fields)')
    code = code.replace("state_dict)", "state_dict, **fields)").replace("256", "4")
    model = create_model("gpt2", **fields)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    leaves = {jax.tree_util.keystr(p, simple=True, separator="/"): v for p, v in jax.tree.leaves_with_path(shapes)}
    values = {
        "state_dict": {key: np.zeros(leaves[path].shape) for path, key in torch_names("gpt2", **fields).items()},
        "fields": fields,
        "prompts": jnp.zeros((2, 3), jnp.int32),
        "prompt_lengths": jnp.array([3, 1]),
        "keys": jax.random.split(jax.random.key(0), 2),
    }
    exec(code, values)
    chex.assert_shape(values["tokens"], (2, 4))
    np.testing.assert_array_equal(values["lengths"], 4)


def test_every_python_block_is_run():
    """By the tests above; the excerpts of CONTRIBUTING.md have a test of their own."""
    counts = {path: len(found) for path in PAGES if (found := blocks(path, "python"))}
    del counts["CONTRIBUTING.md"]
    assert counts == {"README.md": 1, "docs/api.md": 2, "docs/models.md": 6, "docs/performance.md": 1}


def test_the_researchers_two_lines_are_in_the_experiment():
    source = read("experiments/classification/supervised.py")
    (diff,) = blocks("docs/running.md", "diff")
    changes = [(line[0], line[1:]) for line in diff.splitlines()]
    assert [sign for sign, _ in changes] == ["-", "+"] * 2
    for (_, old), (_, new) in zip(changes[::2], changes[1::2], strict=True):
        assert source.count(f"{old}\n") == 1, f"docs/running.md changes a line that is not in the experiment: {old}"
        source = source.replace(old, new)
    values = {"__name__": "mine", "__file__": "experiments/classification/mine.py", "__doc__": "Mine."}
    exec(source, values)
    assert resolve(values["experiment"], []).model == "resnet20_cifar"


def excerpts():
    return re.findall(r"<!-- from (\S+) -->\n```python\n(.*?)^```$", read("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)


def test_excerpts_are_true_to_the_code():
    assert len(excerpts()) == len(blocks("CONTRIBUTING.md", "python")) == 4
    for path, text in excerpts():
        lines = iter([line.strip() for line in read(path).splitlines()])
        for line in text.splitlines():
            shown = line.strip().removesuffix("...").strip()
            assert not shown or shown in lines, f"CONTRIBUTING.md shows a line that {path} does not have there: {line}"


@functools.cache
def index():
    """The list of dlcore's files by room, in the order of imports, from the first lines of their docstrings."""
    lines = ["- [learner.py](learner.py): " + _first_line(ROOT / "dlcore" / "learner.py")]
    for room in itertools.chain.from_iterable(LAYERS):
        folder = ROOT / "dlcore" / room
        files = [path for path in sorted(folder.rglob("*.py")) if not path.name.startswith("_")]
        if files:
            lines += ["", f"## {room}", "", _first_line(folder / "__init__.py"), ""]
            lines += [
                f"- [{path.relative_to(folder).as_posix()}]({path.relative_to(ROOT / 'dlcore').as_posix()}): "
                + _first_line(path)
                for path in files
            ]
    return "\n".join(lines)


def _first_line(path):
    """Of a module's docstring, without parsing the code behind it."""
    match = re.match(r'r?"""[^\n]*?(?=\n|""")', path.read_text(encoding="utf-8"))
    return match[0].partition('"""')[2].strip() if match else ""


def is_new_technique(line, topics):
    """Whether a line of a diff adds a file of a topic: a technique is four files, and the index no fifth."""
    link = re.match(r"\+- \[[^]]*\]\(([^/]+)/", line)
    return link is not None and link[1] in topics


def test_the_index_of_dlcore_is_complete():
    experiment = ROOT / "dlcore" / "README.md"
    head, _, rest = experiment.read_text(encoding="utf-8").partition(BEGIN)
    shown, _, tail = rest.partition(END)
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        shown = f"\n\n{index()}\n\n"
        experiment.write_text(f"{head}{BEGIN}{shown}{END}{tail}", encoding="utf-8")
    change = list(difflib.unified_diff(shown.strip().split("\n"), index().split("\n"), "index", "files", "", "", 0, ""))
    change = [line for line in change[2:] if line[0] != "@" and not is_new_technique(line, TOPICS)]
    assert not change, "dlcore/README.md is out of date (see this file's docstring):\n" + "\n".join(change)


def test_every_page_of_the_docs_is_in_the_index():
    """A page outside every table of contents stops the site's build, which takes its warnings for errors."""
    listed = {
        line
        for block in re.findall(r"```{toctree}(.*?)```", read("docs/index.md"), re.DOTALL)
        for line in block.split()
    }
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} <= listed


def test_ci_calls_the_script_and_nothing_else():
    for name in ("ci", "weekly"):
        flow = yaml.safe_load(read(f".github/workflows/{name}.yml"))
        (job,) = flow["jobs"].values()
        runs = [step["run"] for step in job["steps"] if "run" in step]
        assert runs == [".ci/run" if name == "ci" else ".ci/run --latest"]
        assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
        # YAML 1.1 reads the key `on` as true.
        assert {"ci": "pull_request", "weekly": "schedule"}[name] in flow[True]
    yaml.safe_load(read(".pre-commit-config.yaml"))
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


def test_constraints_name_an_allowed_version_of_every_dependency():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    pins = {}
    for line in read("constraints.txt").splitlines():
        if not line.startswith("#"):
            name, version = re.fullmatch(r"([\w.-]+)==([\w.+!]+)", line).groups()
            pins[canonicalize_name(name)] = version
    wanted = list(project["dependencies"])
    for extra in ("test", "dev", "rl", "docs"):
        wanted += project["optional-dependencies"][extra]
    for requirement in map(Requirement, wanted):
        if requirement.name != project["name"]:
            version = pins[canonicalize_name(requirement.name)]
            assert version in requirement.specifier, f"{requirement}, and constraints.txt has {version}"
