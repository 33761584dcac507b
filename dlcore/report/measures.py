"""Names, explanations, units and directions (higher or lower is better) of the measures of a run.

A report shows the explanation as a name's tooltip, and lists all measures of the page at its end.
"""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Literal, NamedTuple

from dlcore.report.panel import Panel

__all__ = [
    "MEASURES",
    "Measure",
    "better_direction",
    "describe",
    "explain_measure",
    "in_per_cent",
    "legend_panels",
    "number_panels",
    "number_text",
]

_DISTANCES = {"distance", "error", "l1", "mse"}
"""Words of metrics that are no fractions, even beside a word of _FRACTION_WORDS, such as map_l1."""

_FRACTION_WORDS = {"accuracy", "knn", "map", "map50", "map75", "precision", "probability", "probe", "recall", "top5"}
"""Words of names that are no measures, such as "test accuracy of the best", which are fractions."""


class Measure(NamedTuple):
    """Name, explanation, unit and direction of a measure.

    Args:
      title: full name.
      about: explanation, one sentence.
      unit: unit of its numbers; "%" for fractions of a whole, which are stored in [0, 1] and shown in percent.
      better: better direction; empty for neither.
    """

    title: str
    about: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""


_FRACTION = "%"
_UP: Literal["higher"] = "higher"
_DOWN: Literal["lower"] = "lower"

