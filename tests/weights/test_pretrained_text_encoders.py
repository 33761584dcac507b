"""Weights of a run and published ones carry over, their vocabulary is asked, and what cannot serve is told."""

import json
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from dlcore.data.text import load_text
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import run as run_page
from dlcore.models.bert import BERT
from dlcore.models.gpt2 import GPT2
from dlcore.modes import predict
from dlcore.optim import trained_parts
from dlcore.setting import FlagError
from dlcore.weights import earlier_run, pretrained_text_encoders
from dlcore.weights.labeled_texts import ClassifyTexts
from dlcore.weights.read import save_weights
from experiments import find_experiment
from experiments.sequence import text_classification as page
from tests.overriding import inputs_of, run_of
from tests.saved_runs import save_state

TINY = ("--smoke", "--window=6", "--model.num_layers=1", "--model.num_heads=2", "--model.width=4")
CLASSIFIER = ("--smoke", "--dataset=pages", "--length=5", "--num_labels=8")


def filled(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.random(leaf.shape).astype(leaf.dtype), shapes)


def initial(experiment, *words):
    """(run, setup, the shapes of the initial state) of a page."""
    run = ResolvedRun(experiment, resolve(experiment, [*words]))
    splits = experiment.run(run.flags).load()
    setup = run.training_of(splits)
    return run, setup, jax.eval_shape(setup.build().init, jax.random.key(0), run.example(setup.spec))


def written(folder, model, *words):
    """The parameters of a run of a pretraining page, which is written without training."""
    experiment = find_experiment(pretrained_text_encoders.PAGES[model])
    more = ("--model.mlp_features=16",) if model == "bert" else ()
    run, setup, state = initial(experiment, *TINY, *more, *words, f"--run_dir={folder}")
    folder.mkdir()
    run.write_config(setup.spec)
    params = filled(state.params)
    save_state(folder, {"params": params})
    return params


def started(*words):
    """(setup, the state after the start) of the page of text classification."""
    flags = resolve(page.experiment, [*CLASSIFIER, *words])
    page.experiment.run(flags).check()
    _, setup, state = initial(page.experiment, *CLASSIFIER, *words)
    state = filled(state.replace(rng=np.zeros(2), opt_state=None), 1)
    found = setup.start()
    assert found.check(state) is None
    return setup, found.replace(state)


@pytest.mark.covers("AT-18")
@pytest.mark.slow(only=["gpt2"])
@pytest.mark.parametrize("model", ["gpt2", "bert"])
def test_the_weights_of_a_run_carry_over_and_the_head_starts_anew(model, tmp_path):
    params = written(tmp_path / "run", model)
    setup, state = started(f"--init_from={tmp_path / 'run'}", f"--model={model}")
    network = state.params["network"]
    heads = {"transform", "transform_norm", "head_bias"} if model == "bert" else set()
    assert set(params) - set(network) == heads
    jax.tree.map(np.testing.assert_array_equal, dict(network), {name: params[name] for name in network})
    assert (state.params["head"]["kernel"] != 0).all(), "as it was"
    form = setup.spec["network"]
    assert (form["num_layers"], form["width"], form["window"]) == (1, 4, 6), "that of the run"
    assert setup.spec["cls_token"] == (59 if model == "bert" else None), "the mask token, behind 59 characters"
    assert setup.spec["longest"] == (5 if model == "bert" else 6)


