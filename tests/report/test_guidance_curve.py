"""The guidance curve: a learner of the experiment for each strength, from the same state."""

from types import SimpleNamespace

import numpy as np

from dlcore.evaluators.image_generation import class_source
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.report.guidance_curve import guidance_panel


def test_the_guidance_curve_measures_samples_of_each_strength(monkeypatch, bare_panels):
    """Samples are the strength itself and its double: their mean is the strength times 3/2. Ten of twelve are shown."""
    plots = []

    def new_figure(size, rows, columns, squeeze):
        assert (rows, columns, squeeze) == (1, 2, False)
        return "figure", [axes]

    class Guided(Run):
        def build(self):
            scale = self.flags.guidance * np.ones((12, 1, 1, 1), np.float32)
            return SimpleNamespace(predict=lambda state, batch: {"sample": state * scale + 0 * batch["index"].sum()})

    axes = [
        SimpleNamespace(plot=lambda *line, **style: plots.append(line), set=lambda **words: plots.append(words))
    ] * 2
    monkeypatch.setattr("dlcore.report.figure.figure_panel", lambda *panel: panel)
    monkeypatch.setattr("dlcore.report.figure.new_figure", new_figure)
    flags = Flags({"guidance": 1.0})
    context = SimpleNamespace(flags=flags, state=np.float32(1.5), run=Guided(None, flags, {}))
    (rows, title, _), (curve, figure, caption) = guidance_panel(
        context, class_source(12, 2), lambda images: {"mean": float(images.mean()), "count": len(images)}
    )
    assert (title, curve, figure) == ("Guidance", "Guidance curve", "figure")
    assert caption == (
        "12 samples of the same noise for each w. mean: 0 at 0, 0.75 at 0.5, 1.5 at 1, 3 at 2, 4.5 at 3, 7.5 at 5; "
        "count: 12 at 0, 12 at 0.5, 12 at 1, 12 at 2, 12 at 3, 12 at 5."
    )
    assert {name: (len(images), float(images[0, 0, 0, 0])) for name, images in rows.items()} == {
        "w = 0": (10, 0), "w = 0.5": (10, 0.75), "w = 1": (10, 1.5), "w = 2": (10, 3), "w = 3": (10, 4.5),
        "w = 5": (10, 7.5),
    }  # fmt: skip
    assert plots[:2] == [((0, 0.5, 1, 2, 3, 5), [0, 0.75, 1.5, 3, 4.5, 7.5]), {"xlabel": "guidance w", "title": "mean"}]