MEASURES = {
    "loss": Measure("Loss", "what training minimizes, the mean over examples", "", _DOWN),
    "accuracy": Measure("Accuracy", "fraction of predictions that are right", _FRACTION, _UP),
    "accuracy_by_video": Measure(
        "Accuracy by video",
        "fraction of videos whose class has the largest mean logit over their clips",
        _FRACTION,
        _UP,
    ),
    "robust_accuracy": Measure(
        "Robust accuracy",
        "fraction of examples that are classified correctly before and after the attack",
        _FRACTION,
        _UP,
    ),
    "max_change": Measure("Largest change", "of a pixel in [0, 1] by the attack"),
    "divergence": Measure(
        "Divergence", "KL divergence of the predictions for the attacked and the clean image", "nats", _DOWN
    ),
    "top5": Measure(
        "Top-5 accuracy", "fraction of examples whose class is among the five most probable", _FRACTION, _UP
    ),
    "balanced_accuracy": Measure("Balanced accuracy", "mean over the classes of each one's accuracy", _FRACTION, _UP),
    "error": Measure("Error", "fraction of examples whose class was not predicted", "", _DOWN),
    "nll": Measure("Negative log-likelihood", "-log of the probability of the true class", "nats", _DOWN),
    "brier": Measure("Brier score", "squared distance of the probabilities from the one-hot label", "", _DOWN),
    "ece": Measure("Expected calibration error", "mean gap of confidence and accuracy over bins", "", _DOWN),
    "mce": Measure("Maximum calibration error", "largest gap of confidence and accuracy of a bin", "", _DOWN),
    "mean_confidence": Measure("Mean confidence", "mean probability of the predicted class", ""),
    "confidence": Measure("Confidence", "mean probability of the predicted class", ""),
    "entropy": Measure("Entropy", "entropy of the output distribution; 0 is certain", "nats"),
    "learning_rate": Measure("Learning rate", "step size, as set by the schedule"),
    "examples_per_second": Measure("Throughput", "training examples per second", "examples/s", _UP),
    "environment_steps_per_second": Measure("Throughput", "environment steps per second", "steps/s", _UP),
    "grad_norm": Measure("Gradient norm", "Euclidean norm of the gradient of all parameters"),
    # self-supervised learning
    "knn": Measure("k-nearest-neighbor accuracy", "weighted vote of the nearest labeled features", _FRACTION, _UP),
    "probe": Measure("Linear probe accuracy", "logistic regression on the frozen features", _FRACTION, _UP),
    "fine_tune": Measure("Fine-tuned accuracy", "after training all weights with that many labels", _FRACTION, _UP),
    "supervised": Measure("Supervised accuracy", "of the same encoder trained with labels", _FRACTION, _UP),
    "uniformity": Measure("Uniformity", "log of the mean Gaussian potential of pairs of embeddings", "", _DOWN),
    "alignment": Measure("Alignment", "mean squared distance of two views of an image", "", _DOWN),
    "usage": Measure("Usage", "entropy of the use of outputs or codes over its maximum; 0: only one is used"),
    "kl": Measure("Kullback-Leibler divergence", "how far one distribution is from another; 0: equal", "nats"),
    "center_norm": Measure("Norm of the center", "of the running mean that is subtracted from the teacher's logits"),
    "mean_patch": Measure("Loss of the mean patch", "loss of predicting each patch's mean, a baseline"),
    # generation
    "frechet_distance": Measure(
        "Fréchet distance", "between Gaussians fitted to features of samples and of real images (FID)", "", _DOWN
    ),
    "straightness": Measure("Straightness", "mean squared deviation of the paths' velocity; 0: lines", "", _DOWN),
    "perceptual": Measure(
        "Perceptual distance",
        "squared distance of unit vectors of features of images and their reconstructions, summed over layers",
        "",
        _DOWN,
    ),
    "kid": Measure("Kernel distance", "unbiased squared MMD of features of samples and real images", "", _DOWN),
    "sample_precision": Measure(
        "Precision of samples", "fraction of samples that lie near real images", _FRACTION, _UP
    ),
    "sample_recall": Measure("Recall of samples", "fraction of real images that lie near samples", _FRACTION, _UP),
    "density": Measure("Density", "real images near a sample over those expected; 1: as dense as real images"),
    "coverage": Measure("Coverage", "fraction of real images with a sample near them", _FRACTION, _UP),
    "pitch_accuracy": Measure(
        "Pitch accuracy", "fraction of generated tones within half a semitone of the requested pitch", _FRACTION, _UP
    ),
    "pitch_error": Measure("Pitch error", "median deviation of a generated tone's pitch", "semitones", _DOWN),
    "inception_score": Measure(
        "Inception score", "confidence and diversity of the samples' classes; at least 1", "", _UP
    ),
    "class_consistency": Measure("Class consistency", "fraction of samples classified as the requested class", "", _UP),
    "g_loss": Measure("Generator loss", "of the adversarial game; its level alone means little"),
    "d_loss": Measure("Discriminator loss", "of the adversarial game; 1.386 = 2 log 2 cannot tell real from fake"),
    "d_real": Measure("D(real)", "mean probability of real, for real images"),
    "d_fake": Measure("D(fake)", "mean probability of real, for samples"),
    "d_penalty": Measure("Gradient penalty", "of the discriminator", "", _DOWN),
    "d_right": Measure(
        "Discriminator accuracy", "fraction of real and fake images that the discriminator classifies correctly"
    ),
    "value": Measure("Value of the game", "minus the discriminator's loss"),
    "kl_nats": Measure("Kullback-Leibler divergence", "of the latent's posterior from its prior", "nats"),
    "reconstruction_nats": Measure("Reconstruction", "-log-likelihood of an image given its latent", "nats", _DOWN),
    "elbo_nll_nats": Measure("Negative evidence lower bound", "bounds -log p of an image from above", "nats", _DOWN),
    "nll_nats": Measure("Negative log-likelihood", "-log p of an image", "nats", _DOWN),
    "bits_per_dim": Measure("Bits per dimension", "-log2 p of an image per value", "bits", _DOWN),
    "prior_bits": Measure(
        "Bits per code", "-log2 p of a code under the prior; log2 of the codes: uniform", "bits", _DOWN
    ),
    "histogram_bits": Measure("Bits of a code by frequency", "entropy of the codes, if they were independent", "bits"),
    "perplexity": Measure("Perplexity", "exp of the entropy; of a codebook, how many codes are in use"),
    "commitment": Measure("Commitment loss", "squared distance of the encoder's output from its code", "", _DOWN),
    "activation": Measure("Activation", "of the unit that an image is optimized for, the mean over units", "", _UP),
    "activation_noise": Measure("Activation of noise", "of the noise that the images start from", "", _UP),
    "gram_loss": Measure("Gram loss", "squared difference of Gram matrices, the mean over layers", "", _DOWN),
    "gram_loss_noise": Measure("Gram loss of noise", "of the image that the synthesis starts from", "", _DOWN),
    "gram_loss_tiled": Measure("Gram loss of tiles", "of the sample repeated side by side", "", _DOWN),
    "repetition": Measure("Repetition", "correlation with the image one sample further on; 1: tiles", "", _DOWN),
    "psnr": Measure("Peak signal-to-noise ratio", "of images against their targets", "dB", _UP),
    "ssim": Measure("Structural similarity", "of images against their targets; 1: equal", "", _UP),
    "sharpness": Measure("Sharpness", "mean difference of neighboring pixels over that of the target; 1: equal"),
    "mse": Measure("Mean squared error", "mean over all values", "", _DOWN),
    "rmse": Measure("Root mean squared error", "square root of the mean squared error", "", _DOWN),
    "l1": Measure("Mean absolute error", "mean over all values", "", _DOWN),
    "cycle_l1": Measure("Cycle error", "mean absolute difference after translating there and back", "", _DOWN),
    "path_length": Measure("Perceptual path length", "how much samples change along short latent paths", "", _DOWN),
    "object_correctness": Measure("Named objects", "fraction of the named objects that samples contain", "", _UP),
    "noise_share": Measure("Noise fraction", "fraction of the variance of features that per-pixel noise explains"),
    "modes": Measure("Modes covered", "modes of the data that samples reach", "", _UP),
    "high_quality": Measure("High-quality samples", "fraction of samples near a mode", "", _UP),
    # detection and segmentation
    "map": Measure("Mean average precision", "over classes and IoU thresholds 0.5 to 0.95, as COCO", _FRACTION, _UP),
    "map50": Measure("Mean average precision at IoU 0.5", "mean over classes", _FRACTION, _UP),
    "map75": Measure("Mean average precision at IoU 0.75", "mean over classes", _FRACTION, _UP),
    "map_small": Measure("mAP of small objects", "area below 32² pixels at evaluation size", _FRACTION, _UP),
    "map_medium": Measure("mAP of medium objects", "area of 32² to 96² pixels at evaluation size", _FRACTION, _UP),
    "map_large": Measure("mAP of large objects", "area above 96² pixels at evaluation size", _FRACTION, _UP),
    "recall100": Measure("Average recall", "of at most 100 detections per image, over IoU 0.5 to 0.95", _FRACTION, _UP),
    "iou": Measure("Intersection over union", "intersection of prediction and target over their union", _FRACTION, _UP),
    "mean_iou": Measure("Mean intersection over union", "mean IoU over classes", _FRACTION, _UP),
    "boundary_iou": Measure("Boundary IoU", "IoU of the bands along the contours", _FRACTION, _UP),
    "pixel_accuracy": Measure("Pixel accuracy", "fraction of pixels whose class was predicted", _FRACTION, _UP),
    "voxel_iou": Measure(
        "Voxel IoU", "intersection of the predicted and the target cells over their union", _FRACTION, _UP
    ),
    "chamfer": Measure(
        "Chamfer distance", "squared distance to the nearest point of the other set, the two means added", "", _DOWN
    ),
    "abs_rel": Measure("Absolute relative error", "mean error of the depth over the true depth", "", _DOWN),
    "sq_rel": Measure("Squared relative error", "mean squared error of the depth over the true depth", "", _DOWN),
    "silog": Measure("Scale-invariant error", "100 times the standard deviation of log depth errors", "", _DOWN),
    "normal_error": Measure("Error of normals", "mean of 1 - cosine of the angle to the true normal", "", _DOWN),
    "distance_error": Measure("Distance error", "mean error of the signed distance", "", _DOWN),
    "gradient_norm": Measure("Gradient norm", "mean length of the field's gradient, 1 for a distance"),
    "eikonal_error": Measure("Eikonal error", "mean difference of the gradient's length from 1", "", _DOWN),
    "cubified_chamfer": Measure(
        "Chamfer distance of the cubified mesh", "the Chamfer distance before the mesh is refined", "", _DOWN
    ),
    "pq": Measure(
        "Panoptic quality", "mean over classes of matched IoU, less missed and false segments", _FRACTION, _UP
    ),
    "sq": Measure("Segmentation quality", "mean IoU of matched segments", _FRACTION, _UP),
    "rq": Measure("Recognition quality", "F1 of matched segments", _FRACTION, _UP),
    "epe": Measure("Endpoint error", "mean distance between the estimated and the true optical flow", "pixels", _DOWN),
    "pck": Measure("Correct keypoints", "fraction of keypoints within a tolerance of the target", _FRACTION, _UP),
    "box_loss": Measure("Box loss", "of the offsets of boxes", "", _DOWN),
    "class_loss": Measure("Class loss", "of the classes of boxes", "", _DOWN),
    # reinforcement learning
    "return": Measure("Return", "sum of rewards of an episode, the mean over episodes", "reward", _UP),
    "random_return": Measure("Random policy's return", "a baseline", "reward"),
    "zero_return": Measure("Return of doing nothing", "a baseline", "reward"),
    "clone_return": Measure("Behavior cloning's return", "a baseline", "reward"),
    "reward": Measure("Reward", "mean per step", "", _UP),
    "policy_loss": Measure("Policy loss", "surrogate objective of the policy gradient"),
    "value_loss": Measure("Value loss", "squared error of predicted returns", "", _DOWN),
    "critic_loss": Measure("Critic loss", "squared error of action values", "", _DOWN),
    "q": Measure("Action value", "mean predicted return of an action"),
    "td_error": Measure("Temporal-difference error", "mean absolute", "", _DOWN),
    "temperature": Measure("Temperature", "weight of the entropy, or divisor of logits"),
    "length": Measure("Episode length", "steps of an episode, the mean over episodes", "steps"),
    "episode_length": Measure("Episode length", "steps of an episode", "steps"),
    # language
    "exact_match": Measure("Exact match", "fraction of sequences that equal the target", "", _UP),
    "bleu4": Measure("BLEU-4", "n-gram precision up to length 4, with a brevity penalty", "", _UP),
    "cider": Measure("CIDEr", "similarity of weighted n-grams to the reference captions", "", _UP),
    "rouge_l": Measure("ROUGE-L", "longest common subsequence with the reference", "", _UP),
    "word_error_rate": Measure("Word error rate", "edits to reach the reference over its words", "", _DOWN),
    "chrf": Measure("chrF", "F-score of character n-grams", "", _UP),
    "r1": Measure("Recall at 1", "fraction of queries whose match comes first", "", _UP),
    "r5": Measure("Recall at 5", "fraction of queries whose match is among the first five", "", _UP),
    "r10": Measure("Recall at 10", "fraction of queries whose match is among the first ten", "", _UP),
    "bits": Measure("Bits", "-log2 of the probability of a token", "bits", _DOWN),
    # few labels, transfer
    "mask_rate": Measure("Accepted pseudo-labels", "fraction of unlabeled images above the threshold"),
    "impurity": Measure("Wrong pseudo-labels", "fraction of accepted pseudo-labels that are wrong", "", _DOWN),
    "unlabeled_loss": Measure("Unlabeled loss", "of the images without labels", "", _DOWN),
    "gain": Measure("Gain", "accuracy over that of the baseline from the same labels", "", _UP),
    "domain_accuracy": Measure(
        "Domain accuracy", "fraction of images whose domain is predicted correctly; 0.5 is chance", _FRACTION
    ),
    "probability": Measure("Probability", "of the requested class", _FRACTION, _UP),
    "ari": Measure("Adjusted Rand index", "agreement of clusters and classes; 0: chance, 1: equal", "", _UP),
    "nmi": Measure("Normalized mutual information", "of clusters and classes; 0: none, 1: equal", "", _UP),
}
"""Measures by name, without prefixes and suffixes."""

