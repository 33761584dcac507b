"""Crops and views of images: sizes of crops, schedules of teachers, frozen layers, kinds of views."""

import dataclasses
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.facts import Facts
from dlcore.data.images import Views
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.models.vit import ViT
from dlcore.self_supervised import prototype_network, shown_views
from dlcore.setting import FlagError
from experiments.self_supervised import byol, dino, ibot, ijepa, simclr, simsiam, swav

SPEC = {"dataset": "digits", "num_classes": 4, "image_shape": [8, 12, 3], "mean": [0.5] * 3, "std": [0.25] * 3}
SPEC |= {"train_size": 640}


def arguments(page, *argv, steps=100):
    setup = page.experiment.run(resolve(page.experiment, ["--smoke", *argv]), SPEC, steps, jnp.float32)
    return setup.arguments()


@pytest.fixture
def drawn(monkeypatch):
    """Return the arguments of each augmentation that is built."""
    calls = []
    for module in ("dlcore.data.image_crops", "dlcore.data.images"):
        monkeypatch.setattr(f"{module}.contrastive_augmentation", lambda *args: calls.append(args) or args)
    return calls


def test_large_crops_have_the_shorter_side_and_small_ones_half_of_it(drawn):
    """Images of 8 x 12 pixels are resized to 16: large crops have 16 pixels and small ones 8, augmented as digits."""
    given = arguments(swav, "--input_size=16", "--global_area=0.4,1", "--local_area=0.1,0.4")
    assert drawn == [("digit", (0.4, 1.0), 16), ("digit", (0.1, 0.4), 8)]
    assert (given["augment"], given["augment_local"]) == tuple(drawn)
    arguments(swav, "--views=color", "--global_area=0.5,0.9", "--local_area=0.2,0.3", "--local_size=16")
    assert drawn[2:] == [("color", (0.5, 0.9), 16), ("color", (0.2, 0.3), 16)]


@pytest.mark.parametrize(
    ("page", "words", "message"),
    [
        (
            swav,
            ["--local_size=17"],
            "--local_size=17: no small crop; allowed: multiples of the patch's side 1, at most 16",
        ),
        (
            ibot,
            ["--model.patch_size=4", "--local_size=6"],
            "--local_size=6: no small crop; allowed: multiples of the patch's side 4, at most",
        ),
        (ibot, ["--model=resnet8_cifar"], r"--model=resnet8_cifar: has no tokens of patches; allowed: vision transf"),
    ],
)
def test_crops_that_do_not_fit_the_image_or_the_patches_are_refused(page, words, message):
    smoke = [] if words[0].startswith("--model=") else ["--smoke"]  # whose settings are fields of the page's own model
    setup = page.experiment.run(resolve(page.experiment, [*smoke, *words]), SPEC, 100, jnp.float32)
    with pytest.raises(FlagError, match=message):
        setup.arguments()


@pytest.mark.parametrize("name", ["global_area", "local_area"])
def test_a_range_of_areas_begins_at_its_smaller_end(name):
    with pytest.raises(FlagError, match=f"{name}=0.5,0.25: the first is larger; allowed: the smaller share first"):
        resolve(dino.experiment, [f"--{name}=0.5,0.25"])
    assert getattr(resolve(dino.experiment, [f"--{name}=0.5,0.5"]), name) == (0.5, 0.5)


def test_the_last_layer_is_frozen_for_the_asked_for_epochs():
    """An epoch of 640 images in batches of 32 has 20 steps."""
    for epochs, frozen in ((1, 20), (0.5, 10), (0, 0)):
        share = arguments(dino, "--batch_size=32", f"--freeze={epochs}")["last_layer"]
        assert [float(share(step)) for step in (frozen - 1, frozen, frozen + 50)] == [0, 1, 1]


