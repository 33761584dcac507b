"""iBOT: an update by hand, hidden patches of a ViT, and bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.models import create_model
from dlcore.self_supervised import ibot
from dlcore.self_supervised.networks import PatchDINONet
from tests import prototype_toys, siamese_toys
from tests.prototype_toys import log_softmax, token_logits
from tests.siamese_toys import RATE, ROWS


def learner(**kwargs):
    settings = {
        "model": prototype_toys.Tokens(),
        "augment": prototype_toys.large,
        "teacher_momentum": lambda step: 0.3 * step,
        "mask_ratio": 0.5,
        **kwargs,
    }
    return ibot.learner(
        optimizer=optax.sgd(RATE),
        augment_local=prototype_toys.small,
        local_crops=1,
        student_temperature=0.4,
        **settings,
    )


@pytest.mark.covers("SS-34")
def test_one_update_by_hand():
    """Four images of four patches, two of them hidden; the patches count half, the prototypes learn at a quarter.

    The student had 0.5 passes before, and the teacher 0.2.
    """
    built = learner(
        patch_weight=0.5,
        teacher_temperature=lambda step: step / 6,
        last_layer=lambda step: step / 12,
        center_momentum=0.8,
        preprocess=lambda images: 3 * images,
        normalize=lambda images: images - 0.1,
    )
    params, teacher = prototype_toys.token_weights(1), prototype_toys.token_weights(2)
    centers = {"class": np.array([0.1, -0.2, 0.3, 0]), "patch": np.array([0.2, 0.1, 0, -0.3])}
    state = siamese_toys.state_of(built, params=params, teacher_params=teacher, centers=centers).replace(
        model_state={"batch_stats": {"passes": np.float32(0.5)}},
        teacher_model_state={"batch_stats": {"passes": np.float32(0.2)}},
    )
    crops, masked = prototype_toys.token_crops(state)
    crops = [crop - 0.1 for crop in crops]

    @jax.jit
    def step(state):
        shown = state.replace(rng=jax.random.fold_in(state.rng, state.step))  # so that the loss draws the same crops
        return built.update(state, ROWS), built.loss(state.params, shown, ROWS)[0], built.predict(state, ROWS)

    (after, metrics), value, predicted = step(state)
    teacher_logits = [token_logits(teacher, crops[t][:4] + 0.2) for t in range(2)]
    target = [
        [np.exp(log_softmax((g - centers[name]) / 0.5)) for name, g in zip(("class", "patch"), logits, strict=True)]
        for logits in teacher_logits
    ]

    def class_loss(params, passes=0):
        student = [token_logits(params, crops[v][:4] + passes, masked[v, :4] if v < 2 else None)[0] for v in range(3)]
        pairs = [(t, v) for t in range(2) for v in range(3) if t != v]
        return np.mean([-(target[t][0] * log_softmax(student[v] / 0.4)).sum(-1).mean() for t, v in pairs])

    def patch_loss(params, passes=0):
        student = [token_logits(params, crops[t][:4] + passes, masked[t, :4])[1] for t in range(2)]
        losses = [-(target[t][1] * log_softmax(student[t] / 0.4)).sum(-1) for t in range(2)]  # [4, 4] each
        return np.mean([losses[t][masked[t, :4]].mean() for t in range(2)])

    def loss(params, passes=0):
        return class_loss(params, passes) + 0.5 * patch_loss(params, passes)

    assert float(value) == pytest.approx(loss(params, 0.5), rel=1e-5)
    x = 3 * ROWS["image"].reshape(5, 4) + 0.2
    np.testing.assert_allclose(predicted["features"], np.stack([x.mean(1), (x**2).mean(1)], 1), rtol=1e-5)
    used = np.mean([t[0].mean(0) for t in target], 0)
    for name, value in (
        ("loss", loss(params)),
        ("class_loss", class_loss(params)),
        ("patch_loss", patch_loss(params) / 2),
        ("entropy", np.mean([-(t[0] * np.log(t[0])).sum(-1).mean() for t in target]) / np.log(4)),
        ("usage", -(used * np.log(used)).sum() / np.log(4)),
    ):
        assert metrics[name].compute() == pytest.approx(value, rel=1e-5)
    prototype_toys.check_descent(after, params, loss, {"w": RATE, "mask_token": RATE, "prototypes": RATE / 4})
    for name, value in after.params.items():
        np.testing.assert_allclose(after.teacher_params[name], 0.9 * teacher[name] + 0.1 * value, atol=1e-5)
    for i, (name, axes) in enumerate((("class", 0), ("patch", (0, 1)))):
        mean = np.mean([logits[i].mean(axes) for logits in teacher_logits], 0)
        np.testing.assert_allclose(after.centers[name], 0.8 * centers[name] + 0.2 * mean, atol=1e-5)
    # One pass over the large crops and one over the small ones: 0.5 + 2, and 0.9 x 0.2 + 0.1 x 2.5.
    assert after.model_state["batch_stats"]["passes"] == pytest.approx(2.5)
    assert after.teacher_model_state["batch_stats"]["passes"] == pytest.approx(0.43)


@pytest.mark.slow
@pytest.mark.covers("SS-34")
@pytest.mark.parametrize("separate", [False, True])
def test_a_vit_sees_nothing_of_hidden_patches(separate):
    """What lies under the mask changes no output, and what lies beside it does; with one head, and with two."""
    vit = create_model(
        "vit_tiny_cifar", image_size=8, patch_size=4, width=8, depth=1, num_heads=2, mlp_features=8, num_classes=0
    )
    net = PatchDINONet(vit, outputs=5, hidden_features=6, bottleneck=4, separate_heads=separate)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    variables = net.init(jax.random.key(1), x)
    assert ("patch_prototypes" in variables["params"]) == separate
    masked = jnp.zeros((2, 4), bool).at[:, 0].set(True)
    apply = jax.jit(lambda x, masked: net.apply(variables, x, masked=masked))
    out, none = apply(x, masked), apply(x, jnp.zeros((2, 4), bool))
    chex.assert_shape([out["logits"], out["patch_logits"]], [(2, 5), (2, 4, 5)])
    chex.assert_trees_all_equal(out, apply(x.at[:, :4, :4].set(7), masked))
    assert np.abs(out["logits"] - apply(x.at[:, :4, 4:].set(7), masked)["logits"]).max() > 1e-4
    assert np.abs(out["patch_logits"] - none["patch_logits"]).max() > 1e-4
    np.testing.assert_allclose(vit.apply({"params": variables["params"]["backbone"]}, x), none["features"], atol=1e-6)


def test_masks_that_cover_all_or_nothing():
    built = learner(mask_ratio=0.05)
    with pytest.raises(ValueError, match=r"mask_ratio=0\.05: masks 0 of 4 patches; allowed: 1 to 3 of them"):
        jax.eval_shape(built.update, siamese_toys.state_of(built), ROWS)


def noisy(key, x):
    return x + 0.3 * jax.random.normal(key, jnp.shape(x))


@pytest.mark.weekly
@pytest.mark.covers("SS-34")
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    siamese_toys.check_eight_devices(
        lambda norm: learner(augment=noisy, teacher_momentum=lambda step: 0.9), spmd, False
    )
