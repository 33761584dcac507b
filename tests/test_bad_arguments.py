"""One rule of errors for all public functions and networks: what is not declared is refused, and the error names it.

The limits are found by themselves. An annotation excludes numbers outside of its `Range` and words outside of its
`Literal`; behind `check_arguments`, and in the fields of a network, also fractions, words and NaN for a whole number,
a bool and a number. A docstring's `Args` exclude numbers beyond "at least 1", "positive" or "in [0, 1)", and arrays
with one axis fewer or more, or with another size than a stated number, or than another array has under that letter.
Each call breaks one limit. The rest of it is of tests/documented_calls.py. Arrays are traced: nothing is compiled.
What is in EXCEPTIONS says why.
"""

import importlib
import inspect
import math
import re
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import jax
import numpy as np
import pytest

from dlcore.learner import Range, check_arguments
from dlcore.models.fields import CheckedFields
from tests.documented_calls import KINDS, NAMES, ROOMS, SHAPE, Argument, argument_of, argument_texts

MODULES = [
    name
    for name in NAMES
    if name.count(".") > 1 and name.split(".")[1] in (*ROOMS, "backprop", "cost", "models", "optim")
]

ELEMENTS = "changes each number, or each pixel, alone: all axes are batch axes"
BEHIND = "a part behind a door, which has checked the shapes"
INNER = "the function behind it refuses the array, by its own name for it"
FLAG = "the error has the name of the page's flag"
EXCEPTIONS = {
    f"dlcore.{name}": reason
    for reason, names in {
        ELEMENTS: (
            *("data.augment.compose.identity", "data.augment.jitter.adjust_brightness"),
            *("data.augment.jitter.adjust_hue", "data.augment.jitter.adjust_saturation", "data.augment.jitter.gray"),
            *("data.augment.tone.adjust_gamma", "data.augment.tone.invert", "data.augment.tone.posterize"),
            *("data.augment.tone.solarize", "data.planted_organs.standardize", "generative.denoising.decode_pixels"),
            *("generative.samplers.read_prediction", "generative.samplers.target_of", "generative.schedules.add_noise"),
            *(
                "generative.vq_vae.codebook_usage",
                "generative.vq_vae_2.never",
                "interpretability.deep_dream.squared_norm",
            ),
            *(
                "interpretability.saliency.pixel_saliency",
                "optim.ema.ema_decay",
                "optim.ema.ema_update",
                "self_supervised.colorization.remove_colors",
            ),
            "self_supervised.colorization.to_grayscale",
        ),
        BEHIND: (
            *("adversarial.gradient.check_images", "classic_ml.pixel_distance.equal_edits"),
            *("classical_vision.homography.rescale_homography", "classical_vision.homography.solve_dlt"),
            *("classical_vision.optical_flow.image_pyramid", "classical_vision.optical_flow.warp_back"),
            *("classical_vision.ransac.line_residual", "classical_vision.sift.describe"),
            *("classical_vision.sift.octave_keypoints", "classical_vision.two_view.essential_poses"),
            *("classification.factorized_search.child_blocks", "classification.factorized_search.multiply_adds"),
            *("cost.receptive_field.of_image", "data.augment.examples.has_pairs", "data.augment.mixing.mix_batch"),
            *("data.coco_annotations.points_leave_box", "generative.likelihood.bayes_rule"),
            *("interpretability.class_image.blur_and_clip", "interpretability.class_image.random_shift"),
            *("interpretability.texture_synthesis.texture_loss", "models.mobilevit.unfold", "models.swin.windows"),
            *("detection.grounding_blocks.phrase_masks", "detection.lw_detr.refine_boxes"),
            *("models.qwen_tower.locate_patches", "models.qwen_vl.multimodal_positions"),
            *("models.siglip2.positions_of_grids", "nn.attention.padding_mask", "nn.transformer_xl.by_distance"),
            *("ops.cpu.dense.dense_product", "ops.l2_normalize.unit_rows", "ops.point_sets.stack_points"),
            *("ops.precision.add_center", "ops.precision.centered", "ops.replica.replica_key"),
            *("ops.split_sequence.split_sequence", "segmentation.mask_queries.normed_stages"),
            *("detection.dense.best_detections", "segmentation.grabcut.largest_component"),
            *("segmentation.grabcut.minimum_cut", "segmentation.mask_losses.important_points"),
            *("segmentation.mask_losses.match_masks", "segmentation.grabcut.neighbor_weights"),
            "ops.checks.check_weights",
        ),
        INNER: (
            *("classic_ml.neocognitron.grow_stages", "classical_vision.pose.ransac_pose"),
            *("detection.keypoint_rcnn.read_keypoints", "evaluators.frechet.frechet_of_features"),
            *("evaluators.frechet.kid", "evaluators.frechet.kid_with_interval"),
            *("generative.personalization.subject_similarity", "losses.metric_learning.mined_triplet_loss"),
            *("self_supervised.dino.dino_losses", "self_supervised.prototypes.crop_losses"),
        ),
        FLAG: (
            *("data.augment.random_warp.random_lens", "generative.likelihood.binarize", "nn.remat.remat"),
            "semi_supervised.noisy_labels.transition_matrix",
        ),
        "rounds as a product of the arrays would, or says whether one can be": (
            *("classic_ml.points.product_rounding", "ops.attention_kernels.suitable_kernels", "ops.mesh.is_closed"),
        ),
        "takes what the docstring says after the first shape, too": (
            *("losses.contrastive.info_nce_loss", "ops.camera.distort", "ops.camera.undistort"),
        ),
    }.items()
    for name in names
}
"""Functions that give a result, or an error that names another argument, and why."""