_DIRECTIONS = (
    {name: measure.better for name, measure in MEASURES.items() if measure.better}
    | dict.fromkeys(("agreement", "auc", "bleu", "consistency", "correctness", "dice", "f1", "looks"), _UP)
    | dict.fromkeys(("low_density", "match", "precision", "recall", "rouge", "score", "top", "tune"), _UP)
    | dict.fromkeys(("content", "distance", "mae", "memorized", "nats", "perplexity", "style"), _DOWN)
)
"""Better directions of measures, and of words of names that are no measures or, by themselves, have no direction."""

_ENDINGS = {
    "_untrained": "of the untrained encoder",
    "_supervised": "of the supervised encoder",
    "_head": "on the head's output",
    "_cross_entropy": "of cross-entropy, to the end",
    "_early_stopped": "of cross-entropy, stopped early",
    "_dynamic": "pixels binarized anew each time",
    "_threshold": "pixels binarized at one half",
    "_static": "pixels binarized once",
    "_shuffled": "of shuffled inputs",
}


def describe(name: str) -> Measure | None:
    """Look up a measure by its name, its last part ("calibration/mce"), or without its suffix.

    Args:
      name: name in metrics.jsonl, such as "loss", "calibration/mce", "fine_tune_40_untrained" or "map50/cat".

    Returns:
      The measure, with the meaning of its suffix or part in the title; None if the name is unknown.
    """
    name = _without_split(name)
    if name in MEASURES:
        return MEASURES[name]
    first, slash, last = name.partition("/")
    if slash:
        if (measure := describe(last)) is not None:
            return measure
        measure = describe(first)
        return None if measure is None else measure._replace(title=f"{measure.title} of {last}")
    if count := re.fullmatch(r"fine_tune_(\d+)", name):
        measure = MEASURES["fine_tune"]
        return measure._replace(title=f"{measure.title}, {int(count[1]):,} labels")
    for ending, words in _ENDINGS.items():
        if name.endswith(ending) and (measure := describe(name.removesuffix(ending))) is not None:
            return measure._replace(title=f"{measure.title}, {words}")
    rest = re.fullmatch(r"(.+)_\d+(?:way\d+shot|_levels)?", name)
    if rest and (measure := describe(rest[1])) is not None:
        return measure
    for key in sorted(MEASURES, key=len, reverse=True):  # mask_map, instance_loss
        if name.endswith(f"_{key}"):
            measure, part = MEASURES[key], name.removesuffix(f"_{key}").replace("_", " ")
            return measure._replace(title=f"{measure.title} ({part})")
    return None


