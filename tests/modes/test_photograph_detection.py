"""Objects of a photograph: boxes in its pixels, the words of OWL-ViT, and the command."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from dlcore import cli
from dlcore.modes.photograph_detection import Detections, detect_file, detect_objects, open_detector, square_pixels
from dlcore.pretrained import from_pretrained
from dlcore.pretrained.prompt_encoder import check_words, word_tokens
from tests.detection.detectors import Golden
from tests.detection.hub_folders import nested


class Net:
    """A network with fixed outputs."""

    classes = ("cat", "dog")
    model = SimpleNamespace(clip=SimpleNamespace(image_size=4))

    def __init__(self, name, logits, boxes):
        self.name = name
        self.outputs = {"logits": np.float32([logits]), "pred_boxes": np.float32([boxes])}

    def __call__(self, *images, **inputs):
        return self.outputs


PHOTOGRAPH = np.zeros((40, 80, 3), np.uint8)
BOX, CORNER = [0.5, 0.5, 0.5, 0.5], [1, 0.25, 0.5, 0.5]


@pytest.mark.covers("DE-35")
@pytest.mark.parametrize(
    ("name", "boxes"),
    [
        ("owlvit_base_patch32", [[60, 0, 80, 20], [20, 10, 60, 30]]),  # x by 80 and y by 40; the first ends at 100
        ("owlv2_base_patch16", [[60, 0, 80, 40], [20, 20, 60, 40]]),  # both by 80, the square; rows end at 40
    ],
)
def test_boxes_of_words_are_in_pixels_of_the_photograph(name, boxes):
    """sigmoid(ln 3) = 3/4 of "b", sigmoid(ln 4) = 4/5 of "a"; a third patch scores 1/2, below 0.6."""
    net = Net(name, [[-1, np.log(3)], [np.log(4), 0], [0, 0]], [BOX, CORNER, BOX])
    found = detect_objects(net, PHOTOGRAPH, ["a", "b"], np.ones((2, 3), np.int32), 0.6)
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-5)
    np.testing.assert_allclose(found.scores, [4 / 5, 3 / 4], rtol=1e-6)
    assert [found.class_names[label] for label in found.labels] == ["a", "b"]


@pytest.mark.covers("DE-35")
@pytest.mark.parametrize("name", ["detr_resnet50", "yolos_small"])
def test_no_object_is_no_class(name):
    """softmax(ln 1, ln 2, ln 1) = 1/4, 1/2, 1/4; the second query is no object: 1/8, 1/8, 6/8."""
    net = Net(name, np.log([[1, 2, 1], [1, 1, 6]]), [BOX, CORNER])
    found = detect_objects(net, PHOTOGRAPH, threshold=0.2)
    np.testing.assert_allclose(found.scores, [0.5], rtol=1e-6)
    assert found.labels.tolist() == [1]


@pytest.mark.parametrize("name", ["rt_detr_r50vd", "deformable_detr_resnet50", "d_fine_large"])
def test_a_box_may_have_two_classes(name):
    """As many pairs as queries, by score: both of the first query."""
    net = Net(name, [[np.log(3), np.log(4)], [0, 0]], [BOX, CORNER])
    found = detect_objects(net, PHOTOGRAPH, threshold=0.1)
    np.testing.assert_allclose(found.scores, [4 / 5, 3 / 4], rtol=1e-6)
    assert found.labels.tolist() == [1, 0]
    np.testing.assert_allclose(found.boxes, [[20, 10, 60, 30]] * 2, atol=1e-5)


@pytest.mark.covers("DE-35")
def test_a_photograph_is_padded_to_a_square_and_smoothed():
    """Gray of 1/2 below; halved: Gaussian of sigma (2 - 1) / 2, then means of two neighbors, which are half way."""
    photograph = np.zeros((4, 8, 3), np.uint8)
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = square_pixels(photograph, 8) * std + mean
    np.testing.assert_allclose(pixels[:4], 0, atol=1e-6)
    np.testing.assert_allclose(pixels[4:], 0.5, atol=1e-6)
    kernel = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.5**2))  # cut off at four sigmas
    column = np.convolve(np.r_[[0] * 6, [0.5] * 6], kernel / kernel.sum(), "valid")  # rows 0 to 7
    expected = column.reshape(4, 2).mean(1)
    np.testing.assert_allclose(
        (square_pixels(photograph, 4) * std + mean)[..., 0], expected[:, None] + np.zeros(4), atol=1e-5
    )


def test_a_red_photograph_that_is_higher_than_wide_is_padded_on_the_right():
    """Red fades from 1 to the padding's 1/2 and the others rise to it from 0, as above along a column."""
    photograph = np.zeros((8, 4, 3), np.uint8)
    photograph[..., 0] = 255
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    kernel = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.5**2))
    row = np.convolve(np.r_[[0] * 6, [0.5] * 6], kernel / kernel.sum(), "valid").reshape(4, 2).mean(1)
    found = square_pixels(photograph, 4) * std + mean
    np.testing.assert_allclose(found, np.stack([[1 - row] * 4, [row] * 4, [row] * 4], -1), atol=1e-5)


