"""--adapt of detectors and segmenters: the backbone is frozen, its adapter and all other modules learn."""

from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from dlcore.experiment.resolve import resolve
from dlcore.pretrained import from_pretrained
from dlcore.setting import FlagError
from dlcore.transfer import adapter_flags
from dlcore.transfer.adapters import IA3, Bottleneck, Prompts
from dlcore.transfer.frozen import is_named
from dlcore.transfer.lora import LoRA
from dlcore.transfer.methods import merge_adapter
from experiments import find_experiment
from tests.started_pages import start_page

HUB = Path(__file__).parents[1] / "goldens" / "hub"
VIT = f"--model={HUB / 'google--vit-tiny'}"
DEEPLAB = ("segmentation.deeplab", VIT, "--deeplab.stage=block2", "--deeplab.aux_stage=block1", "--image_size=32,32")
LOCALIZATION = ("detection.localization", VIT, "--localizer.stage=block2", "--image_size=32,32")


def flags_of(page: str, *words: str):
    return resolve(find_experiment(page), ["--smoke", *words])


def test_a_pattern_may_name_all_but_one_module():
    assert is_named("class/kernel", ("!backbone*",))
    assert not is_named("backbone/norm/scale", ("!backbone*",))
    assert is_named("backbone/norm/bias", ("!backbone*", "*bias"))
    assert not is_named("class/kernel", ())


def test_each_word_adapts_the_backbone_alone():
    flags = flags_of(*DEEPLAB, "--adapter.rank=3", "--adapter.alpha=5", "--adapter.targets=*mlp/fc1")

    def method(name):
        return adapter_flags.method_of(flags.replace(adapt=name), "backbone")

    assert method("lora") == LoRA(3, 5.0, ("backbone/*mlp/fc1",))
    assert method("dora").dora
    assert method("ia3") == IA3(("backbone/*attn/qkv:k", "backbone/*attn/qkv:v"), ("backbone/*mlp/fc2",))
    assert method("adapter") == Bottleneck(8, ("backbone/*blocks_*/mlp",))
    assert method("vpt_deep") == Prompts(10, deep=True, inside="backbone")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("segmentation.deeplab", "--adapt=lora"),
            r"^--adapt=lora: a frozen backbone without trained weights; allowed: ",
        ),
        (
            (*DEEPLAB, "--adapt=lora", "--adapter.targets=*query"),
            r"^--adapt=lora with --model=.*: targets='\*query': names no layer; allowed: patterns of blocks_\*/attn",
        ),
        (
            ("segmentation.deeplab", f"--model={HUB / 'timm--resnet18.tiny'}", "--adapt=vpt"),
            r"^--adapt=vpt with --model=resnet18: blocks='blocks_': the network has none; allowed: a transformer",
        ),
    ],
)
def test_adapters_that_do_not_fit_a_dense_model_are_refused(words, message):
    with pytest.raises(FlagError, match=message):
        adapter_flags.check_dense(flags_of(*words))


def test_full_needs_no_weights_and_changes_no_run():
    flags = flags_of("segmentation.deeplab")
    adapter_flags.check_dense(flags)
    assert not adapter_flags.adapts_dense(flags)
    assert not adapter_flags.adapts_dense(flags_of("segmentation.unet"))


class Block(nn.Module):
    """Adds the mean of all tokens."""

    @nn.compact
    def __call__(self, x):
        return x + nn.LayerNorm(name="norm1")(x).mean(1, keepdims=True)


class Blocks(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i in range(2):
            x = Block(name=f"blocks_{i}")(x)
        return x


class TwoTransformers(nn.Module):
    """A backbone, and a decoder whose blocks have the same names."""

    backbone: nn.Module
    decoder: nn.Module

    def __call__(self, x):
        return self.decoder(self.backbone(x))


@pytest.mark.slow
def test_prompts_reach_the_blocks_of_the_backbone_alone():
    model, prompts = TwoTransformers(Blocks(), Blocks()), Prompts(2, inside="backbone")

    @jax.jit
    def run(x):
        variables = model.init(jax.random.key(1), x)
        new = prompts.init(jax.random.key(2), model, variables, x)
        with nn.intercept_methods(prompts.intercept(new)):
            outputs = model.apply(variables, x)
        with nn.intercept_methods(Prompts(2).intercept(new)):
            inside = Blocks().apply({"params": variables["params"]["backbone"]}, x)
        return new["tokens"], outputs, Blocks().apply({"params": variables["params"]["decoder"]}, inside)

    tokens, outputs, expected = run(np.random.default_rng(0).normal(size=(1, 3, 4)).astype(np.float32))
    chex.assert_shape(tokens, (1, 2, 4))
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)


@pytest.mark.weekly
@pytest.mark.parametrize("name", ["head", "lora", "dora", "bitfit", "ia3", "adapter", "vpt", "vpt_deep"])
@pytest.mark.parametrize("words", [DEEPLAB, LOCALIZATION], ids=["segmentation", "detection"])
def test_the_adapter_and_the_head_alone_learn(words, name):
    learner, state, batch, setup = start_page(*words, f"--adapt={name}", "--ema=none")
    published = flatten_dict(from_pretrained(HUB / "google--vit-tiny").variables["params"])
    frozen, trained = (flatten_dict(tree) for tree in (state.model_state["frozen"], state.params["trained"]))
    backbone = {path[1:] for path in frozen}
    assert all(path[0] == "backbone" for path in frozen)
    for path, leaf in frozen.items():
        np.testing.assert_array_equal(leaf, published[path[1:]])
    in_trained = {path for path in trained if path[0] == "backbone"}
    assert all(name == "bitfit" and path[-1] == "bias" for path in in_trained)
    # AdamW has two numbers for each that learns, and a count or two.
    learning = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert 2 * learning <= sum(leaf.size for leaf in jax.tree.leaves(state.opt_state)) < 2 * learning + 10
    after = state
    for _ in range(2):
        after = jax.jit(learner.update)(after, batch)[0]
    chex.assert_trees_all_equal(after.model_state["frozen"], state.model_state["frozen"])
    assert backbone
    changed = [
        not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True)
    ]
    assert any(changed)
    if name not in ("head", "bitfit"):
        moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), *(x.params["adapter"] for x in (after, state)))
        assert any(jax.tree.leaves(moved))
    if name in ("adapter", "vpt", "vpt_deep"):
        return
    variables = {"params": after.params, **after.model_state}
    merged = merge_adapter(setup.flags, variables)
    assert set(merged["params"]) == {path[0] for path in frozen | trained}
    plain = setup.replace(flags=setup.flags.replace(adapt="full")).build()
    collections = {key: value for key, value in merged.items() if key != "params"}
    merged_state = after.replace(params=merged["params"], model_state=collections)
    outputs, expected = plain.predict(merged_state, batch), learner.predict(after, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), outputs, expected)
