"""Names, explanations, units and directions (higher or lower is better) of the measures of a run.

A report shows the explanation where the pointer rests on a name, and lists all measures of the page at its end.
"""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Literal, NamedTuple

from dlcore.report.panel import Panel
from dlcore.report.tables import table

__all__ = [
    "MEASURES",
    "Measure",
    "describe",
    "explained",
    "in_per_cent",
    "is_share",
    "legend_panels",
    "number_panels",
    "number_text",
]

_DISTANCES = {"distance", "error", "l1", "mse"}
"""Words of metrics that are no shares, whatever else they name, such as map_l1."""

_SHARE_WORDS = {
    "accuracy",
    "top5",
    "map",
    "map50",
    "map75",
    "recall100",
    "knn",
    "probe",
    "probability",
    "precision",
    "recall",
}


class Measure(NamedTuple):
    """Name, explanation, unit and direction of a measure.

    Args:
      title: its full name.
      about: one sentence on what it says.
      unit: unit of its numbers; "%" for fractions of a whole, which are kept in [0, 1] and shown in per cent.
      better: which way is better; empty where neither is.
    """

    title: str
    about: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""


_SHARE, _UP, _DOWN = "%", "higher", "lower"

MEASURES = {
    "loss": Measure("Loss", "what training minimizes, the mean over examples", "", _DOWN),
    "accuracy": Measure("Accuracy", "share of examples whose class (or pair of views) was predicted", _SHARE, _UP),
    "accuracy_by_video": Measure(
        "Accuracy by video", "share of videos whose class has the largest mean logit over their clips", _SHARE, _UP
    ),
    "robust_accuracy": Measure(
        "Robust accuracy", "share of examples that are right before and after the attack", _SHARE, _UP
    ),
    "max_change": Measure("Largest change", "of a pixel in [0, 1] by the attack"),
    "divergence": Measure(
        "Divergence", "of the prediction for the attacked image from that for the image", "nats", _DOWN
    ),
    "top5": Measure("Top-5 accuracy", "share of examples whose class is among the five most probable", _SHARE, _UP),
    "balanced_accuracy": Measure("Balanced accuracy", "mean over the classes of each one's accuracy", _SHARE, _UP),
    "error": Measure("Error", "share of examples whose class was not predicted", "", _DOWN),
    "nll": Measure("Negative log-likelihood", "-log of the probability of the true class", "nats", _DOWN),
    "brier": Measure("Brier score", "squared distance of the probabilities from the one-hot label", "", _DOWN),
    "ece": Measure("Expected calibration error", "mean gap of confidence and accuracy over bins", "", _DOWN),
    "mce": Measure("Maximum calibration error", "largest gap of confidence and accuracy of a bin", "", _DOWN),
    "mean_confidence": Measure("Mean confidence", "mean probability of the predicted class", ""),
    "confidence": Measure("Confidence", "mean probability of the predicted class", ""),
    "entropy": Measure("Entropy", "how spread the output distribution is; 0 is certain", "nats"),
    "learning_rate": Measure("Learning rate", "size of a step, as the schedule sets it"),
    "examples_per_second": Measure("Throughput", "training examples a second", "examples/s", _UP),
    "environment_steps_per_second": Measure("Throughput", "environment steps a second", "steps/s", _UP),
    "grad_norm": Measure("Gradient norm", "Euclidean norm of the gradient of all parameters"),
    # self-supervised learning
    "knn": Measure("k-nearest-neighbor accuracy", "classes voted by the nearest labeled features", _SHARE, _UP),
    "probe": Measure("Linear probe accuracy", "logistic regression on the frozen features", _SHARE, _UP),
    "fine_tune": Measure("Fine-tuned accuracy", "after training all weights with that many labels", _SHARE, _UP),
    "supervised": Measure("Supervised accuracy", "of the same encoder trained by labels", _SHARE, _UP),
    "uniformity": Measure("Uniformity", "log of the mean Gaussian potential of pairs of embeddings", "", _DOWN),
    "alignment": Measure("Alignment", "mean squared distance of two views of an image", "", _DOWN),
    "usage": Measure("Usage", "entropy of how often each output or code is used over its maximum; 0: one for all"),
    "kl": Measure("Kullback-Leibler divergence", "how far one distribution is from another; 0: equal", "nats"),
    "center_norm": Measure("Norm of the center", "of the running mean that is subtracted from the teacher's logits"),
    "mean_patch": Measure("Loss of the mean patch", "what predicting each patch's mean costs, to compare"),
    # generation
    "frechet_distance": Measure(
        "Fréchet distance", "between Gaussians fitted to features of samples and of real images (FID)", "", _DOWN
    ),
    "kid": Measure("Kernel distance", "unbiased squared MMD of features of samples and real images", "", _DOWN),
    "pitch_accuracy": Measure(
        "Pitch accuracy", "share of generated tones within half a semitone of the pitch that was asked for", _SHARE, _UP
    ),
    "pitch_error": Measure("Pitch error", "median deviation of a generated tone's pitch", "semitones", _DOWN),
    "inception_score": Measure("Inception score", "certain and varied classes of samples; at least 1", "", _UP),
    "class_consistency": Measure("Class consistency", "share of samples classified as what was asked for", "", _UP),
    "g_loss": Measure("Generator loss", "of the adversarial game; its level alone says little"),
    "d_loss": Measure("Discriminator loss", "of the adversarial game; 1.386 = 2 log 2 cannot tell real from fake"),
    "d_real": Measure("D(real)", "mean probability of real that the discriminator gives real images"),
    "d_fake": Measure("D(fake)", "mean probability of real that the discriminator gives samples"),
    "d_penalty": Measure("Gradient penalty", "of the discriminator", "", _DOWN),
    "d_right": Measure("Discriminator accuracy", "share of examples that the discriminator tells apart"),
    "value": Measure("Value of the game", "minus the discriminator's loss"),
    "kl_nats": Measure("Kullback-Leibler divergence", "of the latent's posterior from its prior", "nats"),
    "reconstruction_nats": Measure("Reconstruction", "-log-likelihood of an image given its latent", "nats", _DOWN),
    "elbo_nll_nats": Measure("Negative evidence lower bound", "bounds -log p of an image from above", "nats", _DOWN),
    "nll_nats": Measure("Negative log-likelihood", "-log p of an image", "nats", _DOWN),
    "bits_per_dim": Measure("Bits a dimension", "-log2 p of an image over its numbers", "bits", _DOWN),
    "prior_bits": Measure(
        "Bits a code", "-log2 p of a code under the prior; log2 of the codes: uniform", "bits", _DOWN
    ),
    "histogram_bits": Measure("Bits of a code by frequency", "entropy of the codes, if they were independent", "bits"),
    "perplexity": Measure("Perplexity", "exp of the entropy; of a codebook, how many codes are in use"),
    "commitment": Measure("Commitment loss", "squared distance of the encoder's output from its code", "", _DOWN),
    "gram_loss": Measure("Gram loss", "squared difference of Gram matrices, the mean over layers", "", _DOWN),
    "gram_loss_noise": Measure("Gram loss of noise", "of the image that the synthesis starts from", "", _DOWN),
    "gram_loss_tiled": Measure("Gram loss of tiles", "of the sample repeated side by side", "", _DOWN),
    "repetition": Measure("Repetition", "correlation with the image one sample further on; 1: tiles", "", _DOWN),
    "psnr": Measure("Peak signal-to-noise ratio", "of images against their truth", "dB", _UP),
    "ssim": Measure("Structural similarity", "of images against their truth; 1: equal", "", _UP),
    "sharpness": Measure("Sharpness", "mean difference of neighboring pixels over that of the truth; 1: equal"),
    "mse": Measure("Mean squared error", "mean over all numbers", "", _DOWN),
    "rmse": Measure("Root mean squared error", "square root of the mean squared error", "", _DOWN),
    "l1": Measure("Mean absolute error", "mean over all numbers", "", _DOWN),
    "cycle_l1": Measure("Cycle error", "mean absolute difference after translating there and back", "", _DOWN),
    "path_length": Measure("Perceptual path length", "how much samples change along short latent paths", "", _DOWN),
    "object_correctness": Measure("Named objects", "share of the named objects that are seen in samples", "", _UP),
    "noise_share": Measure("Share of noise", "share of the variance of features that per-pixel noise explains"),
    "modes": Measure("Modes covered", "modes of the data that samples reach", "", _UP),
    "high_quality": Measure("High-quality samples", "share of samples near a mode", "", _UP),
    # detection and segmentation
    "map": Measure("Mean average precision", "over classes and IoU thresholds 0.5 to 0.95, as COCO", _SHARE, _UP),
    "map50": Measure("Mean average precision at IoU 0.5", "mean over classes", _SHARE, _UP),
    "map75": Measure("Mean average precision at IoU 0.75", "mean over classes", _SHARE, _UP),
    "map_small": Measure("mAP of small objects", "area below 32² pixels at the size that is measured", _SHARE, _UP),
    "map_medium": Measure(
        "mAP of medium objects", "area of 32² to 96² pixels at the size that is measured", _SHARE, _UP
    ),
    "map_large": Measure("mAP of large objects", "area above 96² pixels at the size that is measured", _SHARE, _UP),
    "recall100": Measure("Average recall", "of at most 100 detections an image, over IoU 0.5 to 0.95", _SHARE, _UP),
    "iou": Measure("Intersection over union", "overlap of prediction and truth over their union", _SHARE, _UP),
    "mean_iou": Measure("Mean intersection over union", "mean over classes of overlap over union", _SHARE, _UP),
    "boundary_iou": Measure("Boundary IoU", "IoU of the bands along the contours", _SHARE, _UP),
    "pixel_accuracy": Measure("Pixel accuracy", "share of pixels whose class was predicted", _SHARE, _UP),
    "voxel_iou": Measure("Voxel IoU", "overlap of the predicted and the true cells over their union", _SHARE, _UP),
    "chamfer": Measure(
        "Chamfer distance", "squared distance to the nearest point of the other set, the two means added", "", _DOWN
    ),
    "abs_rel": Measure("Absolute relative error", "mean error of the depth over the true depth", "", _DOWN),
    "silog": Measure("Scale-invariant error", "100 times the standard deviation of log depth errors", "", _DOWN),
    "normal_error": Measure("Error of normals", "mean of 1 - cosine of the angle to the true normal", "", _DOWN),
    "distance_error": Measure("Distance error", "mean error of the signed distance", "", _DOWN),
    "gradient_norm": Measure("Gradient norm", "mean length of the field's gradient, 1 for a distance"),
    "eikonal_error": Measure("Eikonal error", "mean difference of the gradient's length from 1", "", _DOWN),
    "cubified_chamfer": Measure(
        "Chamfer distance of the cubified mesh", "the Chamfer distance before the mesh is refined", "", _DOWN
    ),
    "pq": Measure("Panoptic quality", "mean over classes of matched IoU, less missed and false segments", _SHARE, _UP),
    "sq": Measure("Segmentation quality", "mean IoU of matched segments", _SHARE, _UP),
    "rq": Measure("Recognition quality", "F1 of matched segments", _SHARE, _UP),
    "pck": Measure("Correct keypoints", "share of keypoints within a tolerance of the truth", _SHARE, _UP),
    "box_loss": Measure("Box loss", "of the offsets of boxes", "", _DOWN),
    "class_loss": Measure("Class loss", "of the classes of boxes", "", _DOWN),
    # reinforcement learning
    "return": Measure("Return", "sum of rewards of an episode, the mean over episodes", "reward", _UP),
    "random_return": Measure("Random policy's return", "to compare", "reward"),
    "zero_return": Measure("Return of doing nothing", "to compare", "reward"),
    "clone_return": Measure("Behavior cloning's return", "to compare", "reward"),
    "reward": Measure("Reward", "mean of a step", "", _UP),
    "policy_loss": Measure("Policy loss", "surrogate objective of the policy gradient"),
    "value_loss": Measure("Value loss", "squared error of predicted returns", "", _DOWN),
    "critic_loss": Measure("Critic loss", "squared error of action values", "", _DOWN),
    "q": Measure("Action value", "mean predicted return of an action"),
    "td_error": Measure("Temporal-difference error", "mean absolute", "", _DOWN),
    "temperature": Measure("Temperature", "weight of the entropy, or divisor of logits"),
    "length": Measure("Episode length", "steps of an episode, the mean over episodes", "steps"),
    "episode_length": Measure("Episode length", "steps of an episode", "steps"),
    # language
    "exact_match": Measure("Exact match", "share of sequences that are right from end to end", "", _UP),
    "bleu4": Measure("BLEU-4", "matching n-grams up to length 4, with a penalty on brevity", "", _UP),
    "cider": Measure("CIDEr", "similarity of weighted n-grams to the reference captions", "", _UP),
    "rouge_l": Measure("ROUGE-L", "longest common subsequence with the reference", "", _UP),
    "word_error_rate": Measure("Word error rate", "edits to reach the reference over its words", "", _DOWN),
    "chrf": Measure("chrF", "F-score of character n-grams", "", _UP),
    "r1": Measure("Recall at 1", "share of queries whose match comes first", "", _UP),
    "r5": Measure("Recall at 5", "share of queries whose match is among the first five", "", _UP),
    "r10": Measure("Recall at 10", "share of queries whose match is among the first ten", "", _UP),
    "bits": Measure("Bits", "-log2 of the probability of a token", "bits", _DOWN),
    # few labels, transfer
    "mask_rate": Measure("Accepted pseudo-labels", "share of unlabeled images above the threshold"),
    "impurity": Measure("Wrong pseudo-labels", "share of accepted pseudo-labels that are wrong", "", _DOWN),
    "unlabeled_loss": Measure("Unlabeled loss", "of the images without labels", "", _DOWN),
    "gain": Measure("Gain", "accuracy over that of the baseline from the same labels", "", _UP),
    "domain_accuracy": Measure("Domain accuracy", "share of images whose domain is told correctly; 0.5 is chance"),
    "probability": Measure("Probability", "of the class that was asked for", _SHARE, _UP),
    "ari": Measure("Adjusted Rand index", "agreement of clusters and classes; 0: chance, 1: equal", "", _UP),
    "nmi": Measure("Normalized mutual information", "of clusters and classes; 0: none, 1: equal", "", _UP),
}
"""Name of a measure, without prefixes and endings, to what it is."""

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
    """Find what a measure is: by its name, by its last part ("calibration/mce"), or without its ending.

    Args:
      name: name in metrics.jsonl, such as "loss", "calibration/mce", "fine_tune_40_untrained" or "map50/cat".

    Returns:
      The measure, with what an ending or a part adds in its title; None where the name is unknown.
    """
    name = name.removeprefix("test ").split(" (")[0]
    if name in MEASURES:
        return MEASURES[name]
    first, slash, last = name.partition("/")
    if slash:
        if (found := describe(last)) is not None:
            return found
        found = describe(first)
        return None if found is None else found._replace(title=f"{found.title} of {last}")
    if count := re.fullmatch(r"fine_tune_(\d+)", name):
        found = MEASURES["fine_tune"]
        return found._replace(title=f"{found.title}, {int(count[1]):,} labels")
    for ending, words in _ENDINGS.items():
        if name.endswith(ending) and (found := describe(name.removesuffix(ending))) is not None:
            return found._replace(title=f"{found.title}, {words}")
    rest = re.fullmatch(r"(.+)_\d+(?:way\d+shot|_levels)?", name)
    if rest and (found := describe(rest[1])) is not None:
        return found
    for known in sorted(MEASURES, key=len, reverse=True):  # mask_map, instance_loss
        if name.endswith(f"_{known}"):
            found, part = MEASURES[known], name.removesuffix(f"_{known}").replace("_", " ")
            return found._replace(title=f"{found.title} ({part})")
    return None