@pytest.mark.covers("AT-18")
def test_the_vocabulary_is_that_of_the_run(tmp_path):
    """A run on the melodies numbers 12 characters; lines of the pages have others, lines of notes are read by it."""
    written(tmp_path / "run", "gpt2", "--dataset=melodies")
    message = r"--init_from=.*: its vocabulary lacks 'e', 'i', 'l'; allowed: texts of its 12 characters"
    with pytest.raises(FlagError, match=message):
        started(f"--init_from={tmp_path / 'run'}")
    notes = tmp_path / "notes.tsv"
    notes.write_text("up\tCDE\ndown\tEDC\n" * 9, encoding="utf-8")
    words = [f"--init_from={tmp_path / 'run'}", "--dataset=file", f"--data_dir={notes}", "--num_labels=2"]
    setup, _ = started(*words)
    vocabulary = "".join(sorted(set(load_text("melodies"))))
    assert setup.spec["vocabulary"] == vocabulary
    assert (setup.spec["cls_token"], setup.spec["longest"]) == (None, 6), "GPT-2 has no token of a class"
    splits = page.experiment.run(setup.flags).load()
    tokens, label = splits.train.arrays["text"][0], splits.train.arrays["label"][0]
    assert "".join(vocabulary[t] for t in tokens) == ("CDE" if splits.spec["class_names"][label] == "up" else "EDC")


@pytest.mark.covers("AT-18")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model=bert"], r"^--init_from=.*: a run of sequence.language_model; allowed: with --model=bert a run of "
         "sequence.masked_language_model, or a folder of `dlcore convert` with bert_base or bert_large$"),
        (["--width=8"], r"^--width=8: not that of --init_from=.*; allowed: 4$"),
        (["--tokenizer=t.json"], r"^--tokenizer=t.json: --init_from=.* reads characters; allowed: none$"),
        (["--parts=encoder"], r"^--parts: part='encoder': names no parameter"),
    ],
)  # fmt: skip
def test_a_run_that_does_not_fit_is_told(words, message, tmp_path):
    written(tmp_path / "run", "gpt2")
    with pytest.raises(FlagError, match=message):
        page.experiment.run(resolve(page.experiment, [*CLASSIFIER, f"--init_from={tmp_path / 'run'}", *words])).check()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--init_from=nowhere"], "init_from='nowhere': holds no trained network; allowed: the folder of a run"),
        (
            ["--dataset=file"],
            "--init_from=pretraining: of embedded texts; allowed with --dataset=file: weights, or none",
        ),
        (["--init_from=none", "--tokenizer=nowhere"], "--tokenizer=nowhere: no such file; allowed: a tokenizer.json"),
        (["--init_from=none", "--width=9"], "--num_heads=2: does not divide --width=9; allowed: a divisor"),
        (["--init_from=none", "--layer_decay=0.5", "--parts=*:0"], "nothing learns"),
    ],
)
def test_flags_that_do_not_fit(words, message):
    with pytest.raises(ValueError, match=message):
        page.experiment.run(resolve(page.experiment, [*CLASSIFIER, *words])).check()


def test_another_experiments_run_is_told(tmp_path):
    config = {"experiment": "classification.supervised", "settings": {"model": "mlp"}, "spec": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FlagError, match=r"a run of classification.supervised; allowed: with --model=gpt2 a run of"):
        pretrained_text_encoders.origin(resolve(page.experiment, [f"--init_from={tmp_path}"]))


def word_tokenizer(path, *words):
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(("[UNK]", *words))}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # As published files have them; tokens of the padding would be read, and texts cut without a note.
    tokenizer.enable_padding(length=12, pad_id=0)
    tokenizer.enable_truncation(2)
    tokenizer.save(str(path))
    return path


