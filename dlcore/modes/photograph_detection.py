"""Objects of one photograph by a published detector: of its own classes, or of your words (OWL-ViT, OWLv2).

score = sigmoid(logit of a word), one box a patch                   OWL-ViT, OWLv2
score = softmax(logits of the classes and of no object)             DETR, YOLOS
score = sigmoid(logit of a class), any pair of box and class        Deformable DETR, RT-DETR, D-FINE
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.decoding import load_image
from dlcore.detection import detr, query_losses
from dlcore.detection.dense import best_detections
from dlcore.detection.detr import Outputs
from dlcore.ops.boxes import box_convert, clip_boxes
from dlcore.ops.checks import check_shapes
from dlcore.pretrained import Pretrained, from_pretrained
from dlcore.pretrained.prompt_encoder import check_words, open_tokenizer, word_tokens
from dlcore.report.detection import draw_boxes
from dlcore.report.generative import save_picture

__all__ = ["Detections", "detect_file", "detect_objects", "open_detector", "square_pixels"]

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Normalization of OWLv2's images."""


class Detections(NamedTuple):
    """Objects of a photograph, the highest score first.

    Args:
      boxes: [N, 4] float32, corners (x1, y1, x2, y2) in pixels of the photograph.
      labels: [N] int, numbers of their names.
      scores: [N] float32 in [0, 1].
      class_names: names by number.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    class_names: tuple[str, ...]


def square_pixels(photograph: np.ndarray, side: int) -> np.ndarray:
    """Prepare a photograph as OWLv2 reads it: padded with gray to a square, smoothed and resized.

    The padding lies below the photograph or at its right.

    Args:
      photograph: [H, W, 3] uint8.
      side: side of the result in pixels.

    Returns:
      [side, side, 3] float32, normalized.
    """
    from scipy import ndimage

    check_shapes(photograph=(photograph, "int H W 3"), side=(side, "int >= 1"))

    height, width = photograph.shape[:2]
    square = np.full((max(height, width), max(height, width), 3), 0.5, np.float32)
    square[:height, :width] = photograph.astype(np.float32) / 255
    factor = len(square) / side
    sigma = max(0.0, (factor - 1) / 2)
    smooth = ndimage.gaussian_filter(square, (sigma, sigma, 0), mode="mirror")
    resized = np.asarray(ndimage.zoom(smooth, (1 / factor, 1 / factor, 1), order=1, mode="mirror", grid_mode=True))
    return (resized - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)


def open_detector(folder: str | Path, names: Sequence[str] | None) -> tuple[Pretrained, np.ndarray | None]:
    """Open a published detector.

    Args:
      folder: folder as a hub serves it; of a detector of words with its tokenizer.
      names: names of objects for a detector of words; None for one with its own classes.

    Returns:
      The network, and the names' tokens [T, L] or None.

    Raises:
      FileNotFoundError: the folder or a file of it is missing.
      ValueError: it holds no detector, or names are missing, of no use or too long.
      MissingPackage: `tokenizers` or `safetensors` is not installed.
    """
    net = from_pretrained(folder)
    if net.family.kind != "detection":
        raise ValueError(f"folder={str(folder)!r}: {net.name} is no detector; allowed: such as DETR, YOLOS, OWL-ViT")
    reads_words = "input_ids" in net.family.inputs
    if names is None:
        if reads_words:
            raise ValueError(f"words=None: {net.name} detects by words; allowed: --words='a cat,a dog'")
        return net, None
    if not reads_words:
        raise ValueError(f"words={','.join(names)!r}: {net.name} has its own classes; allowed: no --words")
    clip = net.model.clip
    return net, word_tokens(open_tokenizer(Path(folder)), names, clip.window, clip.vocab_size)


def detect_objects(
    net: Pretrained,
    photograph: np.ndarray,
    names: Sequence[str] | None = None,
    tokens: np.ndarray | None = None,
    threshold: float = 0.1,
) -> Detections:
    """Detect the objects of a photograph.

    Args:
      net: the detector.
      photograph: [H, W, 3] uint8.
      names: names of the objects; None for the detector's classes.
      tokens: [T, L] int, the names' tokens; None for the detector's classes.
      threshold: least score of an object, in [0, 1].

    Returns:
      The objects; boxes end at the photograph's edges.
    """
    _check_threshold(threshold)
    check_shapes(photograph=(photograph, "int H W 3"))
    height, width = photograph.shape[:2]
    sides = (width, height)
    inputs: dict[str, Any] = {} if tokens is None else {"input_ids": tokens}
    if net.name.startswith("owlv2"):
        outputs = net(pixel_values=square_pixels(photograph, net.model.clip.image_size)[None], **inputs)
        sides = (max(height, width),) * 2
    else:
        outputs = net(photograph, **inputs)
    logits, boxes = (jnp.asarray(outputs[key][0], jnp.float32) for key in ("logits", "pred_boxes"))
    layers, sides = Outputs(logits[None], boxes[None]), jnp.array([*sides, *sides])
    detections = _reader(net.name)(layers, sides, (height, width), score_thresh=-1.0, detections_per_img=len(logits))
    boxes, labels, scores = (np.asarray(detections[name]) for name in ("boxes", "labels", "scores"))
    keep_mask = np.asarray(detections["valid"]) & (scores >= threshold) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    class_names = tuple(names or net.classes or map(str, range(logits.shape[1])))
    return Detections(boxes[keep_mask], labels[keep_mask], scores[keep_mask], class_names)


def detect_file(folder: Path, image: Path, words: str | None, threshold: float, output: Path) -> None:
    """Detect the objects of an image file: print a line of JSON for each, and write a picture with their boxes.

    Args:
      folder: folder of a published detector.
      image: path of the image.
      words: names of objects with commas between; None for a detector with its own classes.
      threshold: least score of an object, in [0, 1].
      output: path of the .png file.

    Raises:
      FileNotFoundError: the folder, a file of it or the image is missing.
      ValueError: see `check_words`, `open_detector` and `detect_objects`; or the image cannot be read.
      MissingPackage: `tokenizers` or `safetensors` is not installed.
    """
    _check_threshold(threshold)
    names = None if words is None else check_words(words)
    photograph = load_image(image)
    net, tokens = open_detector(folder, names)
    detections = detect_objects(net, photograph, names, tokens, threshold)
    for box, label, score in zip(detections.boxes, detections.labels, detections.scores, strict=True):
        corners = [round(float(x), 2) for x in box]
        print(json.dumps({"class": detections.class_names[label], "score": round(float(score), 4), "box": corners}))
    picture = draw_boxes(photograph, detections.boxes, detections.labels, detections.class_names, detections.scores)
    print(f"{len(detections.boxes)} objects of {threshold:g} or more: {save_picture(output, picture)}", file=sys.stderr)


def _best_words(outputs: Outputs, sides: jax.Array, size: tuple[int, int], **options: Any) -> dict[str, jax.Array]:
    """Read the likeliest word of each patch, as `dlcore.detection.detr.postprocess` reads the class of a query."""
    scores = jax.nn.sigmoid(outputs.logits[-1])
    boxes = clip_boxes(box_convert(outputs.boxes[-1], "cxcywh", "xyxy") * sides, size)
    scores, labels = scores.max(1), scores.argmax(1)
    return best_detections(boxes, scores, labels, scores > options["score_thresh"], options["detections_per_img"])


READERS = {
    "detr": detr.postprocess,
    "yolos": detr.postprocess,
    "deformable_detr": query_losses.postprocess,
    "rt_detr": query_losses.postprocess,
    "deim_v2": query_losses.postprocess,
    "d_fine": query_losses.postprocess,
    "owlvit": _best_words,
    "owlv2": _best_words,
}
"""What reads the objects off the last layer, by the beginning of a network's name."""


def _reader(name: str) -> Callable[..., dict[str, jax.Array]]:
    """Find what reads the objects of a network."""
    for beginning, reader in READERS.items():
        if name.startswith(f"{beginning}_"):
            return reader
    raise ValueError(f"folder: {name} is not read here; allowed: networks of {', '.join(READERS)}")


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: out of range; allowed: numbers in [0, 1]")
