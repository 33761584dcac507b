"""Identifiers are the field's nouns: the words of the glossary's left column are refused, room by room."""

import ast
import re
import symtable
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DLCORE = ROOT / "dlcore"
ROOMS = sorted({path.parent.name for path in DLCORE.glob("*/__init__.py")} - {"weights"})
"""The rooms that are held to docs/glossary.md."""
EXPERIMENTS = ("", *sorted(path.parent.name for path in (ROOT / "experiments").glob("*/__init__.py")))
"""The folders of experiments, and the files beside them."""
WORDS = {
    "seen": "observations, detections, visited",
    "found": "detections, matches, predictions",
    "shown": "observations, images, demonstrations",
    "drawn": "samples, sampled, crops",
    "place": "position, location, index, query_pos",
    "places": "positions, locations",
    "made": "fake, generated",
    "made_losses": "fake_losses",
    "told": "labels",
    "said": "student_logits",
    "taught": "teacher_logits",
    "answer": "logits, student_logits, strong_logits",
    "answers": "logits, responsible",
    "guess": "pseudo_label, weak_logits, predictions",
    "bar": "threshold, tau",
    "judge": "evaluator, discriminator",
    "judged": "eval_state, metrics",
    "theirs": "real_features",
    "own": "fake_features, losses, diagonal",
    "others": "negatives, other_crops, the noun of what they are",
    "crossed": "cross_entropy",
    "true": "target_boxes, targets",
    "truth": "target_boxes, target_classes, targets",
    "chance": "probs",
    "mine": "matched_boxes, the noun of what they are",
    "owned": "is_matched, has_object",
    "claimed": "matched_idx, num_predicted",
    "paired": "has_query, pairs",
    "kept": "keep_mask, valid, residuals",
    "keep": "keep_mask, valid",
    "wide": "acc_dtype",
    "given": "condition, cond",
    "visited": "sampling_timesteps",
    "abar": "alpha_cumprod",
    "abar_t": "alpha_cumprod_t",
    "lost": "cond_drop_mask",
    "locked": "frozen",
    "every": "variables, interval",
    "share": "fraction, ratio",
    "shares": "fractions",
    "ends": "endpoints, boundaries",
    "book": "codebook",
    "again_a": "reconstructed_a",
    "again_b": "reconstructed_b",
    "partner": "target_image",
    "waves": "sinusoidal_embedding",
    "room": "max_length, capacity",
    "settled": "finished",
    "alive": "active",
    "write": "generate",
    "written": "generated_tokens, entries",
    "known": "memory_mask, observed",
    "alone": "self_attention",
    "improve": "update_epochs",
    "start_on_policy": "init_runner_state",
    "see": "update",
    "of_observation": "normalize_obs",
    "of_reward": "normalize_reward",
    "play": "rollout",
    "played": "episode, episode_return",
    "advance": "env_step",
    "followed_by": "concatenate",
    "join": "concatenate, pack",
    "row_of": "index",
    "counted": "num_valid, mask, visible",
    "want": "expected, target_shape",
    "wanted": "expected, target",
    "chosen": "action, selected_idx, class_ids",
    "which": "index, selected_idx",
    "wrong": "incorrect",
    "shrink1": "down1",
    "join0": "up0",
    "twin": "supervised_baseline",
    "fresh": "is_initial, restart",
    "note": "message",
    "notes": "messages",
    "turned": "rotated",
}
"""The word and what to write; not the words that are also the field's: start, score, counts, rows, low, high, right."""
KEPT = {
    "classic_ml": {"num_components_for(share)"},
    "data": {
        "__init__(turned)",
        "answer_number(answer)",
        "answer_number(answers)",
        "count_shared(others)",
        "cutmix_box(share)",
        "episodes(turned)",
        "fit_on_first(others)",
        "join()",
        "place()",
        "random_zoom_example(keep)",
        "tfds_sources(known)",
        "warp_boxes(keep)",
        "warp_example(keep)",
    },
    "detection": {"match(true)", "image_losses(counted)"},
    "evaluators": {"coco_map(truth)"},
    "experiment": {"__init__(given)", "fast_compilation(wanted)", "write_data(known)"},
    "generative": {
        "__call__(given)",
        "__call__(own)",
        "interpolate(shares)",
        "learner(locked)",
        "read_prediction(abar)",
        "sample(given)",
        "sample(known)",
        "sample(shares)",
        "slerp(share)",
        "step(place)",
        "target_of(abar)",
        "update_codebook(book)",
    },
    "interpretability": {"activation_thresholds(share)", "box_of_map(share)"},
    "metrics": {
        "depth_errors(truth)",
        "detection_errors(truth)",
        "depth_metrics(truth)",
        "match_detections(truth)",
        "nrmse(truth)",
        "of(found)",
        "of(truth)",
        "voxel_iou(truth)",
    },
    "models": {"encode(seen)"},
    "modes": {"__init__(every)", "notes()", "row_of()"},
    "ops": {"top_detections(keep)"},
    "optim": {"track_swa(every)"},
    "rl": {"lstm_sequence(fresh)", "make(ends)", "select(every)", "sequence(fresh)"},
    "run": {"advance()", "join()", "lock_folder()", "place()", "save(note)"},
    "search": {"__init__(every)", "__init__(share)", "exploit(share)", "narrow(keep)", "run_trials(share)"},
    "segmentation": {"color_model(chosen)", "components(room)"},
    "self_supervised": {"crop_alone(share)", "hole(share)"},
    "semi_supervised": {
        "area_of_low_density(made)",
        "density_excess(made)",
        "feature_distance(made)",
        "smallest(share)",
        "snapshots(every)",
    },
    "transfer": {"allowed_outputs(seen)", "probe_stages(truth)", "reversal_strength(share)"},
}
"""Arguments of public functions, which callers may pass by name, and a few methods."""
OVERRIDES = {"write()"}
"""Methods of parts, which a part of a page has, too."""
KEPT_IN_EXPERIMENTS = {
    "": {"merge(note)", "_study_row(note)"},
    "classical_vision": {"judge()"},
    "interpretability": {"study(share)"},
    "rl": {"study(every)"},
    "studies": {
        "draw(every)",
        "errors(every)",
        "first_below(every)",
        "judge()",
        "report(every)",
        "runs(every)",
        "steps_to(every)",
        "study(every)",
    },
    "tutorial": {"given()"},
    "vision3d": {"judge()", "study(wrong)"},
}
"""Flags, arguments that flags are handed to, and the function that judges a study's claim."""


