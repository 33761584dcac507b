"""A head of two layers on a network that stays as it is: trained, restored, and refused where it does not fit."""

import chex
import jax
import numpy as np
import pytest

from dlcore.data.digits import digits
from dlcore.main import run
from dlcore.modes.export import load_exported
from dlcore.weights.network import load_network, pack
from experiments.transfer.fine_tuning import experiment

FLAGS = ["--smoke", "--parts=head:10", "--head=mlp", "--head_units=12"]


@pytest.mark.weekly
@pytest.mark.covers("TL-01")
def test_a_frozen_network_learns_a_head_of_two_layers_that_other_pages_restore(tmp_path, capsys):
    assert run(experiment, [*FLAGS, f"--run_dir={tmp_path / 'run'}"]) == 0
    assert "gives all but the head (" in capsys.readouterr().out
    network, source = load_network(tmp_path / "run", "network"), load_network(None, "network")
    params = network.variables["params"]
    assert params["head"]["hidden"]["kernel"].shape[-1] == 12
    assert np.abs(params["head"]["logits"]["kernel"]).max() > 0  # zeros before training
    frozen = {k: v for k, v in params.items() if k != "head"}
    for own, old in zip(
        *(jax.tree.leaves(p) for p in (frozen, {k: source.variables["params"][k] for k in frozen})), strict=True
    ):
        np.testing.assert_array_equal(own, old)
    assert run(experiment, ["--mode=export", f"--run={tmp_path / 'run'}"]) == 0
    _, weights, function = load_exported(tmp_path / "run" / "export")
    image = digits("test").take(3).arrays["image"]
    got = function(weights, {"image": image})["logits"]
    chex.assert_shape(got, (3, 10))
    with pytest.raises(ValueError, match="its head is no linear layer; allowed: a run with --head=linear"):
        pack(tmp_path / "run", tmp_path / "packed.npz")


@pytest.mark.slow
def test_a_network_with_a_head_of_its_own_kind_is_refused(tmp_path, capsys):
    words = ["--smoke", "--init_from=none", "--model=all_cnn_c", "--parts=*", "--head=mlp"]
    assert run(experiment, [*words, f"--run_dir={tmp_path}"]) == 2
    assert "--head=mlp: model=AllCNN: has a head of its own kind" in capsys.readouterr().err