def better_direction(name: str) -> Literal["higher", "lower", ""]:
    """Look up the better direction of a measure by its name or a word of it.

    The first part of the name with a direction decides. In a part lower goes before higher, as in recall_error.

    Args:
      name: name in metrics.jsonl, such as "accuracy", "policy_loss", "map50/cat" or "calibration/ece"; also with a
        split before it, as in "valid accuracy".

    Returns:
      The direction; empty if no word of the name has one.
    """
    for part in _without_split(name).split("/"):
        words = {part, *part.split("_")}
        words |= {re.sub(r"(?<=\D)\d+$", "", word) for word in words}  # bleu4
        directions = {_DIRECTIONS.get(word, "") for word in words}
        for direction in (_DOWN, _UP):
            if direction in directions:
                return direction
    return ""


def in_per_cent(name: str) -> bool:
    """Return whether values of a measure are shown in percent.

    Args:
      name: name of the measure, such as "test accuracy", "map" or "test accuracy of the best".

    Returns:
      True for fractions, by the unit in `MEASURES`; for a name that is not there, if a word of it names fractions
      (accuracy, map, recall, ...) and none names distances.
    """
    if (measure := describe(name)) is not None:
        return measure.unit == _FRACTION
    words = set(re.findall(r"[a-z0-9]+", name.lower()))
    return not _FRACTION_WORDS.isdisjoint(words) and _DISTANCES.isdisjoint(words)