def names(tree: ast.AST) -> Iterator[tuple[str, int, str]]:
    """(identifier, line, how an exception names it) of all that a module binds; fields of a class are data."""
    nodes = list(ast.walk(tree))
    fields = {id(node) for c in nodes if isinstance(c, ast.ClassDef) for a in c.body if isinstance(a, ast.AnnAssign)
              for node in ast.walk(a)}  # fmt: skip
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
            yield node.id, node.lineno, node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, f"{node.name}()"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            a = node.args
            for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))):
                yield arg.arg, arg.lineno, f"{getattr(node, 'name', 'lambda')}({arg.arg})"


def may_bind(table: symtable.SymbolTable, words: Container[str]) -> bool:
    """Whether any scope has one of the words among its names, bound or read: quick, as the tree of a file is not."""
    known = any(name in words for name in table.get_identifiers())
    return known or any(may_bind(part, words) for part in table.get_children())


def refused(source: str, file: str = "", kept: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """The lines of a module that bind a refused word, and what to write instead."""
    if not may_bind(symtable.symtable(source, file, "exec"), WORDS):
        return []
    return sorted(
        f"{file}:{line}: {name}; write: {WORDS[name]}"
        for name, line, place in names(ast.parse(source))
        if name in WORDS and place not in kept
    )


@pytest.mark.parametrize("room", ROOMS)
def test_identifiers_are_the_words_of_the_field(room):
    found = []
    for path in sorted((DLCORE / room).rglob("*.py")):
        found += refused(path.read_text(), f"dlcore/{path.relative_to(DLCORE)}", OVERRIDES | KEPT.get(room, set()))
    assert not found, "\n".join(["words of the glossary's left column (docs/glossary.md):", *found])


def files_of(folder: str) -> list[Path]:
    """The modules of a folder of experiments; of "" those beside the folders."""
    path = ROOT / "experiments" / folder
    return sorted(path.rglob("*.py") if folder else path.glob("*.py"))


@pytest.mark.parametrize("folder", EXPERIMENTS)
def test_identifiers_of_experiments_are_the_words_of_the_field(folder):
    kept, found = OVERRIDES | KEPT_IN_EXPERIMENTS.get(folder, set()), []
    for path in files_of(folder):
        found += refused(path.read_text(), str(path.relative_to(ROOT)), kept)
    assert not found, "\n".join(["words of the glossary's left column (docs/glossary.md):", *found])


def test_names_of_tests_state_what_holds():
    """`test_masked_values_are_ignored`, not `test_what_is_masked`."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    assert not [str(path) for path in paths if re.search(r"^def test_what_", path.read_text(), re.MULTILINE)]


def test_variables_arguments_and_functions_are_refused_with_what_to_write():
    source = "class A:\n    seen: int\ndef taught(guess):\n    bar = [made for made, *others in guess]\n    return bar"
    assert [line.split(";")[0] for line in refused(source, "f.py")] == [
        "f.py:3: guess",
        "f.py:3: taught",
        "f.py:4: bar",
        "f.py:4: made",
        "f.py:4: others",
    ]
    assert refused("bar = 1", "f.py") == ["f.py:1: bar; write: threshold, tau"]
    assert refused("def f(true): ...", kept={"f(true)"}) == []


@pytest.mark.slow
@pytest.mark.parametrize("room", sorted(KEPT))
def test_each_exception_still_stands(room):
    bound = {place for path in (DLCORE / room).rglob("*.py") for _, _, place in names(ast.parse(path.read_text()))}
    assert not KEPT[room] - bound


@pytest.mark.slow
@pytest.mark.parametrize("folder", sorted(KEPT_IN_EXPERIMENTS))
def test_each_exception_of_experiments_still_stands(folder):
    bound = {place for path in files_of(folder) for _, _, place in names(ast.parse(path.read_text()))}
    assert not KEPT_IN_EXPERIMENTS[folder] - bound
