"""An option that is one of a few words: a word that is none of them is an error, in every function that takes one."""

import ast
import contextlib
import functools
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dlcore.main
from dlcore import cli
from dlcore.adversarial.gradient import fgsm, pgd, project
from dlcore.choices import check_choice, check_whole_number, repeated_options
from dlcore.detection.localization import box_distance
from dlcore.generative import samplers, schedules
from dlcore.generative.diffusion import NoiseSchedule, Sampling, sample
from dlcore.generative.vae import VAE
from dlcore.rl.gail import imitation_reward
from dlcore.search.__main__ import main as search_main
from dlcore.segmentation.fcn import FCN
from dlcore.segmentation.maps import ConvNormRelu
from dlcore.transfer import domain_adaptation

PACKAGE = Path(__file__).resolve().parents[1] / "dlcore"
NOT_CHECKED = {
    "generative/editing.py: Editing(method)": "edit_images checks it",
    "generative/editing.py: edit_images(prediction)": "each method passes it to a function that checks it",
    **dict.fromkeys(
        (
            *(f"models/byobnet.py: Form({field})" for field in ("activation", "gates")),
            *(f"models/mobile_blocks.py: BlockSetting({field})" for field in ("activation", "kind")),
            "models/mobile_network.py: read_stages(se_of)",
            "models/mobilenet_v4.py: BlockSetting(kind)",
        ),
        "written in the table of the networks",
    ),
    **dict.fromkeys(
        (
            *(f"models/general_vit.py: GeneralViT({field})" for field in ("last_norm", "positions", "qkv_bias")),
            *(f"models/general_vit.py: GeneralViT({field})" for field in ("rotary", "rotary_pairs")),
            *(f"models/relpos_vit.py: RelPosViT({field})" for field in ("bias", "positions")),
            *(f"models/vision_tower.py: PixtralTower({field})" for field in ("last_norm", "positions", "rotary_pairs")),
            "models/mlcd.py: MLCD(rotary_pairs)",
            "detection/deim_v2.py: DEIMv2(encoder)",
            *(f"vision3d/binned_dpt.py: BinnedDPT({field})" for field in ("bins", "weights")),
        ),
        "a network or its base, whose fields are checked where it is built",
    ),
    "pretrained/family.py: Family(library)": "written in the table of families",
    "report/measures.py: Measure(better)": "a table of constants",
    "transfer/continual.py: Recipe(fisher)": "learn_in_turn checks it",
}
X = jnp.full((2, 4, 4, 1), 0.5)
GRID = schedules.sampling_grid(np.linspace(0.99, 0.01, 10), np.array([9, 5, 0]))


def denoise(x, t):
    return x


def score(x):
    return x.mean((0, 1))


