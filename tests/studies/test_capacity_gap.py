"""The verdict on accuracies written for it, and noise that only a wide net memorizes."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import capacity_gap as study


def runs(train, valid):
    """Two seeds, ten evaluations, all at these accuracies."""
    return np.broadcast_to([train, valid], (2, 10, 2)).copy()


def story(wide=(1.0, 0.70), middle=(0.82, 0.78), clean=(1.0, 0.98)):
    noisy = {2: runs(0.40, 0.38), 16: runs(*middle), 256: runs(*wide)}
    return study.judge({"clean": {2: runs(0.5, 0.48), 16: runs(0.99, 0.98), 256: runs(*clean)}, "noisy": noisy})


@pytest.mark.covers("TR-12")
def test_the_verdict_follows_the_numbers():
    verdict, holds = story()
    assert holds
    assert "With noisy labels the gap goes from 2.0% at width 2 (more capacity) to 30.0% at 256 (over-fit" in verdict
    assert "validation is best at 16, 78.0%, and 70.0% at 256." in verdict
    assert not story(wide=(1.0, 0.79))[1]  # the widest is the best
    assert not story(wide=(0.75, 0.74))[1]  # no gap
    assert not story(clean=(1.0, 0.9))[1]  # width hurts with clean labels


@pytest.mark.weekly
def test_a_wide_net_memorizes_noise_and_a_narrow_one_cannot():
    result = study.study(num_seeds=1, widths=(2, 128), label_noise=0.4, steps=400, num_examples=100, num_evaluations=2)
    gap, valid = (
        {width: np.array(result.numbers[f"noisy, width {width}, {name}"]) for width in (2, 128)}
        for name in ("gap", "validation")
    )
    assert (gap[128] + valid[128]).min() > 0.95
    assert (gap[2] + valid[2]).max() < 0.75
    assert gap[128].min() > 0.25
    assert "noisy, width 128, triage" in result.numbers
    assert len(result.figures["capacity_gap"].axes) == 2


@pytest.mark.covers("TR-12")
def test_clean_labels_have_no_noise_and_noisy_ones_the_share_that_is_asked_for(monkeypatch):
    """Every width is measured with both kinds of labels, of which the noisy ones are .3 at random."""
    asked = []

    def curves(width, label_noise, *_):
        asked.append((width, label_noise))
        return runs(0.5 + width / 1000, 0.5 - label_noise)

    monkeypatch.setattr(study, "curves", curves)
    numbers = study.study(widths=(2, 4, 8), label_noise=0.3).numbers
    assert sorted(asked) == [(w, noise) for w in (2, 4, 8) for noise in (0.0, 0.3)]
    assert numbers["clean, width 4, validation"] == [0.5, 0.5]
    assert numbers["noisy, width 4, validation"] == pytest.approx([0.2, 0.2])


@pytest.mark.covers("TR-12")
def test_the_first_accuracy_is_of_training_examples_and_the_second_of_the_others(monkeypatch):
    """An accuracy says how many scores it is of, and how many labels: of 20 examples, and of the last 297."""
    monkeypatch.setattr(study, "log_loss_and_accuracy", lambda scores, labels: (0, 1000 * len(scores) + len(labels)))
    monkeypatch.setattr(study, "train", lambda *_, snapshots, **__: (jnp.zeros(snapshots), None))
    monkeypatch.setattr(study, "SmallNet", lambda hidden: SimpleNamespace(apply=lambda v, x, train: x[:, 0, 0]))
    np.testing.assert_array_equal(study.curves(8, 0.0, 1, 2, 20, 3), [[[20_020, 297_297]] * 3])