@pytest.mark.covers("AT-18")
@pytest.mark.slow(only=["gpt2-GPT2"])
@pytest.mark.parametrize(("name", "model"), [("gpt2", GPT2), ("bert_base", BERT)])
def test_published_weights_carry_over_with_their_tokenizer(name, model, tmp_path):
    fields = {"vocab_size": 5, "window": 4, "num_layers": 1, "num_heads": 2, "width": 4}
    fields |= {"mlp_features": 8} if model is BERT else {}
    params = filled(jax.eval_shape(lambda: model(**fields).init(jax.random.key(0), np.zeros((1, 2), int))["params"]))
    save_weights(tmp_path / "weights", {"params": params}, {"model": name, "fields": fields})
    path = word_tokenizer(tmp_path / "tokenizer.json", "a", "fine", "dull", "film")
    texts = tmp_path / "texts.tsv"
    texts.write_text("good\ta fine film\nbad\ta dull old film indeed\n" * 9, encoding="utf-8")
    kind = "gpt2" if model is GPT2 else "bert"
    words = [f"--init_from={tmp_path / 'weights'}", "--dataset=file", f"--data_dir={texts}", f"--model={kind}"]
    setup, state = started(*words, f"--tokenizer={path}", "--num_labels=2")
    network = dict(state.params["network"])
    jax.tree.map(np.testing.assert_array_equal, network, {key: params[key] for key in network})
    assert "vocabulary" not in setup.spec
    assert setup.spec["cls_token"] is None
    rows = page.experiment.run(setup.flags).load().train.arrays["text"]
    assert {tuple(row) for row in rows.tolist()} <= {(1, 2, 4, -1), (1, 3, 0, 4)}, "cut after the window of 4"
    assert any("of 18 texts are cut after 4 tokens" in note for note in page.experiment.run(setup.flags).load().notes)
    with pytest.raises(FlagError, match=r"reads tokens of its own; allowed: beside --tokenizer, its tokenizer.json"):
        started(*words, "--num_labels=2")
    other = word_tokenizer(tmp_path / "other.json", "a")
    with pytest.raises(FlagError, match=r"--tokenizer=.*other.json: 2 tokens; allowed: 5, as the weights"):
        started(*words, f"--tokenizer={other}", "--num_labels=2")


@pytest.mark.covers("AT-18")
@pytest.mark.parametrize("model", ["gpt2", "bert"])
def test_pretraining_runs_the_page_of_the_network_on_the_same_text(model, tmp_path, monkeypatch):
    window, calls = {"gpt2": 5, "bert": 32}[model], []
    params = written(tmp_path / "run", model, f"--window={window}")

    def find_or_train(flags, argument, name, words):
        calls.append((flags.init_from, argument, name, words))
        return tmp_path / "run"

    monkeypatch.setattr(earlier_run, "find_or_train", find_or_train)
    words = [f"--model={model}", "--width=4", "--num_heads=2", "--num_layers=1"]
    _, setup, state = initial(page.experiment, *CLASSIFIER, *words)
    found = setup.start()
    assert found.check(None) is None
    assert not calls, "nothing is trained before the page's own checks"
    after = found.replace(filled(state.replace(rng=np.zeros(2), opt_state=None), 1))
    network = after.params["network"]
    jax.tree.map(np.testing.assert_array_equal, dict(network), {key: params[key] for key in network})
    ((given, argument, name, flags),) = calls
    assert (given, argument, name.name) == (None, "init_from", pretrained_text_encoders.PAGES[model])
    assert {"--dataset=pages", f"--window={window}", "--model.width=4", "--model.num_heads=2"} <= set(flags)
    assert ("--model.mlp_features=16" in flags) is (model == "bert")
    resolve(name, flags)


def test_without_weights_nothing_starts():
    setup = run_of(Flags({"init_from": None}))
    assert pretrained_text_encoders.start(setup, {}) is None


def test_decoded_texts_and_predicted_ones(tmp_path):
    flags = resolve(page.experiment, [*CLASSIFIER, "--init_from=none", "--input=the old man"], predict.MODE.settings)
    splits = page.experiment.run(flags).load()
    spec = splits.spec
    rows, names = inputs_of(page.experiment, flags, spec)
    assert names == ["the old man"]
    chex.assert_shape(rows.arrays["text"], (1, 5), custom_message="cut to the window of lines of 5")
    assert pretrained_text_encoders.decode(flags, spec, rows.arrays["text"][0]) == "the o"
    path = tmp_path / "texts.txt"
    path.write_text("a\n\nto be\n", encoding="utf-8")
    rows, names = inputs_of(page.experiment, flags.replace(input=str(path)), spec)
    assert names == ["a", "to be"]
    assert rows.arrays["text"][0, 1:].tolist() == [-1] * 4
    with pytest.raises(FlagError, match=r"--input='ü': its vocabulary lacks 'ü'; allowed: texts of its 59 characters"):
        inputs_of(page.experiment, flags.replace(input="ü"), spec)
    with pytest.raises(FlagError, match=r"--input=' ': empty; allowed: a text"):
        inputs_of(page.experiment, flags.replace(input=" "), spec)