NUMBER = r"(-?\d+(?:\.\d+)?)"
BOUND = re.compile(
    rf"(?:^|, |: )(?:(?P<least>at least|from) {NUMBER}|(?P<above>above|positive)(?: {NUMBER})?"
    rf"|in (?P<open>[\[(]){NUMBER}, {NUMBER}(?P<close>[\])]))(?=[;.,]|$)"
)
CHECKED = check_arguments(lambda: None).__code__
PLACEHOLDERS = {int: 8, float: 0.5, bool: False, str: "x"}


class Fault(NamedTuple):
    """A value that is not allowed, of which argument, and the names of which its error must have one."""

    argument: str
    value: Any
    names: tuple[str, ...]


@pytest.mark.slow(unless=["dlcore.losses.*", "dlcore.ops.boxes"])
@pytest.mark.parametrize("module", MODULES)
def test_values_beyond_the_declared_limits_are_refused_by_name(module):
    faults, count = {}, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in declared(module):
            for fault, outcome in broken_calls(value):
                count += outcome == ""
                if outcome and f"{module}.{name}" not in EXCEPTIONS:
                    faults[f"{name}, {fault.argument}={getattr(fault.value, 'shape', fault.value)!r}"] = outcome
    assert not faults
    if not count:
        pytest.skip("no declared limit that a call can break")


def declared(module: str) -> Iterator[tuple[str, Any]]:
    """The public functions and networks that a module defines, by their names."""
    home = importlib.import_module(module)
    for name in NAMES[module]:
        value = getattr(home, name, None)
        is_network = inspect.isclass(value) and issubclass(value, CheckedFields)
        if (inspect.isfunction(value) or is_network) and inspect.unwrap(value).__module__ == module:
            yield name, value


def broken_calls(value: Any) -> Iterator[tuple[Fault, str]]:
    """Each fault, and what comes of a call with it: "" where an error names it."""
    is_network = inspect.isclass(value)
    try:
        hints = get_type_hints(value, include_extras=True)
    except NameError:  # a type that only type checkers import
        hints = {}
    is_checked, texts = is_network or value.__code__ is CHECKED, argument_texts(value)
    call, axes, faults = {}, {}, []
    for position, (name, parameter) in enumerate(inspect.signature(value).parameters.items()):
        if name in ("parent", "name") or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint, text = hints.get(name), texts.get(name, "")
        argument = None if is_network else argument_of(parameter, text, position)
        if argument is None and parameter.default is parameter.empty:
            argument = Argument(placeholder(hint))
        if argument is not None:
            call[name] = argument
            if isinstance(argument.value, np.ndarray):
                axes[name] = [part.strip() for part in SHAPE.match(text)[2].split(",") if part.strip()]
        faults += [*of_hint(name, hint, is_checked)] or [*of_text(name, text, hint)]
    for fault in [*faults, *of_shapes(call, axes)]:
        calls = [{n: a.value for n, a in call.items()}]
        if is_checked and not is_network and fault.argument not in axes:
            calls = [{}]  # refused before what is missing is missed
        elif any(a.is_free for a in call.values()):
            calls = [
                {n: kind(a.value).astype(np.float32) if a.is_free else a.value for n, a in call.items()}
                for kind in KINDS.values()
            ]
        outcomes = [outcome_of(value, arguments | {fault.argument: fault.value}, fault) for arguments in calls]
        if "" in outcomes:
            yield fault, ""
        elif (is_checked and not is_network and fault.argument not in axes) or any(
            outcome_of(value, arguments) == "no error" for arguments in calls
        ):
            yield fault, outcomes[0]  # where the call without it is refused as well, it says nothing