def test_a_threshold_is_from_0_to_1():
    for threshold in (-0.1, 1.5):
        with pytest.raises(ValueError, match=rf"threshold={threshold}: out of range; allowed: numbers in \[0, 1\]"):
            detect_objects(None, PHOTOGRAPH, threshold=threshold)


def test_boxes_beside_the_photograph_are_no_objects():
    """Cut to it, the first box has no width and the second no height."""
    net = Net("owlvit_base_patch32", [[1, 0], [2, 0], [3, 0]], [[1.5, 0.5, 0.5, 0.5], [0.5, 1.5, 0.5, 0.5], BOX])
    found = detect_objects(net, PHOTOGRAPH, ["a", "b"], np.ones((2, 3), np.int32), 0.0)
    np.testing.assert_allclose(found.boxes, [[20, 10, 60, 30]], atol=1e-5)


@pytest.mark.covers("DE-35")
def test_words_are_names_with_commas_between():
    assert check_words(" a cat,a dog ") == ("a cat", "a dog")
    for words, text in (
        ("", "words='': '' has no letter; allowed: names with commas between"),
        ("a cat,,a dog", "'' has no letter"),
        ("a cat,42", "'42' has no letter"),
        ("a cat, a cat", "'a cat' comes twice; allowed: each name once"),
        ("a," * 1001, "words: 1002 names; allowed: at most 1000"),
    ):
        with pytest.raises(ValueError, match=text):
            check_words(words)


@pytest.mark.covers("DE-35")
def test_words_that_the_text_encoder_does_not_read_are_refused():
    tokenizer = SimpleNamespace(
        get_vocab_size=lambda: 9, encode=lambda text: SimpleNamespace(ids=[7, *range(1, 1 + len(text.split())), 8])
    )
    assert word_tokens(tokenizer, ["a cat", "dog"], 4, 9).tolist() == [[7, 1, 2, 8], [7, 1, 8, 0]]
    with pytest.raises(ValueError, match="words='a red cat': 5 tokens with start and end; allowed: at most 4"):
        word_tokens(tokenizer, ["dog", "a red cat"], 4, 9)
    with pytest.raises(ValueError, match="tokenizer: 9 tokens; allowed: at most 8, the vocabulary of the network"):
        word_tokens(tokenizer, ["dog"], 4, 8)


def write_owl_vit(folder):
    """A small OWL-ViT as a hub serves it; its tokenizer knows letters alone."""
    golden = Golden("hf_owlvit")
    weights = {key: value for key, value in golden.weights.items() if key not in golden.meta["tied"]}
    save_file({key: np.ascontiguousarray(value) for key, value in weights.items()}, folder / "model.safetensors")
    config = {"architectures": ["OwlViTForObjectDetection"], **nested(golden.meta["kwargs"])}
    processor = {"image_processor_type": "OwlViTImageProcessor", "size": [32, 32], "resample": 3}
    processor |= {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: k for k, word in enumerate(words)} | {"<|startoftext|>": 58, "<|endoftext|>": 59}
    for name, value in (("config", config), ("preprocessor_config", processor), ("vocab", vocabulary)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


@pytest.mark.weekly
@pytest.mark.covers("DE-35")
def test_the_command_writes_boxes_of_words(tmp_path, capsys):
    """Against the network on arrays: "a cat" is a</w> c a t</w>, 26 2 0 45, between both ends; its window is 8."""
    folder = write_owl_vit(tmp_path)
    photograph = np.kron(np.arange(18).reshape(2, 3, 3) * 14, np.ones((24, 32, 1))).astype(np.uint8)  # [48, 96, 3]
    Image.fromarray(photograph).save(tmp_path / "photo.png")
    words = ["detect", str(folder), f"--input={tmp_path / 'photo.png'}"]
    output = tmp_path / "boxes.png"
    assert cli.main([*words, "--words=a cat,dog", "--threshold=0", f"--output={output}"]) == 0
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]

    tokens = np.array([[58, 26, 2, 0, 45, 59, 0, 0], [58, 3, 14, 32, 59, 0, 0, 0]])
    pixels = np.asarray(Image.fromarray(photograph).resize((32, 32), Image.Resampling.BICUBIC), np.float32) / 255
    outputs = from_pretrained(folder)(pixel_values=(pixels[None] - 0.5) / 0.25, input_ids=tokens)
    scores = 1 / (1 + np.exp(-np.asarray(outputs["logits"][0], np.float64)))
    x, y, w, h = np.asarray(outputs["pred_boxes"][0], np.float64).T
    boxes = np.stack([(x - w / 2) * 96, (y - h / 2) * 48, (x + w / 2) * 96, (y + h / 2) * 48], 1)
    boxes = boxes.clip(0, [96, 48, 96, 48])
    order = np.argsort(-scores.max(1), kind="stable")
    order = [i for i in order if (boxes[i, 2:] > boxes[i, :2]).all()]
    assert len(rows) == len(order) > 4
    np.testing.assert_allclose([row["score"] for row in rows], scores.max(1)[order], atol=1e-4)
    np.testing.assert_allclose(sorted(row["box"] for row in rows), sorted(boxes[order].tolist()), atol=0.02)
    assert {row["class"] for row in rows} <= {"a cat", "dog"}
    assert f"{len(rows)} objects of 0 or more: {output}" in captured.err
    assert Image.open(output).size == (96, 48)
    for more, text in (
        ([], "words=None: owlvit_base_patch32 detects by words; allowed: --words='a cat,a dog'"),
        (["--words=an elephant"], "words='an elephant': 12 tokens with start and end; allowed: at most 8"),
    ):
        assert cli.main([*words, *more]) == 1
        assert capsys.readouterr().err == f"error: {text}\n"


