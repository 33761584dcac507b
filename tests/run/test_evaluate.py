"""Whole sources: every example once and in order, whatever the batch, the mesh and the randomness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import Evaluator, Last, Learner, Max, State, Sum, example_keys, mask_of
from dlcore.run import Placement, evaluate, fit, make_mesh, predict
from dlcore.run.evaluate import Evaluation, arrays, compute_metrics, pad_local_batches, scalars


def one_device():
    return Placement(make_mesh("data:1", jax.devices()[:1]))


PLACEMENTS = {
    "one": one_device(),
    "eight": Placement(make_mesh("data:8")),
    "two axes": Placement(make_mesh("data:2,model:4"), "tensor"),
    "pmap": Placement(make_mesh("data:8"), spmd="pmap"),
}


def measure():
    """Counts, sums, and noise drawn from each example's index."""

    def noise(state, batch):
        return jax.vmap(jax.random.normal)(example_keys(state.rng, batch))

    def evaluate(state, batch):
        mask = mask_of(batch)
        return {
            "x": Sum.of(batch["x"][:, 0], mask),
            "seen": Sum(mask.sum().astype(jnp.int32)),
            "index": Sum((batch["index"] * mask).sum()),
            "top": Max(jnp.where(mask > 0, batch["x"][:, 0], -jnp.inf).max()),
            "noise": Sum.of(noise(state, batch), mask),
            "by": Sum(jnp.zeros(3, jnp.int32).at[batch["index"] % 3].add((mask > 0).astype(jnp.int32))),
        }

    def predict(state, batch):
        return {"x": batch["x"], "index": batch["index"], "noise": noise(state, batch), "w": batch["x"] * state.params}

    return Learner(lambda rng, batch: None, lambda state, batch: (state, {}), evaluate, predict)


STATE = State(jnp.int32(0), jax.random.key(0), jnp.float32(2.0), ())


def source(n):
    return Source({"x": np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)}, n)


@pytest.mark.slow(unless=["1-pmap", "7-eight"])
@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
@pytest.mark.parametrize("size", [1, 7, 21, 1000])
def test_every_example_counts_once_whatever_the_batch_and_the_mesh(size, placement):
    data = source(21)
    measures = evaluate(measure(), STATE, data, batch_size=size, placement=placement)
    x = data.arrays["x"][:, 0].astype(np.float64)
    assert measures["seen"] == 21
    assert measures["index"] == 210
    assert measures["top"] == x.max()
    assert measures["x"] == pytest.approx(x.mean(), rel=1e-6)
    np.testing.assert_array_equal(measures["details"]["by"], [7, 7, 7])
    keys = example_keys(STATE.rng, {"index": jnp.arange(21)})
    assert measures["noise"] == pytest.approx(float(jax.vmap(jax.random.normal)(keys).mean()), rel=1e-5)


@pytest.mark.slow(unless=["7-eight", "7-two axes", "1000-one", "1000-pmap"])
@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
@pytest.mark.parametrize("size", [7, 1000])
def test_predictions_come_in_order_without_padding(size, placement):
    data = source(21)
    out = predict(measure(), STATE, data, batch_size=size, placement=placement)
    np.testing.assert_array_equal(out["index"], np.arange(21))
    np.testing.assert_array_equal(out["x"], data.arrays["x"])
    np.testing.assert_array_equal(out["w"], 2 * data.arrays["x"])
    assert isinstance(out["x"], np.ndarray)
    keys = example_keys(STATE.rng, {"index": jnp.arange(21)})
    np.testing.assert_allclose(out["noise"], jax.vmap(jax.random.normal)(keys), rtol=1e-6)


def test_sums_go_to_the_host_before_they_can_freeze():
    """3 * 2^24 + 1 ones in float32: on the device alone the last ones would be lost."""
    big = measure()._replace(evaluate=lambda state, batch: {"n": Sum(batch["n"].sum())})
    batches = [{"n": np.full(1, 2.0**24, np.float32)}] * 3 + [{"n": np.ones(1, np.float32)}]
    host = Evaluation(big, one_device()).metrics(STATE, batches, fold_every=1)
    assert host["n"].compute() == 3 * 2**24 + 1
    lost = Evaluation(big, one_device()).metrics(STATE, batches, fold_every=100)
    assert lost["n"].compute() == 3 * 2**24, "without folding float32 does lose it"


@pytest.mark.slow(only=["1", "3"])
@pytest.mark.parametrize("fold_every", [1, 2, 3, 100])
def test_folding_does_not_change_the_sums(fold_every):
    batches = list(pad_local_batches(source(21), 4, one_device()))
    host = Evaluation(measure(), one_device()).metrics(STATE, batches, fold_every=fold_every)
    assert host["seen"].compute() == 21
    assert host["seen"].total.dtype == np.int64
    assert host["x"].total.dtype == np.float64


def test_padding_divides_over_the_devices_and_is_masked():
    batches = list(pad_local_batches(source(21), 10, Placement(make_mesh("data:8"))))
    assert [len(b["index"]) for b in batches] == [16, 16]
    assert sum(b["mask"].sum() for b in batches) == 21
    assert [len(b["index"]) for b in pad_local_batches(source(3), 256, one_device())] == [3]


def test_an_empty_source_is_an_error():
    for function in (evaluate, predict):
        with pytest.raises(ValueError, match="holds no example"):
            function(measure(), STATE, source(0), placement=one_device())


