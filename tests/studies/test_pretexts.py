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


def test_each_pretext_is_trained_by_its_own_page_and_measured_under_its_own_name(monkeypatch):
    """Every pretext has a number of its own, a tenth more with each seed; steps are seconds over a step's seconds."""
    codes, calls = {name: i + 1 for i, name in enumerate(study.PRETEXTS)}, []

    class Page:
        def __init__(self, pretext):
            self.experiment = self.task = self
            self.flags, self.pretext = None, pretext
            self.spec = {"image_shape": (8, 8, 1)}

        def data(self, flags):
            return self

    def measured(pretext, words):
        calls.append((pretext, words))
        seed = int(words[-1].removeprefix("--seed="))
        return {"knn": codes[pretext] + seed / 10, "knn_untrained": 0.5, "probe_head": 1.0, "loss": 3.0}

    monkeypatch.setattr(study, "run_of", lambda pretext, words: Page(pretext))
    monkeypatch.setattr(study, "step_seconds", lambda page: 1 / codes[page.pretext])
    monkeypatch.setattr(study, "measured", measured)
    monkeypatch.setattr(study, "draw", lambda *args: None)
    numbers = study.study(seconds=10.0, num_seeds=2, fine_tune=50.0, data_dir="own").numbers
    gray = [name for name in study.PRETEXTS if name not in ("colorization", "cross_channel")]
    assert {key.split(",")[0] for key in numbers} == set(gray)
    for name in gray:
        assert numbers[f"{name}, knn"] == [codes[name], codes[name] + 0.1], name
        assert numbers[f"{name}, knn_untrained"] == [0.5, 0.5], name
        assert numbers[f"{name}, steps"] == 10 * codes[name], name
        (first, _) = [words for pretext, words in calls if pretext == name]
        assert {
            "--dataset=digits",
            "--fine_tune=50",
            f"--steps={10 * codes[name]}",
            "--seed=0",
            "--data_dir=own",
        } <= set(first)
        assert "--smoke" not in first


def test_a_pretext_is_the_page_of_its_name(monkeypatch):
    from dlcore.modes import train

    asked = []

    def train_page(page, words, title):
        asked.append((page, title))
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_page", train_page)
    for name in ("rotation", "simclr"):
        with pytest.raises(KeyboardInterrupt):
            study.measured(name, [])
    assert [(page.name, page.learner.__module__, title) for page, title in asked] == [
        (f"self_supervised.{name}", f"dlcore.self_supervised.{name}", name) for name in ("rotation", "simclr")
    ]
    rows = [{"split": split, "knn": value} for split, value in (("train", 1), ("test", 2), ("valid", 3))]
    monkeypatch.setattr(train, "train_page", lambda *_: "folder")
    monkeypatch.setattr(study, "read_metrics", {"folder": rows}.get)
    assert study.measured("rotation", [])["knn"] == 2


def test_each_panel_has_the_title_of_its_measure():
    titles = [axes.get_title() for axes in study.draw(written(), ["mae", "rotation", "simclr"]).axes]
    assert titles == ["k-NN", "fine-tuned, 9 labels"]
    assert study.TITLES["probe"] == "linear probe"
