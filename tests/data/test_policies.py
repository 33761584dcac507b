"""Random policies by how often each operation comes and how examples of a batch differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlcore.data import augment
from dlcore.data.augment import policies

IMAGE = jnp.asarray(np.random.default_rng(0).random((8, 8, 3)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 40)


@pytest.mark.slow
@pytest.mark.covers("RG-27")
def test_rand_augment_at_magnitude_zero_is_the_identity_and_above_differs_by_example():
    apply = jax.jit(jax.vmap(lambda key, magnitude: augment.rand_augment(2, magnitude)(key, IMAGE), (0, None)))
    np.testing.assert_array_equal(apply(KEYS, 0.0), jnp.broadcast_to(IMAGE, (40, *IMAGE.shape)))
    out = np.asarray(apply(KEYS, 20.0))
    assert np.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1
    assert len(np.unique(out.reshape(40, -1).round(4), axis=0)) > 25


# Tables 7 to 9 of arXiv:1805.09501, a pair a word: operation, probability in tenths (X: 1), strength in ninths.
CODES = {
    "Sx": "shear_x", "Sy": "shear_y", "Tx": "translate_x", "Ty": "translate_y", "Ro": "rotate", "Br": "brightness",
    "Co": "color", "Ct": "contrast", "Sh": "sharpness", "Po": "posterize", "So": "solarize", "Au": "autocontrast",
    "Eq": "equalize", "In": "invert",
}  # fmt: skip
PAPER = {
    "imagenet": """
        Po48Ro69 So65Au6- Eq8-Eq6- Po67Po66 Eq4-So24 Eq4-Ro88 So63Eq6- Po85EqX- Ro23So68 Eq6-Po46 Ro88Co40
        Ro49Eq6- Eq0-Eq8- In6-EqX- Co64CtX8 Ro88CoX2 Co88So87 Sh47In6- Sx65EqX- Co40Eq6- Eq4-So24 So65Au6-
        In6-EqX- Co64CtX8 Eq8-Eq6-
    """,
    "cifar10": """
        In1-Ct26 Ro72Tx39 Sh81Sh93 Sy58Ty79 Au5-Eq9- Sy27Po37 Co43Br67 Sh39Br79 Eq6-Eq5- Ct67Sh65 Co77Tx58
        Eq3-Au4- Ty43Sh26 Br96Co28 So52In0- Eq2-Au6- Eq2-Eq6- Co99Eq6- Au8-So28 Br13Co70 So45Au9- Ty99Ty79
        Au9-So83 Eq8-In1- Ty79Au9-
    """,
    "svhn": """
        Sx94In2- Sy98In7- Eq6-So66 In9-Eq6- Eq6-Ro93 Sx94Au8- Sy98In4- Sy95So26 In9-Au8- Eq6-Ro93 Sx94So33
        Sy88In7- Eq9-Ty66 In9-Eq6- Ct33Ro84 In8-Ty02 Sy76So48 In6-Ro84 Sy37Tx93 Sx16In6- So72Ty67 Sy84In8-
        Sx79Ty83 Sy85Au7- Sx72In1-
    """,
}


@pytest.mark.covers("RG-27")
@pytest.mark.parametrize("policy", PAPER)
def test_tables_are_the_papers(policy):
    operations, chances, strengths = policies._table(policy)
    words = [(pair[i : i + 2], pair[i + 2], pair[i + 3]) for pair in PAPER[policy].split() for i in (0, 4)]
    codes, tenths, ninths = np.array(words).reshape(25, 2, 3).transpose(2, 0, 1)
    np.testing.assert_array_equal(np.array(policies.OPERATIONS)[operations], np.vectorize(CODES.get)(codes))
    np.testing.assert_allclose(chances, np.where(tenths == "X", "10", tenths).astype(float) / 10, rtol=1e-6)
    np.testing.assert_allclose(strengths, np.where(ninths == "-", "9", ninths).astype(float) / 9, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("RG-27")
def test_auto_augment_draws_pairs_by_their_probabilities(monkeypatch):
    # One pair alone: invert with probability .25, then nothing.
    table = (np.array([[14, 0]], np.int32), np.array([[0.25, 1.0]], np.float32), np.ones((1, 2), np.float32))
    monkeypatch.setattr(policies, "_table", lambda policy: table)
    keys = jax.random.split(jax.random.key(1), 400)
    small = IMAGE[:2, :2]
    out = jax.jit(jax.vmap(augment.auto_augment("cifar10"), (0, None)))(keys, small)
    inverted = (np.abs(out - (1 - small)) < 1e-6).all((1, 2, 3))
    same = (out == small).all((1, 2, 3))
    assert (inverted | same).all()
    assert 0.17 < inverted.mean() < 0.33  # standard deviation sqrt(.25 .75 / 400) = .022


def test_every_pair_of_a_policy_is_drawn(chosen, monkeypatch):
    table = (np.array([[3, 3], [4, 4]], np.int32), np.ones((2, 2), np.float32), np.ones((2, 2), np.float32))
    monkeypatch.setattr(policies, "_table", lambda policy: table)
    for seed in range(8):
        augment.auto_augment("svhn")(jax.random.key(seed), np.zeros((1, 1, 1)))
    assert {call[0] for call in chosen} == {3, 4}


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"magnitude=31: out of range; allowed: in \[0, 30\]"):
        augment.rand_augment(2, 31)


@pytest.mark.slow
@pytest.mark.covers("RG-27")
@pytest.mark.parametrize(("name", "matrix"), [("shear_x", (1, 0.3, 0, 0, 1, 0)), ("shear_y", (1, 0, 0, 0.3, 1, 0))])
def test_shears_of_sign_one_are_the_authors(name, matrix):
    """Their program: PIL's `transform` by (1, level, 0, 0, 1, 0), which says where a pixel comes from."""
    levels = np.random.default_rng(0).integers(0, 256, (12, 9), np.uint8)
    want = np.asarray(Image.fromarray(levels).transform((9, 12), Image.Transform.AFFINE, matrix))
    got = policies.apply_operation(policies.OPERATIONS.index(name), jnp.asarray(levels)[..., None], 1.0)
    np.testing.assert_array_equal(got[..., 0], want)