def test_the_schedules_of_a_teacher():
    """In 30 of 100 steps the temperature rises from 0.04 to 0.07; the momentum rises by a cosine from 0.996 to 1."""
    given = arguments(dino, "--teacher_temperature=0.04,0.07", "--temperature_warmup=0.3", "--teacher_momentum=0.996")
    temperature, momentum = given["teacher_temperature"], given["teacher_momentum"]
    np.testing.assert_allclose([temperature(s) for s in (0, 10, 30, 99)], [0.04, 0.05, 0.07, 0.07], rtol=1e-6)
    np.testing.assert_allclose([momentum(s) for s in (0, 50, 100)], [0.996, 0.998, 1], rtol=1e-6)
    given = arguments(dino, "--teacher_temperature=0.1,0.5", "--temperature_warmup=0", "--teacher_momentum=0.5")
    np.testing.assert_allclose([given["teacher_temperature"](s) for s in (0, 1, 2)], [0.1, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(given["teacher_momentum"](50), 0.75, rtol=1e-6)
    half = arguments(byol, "--target_momentum=0.996", steps=200)["momentum"](100)
    np.testing.assert_allclose(half, 0.998, rtol=1e-6)
    # I-JEPA's rises linearly.
    linear = arguments(ijepa, "--teacher_momentum=0.996")["teacher_momentum"]
    np.testing.assert_allclose([linear(s) for s in (0, 25, 100)], [0.996, 0.997, 1], rtol=1e-6)


def test_the_network_has_the_fields_of_its_flags_and_no_head_of_classes():
    assert arguments(dino, "--head.outputs=6")["model"].outputs == 6
    assert isinstance(arguments(ibot)["model"].backbone, ViT)
    assert arguments(ibot)["model"].backbone.num_classes == 0
    assert arguments(simclr, "--embedder.proj_dim=5")["model"].proj_dim == 5
    for page in (simclr, simsiam):
        model = arguments(page)["model"]
        assert (model.axis_name, model.backbone.axis_name) == ("replica", "replica")
    assert arguments(simsiam, "--head.hidden_features=7")["model"].hidden_features == 7


def test_images_are_normalized_by_the_statistics_of_the_data():
    """A pixel of 0.75 becomes (0.75 - 0.5) / 0.25 = 1."""
    given = arguments(swav)
    for normalized in (given["normalize"], given["preprocess"]):
        np.testing.assert_allclose(normalized(jnp.full((1, 8, 12, 3), 0.75)), 1, rtol=1e-6)


def test_the_encoder_of_a_teacher_is_that_of_its_own_weights():
    setup = dino.experiment.run(resolve(dino.experiment, ["--smoke"]), SPEC, 100, jnp.float32)
    encoder = setup.encoder()
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    weights = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    state = SimpleNamespace(
        params=None,
        teacher_params={"backbone": weights["params"], "head": 1},
        teacher_model_state={"batch_stats": {"backbone": weights["batch_stats"]}, "other": {"head": 1}},
    )
    chex.assert_trees_all_equal(encoder.variables(state), weights)


def test_the_encoder_of_masked_patches_is_the_teacher_or_the_part_of_a_whole():
    network = ijepa.experiment.network
    assert network.variables(SimpleNamespace(teacher_params="teacher")) == {"params": "teacher"}
    whole = SimpleNamespace(params={"encoder": "encoder", "decoder": "decoder"})
    assert dataclasses.replace(network, teacher=None).variables(whole) == {"params": "encoder"}
    setup = ijepa.experiment.run(resolve(ijepa.experiment, ["--smoke"]), SPEC, 100, jnp.float32)
    encoder = setup.encoder()
    images = jax.ShapeDtypeStruct((2, 8, 12, 3), jnp.float32)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    features, _ = jax.eval_shape(lambda v, x: encoder.apply(v, x, None), shapes, images)
    chex.assert_shape(features, (2, 8))


@pytest.mark.parametrize(
    ("dataset", "views", "kind"),
    [
        ("digits", "auto", "digit"),
        ("mnist", "auto", "digit"),
        ("fashion_mnist", "auto", "gray"),
        ("folder", "auto", "color"),
        ("digits", "color", "color"),
    ],
)
def test_the_kind_of_views_follows_the_data_set_unless_it_is_named(drawn, dataset, views, kind):
    facts = Facts(dataset=dataset)
    assert Views(views).names(facts) == [kind]
    assert Views(views).build(facts) == (kind,)


def finished(num_classes, bank_size, knn_k, given=("knn_k",)):
    """Let the protocol finish 50 training images; images of one class have no labels."""
    splits = Splits(range(50), None, None, {"num_classes": num_classes}, ("a note",))
    run = SimpleNamespace(flags=Flags({}, given=frozenset(given)))
    return FeatureMeasures(bank_size, knn_k).finish_data(splits, run)


def test_without_labels_the_loss_is_the_headline():
    splits = finished(1, 5000, 20)
    assert splits.spec == {"num_classes": 1, "headline": "loss"}
    assert splits.notes[0] == "a note"
    assert splits.notes[1].startswith("the images have no labels: no k-NN, no probe and no fine-tuning")


@pytest.mark.parametrize(("bank", "k", "most"), [(5000, 51, 50), (10, 11, 10)])
def test_only_asked_for_neighbors_are_refused_where_the_bank_has_fewer(bank, k, most):
    """A bank holds at most the 50 training images."""
    with pytest.raises(FlagError, match=f"--knn_k={k}: more than the bank has; allowed: 1 to {most}, see --bank_size"):
        finished(2, bank, k)
    assert finished(2, bank, most).notes == ("a note",)
    assert finished(2, bank, k, ()).spec == {"num_classes": 2}


def test_the_report_shows_two_views_of_the_first_twelve_test_images(monkeypatch):
    """Each view of each image is drawn by a key of its own."""
    shown = []
    monkeypatch.setattr("dlcore.report.self_supervised.view_pairs", lambda *images: shown.extend(images) or "pairs")
    test = SimpleNamespace(arrays={"image": np.full((13, 1, 1, 1), 255, np.uint8)})
    context = SimpleNamespace(data=SimpleNamespace(test=test), flags=Flags({"seed": 0}))
    assert shown_views.view_panels(context, lambda key, image: image + jax.random.uniform(key)) == ["pairs"]
    images, first, second = (np.ravel(x) for x in shown)
    assert images.tolist() == [1] * 12
    assert len({*first, *second}) == 24
    assert ((first >= 1) & (first < 2)).all()


class Attentive(ViT):
    """Two heads attend to patches of 2 x 2: of image i, head h weighs patch k by k + 10 h + 100 i + its parameter."""

    def apply(self, variables, x, mutable):
        assert (mutable, x.shape[1:3]) == (["intermediates"], (4, 6))
        weights = (
            jnp.arange(7.0)
            - 1
            + variables["params"]
            + 10 * jnp.arange(2.0)[:, None]
            + 100 * jnp.arange(len(x))[:, None, None]
        )
        table = jnp.broadcast_to(weights[:, :, None], (len(x), 2, 7, 7))
        last = {"attn": {"weights": (table.at[:, :, 1:].set(-1),)}}
        return None, {"intermediates": {"blocks_1": last, "blocks_0": {"attn": {"weights": (-table,)}}}}


def test_the_report_shows_where_the_class_token_of_the_teacher_attends(monkeypatch):
    """Images of 2 x 3 are enlarged to 4 x 6; patches of 2 x 2 are 2 rows of 3."""
    model = Attentive(depth=2, patch_size=2)
    monkeypatch.setattr(prototype_network.encoders, "backbone_without_head", lambda run: model)
    data = SimpleNamespace(preprocess=lambda facts: lambda x: -x.repeat(2, 1).repeat(2, 2))
    run = SimpleNamespace(facts=None, parts=SimpleNamespace(data=data))
    monkeypatch.setattr("dlcore.report.self_supervised.attention_maps", lambda *rest: rest)
    images = np.arange(60, dtype=np.uint8).reshape(10, 2, 3, 1)
    context = SimpleNamespace(
        state=SimpleNamespace(teacher_params={"backbone": 1000.0}),
        data=SimpleNamespace(test=Source({"image": images})),
    )  # fmt: skip
    ((pixels, maps),) = dino.experiment.network.pretext_panels(context, run)
    np.testing.assert_allclose(255 * pixels, images[:8].repeat(2, 1).repeat(2, 2), rtol=1e-5)
    np.testing.assert_array_equal(maps[1, 1], 1110 + np.arange(6).reshape(2, 3))
    assert maps.shape == (8, 2, 2, 3)
    model = "a residual network"
    assert dino.experiment.network.pretext_panels(context, run) == []
