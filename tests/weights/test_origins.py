"""Weights are asked where they come from before they are used: their examples, normalization, classes and patterns."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import optax
import pytest

from dlcore.data.fingerprint import fingerprint
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.experiment.run_data import collect_training_keys
from dlcore.models.normalization import normalization
from dlcore.setting import FlagError
from dlcore.weights import earlier_run, text_base
from dlcore.weights.check import check_origins, inherited_keys, take_normalization
from dlcore.weights.network import check_studied, open_classifier
from dlcore.weights.open import Weights, open_weights
from dlcore.weights.read import save_weights
from dlcore.weights.start import start_classifier
from experiments import find_experiment
from experiments.classification.supervised import experiment as supervised
from experiments.interpretability import attribution, deep_dream, feature_space
from experiments.transfer.fine_tuning import experiment as fine_tuning
from tests.overriding import run_of

IMAGES = np.arange(10 * 4, dtype=np.uint8).reshape(10, 2, 2, 1)
SPEC = {"image_shape": [2, 2, 1], "mean": [0.1], "std": [0.2], "class_names": ["a", "b"]}


def source(*rows):
    return Source({"image": IMAGES[list(rows)]})


def prints(train, test):
    parts = {"train": IMAGES[list(train)], "test": IMAGES[list(test)]}
    return {name: fingerprint(len(rows), {"image": rows}) for name, rows in parts.items()}


def test_weights_that_saw_test_examples_are_refused_with_the_count(tmp_path):
    """Trained on images 0 to 5, tested on 6 to 9; of the new test split 4, 5, 6 two were trained on."""
    found = Weights("init_from", tmp_path, known=prints(range(6), range(6, 10)))
    splits = Splits(source(0, 1, 2, 3), source(7, 8, 9), source(4, 5, 6), SPEC)
    with pytest.raises(
        FlagError, match=r"--init_from=.*: trained on 2 of the 3 test examples; allowed: .*changed_data"
    ):
        check_origins([found], splits, False)
    (line,) = check_origins([found], splits, True)
    assert "trained on 2 of the 3 test examples" in line
    assert check_origins([found], splits._replace(test=source(6, 9)), False) == []
    (line,) = check_origins([found], splits._replace(test=source(6, 9), valid=source(0, 7)), False)
    assert "trained on 1 of the 2 valid examples" in line
    repeated = found._replace(known=prints(range(6), [4, 6]))  # an image that its own split repeats
    assert check_origins([repeated], splits._replace(test=source(4, 6)), False) == []
    keys = inherited_keys([found, found._replace(initializes=False)])
    assert len(collect_training_keys(keys)) == 6
    assert inherited_keys([found._replace(initializes=False)]) == {}


def test_an_unfinished_run_is_said(tmp_path):
    config = {"experiment": "classification.supervised", "settings": {"steps": 40, "model": "mlp"}, "spec": SPEC}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for step in (20, 5):
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
    found = open_weights(tmp_path, "init_from")
    assert (found.model, found.class_names, found.mean, found.std) == ("mlp", ("a", "b"), (0.1,), (0.2,))
    splits = Splits(source(0), source(1), source(2), SPEC)
    (line,) = check_origins([found], splits, False)
    assert line.endswith("an unfinished run, saved at step 20 of 40")
    (tmp_path / "result.json").write_text("{}")
    assert check_origins([open_weights(tmp_path, "init_from")], splits, False) == []


def test_images_are_normalized_as_for_the_weights(tmp_path):
    gray = Splits(source(0), None, source(1), SPEC)
    colors = Weights("init_from", tmp_path, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    assert take_normalization(gray, [colors]).spec["mean"] == [0.5, 0.4, 0.3]
    assert take_normalization(gray, [colors._replace(initializes=False)]).spec["mean"] == [0.1]
    (line,) = check_origins([colors], gray, False)
    assert line.endswith("normalized as for these weights, mean 0.5, 0.4, 0.3, standard deviation 0.1, 0.2, 0.3")
    assert check_origins([colors._replace(initializes=False)], gray, False) == []
    assert check_origins([colors._replace(mean=(0.1,), std=(0.2,))], gray, False) == []
    two = gray._replace(spec={**SPEC, "image_shape": [2, 2, 3]})
    with pytest.raises(ValueError, match="trained on images of 1 channels; allowed: 3"):
        take_normalization(two, [colors._replace(mean=(0.5,), std=(0.5,))])


def test_published_weights_have_their_own_normalization(tmp_path):
    assert normalization("resnet50").mean == (0.485, 0.456, 0.406)
    for name in ("efficientnet_v2_l", "mixer_b16_224", "legacy_xception", "inception_v3", "resnetv2_50"):
        assert normalization(name) == ((0.5,) * 3, (0.5,) * 3)
    assert normalization("inception_v3", {"transform_input": True}).std == (0.229, 0.224, 0.225)
    save_weights(tmp_path / "known", {"x": np.zeros(1)}, {"model": "mixer_s16_224"})
    save_weights(tmp_path / "given", {"x": np.zeros(1)}, {"model": "resnet18", "mean": [0.3] * 3, "std": [0.7] * 3})
    assert open_weights(tmp_path / "known", "init_from").mean == (0.5, 0.5, 0.5)
    found = supervised.settings["init_from"].origin(
        resolve(supervised, ["--model=resnet18", f"--init_from={tmp_path / 'given'}"])
    )
    assert (found.mean, found.std) == ((0.3,) * 3, (0.7,) * 3)
    with pytest.raises(ValueError, match="weights of resnet18; allowed: of resnet34"):
        supervised.settings["init_from"].origin(
            resolve(supervised, ["--model=resnet34", f"--init_from={tmp_path / 'given'}"])
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--parts=haed"], r"^--parts: part='haed': names no parameter; allowed: such as head"),
        (["--parts=*:0"], "nothing learns"),
        (["--layer_decay=0.7"], r"^--layer_decay=0.7: the network has no numbered blocks"),
    ],
)
def test_patterns_are_checked_without_data(words, message):
    flags = resolve(fine_tuning, ["--init_from=none", *words])
    with pytest.raises(FlagError, match=message):
        fine_tuning.run(flags).check()
    fine_tuning.run(resolve(fine_tuning, ["--init_from=none"])).check()


@pytest.mark.parametrize(
    ("page", "flag", "spec", "message"),
    [
        ("generative.latent_diffusion", "first_stage", {"image_shape": [8, 8, 1]},
         r"^first_stage=.*: .*image_shape.*\[8, 8, 1\]"),
        ("generative.control_net", "base", {"image_shape": [8, 8, 3]}, r"^base=.*: .*image_shape"),
    ],
)  # fmt: skip
def test_an_earlier_phase_of_other_images_is_refused_before_anything_is_compiled(
    monkeypatch, tmp_path, page, flag, spec, message
):
    experiment = find_experiment(page)
    other = {"image_shape": [4, 4, 1], "vocabulary": ["a"], "length": 3}
    found = Weights(flag, tmp_path, spec=other, settings=dict.fromkeys(text_base.SCHEDULE))
    monkeypatch.setattr(earlier_run, "origin", lambda *args: found)
    flags = resolve(experiment, [])
    monkeypatch.setattr(text_base, "SCHEDULE", ())
    setup = experiment.run(flags, {**other, **spec})
    with pytest.raises(ValueError, match=message):
        setup.start().check(None)
    setup.replace(spec=other).start().check(None)
    monkeypatch.setattr(earlier_run, "origin", lambda *args: None)
    setup.start().check(None)


class Started(NamedTuple):
    """A state of a network with a head."""

    params: Any
    model_state: Any

    def replace(self, **changes):
        return self._replace(**{k: v for k, v in changes.items() if k in self._fields})


@pytest.mark.parametrize(
    ("names", "named", "kept", "words"),
    [
        (("a", "b"), True, True, ""),
        (("b", "a"), True, False, r"gives all but the head \(.*\), which starts anew: its classes are others"),
        (("0", "1"), False, True, "gives a head of 2 classes without names, taken for the data's"),
        (("a", "b", "c"), True, False, r"gives all but the head \(.*\), which starts anew"),
    ],
)
def test_a_head_of_other_classes_is_dropped_and_said(capsys, monkeypatch, tmp_path, names, named, kept, words):
    """The body is 7 in the weights and 0 in the state, the head 5 and 1."""
    head = {"kernel": np.full((3, len(names)), 5.0, np.float32)}
    variables = {"params": {"body": np.full(2, 7.0, np.float32), "head": head}}
    spec = {"num_classes": len(names)}
    weights = Weights("init_from", tmp_path, class_names=names if named else None, spec=spec)
    monkeypatch.setattr(Weights, "variables", lambda weights: variables)
    setup = run_of(
        Flags({"init_from": "w"}, {}),
        {"class_names": ["a", "b"]},
        optimizer=SimpleNamespace(build=lambda *length: optax.sgd(0.1)),
    )
    start = start_classifier(setup, lambda flags: weights)
    state = Started({"body": np.zeros(2, np.float32), "head": {"kernel": np.ones((3, 2), np.float32)}}, {})
    assert start.check(state) is None
    assert capsys.readouterr().out == ""
    after = start(state)
    said = capsys.readouterr()
    np.testing.assert_array_equal(after.params["body"], 7)
    np.testing.assert_array_equal(after.params["head"]["kernel"], 5 if kept else 1)
    if words:
        assert re.search("init_from='w': " + words, said.out + said.err)
    else:
        assert "init_from" not in said.out + said.err
    wrong = Started({"body": np.zeros(4, np.float32), "head": state.params["head"]}, {})
    with pytest.raises(ValueError, match=r"^init_from='w'"):
        start.check(wrong)


def test_a_study_asks_its_network_where_it_comes_from(tmp_path, capsys):
    """Saved at step 20 of 40 and trained on images 0 to 5, of which 4 and 5 are asked for."""
    config = {"experiment": "classification.supervised", "settings": {"steps": 40, "model": "mlp"}, "spec": SPEC}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = open_classifier(tmp_path, "network")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint in it; allowed: a run that saved one"):
        check_studied(found)
    saved = found._replace(checkpoint=20, known=prints(range(6), range(6, 10)))
    assert not check_studied(saved).initializes
    assert "an unfinished run, saved at step 20 of 40" in "".join(capsys.readouterr())
    splits = Splits(source(0), None, source(4, 5, 6), SPEC)
    with pytest.raises(FlagError, match=r"trained on 2 of the 3 test examples; allowed: .*--changed_data"):
        check_studied(saved, splits)
    check_studied(saved, splits, changed_data=True)
    assert "trained on 2 of the 3 test examples" in "".join(capsys.readouterr())


@pytest.mark.parametrize("page", [attribution, deep_dream, feature_space])
def test_every_study_of_a_network_goes_through_the_door(page, tmp_path):
    config = {"experiment": "classification.supervised", "settings": {"steps": 40, "model": "mlp"}, "spec": SPEC}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FileNotFoundError, match=r"^network=.*: there is no checkpoint in it"):
        page.study(network=str(tmp_path))


def test_weights_of_the_same_data_set_whose_examples_cannot_be_compared_are_said(tmp_path):
    spec = {**SPEC, "dataset": "d"}
    splits = Splits(source(0), None, source(6), spec)
    unknown = Weights("init_from", tmp_path, spec={"dataset": "d"})
    (line,) = check_origins([unknown], splits, False)
    assert line.endswith("trained on this data set, and on which of its examples was not recorded")
    assert check_origins([unknown._replace(spec={"dataset": "e"})], splits, False) == []
    known = unknown._replace(known=prints(range(6), range(6, 10)), spec={"dataset": "d", "image_shape": [4, 4, 1]})
    (line,) = check_origins([known], splits, False)
    assert line.endswith("trained on this data set in another size, so that its examples cannot be compared")
    assert check_origins([known._replace(spec={"dataset": "d", "image_shape": [2, 2, 1]})], splits, False) == []


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: path.write_bytes(b"junk"), "empty, damaged or no .npz; allowed: an .npz that `pack` wrote"),
        (lambda path: path.touch(), "empty, damaged or no .npz"),
        (lambda path: np.savez(path, x=np.zeros(1)), "holds no `meta` with class_names; allowed: an .npz that `pack`"),
        (lambda path: np.savez(path, meta='{"model": "cnn"}'), "holds no `meta` with class_names; allowed: an .npz"),
        (lambda path: None, "holds no trained network; allowed: the folder of a run"),
    ],
)
def test_files_without_a_network_are_refused(tmp_path, write, problem):
    path = tmp_path / "w.npz"
    write(path)
    with pytest.raises(ValueError, match=f"^network='.*w.npz': {problem}"):
        open_weights(path, "network")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "config.json",
            {"settings": [1], "spec": {}},
            "no configuration of a run; allowed: the file that the run wrote",
        ),
        ("config.json", {"settings": {}, "spec": None}, "no configuration of a run"),
        ("config.json", {"settings": {}, "spec": {}, "data": {"train": 3}}, "data is damaged; allowed: the file that"),
        ("config.json", {"settings": {}, "spec": {"mean": 0.5}}, "damaged .*; allowed: the folder of a run"),
        ("model.json", {"model": 3}, "no model with fields; allowed: the file that `dlcore convert` wrote"),
        ("model.json", {"model": "mlp", "fields": [1]}, "no model with fields"),
    ],
)
def test_damaged_descriptions_of_networks_are_named(tmp_path, name, content, problem):
    (tmp_path / name).write_text(json.dumps({"experiment": "classification.supervised"} | content))
    with pytest.raises(ValueError, match=problem):
        open_weights(tmp_path, "network")


def test_a_packed_file_says_its_classes(tmp_path):
    meta = {
        "model": "mlp",
        "fields": {"hidden": [4, 2]},
        "mean": [0.1],
        "std": [0.2],
        "class_names": ["a", "b"],
        "side": 8,
    }
    np.savez(tmp_path / "w.npz", meta=json.dumps(meta))
    found = open_weights(tmp_path / "w.npz", "network")
    assert (found.model, found.fields, found.class_names) == ("mlp", {"hidden": (4, 2)}, ("a", "b"))
    assert (found.mean, found.std, found.spec) == ((0.1,), (0.2,), {"side": 8, "num_classes": 2})


@pytest.fixture
def run_of_ppo(monkeypatch, tmp_path):
    """A run of rl.ppo without weights: (its folder, the arguments of whatever opens its weights or trains another)."""
    calls = []
    (tmp_path / "config.json").write_text('{"experiment": "rl.ppo"}')
    weights = Weights("expert", tmp_path, settings={"net.width": 3})
    monkeypatch.setattr(earlier_run, "open_weights", lambda *rest: calls.append(rest) or weights)
    trained = lambda *rest: calls.append(rest) or Path("trained")  # noqa: E731
    return tmp_path, calls, SimpleNamespace(external_fields=("net.channels",), trained=trained)


def test_a_named_run_is_found_and_another_one_trained_with_the_flags_that_both_share(run_of_ppo):
    folder, calls, ppo = run_of_ppo
    values = {"expert": None, "seed": 5, "runs": "runs", "progress": None, "smoke": True, "net.width": 3}
    flags = Flags(values, {"net": ("net.width",)})
    assert earlier_run.find_or_train(flags, "expert", ppo, ["--a=1", "--net.channels=3"]) == Path("trained")
    assert calls.pop() == (["--smoke", "--a=1", "--seed=5", "--runs=runs"], "phase 1")
    earlier_run.find_or_train(flags.replace(smoke=False, progress=False), "expert", ppo, [])
    assert calls.pop()[0] == ["--seed=5", "--runs=runs", "--progress=False"]
    named = flags.replace(expert=str(folder))
    assert earlier_run.find_or_train(named, "expert", ppo, []) == folder
    assert not calls
    with pytest.raises(FlagError, match=r"^--expert=None: the page names no other to train it by; allowed: the folder"):
        earlier_run.find_or_train(flags, "expert", None, [])
    assert earlier_run.origin(named, "expert", "rl.ppo", "net").path == folder
    with pytest.raises(ValueError, match=r"expert='.*': trained with net\.width=3; allowed: 4, as in this run"):
        earlier_run.origin(named.replace(**{"net.width": 4}), "expert", "rl.ppo", "net")
    with pytest.raises(ValueError, match=r"expert='.*': a run of rl\.ppo; allowed: the folder of a run of rl\.dqn"):
        earlier_run.origin(named, "expert", "rl.dqn")
    with pytest.raises(ValueError, match=r"expert='nowhere': no such run; allowed: the folder of a run of rl\.ppo"):
        earlier_run.origin(flags.replace(expert="nowhere"), "expert", "rl.ppo")