@pytest.mark.slow
def test_splits_do_not_share_texts_and_the_test_split_is_that_of_every_seed():
    words = ["--smoke", "--init_from=none", "--num_labels=100"]
    experiment = page.experiment
    first, second = (experiment.run(resolve(experiment, [*words, f"--seed={seed}"])).load() for seed in (0, 1))
    assert [len(s) for s in (first.train, first.valid, first.test)] == [100, 300, 600]
    np.testing.assert_array_equal(first.test.arrays["text"], second.test.arrays["text"])
    assert (first.train.arrays["text"] != second.train.arrays["text"]).any()
    rows = np.concatenate([s.arrays["text"] for s in (first.train, first.valid, first.test)])
    assert len(np.unique(rows, axis=0)) == 1000
    with pytest.raises(FlagError, match="--num_labels=601: more than are left for training; allowed: at most 600"):
        page.experiment.run(resolve(page.experiment, ["--smoke", "--init_from=none", "--num_labels=601"])).load()


@pytest.mark.weekly
@pytest.mark.covers("AT-18")
def test_a_real_run_starts_a_real_classifier_which_is_evaluated_and_predicts(tmp_path, capsys):
    source, folder = tmp_path / "source", tmp_path / "run"
    assert run_page(find_experiment("sequence.language_model"), [*TINY, f"--run_dir={source}"]) == 0
    words = [*CLASSIFIER, f"--init_from={source}", "--parts=head"]
    assert run_page(page.experiment, [*words, f"--run_dir={folder}"]) == 0
    before, after = (earlier_run.load(path).params for path in (source, folder))
    splits = page.experiment.run(resolve(page.experiment, words)).load()
    jax.tree.map(np.testing.assert_array_equal, after["network"], before)
    assert np.abs(after["head"]["kernel"]).max() > 0
    assert run_page(page.experiment, ["--mode=evaluate", f"--run={folder}"]) == 0
    capsys.readouterr()
    assert run_page(page.experiment, ["--mode=predict", f"--run={folder}", "--input=to be"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("to be: ")
    assert sum(name in out for name in splits.spec["class_names"]) >= 5


def test_check_parts_names_the_part():
    flags = SimpleNamespace(parts=("heda",), layer_decay=None)
    params = {"head": {"kernel": np.zeros(2)}}
    with pytest.raises(FlagError, match=r"^--parts: part='heda': names no parameter; allowed: such as head"):
        trained_parts.check_parts(flags, params)
    with pytest.raises(FlagError, match=r"^--layer_decay=0.5: the network has no numbered blocks"):
        trained_parts.check_parts(SimpleNamespace(parts=("*",), layer_decay=0.5), params)
    with pytest.raises(FlagError, match=r"^--parts: part='a:b:c': malformed"):
        trained_parts.parts_of(SimpleNamespace(parts=("a:b:c",)))


def test_a_file_of_texts_has_a_text_a_line(tmp_path):
    """U+FEFF in front and U+2028 within are no words and no line's end; [UNK] is 0, and Whitespace splits at U+2028."""
    path, texts = word_tokenizer(tmp_path / "tokenizer.json", "fine", "dull"), tmp_path / "texts.txt"
    texts.write_text("\ufefffine\u2028dull\n\ndull\n", encoding="utf-8")
    network = SimpleNamespace(encoder=SimpleNamespace(tokenizer=str(path)))
    run = SimpleNamespace(parts=SimpleNamespace(network=network), spec={"longest": 4})
    source, names = ClassifyTexts().inputs(str(texts), run)
    assert names == ["fine\u2028dull", "dull"]
    np.testing.assert_array_equal(source.arrays["text"], [[1, 2], [2, -1]])


def test_of_many_characters_that_a_vocabulary_lacks_five_are_named():
    encode = pretrained_text_encoders.text_encoder(Flags({"tokenizer": None}), {"vocabulary": "ab"}, "--dataset=x")
    tokens = encode("bab")
    assert (tokens.tolist(), tokens.dtype) == ([1, 0, 1], np.int32)
    for text, missing in (("gfedc", "'c', 'd', 'e', 'f', 'g'"), ("ihgfedc", "'c', 'd', 'e', 'f', 'g' and 2 more")):
        with pytest.raises(FlagError, match=f"^--dataset=x: its vocabulary lacks {missing}; allowed: texts of its 2 c"):
            encode(text)


@pytest.mark.parametrize(("model", "fields"), [("gpt2", {}), ("bert", {"mlp_features": 24, "head": "pooled"})])
def test_a_network_without_weights_has_the_form_of_the_flags_and_the_window_of_the_longest_text(model, fields):
    """Beside the vocabulary a BERT has a mask token, in front of each text, and a hidden layer four times as wide."""
    flags = Flags({
        "model": model, "init_from": None, "tokenizer": None, "dataset": "x", "num_layers": 3, "num_heads": 2,
        "width": 6, "dropout": 0.25,
    })  # fmt: skip
    tokens, spec = pretrained_text_encoders.facts(flags, "x", ["ba", "aba"], "cab")
    assert [row.tolist() for row in tokens] == [[1, 0], [0, 1, 0]]
    is_bert = model == "bert"
    expected = {"vocab_size": 3 + is_bert, "window": 3 + is_bert, "num_layers": 3, "num_heads": 2, "width": 6}
    network = spec["network"]
    assert {name: network[name] for name in (*expected, "dropout", *fields)} == {**expected, "dropout": 0.25, **fields}
    assert (spec["vocabulary"], spec["cls_token"], spec["longest"]) == ("abc", 3 if is_bert else None, 3)
    built = pretrained_text_encoders.build(run_of(flags, spec, dtype=np.float16))
    assert (built.width, built.dropout, built.dtype) == (6, 0.25, np.float16)


PHASES = {"gpt2": "its page"}


def test_pretraining_of_a_real_run_has_its_own_steps(monkeypatch):
    asked = []
    monkeypatch.setattr(earlier_run, "find_or_train", lambda *rest: asked.append(rest) or "folder")
    phase = SimpleNamespace(params="parameters", spec={"vocabulary": "ab"})
    monkeypatch.setattr(earlier_run, "load", lambda folder: phase)
    flags = Flags({"model": "gpt2", "init_from": "pretraining", "dataset": "x", "smoke": False, "pretraining_steps": 7})
    spec = {"network": {"window": 5, "num_layers": 3, "num_heads": 2, "width": 6}, "vocabulary": "ab"}
    form = ["--dataset=x", "--window=5", "--model.num_layers=3", "--model.num_heads=2", "--model.width=6"]
    more = ["--steps=7", "--batch_size=64", "--learning_rate=2e-3", "--eval_every=500"]
    for smoke, words in ((False, form + more), (True, form)):
        start = pretrained_text_encoders.start(run_of(flags.replace(smoke=smoke), spec), PHASES)
        with pytest.raises(AttributeError):  # parameters of a string
            start(SimpleNamespace(params={"network": {}}))
        assert asked.pop()[3] == words
    phase.spec = {"vocabulary": "abc"}
    with pytest.raises(ValueError, match=r"^init_from='folder': trained with vocabulary=abc; allowed: ab$"):
        pretrained_text_encoders.start(run_of(flags, spec), PHASES)(SimpleNamespace(params={"network": {}}))
