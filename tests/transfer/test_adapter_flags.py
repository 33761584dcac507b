"""--adapt: what learns, what is refused, and that a run starts from the weights and gives its network to others."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import run
from dlcore.setting import FlagError
from dlcore.transfer import adapter_flags
from dlcore.transfer.adapters import Adapted
from dlcore.transfer.frozen import Frozen
from dlcore.transfer.lora import LoRA
from dlcore.weights.network import load_network
from experiments.transfer.fine_tuning import experiment

VIT = ["--model=vit_s_16", "--model.image_size=16", "--model.patch_size=4", "--model.depth=1", "--model.width=12"]
SMALL = [*VIT, "--model.num_heads=2", "--model.mlp_features=16", "--smoke", "--init_from=none"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adapt=lora"], r"^--adapt=lora with --model=vgg9_cifar: targets='\*attn/qkv:q': names no layer"),
        (["--adapt=vpt"], r"^--adapt=vpt with --model=vgg9_cifar: blocks='blocks_': the network has none"),
        (["--adapt=full", "--parts=head"], r"^--parts=head: beside --adapt=full; allowed: --adapt=parts$"),
        (["--adapt=bitfit", "--layer_decay=0.5"], r"^--layer_decay=0.5: beside --adapt=bitfit; allowed: --adapt=parts"),
    ],
)
def test_adapters_that_do_not_fit_the_model_are_refused(words, message):
    with pytest.raises(FlagError, match=message):
        experiment.run(resolve(experiment, words)).check()


def test_each_word_names_its_method():
    flags = resolve(experiment, ["--rank=3", "--alpha=5", "--targets=*mlp/fc1", "--bottleneck=7", "--prompts=4"])
    methods = {name: adapter_flags.method_of(flags.replace(adapt=name)) for name in ("lora", "dora", "adapter", "vpt")}
    assert methods["lora"] == LoRA(3, 5.0, ("*mlp/fc1",))
    assert methods["dora"] == LoRA(3, 5.0, ("*mlp/fc1",), dora=True)
    assert (methods["adapter"].features, methods["vpt"].tokens, methods["vpt"].deep) == (7, 4, False)
    assert adapter_flags.method_of(flags.replace(adapt="vpt_deep")).deep
    assert [adapter_flags.trained_parts(flags.replace(adapt=name)).parts for name in ("head", "full")] == [
        ("head*",),
        ("*",),
    ]


class Normalized(nn.Module):
    """Batch norm and a head."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        return nn.Dense(1, kernel_init=nn.initializers.ones, name="head")(x)


def test_a_frozen_batch_norm_takes_the_running_statistics():
    """Of x = (1, 3) the running mean 0 and variance 1 leave (1, 3); the batch's own would give (-1, 1)."""
    x, model = jnp.array([[1.0], [3.0]]), Frozen(Normalized(), ("head*",))
    variables = model.init(jax.random.key(0), x)
    outputs, state = model.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(outputs, x, rtol=1e-4)
    chex.assert_trees_all_equal(state["batch_stats"], variables["batch_stats"])


def test_dora_starts_from_the_norms_of_the_weights_that_are_loaded():
    model = Adapted(Normalized(), LoRA(1, 1.0, ("head",), dora=True), ())
    x = np.ones((2, 3), np.float32)
    variables, loaded = jax.jit(lambda x: [net.init(jax.random.key(0), x) for net in (model, Normalized())])(x)
    loaded["params"]["head"]["kernel"] = jnp.array([[3.0], [0.0], [4.0]])
    rebased = model.rebase(variables, loaded)
    assert rebased["params"]["adapter"]["head/kernel"]["m"] == pytest.approx(5.0)
    np.testing.assert_allclose(model.apply(rebased, x), Normalized().apply(loaded, x), rtol=1e-6)


@pytest.mark.slow
def test_a_run_starts_from_the_weights_and_keeps_them_but_for_biases_and_head():
    flags = resolve(experiment, ["--smoke", "--adapt=bitfit"])
    planned = ResolvedRun(experiment, flags)
    splits = experiment.run(flags).load()
    setup = planned.training_of(splits, flags)
    learner, batch = setup.build(), planned.example(splits.facts)
    state = setup.start()(jax.jit(learner.init)(jax.random.key(0), batch))
    source = flatten_dict(load_network(None, "network").variables["params"])
    frozen, trained = (flatten_dict(tree) for tree in (state.model_state["frozen"], state.params["trained"]))
    assert {path for path in trained if path[0] != "head"} == {path for path in source if path[-1] == "bias"} - {
        ("head", "bias")
    }
    body = {path: leaf for path, leaf in (frozen | trained).items() if path[0] != "head"}
    chex.assert_trees_all_equal(body, {path: leaf for path, leaf in source.items() if path[0] != "head"})
    after = jax.jit(learner.update)(state, batch | {"label": jnp.arange(len(batch["label"])) % 10})[0]
    chex.assert_trees_all_equal(after.model_state, state.model_state)


@pytest.mark.weekly
def test_a_network_is_adapted_from_its_weights_and_adapted_again_from_the_run(tmp_path, capsys):
    plain, lora, again = (f"{tmp_path / name}" for name in ("plain", "lora", "again"))
    assert run(experiment, [*SMALL, "--adapt=full", f"--run_dir={plain}"]) == 0
    start = [word for word in SMALL if "init_from" not in word]
    assert run(experiment, [*start, f"--init_from={plain}", "--adapt=lora", "--rank=2", f"--run_dir={lora}"]) == 0
    before, after = (load_network(folder, "network").variables["params"] for folder in (plain, lora))
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, after)
    qkv = changed["blocks_0"]["attn"]["qkv"]
    assert qkv["kernel"]
    assert changed["head"]["kernel"]
    own, loaded = (np.asarray(params["blocks_0"]["attn"]["qkv"]["kernel"]) for params in (after, before))
    np.testing.assert_array_equal(own[:, 12:24], loaded[:, 12:24])  # keys
    assert not qkv["bias"]
    assert not changed["patch_embed"]["kernel"]
    assert run(experiment, [*start, f"--init_from={lora}", "--adapt=bitfit", f"--run_dir={again}"]) == 0
    assert run(experiment, [*start, f"--init_from={plain}", "--adapt=vpt", f"--run_dir={tmp_path / 'vpt'}"]) == 0
    with pytest.raises(ValueError, match=r"trained with --adapt=vpt: method=Prompts: stays beside the network"):
        load_network(tmp_path / "vpt", "network")