def is_share(metric: str) -> bool:
    """Whether a metric is a share of a whole, which reads better in per cent.

    Args:
      metric: its name, such as "test accuracy", "map" or "probe".

    Returns:
      True where a word of the name is one that names shares (accuracy, map, recall, ...), and none is a distance.
    """
    words = set(re.findall(r"[a-z0-9]+", metric.lower()))
    return not _SHARE_WORDS.isdisjoint(words) and _DISTANCES.isdisjoint(words)


def in_per_cent(name: str) -> bool:
    """Whether numbers of a measure are shown in per cent.

    Args:
      name: name of the measure.

    Returns:
      True for shares by their name, or by their unit in `MEASURES`.
    """
    found = describe(name)
    return "accuracy" in name or is_share(name) or (found is not None and found.unit == _SHARE)


def number_text(name: str, value: float) -> str:
    """Write a measure's number as every part of a report does.

    Args:
      name: name of the measure.
      value: its number.

    Returns:
      Shares in per cent with two decimals, numbers from 10,000 on without decimals, others with four digits.
    """
    if in_per_cent(name) and 0 <= value <= 1:
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def explained(name: str, tag: str = "b") -> str:
    """Write a measure's name with its explanation where the pointer rests on it.

    Args:
      name: name of the measure.
      tag: name of the HTML element.

    Returns:
      HTML, escaped.
    """
    found = describe(name)
    title = "" if found is None else f' title="{escape(_sentence(found))}"'
    return f"<{tag}{title}>{escape(name)}</{tag}>"


