"""Neocognitron: the cells by hand, the growth of templates, and that a shift hardly matters at the top."""

import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml.neocognitron import Stage, c_layer, grow_stages, grow_templates, neocognitron, s_layer
from dlcore.data.digits import digits

MODULE = importlib.import_module("dlcore.classic_ml.neocognitron")  # the package has a function of this name

BAR = jnp.array([[0.0, 1, 0], [0, 1, 0], [0, 1, 0]])


def bar(row, column, flip=False):
    image = jnp.zeros((12, 12)).at[row : row + 3, column].set(1)
    return (image.T if flip else image)[None, :, :, None]


@pytest.mark.covers("DD-31")
def test_an_s_cell_answers_to_its_pattern():
    template = BAR[:, :, None, None]
    got = s_layer(bar(4, 5), template, 0.6)[0, :, :, 0]
    assert np.unravel_index(got.argmax(), got.shape) == (5, 5)
    # the pattern itself: cosine 1, so |x| = sqrt 3. One row lower: two of three pixels, |x| = sqrt 2, cosine sqrt(2/3)
    assert float(got[5, 5]) == pytest.approx(np.sqrt(3), rel=1e-5)
    assert float(got[6, 5]) == pytest.approx(np.sqrt(2) * (np.sqrt(2 / 3) - 0.6) / 0.4, rel=1e-5)
    # the bar on its side shares one pixel of three: cosine 1/3, below the selectivity
    assert float(s_layer(bar(4, 5, flip=True), template, 0.6).max()) < 0.6 * float(got.max())
    assert float(s_layer(bar(4, 5, flip=True), template, 0.6)[0, 5, 5, 0]) == 0


@pytest.mark.covers("DD-31")
def test_a_c_cell_by_hand():
    # one S-cell of response 4 in the middle of 3 x 3, the window's Gaussian there: root of (4 d_0)
    u = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(4)
    along = np.exp(-0.5 * np.array([-1, 0, 1.0]) ** 2)
    along /= along.sum()
    got = c_layer(u, 3, 1)[0, :, :, 0]
    np.testing.assert_allclose(got, np.sqrt(4 * np.outer(along, along)), rtol=1e-5)
    chex.assert_shape(c_layer(jnp.ones((2, 7, 7, 3)), 3, 2), (2, 4, 4, 3))


@pytest.mark.weekly
@pytest.mark.covers("DD-31")
def test_a_shift_hardly_matters_to_c_cells_and_less_at_each_stage():
    images = jnp.asarray(digits("train").arrays["image"][:120])
    images = jnp.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    stages = grow_stages(jax.random.key(0), images, counts=(12, 40))
    shifted = jnp.roll(images, 1, 2)

    def cosine(a, b):
        a, b = (np.asarray(v).reshape(len(v), -1) for v in (a, b))
        return ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean()

    s1 = [s_layer(x, stages[0].templates, stages[0].selectivity) for x in (images, shifted)]
    (c1, c2), (d1, d2) = (neocognitron(x, stages) for x in (images, shifted))
    alike = {"pixels": cosine(images, shifted), "S1": cosine(*s1), "C1": cosine(c1, d1), "C2": cosine(c2, d2)}
    assert alike["C1"] > 0.8 > 0.7 > alike["pixels"]
    assert alike["C1"] > alike["S1"] + 0.3  # it is the C-cells that do it
    assert alike["C2"] > alike["C1"]
    # and not by answering the same to everything: to another digit the response is another
    others = cosine(c2, jnp.roll(c2, 1, 0))
    assert alike["C2"] > others + 0.05


