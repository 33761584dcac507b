"""The verdict on written numbers, and a miniature of a pretext by its page."""

import numpy as np
import pytest

from experiments.studies import pretexts as study


def written(**gains):
    rows = {}
    for name, gain in {"rotation": [0.01, 0.02], "simclr": [0.05, 0.03], "mae": [-0.1, -0.1], **gains}.items():
        untrained = np.array([0.7, 0.71])
        rows[name] = {"knn": untrained + gain, "knn_untrained": untrained, "fine_tune_9": untrained}
        rows[name]["fine_tune_9_untrained"] = untrained
    return rows


def test_the_verdict_turns():
    steps = {"rotation": 10, "simclr": 20, "mae": 30}
    good = study.report(written(), steps, "60 s", "digits")
    assert good.holds
    assert "simclr 74.5% (+4.0), rotation 72.0% (+1.5), mae 60.5% (-10.0). 2 of 3 pretexts gain." in good.verdict
    assert good.verdict.endswith("The best is above it with every seed.")
    np.testing.assert_allclose(good.headline.values, [5, 3], atol=1e-9)
    assert good.numbers["simclr, steps"] == 20
    bad = study.report(written(simclr=[0.1, -0.01]), steps, "60 s", "digits")
    assert not bad.holds, "one seed of the best is below"
    swapped = {
        name: {**row, "knn": row["knn_untrained"], "knn_untrained": row["knn"]} for name, row in written().items()
    }
    assert study.report(swapped, steps, "60 s", "digits").verdict.startswith("k-NN after 60 s")
    assert study.report(swapped, steps, "60 s", "digits").headline.values == pytest.approx([10, 10]), "MAE is best then"


@pytest.mark.weekly
def test_pretexts_run_by_their_pages_and_gray_images_leave_color_out():
    options = {"num_seeds": 1, "num_steps": 1, "fine_tune": 20.0, "miniature": True}
    result = study.study(pretexts=("rotation", "colorization"), **options)
    assert {key.split(",")[0] for key in result.numbers} == {"rotation"}
    assert {"rotation, knn", "rotation, probe_untrained", "rotation, fine_tune_20"} <= result.numbers.keys()
    assert "after 1 steps of training" in result.verdict


@pytest.mark.slow
def test_a_step_is_timed_and_an_unknown_pretext_refused():
    assert 0 < study.step_seconds(study.run_of("rotation", ["--smoke", "--noprogress"])) < 10
    with pytest.raises(ValueError, match="pretexts=puzzles: unknown; allowed: rotation, relative_patch"):
        study.study(pretexts=("puzzles",))


def test_each_panel_has_the_title_of_its_measure():
    titles = [axes.get_title() for axes in study.draw(written(), ["mae", "rotation", "simclr"]).axes]
    assert titles == ["k-NN", "fine-tuned, 9 labels"]
    assert study.TITLES["probe"] == "linear probe"
