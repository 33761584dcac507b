"""The four cells, and the names of settings by their definitions."""

import pytest

from dlcore.transfer.advice import Setting, advice, name_setting


@pytest.mark.covers("TL-04")
@pytest.mark.parametrize(
    ("data", "similarity", "steps", "word"),
    [
        ("little", "similar", ("head",), "linear classifier on the last"),
        ("little", "different", ("stages",), "several stages"),
        ("much", "similar", ("head", "last"), "the last stage"),
        ("much", "different", ("head", "last", "all"), "all of it"),
    ],
)
def test_each_cell_has_its_advice(data, similarity, steps, word):
    given = advice(data, similarity)
    assert given.steps == steps
    assert word in given.text


@pytest.mark.covers("TL-10")
@pytest.mark.parametrize(
    ("setting", "names"),
    [
        (Setting(), ("no transfer",)),
        (Setting(same_marginal=False), ("homogeneous", "transductive", "domain adaptation", "covariate shift")),
        # The tasks differ: P(Y | X), or the classes.
        (Setting(same_conditional=False, target_labels=True), ("homogeneous", "inductive")),
        (Setting(same_classes=False, same_conditional=False, target_labels=True), ("homogeneous", "inductive")),
        (
            Setting(same_marginal=False, same_conditional=False, same_likelihood=True),
            ("homogeneous", "inductive", "label shift"),
        ),
        (
            Setting(same_inputs=False, same_marginal=False, same_conditional=False, target_labels=True),
            ("heterogeneous", "inductive"),
        ),
        (
            Setting(False, False, False, False, source_labels=False, target_labels=False),
            ("heterogeneous", "unsupervised"),
        ),
        # Labels of the target alone do not change the task.
        (
            Setting(same_marginal=False, target_labels=True),
            ("homogeneous", "transductive", "domain adaptation", "covariate shift"),
        ),
    ],
)
def test_a_setting_is_named_by_its_definition(setting, names):
    assert name_setting(setting) == names


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match="same_inputs=False"):
        name_setting(Setting(same_inputs=False))