@pytest.mark.covers("DD-31")
def test_a_template_is_added_where_all_are_silent_and_only_there():
    # A slant of .2 has the norm .28, a sixth of the bar's, and counts; one of .1 is too weak.
    slants = np.zeros((2, 12, 12, 1), np.float32)
    slants[0, [4, 5], [4, 5]], slants[1, [4, 5], [5, 4]] = 0.2, 0.1
    images = jnp.concatenate([bar(4, 5), bar(4, 5, flip=True), slants])
    templates, grown = grow_templates(jax.random.key(0), images, 3, 40, 0.9)
    flat = np.asarray(templates).reshape(9, -1)[:, :grown]
    assert 2 <= grown < 40
    np.testing.assert_allclose(np.linalg.norm(flat, axis=0), 1, rtol=1e-5)
    assert (flat.T @ flat - np.eye(grown)).max() <= 0.9  # none answers to another
    upright = np.asarray(BAR).reshape(-1) / np.sqrt(3)
    assert (upright @ flat).max() > 0.9  # and every pattern stirs one
    cells = np.zeros((2, 3, 3))
    cells[0, [0, 1], [0, 1]] = cells[1, [0, 1], [1, 0]] = 0.5**0.5
    strong, weak = (cells.reshape(2, 9) @ flat).max(1)
    assert strong > 0.9 > weak
    assert float(np.abs(templates[..., grown:]).max()) == 0


@pytest.mark.slow
@pytest.mark.covers("DD-31")
def test_templates_of_two_planes_grow_as_by_a_loop():
    """The 24 patches of two images of 4 x 5 pixels in the order of the key; the second image is too weak."""
    u = np.random.default_rng(0).uniform(size=(2, 4, 5, 2)).astype(np.float32)
    u[1] *= 0.05
    patches = np.lib.stride_tricks.sliding_window_view(u, (2, 2), (1, 2)).transpose(0, 1, 2, 4, 5, 3).reshape(24, 8)
    patches = np.asarray(jax.random.permutation(jax.random.key(3), patches))
    expected = []
    for patch in patches:
        norm = np.linalg.norm(patch)
        if norm > 0.1 * np.linalg.norm(patches, axis=1).max() and all(patch @ t <= 0.9 * norm for t in expected):
            expected.append(patch / norm)
    assert len(expected) > 3
    templates, grown = grow_templates(jax.random.key(3), u, 2, 12, 0.9)
    assert grown == len(expected)
    found = np.moveaxis(np.asarray(templates), -1, 0)[:grown].reshape(grown, 8)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    few, grown = grow_templates(jax.random.key(3), u, 2, 2, 0.9)
    assert grown == 2
    np.testing.assert_allclose(few, templates[..., :2], rtol=1e-6)


def test_a_grown_stage_is_used():
    stage = Stage(BAR[:, :, None, None], 0.6, 3, 2)
    assert [r.shape for r in neocognitron(bar(4, 5), (stage,))] == [(1, 6, 6, 1)]


def test_bad_arguments():
    u = jnp.zeros((1, 5, 5, 2))
    with pytest.raises(ValueError, match=r"u.shape=\(5, 5, 2\)"):
        s_layer(u[0], jnp.zeros((3, 3, 2, 1)), 0.5)


@pytest.mark.covers("DD-31")
def test_each_stage_grows_from_what_the_last_answers(monkeypatch):
    calls = []

    def grow(key, u, size, count, selectivity):
        calls.append((int(jax.random.key_data(key)[1]), u, size, count, selectivity))
        return f"templates {size}", count

    monkeypatch.setattr(MODULE, "grow_templates", grow)
    monkeypatch.setattr(MODULE, "s_layer", lambda u, templates, selectivity: ("s", u, templates, selectivity))
    monkeypatch.setattr(MODULE, "c_layer", lambda u, pool, stride: ("c", u, pool, stride))
    settings = {"sizes": (3, 5), "counts": (7, 8), "selectivity": (0.7, 0.6), "pools": (2, 4), "strides": (1, 2)}
    stages = grow_stages(jax.random.key(0), np.array(9.0), **settings)
    assert stages == (Stage("templates 3", 0.7, 2, 1), Stage("templates 5", 0.6, 4, 2))
    (first, image, *one), (second, u, *two) = calls
    assert (float(image), one, two) == (9, [3, 7, 0.7], [5, 8, 0.6])
    assert u == ("c", ("s", image, "templates 3", 0.7), 2, 1)
    assert first != second
