"""`--init_from` of a page whose network is no backbone of the zoo."""

from types import SimpleNamespace

import numpy as np
import optax
import pytest
from flax import struct

from dlcore.experiment.flags import Flags
from dlcore.weights import start as module
from dlcore.weights.start import NETWORK, start_network


@struct.dataclass
class TrainedState:
    params: dict
    opt_state: dict


def setup_of(source):
    return SimpleNamespace(flags=Flags({"init_from": source}), optimizer=lambda: optax.sgd(0.1, momentum=0.9))


@pytest.fixture
def weights(monkeypatch):
    """Weights of an encoder and of an embedding: each is called by its argument."""
    params = {"encoder": {"w": np.ones(2)}, "embedding": {"w": np.full(3, 2.0)}}

    def open_weights(source, argument):
        assert (source, argument) == ("RUN", "init_from")
        return SimpleNamespace(variables=lambda: {"params": params})

    monkeypatch.setattr(module, "open_weights", open_weights)


def state():
    params = {name: {"w": np.zeros(size)} for name, size in (("encoder", 2), ("embedding", 3), ("decoder", 1))}
    return TrainedState(params, {"trace": "old"})


def test_without_weights_there_is_no_start():
    assert start_network(setup_of(None)) is None
    assert NETWORK["init_from"].origin(Flags({"init_from": None})) is None


def test_the_weights_replace_the_modules_that_they_have_and_the_optimizer_starts_anew(weights, capsys):
    assert NETWORK["init_from"].origin(Flags({"init_from": "RUN"})) is not None
    start = start_network(setup_of("RUN"))
    assert start.check(state()) is None
    after = start(state())
    assert {name: module["w"].tolist() for name, module in after.params.items()} == {
        "encoder": [1, 1],
        "embedding": [2, 2, 2],
        "decoder": [0],
    }
    assert after.opt_state[0].trace["encoder"]["w"].tolist() == [0, 0]
    assert "init_from='RUN': does not give decoder, which start anew" in capsys.readouterr().out


def test_a_module_that_starts_anew_keeps_its_initial_weights_whatever_the_weights_hold(weights, capsys):
    after = start_network(setup_of("RUN"), without=["embedding"])(state())
    assert after.params["embedding"]["w"].tolist() == [0, 0, 0]
    assert after.params["encoder"]["w"].tolist() == [1, 1]
    assert "does not give decoder, embedding, which" in capsys.readouterr().out


def test_weights_of_another_shape_are_refused_before_training(weights):
    wrong = TrainedState({"encoder": {"w": np.zeros(5)}}, {})
    with pytest.raises(ValueError, match=r"init_from='RUN': params/encoder/w is \(2,\), not \(5,\)"):
        start_network(setup_of("RUN")).check(wrong)