@pytest.fixture
def chosen(monkeypatch):
    """Operations as they were asked for: (index, strength, sign, interpolation, fill), which each add 1."""
    calls = []

    def operation(index, image, strength, sign, interpolation, fill):
        calls.append((int(index), round(float(strength), 4), float(sign), interpolation, fill))
        return image + np.float32(1)

    def scan(step, carry, rows):
        for row in zip(*(np.asarray(part) for part in rows), strict=True):
            carry, _ = step(carry, row)
        return carry, None

    monkeypatch.setattr(policies, "apply_operation", operation)
    monkeypatch.setattr(policies.jax.lax, "scan", scan)
    return calls


def test_rand_augment_draws_all_operations_but_invert(chosen):
    out = augment.rand_augment(60, 15, 31, "bilinear", 0.5)(jax.random.key(0), np.zeros((1, 1, 1)))
    assert float(out[0, 0, 0]) == 60
    indices, strengths, signs, interpolations, fills = (set(part) for part in zip(*chosen, strict=True))
    assert indices == set(range(len(policies.OPERATIONS) - 1))
    assert (strengths, signs, interpolations, fills) == ({0.5}, {-1, 1}, {"bilinear"}, {0.5})
    assert policies.OPERATIONS[-1] == "invert"


def test_auto_augment_applies_both_operations_of_a_pair(chosen, monkeypatch):
    table = (np.array([[14, 3]], np.int32), np.array([[0.0, 1.0]], np.float32), np.array([[0.25, 0.75]], np.float32))
    monkeypatch.setattr(policies, "_table", lambda policy: table)
    out = augment.auto_augment("cifar10", fill=0.25)(jax.random.key(1), np.zeros((1, 1, 1)))
    assert float(out[0, 0, 0]) == 2  # the first, of probability 0, is the identity of that name
    assert [call[:2] for call in chosen] == [(0, 0.25), (3, 0.75)]
    assert {call[3:] for call in chosen} == {("nearest", 0.25)}


