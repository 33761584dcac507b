"""Names of measures are explained, and their numbers are written in one way."""

import re

import pytest

from dlcore.report.measures import (
    MEASURES,
    better_direction,
    describe,
    explain_measure,
    legend_panels,
    number_panels,
    number_text,
)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("kl", "Kullback-Leibler divergence"),
        ("calibration/mce", "Maximum calibration error"),
        ("map50/cat", "Mean average precision at IoU 0.5 of cat"),
        ("test accuracy", "Accuracy"),
        ("valid balanced_accuracy", "Balanced accuracy"),
        ("frechet_distance (resnet8_cifar, 1,000 samples, 500 real)", "Fréchet distance"),
        ("probe_untrained", "Linear probe accuracy, of the untrained encoder"),
        ("fine_tune_1200_untrained", "Fine-tuned accuracy, 1,200 labels, of the untrained encoder"),
        ("accuracy_5way1shot", "Accuracy"),
        ("pixel_means_accuracy", "Accuracy (pixel means)"),  # of few-shot learning: not that of a map's pixels
        ("mask_map", "Mean average precision (mask)"),
        ("semantic_mean_iou", "Mean intersection over union (semantic)"),  # not IoU (semantic mean)
        ("instance_mask_map50", "Mean average precision at IoU 0.5 (instance mask)"),
        ("nll_nats_dynamic", "Negative log-likelihood, pixels binarized anew each time"),
    ],
)
def test_a_name_is_described_with_its_prefixes_and_endings(name, title):
    assert describe(name).title == title


def test_unknown_names_stand_as_they_are():
    assert describe("steps") is None
    assert explain_measure("a<b") == "<b>a&lt;b</b>"
    assert explain_measure("psnr", "dt").startswith('<dt title="Peak signal-to-noise ratio, in dB: ')


def test_each_measure_says_what_it_is_once():
    assert all(m.title and m.about and not m.about.endswith(".") for m in MEASURES.values())
    assert {m.better for m in MEASURES.values()} <= {"higher", "lower", ""}


def test_a_measure_s_direction_is_its_own():
    """But for those whose level means little in a report, and that a search may still rank by."""
    wrong = {name: better_direction(name) for name, m in MEASURES.items() if better_direction(name) != m.better}
    losses = dict.fromkeys(("g_loss", "d_loss", "policy_loss", "kl_nats", "histogram_bits", "perplexity"), "lower")
    returns = dict.fromkeys(("random_return", "zero_return", "clone_return"), "higher")
    assert wrong == losses | returns | {"domain_accuracy": "higher"}


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("map50/word_error", "higher"),  # the first part with a direction decides
        ("calibration/ece", "lower"),
        ("word_error_rate", "lower"),
        ("recall_error", "lower"),  # lower before higher
        ("sq_rel", "lower"),  # not sq
        ("bleu2", "higher"),  # a word less its number
        ("frechet_distance (resnet8_cifar, 1,000 samples, 500 real)", "lower"),
        ("test accuracy", "higher"),
        ("valid accuracy", "higher"),
        ("grad_norm", ""),
        ("steps", ""),
    ],
)
def test_a_word_of_a_name_gives_the_direction(name, direction):
    assert better_direction(name) == direction


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.99123, "99.12 %"),
        ("knn", 1.0, "100.00 %"),
        ("loss", 0.123456, "0.1235"),
        ("return", 12345.6, "12,346"),
        ("return", -10_000.0, "-10,000"),
        ("map_l1", 0.5, "0.5"),  # a distance of maps
        ("recall_error", 0.25, "0.25"),
        ("supervised", 0.25, "25.00 %"),  # by its unit
        ("accuracy", 1.5, "1.5"),  # no fraction
        ("valid iou", 0.25, "25.00 %"),
        ("iou (16 scenes)", 0.25, "25.00 %"),
        ("test accuracy of the best", 0.25, "25.00 %"),  # by a word
    ],
)
def test_a_number_reads_the_same_in_every_part_of_a_report(name, value, text):
    assert number_text(name, value) == text
    assert text in number_panels({name: value}, {})[0].html


def test_numbers_stand_beside_their_value_without_learning():
    numbers = {"accuracy": 0.5, "loss": 1.5, "empty": None, "map/cat": 0.1}
    (panel,) = number_panels(numbers, {"accuracy": (0.25, "the most frequent class")})
    assert "50.00 %" in panel.html
    assert "25.00 %" in panel.html
    assert "the most frequent class" in panel.html
    assert "empty" not in panel.html
    assert "map" not in panel.html
    assert number_panels({"empty": None}, {}) == []


@pytest.mark.covers("ME-16")
def test_an_interval_stands_beside_its_value():
    numbers = {"coverage": 0.5, "coverage_interval": 0.031, "kid": 0.02, "kid_interval": None, "interval": 0.1}
    (panel,) = number_panels(numbers, {})
    assert "50.00 % ± 3.10 %" in panel.html
    assert "coverage_interval" not in panel.html
    assert '<td class="number">0.02</td>' in panel.html
    assert '<td class="number">0.1</td>' in panel.html  # of no measure


def test_the_legend_lists_known_measures_once():
    (panel,) = legend_panels(["loss", "loss", "unknown", "psnr"])
    assert panel.html.count("<dt>") == 2  # the loss and the PSNR
    assert "higher is better" in panel.html
    assert "lower is better" in panel.html
    assert legend_panels(["unknown"]) == []
    (panel,) = legend_panels(["return/seed0", "return/seed1", "calibration/mce"])
    assert panel.html.count("<dt>") == 2  # the return, once, and the calibration error


def test_columns_of_baselines_stand_where_there_is_one():
    (panel,) = number_panels({"accuracy": 0.5, "loss": 1.5}, {"accuracy": (0.25, "<chance>")}, "Numbers")
    rows = [re.findall(r"<t([dh])([^>]*)>(.*?)</t[dh]>", row) for row in panel.html.split("<tr>")[1:]]
    kinds = ["", "number", "number", ""]
    assert [[kind.split('"')[1] for _, kind, _ in row] for row in rows] == [kinds] * 3
    texts = [[re.sub("<.*?>", "", text) for _, _, text in row] for row in rows]
    assert texts == [
        ["measure", "value", "baseline", "which is"],
        ["accuracy", "50.00 %", "25.00 %", "&lt;chance&gt;"],
        ["loss", "1.5", "", ""],
    ]
    assert (panel.title, panel.half) == ("Numbers", True)
    (plain,) = number_panels({"loss": 1.5}, {})
    assert "baseline" not in plain.html
    assert plain.title == "Test split"


def test_an_explanation_has_its_unit_and_direction_where_there_is_one():
    assert 'title="Entropy, in nats: entropy of the output distribution; 0 is certain"' in explain_measure("entropy")
    assert 'title="Loss: what training minimizes, the mean over examples; lower is better"' in explain_measure("loss")
    (panel,) = legend_panels(["entropy"])
    assert "is better" not in panel.html
    assert "nats" in panel.html


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.00 %"), (1.0, "100.00 %"), (-0.1, "-0.1"), (1.01, "1.01")])
def test_a_fraction_is_in_per_cent_from_0_to_1(value, text):
    assert number_text("accuracy", value) == text
