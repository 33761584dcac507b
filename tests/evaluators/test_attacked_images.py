"""Images under attack: what the report shows of them, and when training stops."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from dlcore.evaluators import attacked_images
from dlcore.evaluators.attacked_images import RobustAccuracy, RobustnessDrop


def test_the_first_image_of_eight_classes_is_shown_under_attack_as_what_it_is_taken_for(monkeypatch, bare_panels):
    """Image k of ten has the brightness k / 10 and class 8 - k, the last one class 0.

    A network reads 10 times the brightness as the class, and an attack adds 0.1: of class c, the image of brightness
    (8 - c) / 10 is taken for 9 - c.
    """

    def pgd(score_fn, key, image, label, epsilon, step_size, steps):
        assert (epsilon, step_size, steps) == (0.25, 0.01, 7)
        return image + 0.1

    def predict(state, batch):
        assert state.params == "params"
        return {"logits": -jnp.square(10 * batch["image"].mean((1, 2, 3))[:, None] - jnp.arange(10))}

    monkeypatch.setattr("dlcore.adversarial.gradient.pgd", pgd)
    monkeypatch.setattr("dlcore.report.adversarial.attacked_images", lambda *rest: rest)
    monkeypatch.setattr("dlcore.report.figure.figure_panel", lambda *rest: rest)
    images = (np.ones((10, 1, 2, 1)) * np.arange(10)[:, None, None, None] / 10).astype(np.float32)
    labels = np.array([8, 7, 6, 5, 4, 3, 2, 1, 0, 0])
    names = [*"abcdefghij"]
    context = SimpleNamespace(
        flags=SimpleNamespace(epsilon=0.25, eval_step_size=0.01, eval_steps=7),
        spec={"class_names": names},
        data=SimpleNamespace(test=SimpleNamespace(arrays={"image": images, "label": labels})),
        learner=SimpleNamespace(predict=predict),
        state=SimpleNamespace(params="params"),
        numbers={"loss": 1},
        arrays={"confusion": 2},
        outputs={"probabilities": "p"},
        history="curves",
    )
    curves, (title, (shown, attacked, epsilon, titles), caption), classifier = attacked_images.panels(context)
    assert (curves, title, epsilon) == ("curves", "Test images under attack", 0.25)
    np.testing.assert_allclose(shown[:, 0, 0, 0], (8 - np.arange(8)) / 10, rtol=1e-6)
    np.testing.assert_allclose(attacked, shown + 0.1, rtol=1e-6)
    assert titles == ["a as j", "b as i", "c as h", "d as g", "e as f", "f as e", "g as d", "h as c"]
    assert caption == "PGD of 7 steps within 0.25 of each pixel: true class as predicted class."
    measures, pictures, true, probabilities, class_names, params = classifier
    assert (measures, probabilities, class_names, params) == ({"loss": 1, "confusion": 2}, "p", names, "params")
    assert (pictures is images, true.tolist()) == (True, labels.tolist())


def test_training_stops_on_request():
    assert RobustAccuracy().hooks(None) == []
    (hook,) = RobustAccuracy(early_stop=0.3).hooks(None)
    assert (type(hook), hook.drop, hook.monitor) == (RobustnessDrop, 0.3, "valid/robust_accuracy")