def outcome_of(function: Callable, call: dict[str, Any], fault: Fault | None = None) -> str:
    """What comes of a call: "no error", "" where one names the fault, else its text."""
    arrays = {n: v for n, v in call.items() if isinstance(v, np.ndarray | jax.Array)}
    constants, outcome = {n: v for n, v in call.items() if n not in arrays}, ""
    for attempt in (lambda: jax.eval_shape(lambda x: function(**x, **constants), arrays), lambda: function(**call)):
        try:
            attempt()
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}".split("\n")[0]
            is_named = fault and re.search(rf"\b({'|'.join(fault.names)})\b", outcome)
            if is_named and isinstance(error, ValueError | TypeError):
                return ""
        else:
            return "no error"
    return outcome


def placeholder(hint: Any) -> Any:
    """A value of the kind of an annotation; None where that is more than a number or a word."""
    if get_origin(hint) is Annotated:
        return placeholder(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return tuple(map(placeholder, get_args(hint)[:1] * 2 if ... in get_args(hint) else get_args(hint)))
    return get_args(hint)[0] if get_origin(hint) is Literal else PLACEHOLDERS.get(hint)


def of_hint(name: str, hint: Any, is_checked: bool) -> Iterator[Fault]:
    """Values that an annotation does not allow."""

    def parts(hint: Any) -> list[Any]:
        if get_origin(hint) is Annotated or get_origin(hint) in (Union, types.UnionType):
            return [part for each in get_args(hint) for part in parts(each)]
        return [hint]

    kinds = [part for part in parts(hint) if part is not type(None) and not isinstance(part, Range)]
    for low, high in (part for part in parts(hint) if isinstance(part, Range)):
        if kinds[0] in (int, float):
            yield from (Fault(name, bad, (name,)) for bad in (low - 1, high + 1) if math.isfinite(bad))
    if len(kinds) == 1 and get_origin(kinds[0]) is Literal:
        yield Fault(name, "no such choice", (name,))
    elif len(kinds) == 1 and is_checked and kinds[0] in (int, float, bool):
        yield Fault(name, {int: 1.5, float: math.nan, bool: "yes"}[kinds[0]], (name,))


def of_text(name: str, text: str, hint: Any) -> Iterator[Fault]:
    """Numbers that the line of a docstring does not allow."""
    kinds = [hint, *get_args(hint)]
    if not (int in kinds or float in kinds) or not (bound := BOUND.search(text)):
        return
    least, above, low, high = (float(n) if n else 0.0 for n in (bound[2], bound[4], bound[6], bound[7]))
    values = [least - 1] if bound["least"] else [above]
    if bound["open"]:
        values = [low - (bound["open"] == "["), high + (bound["close"] == "]")]
    yield from (Fault(name, (int if int in kinds else float)(value), (name,)) for value in values)


def of_shapes(call: dict[str, Argument], axes: dict[str, list[str]]) -> Iterator[Fault]:
    """Arrays of other shapes than the docstring's."""
    for name, letters in axes.items():
        shape, dtype = call[name].value.shape, call[name].value.dtype
        fixed = len(letters) - ("..." in letters)
        wrong = [shape[len(shape) - fixed + 1 :]] if fixed > 1 else []
        wrong += [(2, *shape)] if "..." not in letters else []
        others = [letter for other, theirs in axes.items() if other != name for letter in theirs]
        for i in range(-fixed, 0) if "..." not in letters[1:] else ():
            if letters[i].isdigit() or (letters[i].isalpha() and letters[i] in others):
                wrong.append(tuple(size + (j == i) for j, size in enumerate(shape, -len(shape))))
        yield from (Fault(name, np.zeros(each, dtype), tuple(axes)) for each in wrong)
