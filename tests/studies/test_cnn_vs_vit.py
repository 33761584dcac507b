"""The verdict on numbers written for it, nets of equal size, data in its parts, and a short run."""

import jax
import numpy as np
import pytest

from experiments.studies import cnn_vs_vit as study

SIZES = np.array([50, 200, 800])


@pytest.mark.covers("AT-34")
def test_the_verdict_follows_the_numbers():
    cnn, vit = np.array([[0.7, 0.9, 0.96], [0.72, 0.9, 0.96]]), np.array([[0.4, 0.6, 0.8], [0.5, 0.6, 0.8]])
    verdict, holds = study.judge({"cnn": cnn, "vit": vit}, SIZES, {"cnn": 1000, "vit": 1020})
    assert holds
    # 80 % is (.8 - .71) / (.9 - .71) = .4737 of the way from 50 to 200: 50 4^.4737 = 96.4
    assert "from 50 examples the ResNet has 71.0% and the ViT 45.0% (worse on every seed)" in verdict
    assert "The gap goes from 26.0 to 16.0 points: it is closing" in verdict
    assert verdict.endswith("with about 96.")
    vit[0, 0] = 0.75
    verdict, holds = study.judge({"cnn": cnn, "vit": vit}, SIZES, {"cnn": 1000, "vit": 1020})
    assert not holds
    assert "NOT worse on every seed" in verdict
    vit = cnn - np.array([0.1, 0.2, 0.3])
    assert not study.judge({"cnn": cnn, "vit": vit}, SIZES, {"cnn": 1000, "vit": 1020})[1]


@pytest.mark.slow
@pytest.mark.weekly(only=["16-shape0-2"])
@pytest.mark.covers("AT-34")
@pytest.mark.parametrize(
    ("width", "shape", "patch_size"), [(16, (8, 8, 1), 2), (16, (28, 28, 1), 4), (32, (32, 32, 3), 4)]
)
def test_both_nets_have_the_same_number_of_parameters(width, shape, patch_size):
    image = np.zeros(shape, np.float32)
    models = study.equal_models(image, 10, width, patch_size, 4)
    cnn, vit = (study.parameters(models[name], image) for name in ("cnn", "vit"))
    assert vit == pytest.approx(cnn, rel=0.05)
    assert type(models["vit"]).__name__ == "ViT"


@pytest.mark.covers("AT-34")
def test_held_out_digits_are_neither_trained_on_nor_tested():
    data, classes = study.data_of("digits", None, 1000, 200)
    assert (data.images.shape, data.test_images.shape, classes) == ((1000, 8, 8, 1), (700, 8, 8, 1), 10)
    rows = {name: {image.tobytes() for image in v} for name, v in (("train", data.images), ("held", data.test_images))}
    assert not rows["train"] & rows["held"]
    with pytest.raises(ValueError, match="train_sizes=1200: too many with held_out=200; allowed: at most 1097"):
        study.data_of("digits", None, 1200, 200)


@pytest.mark.weekly
@pytest.mark.covers("AT-34")
def test_a_short_run_learns():
    data, classes = study.data_of("digits", None, 400, 100)
    model = study.equal_models(data.images[0], classes, 4, 2, 1)["vit"]
    key = jax.random.key(0)
    held, test = np.asarray(study.run(model, data, key, 400, 5e-3, steps=80, batch_size=32, held_out=100))
    assert np.isfinite([held, test]).all()
    assert min(held[1], test[1]) > 0.25  # chance is .1


def test_names_and_sizes_that_do_not_rise():
    assert study.NAMES == {"cnn": "ResNet-8", "vit": "ViT"}
    with pytest.raises(ValueError, match=r"train_sizes=\(400, 50\): not rising"):
        study.study(train_sizes=(400, 50))