CASES = {
    "norm": lambda: project(X, 0.1, "l1"),
    "norm of an attack": lambda: pgd(score, jax.random.key(0), X[0], jnp.array(0), norm="l1"),
    "loss of an attack": lambda: fgsm(score, jax.random.key(0), X[0], jnp.array(0), loss="hinge"),
    "prediction": lambda: samplers.read_prediction(X, X, 0.5, "eps"),
    "prediction of a target": lambda: samplers.target_of(X, X, 0.5, "eps"),
    "prediction of a sampler": lambda: samplers.euler_sample(denoise, X, denoise, GRID, prediction="eps"),
    "variance_type": lambda: samplers.ddpm_sample(denoise, X, denoise, GRID, variance_type="small"),
    "spacing": lambda: schedules.timesteps(10, 3, "even"),
    "final_alpha": lambda: schedules.sampling_grid([0.9, 0.1], [1, 0], final_alpha="zero"),
    "sigmas": lambda: schedules.sampling_grid([0.9, 0.1], [1, 0], sigmas="even"),
    "beta_schedule": lambda: NoiseSchedule(beta_schedule="sigmoid").alphas_cumprod(),
    "sampler": lambda: Sampling(sampler="heun").options(),
    "sampler of a call": lambda: sample(denoise, [0.9, 0.1], jax.random.split(jax.random.key(0)), (2,), sampler="heun"),
    "kind": lambda: box_distance(jnp.ones((2, 4)), jnp.ones((2, 4)), "l1"),
    "kind of a reward": lambda: imitation_reward(X, "neutral"),
    "likelihood": lambda: jax.eval_shape(VAE((4, 4, 1), likelihood="poisson").init, jax.random.key(0), X),
    "padding": lambda: jax.eval_shape(ConvNormRelu(2, padding="same").init, jax.random.key(0), X, False),
    "upsampling": lambda: jax.eval_shape(FCN(2, None, upsampling="cubic").init, jax.random.key(0), X, False),
    "technique": lambda: domain_adaptation.learner(model=None, optimizer=optax.sgd(0.1), technique="wasserstein"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_unknown_word_is_refused(case):
    with pytest.raises(ValueError, match=rf"^{case.split()[0]}='\w+': unknown; allowed: "):
        CASES[case]()


def test_the_error_names_the_argument_the_value_and_the_choices():
    with pytest.raises(ValueError, match=r"^order=3: unknown; allowed: 1, 2$"):
        check_choice("order", 3, (1, 2))
    check_choice("norm", "l2", {"l2": None})


@functools.cache
def tree(file: str) -> ast.Module:
    path = PACKAGE / file
    return ast.parse(path.read_text() if path.is_file() else "")


def files() -> list[str]:
    """The files that hold a Literal, or the name of one of another file."""
    texts = {str(path.relative_to(PACKAGE)): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
    aliases = {alias for text in texts.values() for alias in re.findall(r"^(\w+) = Literal\[", text, re.MULTILINE)}
    word = re.compile(rf"Literal\[|: ({'|'.join(aliases)})\b")
    return [file for file, text in texts.items() if word.search(text)]


@functools.cache
def names(file: str) -> dict[str, ast.expr]:
    """Every constant of a file, those that it imports from other files of dlcore too -> its expression."""
    found = {}
    for node in tree(file).body:
        if isinstance(node, ast.Assign):
            found |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dlcore."):
            there = names(f"{node.module.removeprefix('dlcore.').replace('.', '/')}.py")
            found |= {alias.asname or alias.name: there[alias.name] for alias in node.names if alias.name in there}
    return found


def choices(node: ast.expr | None, file: str) -> tuple | None:
    """The words of an expression that is a Literal, a tuple or a table, under whatever name; of `X | None` X's."""
    if isinstance(node, ast.Name):
        return choices(names(file).get(node.id), file)
    if isinstance(node, ast.BinOp):
        return choices(node.left, file)
    if isinstance(node, ast.Dict):
        return tuple(map(ast.literal_eval, filter(None, node.keys)))
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated":
        return choices(node.slice.elts[0], file)
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        return get_args(eval(ast.unparse(node), {**vars(module(file)), "Literal": Literal}))
    if isinstance(node, ast.Tuple) and all(isinstance(word, ast.Constant) for word in node.elts):
        return ast.literal_eval(node)
    return None


def options(node: ast.AST) -> dict[str, ast.expr]:
    """{argument: its annotation} of a function or class."""
    if isinstance(node, ast.ClassDef):
        return {part.target.id: part.annotation for part in node.body if isinstance(part, ast.AnnAssign)}
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return {argument.arg: argument.annotation for argument in arguments if argument.annotation is not None}


def module(file: str) -> ModuleType:
    """Import a file of dlcore."""
    return importlib.import_module(f"dlcore.{file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}")


def checks_its_fields(node: ast.AST, file: str) -> bool:
    """Whether a record or a module checks all its fields when it is made, as parts, layers and networks do."""
    if not isinstance(node, ast.ClassDef):
        return False
    post_init = getattr(getattr(module(file), node.name), "__post_init__", None)
    return post_init is not None and not {"check_fields", "check_record", "_checked_fields"}.isdisjoint(
        post_init.__code__.co_names
    )


def fate(node: ast.AST, option: str, words: tuple, file: str) -> str:
    """What becomes of an option: "checked", "raised" for in the function's own words, "passed on", or ""."""
    if any(ast.unparse(part) == "check_arguments" for part in node.decorator_list) or checks_its_fields(node, file):
        return "checked"
    value = f"self.{option}" if isinstance(node, ast.ClassDef) else option
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
    for call in calls:
        if ast.unparse(call.func) == "check_choice" and ast.unparse(call.args[1]) == value:
            allowed = choices(call.args[2], file)
            is_right = ast.literal_eval(call.args[0]) == option and allowed is not None and {*allowed} == {*words}
            return "checked" if is_right else ""
    for part in ast.walk(node):
        if isinstance(part, ast.Raise) and option in ast.unparse(part) and "unknown" in ast.unparse(part):
            return "raised"
    others = [call for call in calls if ast.unparse(call.func) != node.name]
    given = {ast.unparse(part) for call in others for part in [*call.args, *(key.value for key in call.keywords)]}
    return "passed on" if value in given else ""


def literals(room: str) -> dict[str, str]:
    """Every option of a room's public functions and classes that is a Literal -> what becomes of it."""
    return {
        f"{file}: {node.name}({option})": fate(node, option, words, file)
        for file in FILES
        if file.startswith(room)
        for node in tree(file).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        for option, annotation in options(node).items()
        if (words := choices(annotation, file)) is not None
    }


FILES = files()


@pytest.mark.parametrize("room", sorted({file.partition("/")[0] for file in FILES}))
def test_every_option_is_checked_or_passed_on(room):
    unchecked = {option for option, becomes in literals(room).items() if not becomes}
    assert unchecked == {option for option in NOT_CHECKED if option.startswith(room)}


def test_options_are_found():
    assert literals("generative/samplers.py") == {
        "generative/samplers.py: read_prediction(prediction)": "checked",
        "generative/samplers.py: target_of(prediction)": "checked",
        "generative/samplers.py: integrate(prediction)": "passed on",
        "generative/samplers.py: check_grid(prediction)": "checked",
        "generative/samplers.py: ddpm_sample(variance_type)": "checked",
    }
    assert literals("nn/stochastic.py")["nn/stochastic.py: StochasticDepth(mode)"] == "checked"
    assert len(FILES) > 150


def test_a_fraction_a_word_and_a_bool_are_no_whole_numbers():
    for value in (1.5, 1.0, np.nan, "1", True, None):
        with pytest.raises(ValueError, match=r"^steps=.*: no whole number; allowed: integers from 1$"):
            check_whole_number("steps", value, 1)
    with pytest.raises(ValueError, match=r"^steps=0: too small; allowed: at least 1$"):
        check_whole_number("steps", np.int64(0), 1)
    check_whole_number("steps", -3)
    check_whole_number("steps", np.int32(1), 1)


def test_an_option_that_replaces_another_is_said():
    words = ["page", "--steps=3", "--steps", "3", "--rate", "-1", "--smoke", "--", "--steps=5"]
    assert repeated_options(words) == repeated_options([]) == []
    for words in (["--steps=3", "--smoke", "--steps=5"], ["--steps=3", "--steps", "5"]):
        assert repeated_options(words) == ["--steps=5: replaces --steps=3, which stands before it"]
    for first, second in (("--smoke", "--nosmoke"), ("--nosmoke", "--smoke")):
        assert repeated_options(["page", first, "--steps=3", second]) == [
            f"{second}: replaces {first}, which stands before it"
        ]


def test_a_process_says_what_an_option_of_its_command_line_replaces(monkeypatch, capsys):
    """What a process was started with; a list of a program may be longer than it needs."""
    for command, program in ((cli.main, "dlcore"), (lambda: dlcore.main.main(None), "page"), (search_main, "search")):
        monkeypatch.setattr(sys, "argv", [program, "run", "--steps=3", "--steps=5"])
        with contextlib.suppress(SystemExit, Exception):
            command()
        assert capsys.readouterr().err.startswith("note: --steps=5: replaces --steps=3, which stands before it\n")
