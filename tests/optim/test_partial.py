"""Parts of a network: how they are written, what they match, and their rates."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import unflatten_dict

from dlcore.optim.partial import Part, parse_part, part_labels, part_of, partial_optimizer, scale_by_layer

MANIFESTS = Path(__file__).parents[1] / "goldens" / "manifests"
PARAMS = {
    "stem": {"kernel": jnp.ones(2)},
    "stage1_block0": {"conv1": {"kernel": jnp.ones(3)}},
    "head": {"kernel": jnp.ones(4), "bias": jnp.ones(1)},
}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("head", Part("head")),
        ("stage1*:0.1", Part("stage1*", 0.1)),
        ("stage1*@0.5", Part("stage1*", 1.0, 0.5)),
        ("*/bias:2@0.25", Part("*/bias", 2.0, 0.25)),
    ],
)
def test_a_part_is_read(text, part):
    assert parse_part(text) == part


@pytest.mark.parametrize("text", ["", "head:", "head:x", "head:-1", "head@1", "head@-0.1", "head:1:2", "a b"])
def test_other_words_are_refused(text):
    with pytest.raises(ValueError, match="malformed; allowed: PATTERN:RATE@START"):
        parse_part(text)


def test_the_first_part_that_matches_counts():
    parts = [Part("head/bias", 2.0), Part("head"), Part("stage*", 0.1)]
    assert part_labels(PARAMS, parts) == {
        "stem": {"kernel": "frozen"},
        "stage1_block0": {"conv1": {"kernel": "2"}},
        "head": {"kernel": "1", "bias": "0"},
    }
    assert part_of("stage1_block0/conv1", parts) == parts[2]
    assert part_of("stem", parts) is None


def test_a_pattern_that_matches_nothing_is_named_with_close_ones():
    for pattern in ("heads", "zzz"):  # like the first three names, and like none, for which the first three are named
        problem = f"part='{pattern}': names no parameter; allowed: such as head, head/bias, head/kernel$"
        with pytest.raises(ValueError, match=problem):
            part_labels(PARAMS, [Part(pattern)])
    with pytest.raises(ValueError, match=r"allowed: such as stage1_block0, stage1_block0/conv1/kernel, stem$"):
        part_labels(PARAMS, [Part("*stage1_block0s*")])


@pytest.mark.covers("TL-02")
def test_each_part_has_its_rate_and_start():
    tx = partial_optimizer([Part("head"), Part("stage1*", 0.1, 0.5)], lambda rate, start: optax.sgd(rate), 4)
    state, seen = tx.init(PARAMS), []
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    for _ in range(4):
        updates, state = tx.update(gradients, state, PARAMS)
        seen.append([float(jax.tree.leaves(updates[name])[0][0]) for name in ("stem", "stage1_block0", "head")])
    np.testing.assert_allclose(seen, [[0, 0, -1]] * 2 + [[0, -0.1, -1]] * 2, rtol=1e-6)


def test_layer_wise_decay_by_hand():
    """Two blocks and decay 1/2: the head 1, block 2 1/2, block 1 1/4, the embedding 1/8."""
    params = {name: {"kernel": jnp.ones(1)} for name in ("patch_embed", "blocks_0", "blocks_1", "norm", "head")}
    params["pos_embed"] = jnp.ones(1)
    tx = scale_by_layer(0.5)
    updates, _ = tx.update(params, tx.init(params))
    got = {name: float(jax.tree.leaves(leaf)[0][0]) for name, leaf in updates.items()}
    assert got == {"patch_embed": 1 / 8, "pos_embed": 1 / 8, "blocks_0": 1 / 4, "blocks_1": 1 / 2, "norm": 1, "head": 1}
    scale_by_layer(1.0)


def test_layer_wise_decay_of_stacks_under_any_names():
    """Decay 1/2. Encoder of two blocks: 1/2, 1/4, its embeddings 1/8; decoder of one: 1/2, its embedding 1/4. What is
    shared comes before the longer of the two: 1/8. The norm and the head of the encoder are no embeddings: 1."""
    params = {
        "encoder": {
            "word_embeddings": {"embedding": jnp.ones(1)},
            "conv_stem": {"kernel": jnp.ones(1)},
            "cls_token": jnp.ones(1),
            "register_tokens": jnp.ones(1),
            "blocks_0": {"attn": {"kernel": jnp.ones(1)}},
            "blocks_1": {"attn": {"kernel": jnp.ones(1)}},
            "norm": {"scale": jnp.ones(1)},
        },
        "decoder": {"wte": {"embedding": jnp.ones(1)}, "blocks_0": {"kernel": jnp.ones(1)}},
        "stem1": {"kernel": jnp.ones(1)},
        "head": {"kernel": jnp.ones(1)},
    }
    updates, _ = scale_by_layer(0.5).update(params, optax.EmptyState())
    got = {
        jax.tree_util.keystr(p, simple=True, separator="."): float(x[0]) for p, x in jax.tree.leaves_with_path(updates)
    }
    assert got == {
        "encoder.word_embeddings.embedding": 1 / 8,
        "encoder.conv_stem.kernel": 1 / 8,
        "encoder.cls_token": 1 / 8,
        "encoder.register_tokens": 1 / 8,
        "encoder.blocks_0.attn.kernel": 1 / 4,
        "encoder.blocks_1.attn.kernel": 1 / 2,
        "encoder.norm.scale": 1,
        "decoder.wte.embedding": 1 / 4,
        "decoder.blocks_0.kernel": 1 / 2,
        "stem1.kernel": 1 / 8,
        "head.kernel": 1,
    }


@pytest.mark.parametrize("name", ["vit_tiny_cifar", "mixer_s16_224", "xception41"])
def test_only_the_norm_and_the_head_keep_their_rate(name):
    """Of the networks with numbered blocks: all that comes before them has the lowest rate."""
    lines = json.loads((MANIFESTS / f"{name}.json").read_text())
    params = unflatten_dict(
        {p.removeprefix("params/"): jnp.ones(()) for p in lines if p.startswith("params/")}, sep="/"
    )
    updates, _ = scale_by_layer(0.5).update(params, optax.EmptyState())
    rates = {module: {float(x) for x in jax.tree.leaves(leaf)} for module, leaf in updates.items()}
    last = max(int(module.split("_")[1]) for module in rates if module.startswith("blocks_"))
    for module, found in rates.items():
        if module.startswith("blocks_"):
            assert found == {0.5 ** (last + 1 - int(module.split("_")[1]))}
        else:
            assert found == ({1.0} if module in ("norm", "head") else {0.5 ** (last + 2)}), module


def test_the_norm_is_that_of_all_parts_that_learn():
    """(3, 0) and (4, 0) have the norm 5 together: at most 1 leaves .6 and .8; frozen and later parts do not count."""
    parts = (Part("a"), Part("b"), Part("late", 1.0, 0.5))
    tx = partial_optimizer(parts, lambda rate, start: optax.sgd(1.0), 4, clip_norm=1.0)
    params = {name: jnp.zeros(2) for name in ("a", "b", "late", "frozen")}
    gradients = {
        "a": jnp.array([3.0, 0]),
        "b": jnp.array([4.0, 0]),
        "late": jnp.array([0, 12.0]),
        "frozen": jnp.ones(2),
    }
    state = tx.init(params)
    for step in range(3):
        updates, state = tx.update(gradients, state, params)
        if step < 2:
            want = {"a": [-0.6, 0], "b": [-0.8, 0], "late": [0, 0], "frozen": [0, 0]}
        else:  # with 12 the norm is 13
            want = {"a": [-3 / 13, 0], "b": [-4 / 13, 0], "late": [0, -12 / 13], "frozen": [0, 0]}
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-5),
            updates,
            {k: np.array(v) for k, v in want.items()},
        )