class Hub:
    """Stands for folders of a detector of words, one with its own classes and no detector."""

    def __init__(self, monkeypatch):
        clip = SimpleNamespace(window=4, vocab_size=9)
        self.nets = {
            name: SimpleNamespace(
                name=name, family=SimpleNamespace(kind=kind, inputs=inputs), model=SimpleNamespace(clip=clip)
            )
            for name, kind, inputs in (
                ("owl", "detection", ("pixel_values", "input_ids")),
                ("detr", "detection", ("pixel_values",)),
                ("vit", "classification", ("pixel_values",)),
            )
        }
        module = "dlcore.modes.photograph_detection."
        monkeypatch.setattr(module + "from_pretrained", lambda folder: self.nets[str(folder)])
        monkeypatch.setattr(module + "open_tokenizer", lambda folder: folder)
        monkeypatch.setattr(module + "word_tokens", lambda *rest: rest)


def test_words_are_for_detectors_of_words_alone(monkeypatch):
    hub = Hub(monkeypatch)
    net, tokens = open_detector("owl", ["a cat", "dog"])
    assert (net, tokens) == (hub.nets["owl"], (Path("owl"), ["a cat", "dog"], 4, 9))
    assert open_detector("detr", None) == (hub.nets["detr"], None)
    with pytest.raises(ValueError, match="words=None: owl detects by words; allowed: --words='a cat,a dog'"):
        open_detector("owl", None)
    with pytest.raises(ValueError, match="words='cat,dog': detr has its own classes; allowed: no --words"):
        open_detector("detr", ["cat", "dog"])
    with pytest.raises(ValueError, match="folder='vit': vit is no detector; allowed: such as DETR, YOLOS, OWL-ViT"):
        open_detector("vit", None)


def test_objects_of_a_file_are_printed_and_drawn(monkeypatch, tmp_path, capsys):
    """Two objects; corners are rounded to hundredths and scores to ten thousandths."""
    Image.fromarray(np.full((6, 8, 3), 70, np.uint8)).save(tmp_path / "photo.png")
    drawn, hub = [], Hub(monkeypatch)
    boxes = np.array([[1.234, 2, 5, 4.006], [0, 0, 7, 6]], np.float32)
    found = Detections(boxes, np.array([1, 0]), np.array([0.87654, 0.5]), ("a", "b"))

    def detect(net, photograph, names, tokens, threshold):
        assert (net, names, tokens[1], threshold) == (hub.nets["owl"], ("a", "b"), ("a", "b"), 0.25)
        assert (photograph == 70).all()
        return found

    module = "dlcore.modes.photograph_detection."
    monkeypatch.setattr(module + "check_words", lambda words: tuple(words.split(",")))
    monkeypatch.setattr(module + "detect_objects", detect)
    monkeypatch.setattr(module + "draw_boxes", lambda image, *rest: drawn.append(rest) or image + 1)
    detect_file(Path("owl"), tmp_path / "photo.png", "a,b", 0.25, tmp_path / "boxes.png")
    said = capsys.readouterr()
    assert [json.loads(line) for line in said.out.splitlines()] == [
        {"class": "b", "score": 0.8765, "box": [1.23, 2.0, 5.0, 4.01]},
        {"class": "a", "score": 0.5, "box": [0.0, 0.0, 7.0, 6.0]},
    ]
    assert said.err == f"2 objects of 0.25 or more: {tmp_path / 'boxes.png'}\n"
    assert (np.asarray(Image.open(tmp_path / "boxes.png")) == 71).all()
    assert (drawn[0][0] is boxes, drawn[0][2:]) == (True, (("a", "b"), found.scores))