def number_text(name: str, value: float) -> str:
    """Format a measure's value, the same in every part of a report.

    Args:
      name: name of the measure.
      value: value to format.

    Returns:
      Fractions in percent with two decimals, numbers from 10,000 on without decimals, others with four digits.
    """
    if in_per_cent(name) and 0 <= value <= 1:
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def explain_measure(name: str, tag: str = "b") -> str:
    """Format a measure's name with its explanation as a tooltip.

    Args:
      name: name of the measure.
      tag: name of the HTML element.

    Returns:
      HTML, escaped.
    """
    measure = describe(name)
    title = "" if measure is None else f' title="{escape(_sentence(measure))}"'
    return f"<{tag}{title}>{escape(name)}</{tag}>"


def number_panels(
    numbers: Mapping[str, float | None], trivial: Mapping[str, tuple[float, str]], title: str = "Test split"
) -> list[Panel]:
    """Tabulate measures beside their trivial baselines.

    Args:
      numbers: values by measure; None, and parts such as "map/cat", are left out. Half of the interval of a measure,
        such as "kid_interval", stands beside its value.
      trivial: (value, name of the baseline) by measure.
      title: title of the panel.

    Returns:
      One panel; none without values.
    """
    values = {name: value for name, value in numbers.items() if "/" not in name and value is not None}
    heads = ["measure", "value", *(["baseline", "which is"] if trivial else [])]
    kinds, rows = ("", "number", "number", "")[: len(heads)], []
    intervals = {name: values.pop(f"{name}_interval") for name in list(values) if f"{name}_interval" in values}
    for name, value in values.items():
        pair, half = trivial.get(name), intervals.get(name)
        spread = "" if half is None else f" ± {number_text(name, half)}"
        cells = [explain_measure(name, "span"), number_text(name, value) + spread]
        cells += [] if not trivial else ["", ""] if pair is None else [number_text(name, pair[0]), escape(pair[1])]
        rows.append("".join(f'<td class="{kind}">{c}</td>' for kind, c in zip(kinds, cells, strict=True)))
    head = "".join(f'<th class="{kind}">{h}</th>' for kind, h in zip(kinds, heads, strict=True))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    html = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return [Panel(title, html, half=True)] if rows else []


def legend_panels(names: Iterable[str]) -> list[Panel]:
    """Explain the measures of a page; those of parts, such as classes or seeds, once.

    Args:
      names: names of the measures.

    Returns:
      One panel of the known measures; none if there are none.
    """
    rows = []
    kinds = (name.partition("/")[0] if describe(name.partition("/")[0]) else name for name in names)
    for name in dict.fromkeys(kinds):
        if (measure := describe(name)) is not None:
            rows.append(f"<dt>{escape(name)}</dt><dd>{escape(_sentence(measure))}</dd>")
    return [Panel("Measures", f'<dl class="measures">{"".join(rows)}</dl>')] if rows else []


def _without_split(name: str) -> str:
    """Take "test " and " (what it was measured on)" from a name."""
    return re.sub("^(train|valid|test) ", "", name).split(" (")[0]


def _sentence(measure: Measure) -> str:
    unit = f", in {measure.unit}" if measure.unit else ""
    better = f"; {measure.better} is better" if measure.better else ""
    return f"{measure.title}{unit}: {measure.about}{better}"
