"""The title and the first sentence of a report come from the data and the page that ran."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.modes.finish import _baseline, heading
from experiments.classification.supervised import experiment


@pytest.mark.parametrize(
    ("words", "dataset", "title", "said", "not_said"),
    [
        ([], "digits", "classification.supervised: digits", "handwritten digits. Data: digits (", "folder"),
        (
            ["--dataset=folder", "--data_dir=/home/me/flowers"],
            "folder",
            "classification.supervised: the folder flowers",
            "Data: the folder flowers (",
            "digits",
        ),
        (["--dataset=mnist"], "mnist", "classification.supervised: mnist", "Data: mnist (", "digits"),
    ],
)
def test_own_images_are_not_called_handwritten_digits(words, dataset, title, said, not_said):
    run = ResolvedRun(experiment, resolve(experiment, [*words, "--seed=3"]))
    source = Source({"label": np.zeros(4, np.int32)}, 4)
    found, sentence = heading(run, {"dataset": dataset}, Splits(source, source.take(1), source.take(2), {}))
    assert found == title
    assert said in sentence
    assert sentence.endswith("(4 training, 1 validation, 2 test examples); seed 3.")
    assert not_said not in sentence


@pytest.mark.parametrize(("headline", "better"), [("surface_dice", "higher"), ("surface_distance", "lower")])
def test_a_word_of_the_headline_gives_the_direction_of_its_baseline(headline, better):
    context = SimpleNamespace(spec={}, numbers={f"{headline}_untrained": 0.25})
    assert _baseline(headline, context, {}) == {"value": 0.25, "name": "the untrained network", "better": better}
