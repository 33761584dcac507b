"""The study of style optimizers: which curve is whose, and the verdict."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.studies import style_optimizers as study
from tests.first_call import first_call


@pytest.fixture
def measured(monkeypatch):
    """Measure L-BFGS that needs so many evaluations for the loss 1, and Adam that ends there at rate 0.03 alone."""

    def measure(evaluations):
        def descend(optimizer, network, source, seed, steps):
            assert (source.arrays["content"].max(), source.arrays["style"].max()) == (1, 2)
            x = np.ones(2, np.float32)
            try:
                jax.eval_shape(lambda x: optimizer.update(x, optimizer.init(x), x), x)
            except TypeError:  # a line search wants the objective
                rows = [(0, 9.0, 4.0, 8.0), (evaluations, 0.9, 2.0, 1.0)]
            else:
                step = -float(optimizer.update(x, optimizer.init(x), x)[0][0])
                rows = [(0, 9.0, 4.0, 8.0), (steps, 1.0 if step == pytest.approx(0.03, rel=1e-3) else 2.0, 1.0, 1.0)]
            return [dict(zip(("evaluations", "loss", "content", "style"), row, strict=True)) for row in rows]

        monkeypatch.setattr(study, "descend", descend)
        monkeypatch.setattr(study, "load_network", lambda: None)
        monkeypatch.setattr(
            study, "sample_image", lambda name, height: np.full((4, 4, 3), {"china": 1, "flower": 2}[name], np.uint8)
        )
        return study.study(num_seeds=2, steps=100, height=32)

    return measure


@pytest.mark.slow
def test_each_curve_is_of_its_optimizer(measured):
    result = measured(40)
    assert result.holds
    assert result.numbers["evaluations for Adam at 0.03"] == [40, 40]
    assert result.numbers["Adam's final loss at 0.1"] == [2, 2]
    assert "Adam's best rate is 0.03. L-BFGS lowered the content loss 2 times and the style loss 8" in result.verdict
    assert result.headline.values == [8, 8]


def test_more_evaluations_than_adam_had_are_not_enough(measured):
    assert measured(100).holds
    assert not measured(101).holds


def test_the_terms_of_the_loss_have_their_weights():
    model = SimpleNamespace(clone=lambda **fields: fields)
    network = SimpleNamespace(model=model, variables=None, mean=None, std=None)
    _, options = first_call(study.style_transfer, "learner", study.descend, None, network, None, 0, 1)
    assert (options["content_layer"], options["style_weight"], options["variation_weight"]) == ("relu2_2", 20.0, 0.2)
    assert options["model"] == {"pooling": "avg"}