def test_metrics_of_several_values_and_of_arrays():
    class Both(Sum):
        def compute(self):
            return {"mean": 0.5, "bins": np.arange(3), "none": None}

    metrics = {
        "a": Sum(np.float64(1.0), np.int64(4)),
        "blank": Sum(np.float64(0.0), np.int64(0)),
        "both": Both(np.float64(0)),
        "matrix": Sum(np.eye(2)),
        "last": Last(np.float64(0.1)),
    }
    measures = compute_metrics(metrics)
    numbers = scalars(measures)
    assert numbers == {"a": 0.25, "blank": None, "both/mean": 0.5, "both/none": None, "last": 0.1}
    assert set(arrays(measures)) == {"both/bins", "matrix"}
    assert measures.keys() == numbers.keys() | arrays(measures).keys()
    assert all(isinstance(value, float | type(None)) for value in numbers.values())


@pytest.mark.parametrize(
    ("metrics", "what"),
    [
        ({"a": jnp.zeros(3)}, r"metrics\['a'\]: an array \[3\]"),
        ({"a": 0.5}, r"metrics\['a'\]: an array \[\]"),
        ({"a": None}, r"metrics\['a'\]: a NoneType"),
        (jnp.zeros(()), r"metrics: an array \[\]"),
    ],
)
@pytest.mark.parametrize("method", ["evaluate", "update"])
def test_metrics_that_do_not_add_up_are_named(metrics, what, method):
    learner = measure()
    learner = learner._replace(
        init=lambda rng, batch: STATE, **{method: lambda s, b: metrics if method == "evaluate" else (s, metrics)}
    )
    source = Source({"x": np.zeros((4, 1), np.float32)})
    message = rf"^{what}, no Metric; allowed: \{{name: Sum.of\(values, mask\), Max\(value\) or Last\(value\)\}}"
    with pytest.raises(ValueError, match=message):
        fit(learner, Pipeline(source, 2), steps=1, progress=False, placement=one_device(), valid=source)


def test_a_metric_may_not_be_called_details():
    taken = measure()._replace(evaluate=lambda state, batch: {"details": Sum(jnp.int32(1))})
    with pytest.raises(ValueError, match="metric='details': the name of the arrays; allowed: any other name"):
        evaluate(taken, STATE, source(3), placement=one_device())


def gather(acc, outputs, rows):
    """Pairs of what was predicted and what it was predicted from, in order."""
    return [*(acc or []), (outputs["x"], rows["x"], rows["index"])]


def spread(acc):
    predicted, given, index = (np.concatenate(parts) for parts in zip(*acc, strict=True))
    np.testing.assert_array_equal(predicted, given)
    return {"median": float(np.median(predicted)), "order": index}


@pytest.mark.slow(only=["one", "two axes"])
@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
def test_evaluators_see_every_example_once_in_order_without_padding(placement):
    data, other = source(21), source(5)
    evaluators = [Evaluator(gather, spread), Evaluator(gather, lambda acc: {"bank": len(spread(acc)["order"])}, other)]
    measures = evaluate(measure(), STATE, data, batch_size=8, placement=placement, evaluators=evaluators)
    assert measures["median"] == pytest.approx(np.median(data.arrays["x"]))
    assert measures["bank"] == 5
    np.testing.assert_array_equal(measures["details"]["order"], np.arange(21))
    assert all(isinstance(value, float | None) for name, value in measures.items() if name != "details")
    assert measures["x"] == pytest.approx(float(data.arrays["x"][:, 0].mean()), rel=1e-6)


def test_evaluators_of_one_source_share_one_pass():
    seen = []
    measuring = measure()
    evaluation = Evaluation(measuring, one_device())
    stream = evaluation.stream
    evaluation.stream = lambda *args: seen.append(1) or stream(*args)
    measures = evaluation.evaluator_measures(
        STATE, [Evaluator(gather, lambda acc, n=n: {n: len(acc)}) for n in "ab"], source(7), batch_size=4
    )
    assert seen == [1]
    assert measures == {"a": 2.0, "b": 2.0}


def test_an_evaluator_may_not_take_a_name_that_is_taken():
    unnamed = Evaluator(gather, lambda acc: {"b": 1}, names=("a",))
    same = Evaluator(gather, lambda acc: {"a": 1})
    metric = Evaluator(gather, lambda acc: {"x": 1})
    empty = Evaluator(gather, lambda acc: {"y": 1}, source(0))
    for evaluators, message in (
        ([unnamed], "one gives 'b', which it does not name; allowed: a"),
        ([same, same], "two evaluators give 'a'"),
        ([metric], "both called 'x'"),
        ([empty], "no example"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(measure(), STATE, source(3), placement=one_device(), evaluators=evaluators)


def test_a_split_is_traced_before_anything_is_computed():
    """Examples of another form, and none at all, are one line that names the split and what was found."""
    ran = []
    learner = measure()
    check = Evaluation(
        learner._replace(evaluate=lambda s, b: ran.append(b["x"]) or learner.evaluate(s, b)), one_device()
    )
    check.check(STATE, source(5), 4)
    assert [x.shape for x in ran] == [(4, *source(5)[:1]["x"].shape[1:])]
    assert isinstance(ran[0], jax.core.Tracer)
    other = Source({"y": np.zeros((3, 2), np.float32)})
    with pytest.raises(ValueError, match=r"^valid: holds index, mask, y, no 'x'; allowed: all keys that"):
        check.check(STATE, other, 4)
    with pytest.raises(ValueError, match=r"^valid: holds no example; allowed: at least one, or valid=None$"):
        check.check(STATE, source(0), 4)