def number_panels(
    numbers: Mapping[str, float | None], trivial: Mapping[str, tuple[float, str]], title: str = "Test split"
) -> list[Panel]:
    """Tabulate measures, each beside its value without learning.

    Args:
      numbers: values by measure; None, and parts such as "map/cat", are left out.
      trivial: (value, what gives it) by measure.
      title: title of the panel.

    Returns:
      One panel; none where there is no number.
    """
    shown = {name: value for name, value in numbers.items() if "/" not in name and value is not None}
    heads = ["measure", "value", *(["without learning", "which is"] if trivial else [])]
    kinds, rows = ("", "number", "number", ""), []
    for name, value in shown.items():
        answer = trivial.get(name)
        cells = [explained(name, "span"), number_text(name, value)]
        cells += (
            [] if not trivial else ["", ""] if answer is None else [number_text(name, answer[0]), escape(answer[1])]
        )
        rows.append("".join(f'<td class="{kind}">{c}</td>' for kind, c in zip(kinds, cells, strict=False)))
    head = "".join(f'<th class="{kind}">{h}</th>' for kind, h in zip(kinds, heads, strict=False))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    html = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return [Panel(title, html, half=True)] if rows else []


def legend_panels(names: Iterable[str]) -> list[Panel]:
    """List what the measures of a page are; those of a part, such as a class or a seed, once.

    Args:
      names: names of the measures.

    Returns:
      One panel, of those that are known; none where none is.
    """
    rows: list[dict[str, Any]] = []
    kinds = (name.partition("/")[0] if describe(name.partition("/")[0]) else name for name in names)
    for name in dict.fromkeys(kinds):
        if (found := describe(name)) is not None:
            better = f"{found.better} is better" if found.better else ""
            rows.append({"name": name, "measure": found.title, "what it says": found.about, "": better})
            rows[-1]["unit"] = found.unit
    return [table(rows, "Measures")] if rows else []


def _sentence(measure: Measure) -> str:
    unit = f", in {measure.unit}" if measure.unit else ""
    better = f"; {measure.better} is better" if measure.better else ""
    return f"{measure.title}{unit}: {measure.about}{better}"