@pytest.mark.parametrize(
    ("name", "strength", "sign", "expected"),
    [
        ("brightness", 0.5, 1.0, 1.45 * 0.4),
        ("brightness", 0.5, -1.0, 0.55 * 0.4),
        ("posterize", 0.5, 1.0, 25 / 64),  # 8 - 2 = 6 bits: 0.4 is 25.6 of 64
        ("solarize", 0.7, 1.0, 0.6),  # at or above 0.3: 1 - 0.4
        ("solarize", 0.5, 1.0, 0.4),  # below 0.5
        ("invert", 0.1, 1.0, 0.6),
        ("invert", 0.0, 1.0, 0.4),
        ("identity", 1.0, 1.0, 0.4),
    ],
)
def test_operations_by_hand(monkeypatch, name, strength, sign, expected):
    monkeypatch.setattr(policies, "_geometric", lambda operation, image, *rest: image)
    with jax.disable_jit():
        out = policies.apply_operation(policies.OPERATIONS.index(name), jnp.full((1, 1, 1), 0.4), strength, sign)
    np.testing.assert_allclose(out[0, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "module", "function", "arguments"),
    [
        # Factors of 1 - 0.9 / 2, 8 - 2 bits, thresholds of 1 - 1/2.
        ("brightness", policies, "adjust_brightness", [0.55]),
        ("color", policies, "adjust_saturation", [0.55]),
        ("contrast", policies, "adjust_contrast", [0.55]),
        ("sharpness", policies.tone, "adjust_sharpness", [0.55]),
        ("posterize", policies.tone, "posterize", [6]),
        ("solarize", policies.tone, "solarize", [0.5]),
        ("autocontrast", policies.tone, "autocontrast", []),
        ("equalize", policies.tone, "equalize", []),
        ("invert", policies.tone, "invert", []),
    ],
)
def test_an_operation_is_the_one_of_its_name(monkeypatch, name, module, function, arguments):
    monkeypatch.setattr(policies, "warp_image", lambda image, *rest: image - 1)
    calls = []

    def operation(image, *rest):
        calls.append([round(float(value), 6) for value in rest])
        return image + 2

    monkeypatch.setattr(module, function, operation)
    with jax.disable_jit():
        out = policies.apply_operation(policies.OPERATIONS.index(name), jnp.zeros((1, 1, 1)), 0.5, -1.0)
    assert float(out[0, 0, 0]) == 2
    assert calls == [arguments]


@pytest.mark.parametrize("name", ["identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_geometric_operations_by_hand(monkeypatch, name, sign):
    """Of 600 x 1000 pixels at half the strength: 0.15 across, 150/662 of a side cut off to 135 and 226, 15 degrees."""
    calls = []

    def read(image, *settings):
        calls.append(settings)
        return image + 1

    warp = lambda size, degrees, move, shear, center: (size, degrees, move, shear, center)  # noqa: E731
    monkeypatch.setattr(policies, "affine_warp", warp)
    monkeypatch.setattr(policies, "warp_image", read)
    operation = policies.OPERATIONS.index(name)
    with jax.disable_jit():
        out = policies.apply_operation(operation, np.zeros((600, 1000, 1), np.float32), 0.5, sign, "bilinear", 0.25)
    assert float(out[0, 0, 0]) == (name != "identity")
    ((size, degrees, move, shear, center), interpolation, fill) = calls[0]
    lean = -sign * np.rad2deg(np.arctan(0.15))
    expected = {
        "rotate": (15 * sign, (0, 0), (0, 0)),
        "translate_x": (0, (226 * sign, 0), (0, 0)),
        "translate_y": (0, (0, 135 * sign), (0, 0)),
        "shear_x": (0, (0, 0), (lean, 0)),
        "shear_y": (0, (0, 0), (0, lean)),
    }.get(name, (0, (0, 0), (0, 0)))
    np.testing.assert_allclose(degrees, expected[0])
    np.testing.assert_allclose((move, shear), expected[1:], rtol=1e-6)
    np.testing.assert_allclose(center, (0, 0) if name.startswith("shear") else (500, 300))
    assert (size, interpolation, fill) == ((600, 1000), "bilinear", 0.25)


def test_the_largest_and_the_smallest_magnitude_are_allowed(chosen):
    for magnitude, bins, strength in ((30, 31, 1.0), (0, 31, 0.0), (0, 1, 0.0), (1, 2, 1.0)):
        chosen.clear()
        augment.rand_augment(1, magnitude, bins)(jax.random.key(0), np.zeros((1, 1, 1)))
        assert chosen[0][1] == strength
    assert augment.rand_augment(0)(jax.random.key(0), np.full((1, 1, 1), 3)) == 3
