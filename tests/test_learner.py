"""The contract's types: metrics add up exactly, a zero count is blank, keys come from the index alone."""

import ast
import importlib
import inspect
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import struct
from hypothesis import given
from hypothesis import strategies as st

import dlcore
from dlcore.learner import (
    Last,
    Learner,
    Max,
    Metric,
    Range,
    State,
    Sum,
    check_arguments,
    example_keys,
    mask_of,
    root_key,
)
from dlcore.metrics import ConfusionMatrix
from dlcore.run.sums import fold, merge


class Counts(Metric):
    """A metric of a subclass: an array of counts, joined leaf by leaf."""

    counts: jax.Array

    def compute(self):
        return {"zeros": self.counts[0], "all": self.counts}


def test_a_mask_of_another_shape_does_not_broadcast():
    # Of [[1, 2], [3, 50]] without the 50: 6 / 3; without the second row: 3 / 2.
    values = jnp.array([[1.0, 2], [3, 50]])
    assert Sum.of(values, jnp.array([[1, 1], [1, 0]])).compute() == 2
    assert Sum.of(values, jnp.array([1, 0])).compute() == 1.5
    for mask in (jnp.ones(1), jnp.ones((2, 1)), jnp.ones((1, 2)), jnp.ones(3)):
        with pytest.raises(ValueError, match=r"mask=\(.*\): wrong shape; allowed: \(2,\) or \(2, 2\)"):
            Sum.of(values, mask)


def test_sum_of_is_the_mean_over_the_mask():
    got = Sum.of(jnp.array([1.0, 2.0, 4.0, 100.0]), jnp.array([1, 1, 1, 0]))
    assert got.compute() == pytest.approx(7 / 3)
    assert (float(got.total), int(got.count)) == (7.0, 3)
    assert Sum.of(jnp.array([1.0, 2.0, 6.0])).compute() == 3.0


def test_sum_of_counts_every_value_of_an_example():
    # Two time steps an example, the second example is padding: (1 + 3) / 2.
    got = Sum.of(jnp.array([[1.0, 3.0], [50.0, 50.0]]), jnp.array([1.0, 0.0]))
    assert got.compute() == 2.0
    assert int(got.count) == 2


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_masked_values_are_ignored(poison):
    got = Sum.of(jnp.array([1.0, poison, 3.0]), jnp.array([1.0, 0.0, 1.0]))
    assert got.compute() == 2.0
    seen = Sum.of(jnp.array([1.0, poison, 3.0]))
    assert not np.isfinite(seen.compute())


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([True, False, True]), jnp.int32),
        (np.array([200, 200, 200], np.uint8), jnp.int32),
        (np.array([1, 2, 3], np.int32), jnp.int32),
        (np.array([1, 2, 3], jnp.bfloat16), jnp.float32),
        (np.array([1, 2, 3], np.float32), jnp.float32),
    ],
)
def test_sums_are_int32_or_float32(values, dtype):
    got = Sum.of(jnp.asarray(values))
    assert got.total.dtype == dtype
    assert got.count.dtype == jnp.int32
    assert got.compute() == pytest.approx(np.asarray(values, np.float64).mean())


def test_bfloat16_is_added_up_in_float32():
    # In bfloat16 256 + 1 is 256: a sum of ones would freeze there.
    assert float(Sum.of(jnp.ones(1000, jnp.bfloat16)).total) == 1000


def test_float64_stays_float64():
    with jax.enable_x64(True):
        got = Sum.of(jnp.array([1.0, 1e-12], jnp.float64))
        assert got.total.dtype == jnp.float64
        assert float(got.total) == 1.0 + 1e-12


def test_a_zero_count_is_blank():
    assert Sum.of(jnp.array([1.0, 2.0]), jnp.zeros(2)).compute() is None
    assert Sum.of(jnp.array([jnp.nan]), jnp.zeros(1)).empty().compute() is None


def test_a_sum_without_a_count_is_the_plain_sum_of_any_shape():
    assert Sum(jnp.float32(2.5)).merge(Sum(jnp.float32(1.0))).compute() == 3.5
    matrix = jnp.arange(4).reshape(2, 2)
    np.testing.assert_array_equal(Sum(matrix).merge(Sum(matrix)).compute(), [[0, 2], [4, 6]])


def test_max():
    left, right = Max(jnp.float32(-3.0)), Max(jnp.float32(-1.0))
    assert left.merge(right).compute() == -1.0
    assert right.merge(left).compute() == -1.0
    # Zero would be wrong as the neutral element of negative values.
    assert left.empty().merge(left).compute() == -3.0
    assert left.empty().compute() is None
    assert Max(jnp.array([[1.0, 5.0], [2.0, 3.0]])).collapse().compute().tolist() == [2.0, 5.0]


def test_max_of_integers_is_blank_where_nothing_was_seen():
    seen = Max(jnp.int32(-7))
    assert seen.empty().merge(seen).compute() == -7
    assert seen.empty().compute() is None
    folded = fold(None, {"m": seen.empty()})["m"]
    assert folded.compute() is None, "blank must stay blank when a count is widened to 64 bits on the host"
    assert fold(None, {"m": seen})["m"].compute() == -7


def test_max_passes_a_nan_on():
    for order in ((1.0, math.nan), (math.nan, 1.0)):
        assert math.isnan(Max(jnp.float32(order[0])).merge(Max(jnp.float32(order[1]))).compute())
        host = [fold(None, {"m": Max(jnp.float32(x))})["m"] for x in order]
        assert math.isnan(host[0].merge(host[1]).compute())


def test_last():
    first, second = Last(jnp.float32(0.1)), Last(jnp.float32(0.2))
    assert first.merge(second).compute() == pytest.approx(0.2)
    assert first.empty().merge(first).compute() == pytest.approx(0.1)
    assert Last(jnp.array([1.0, 2.0, 3.0])).collapse().compute() == 3.0


@pytest.mark.parametrize(
    "metric", [Sum(jnp.float32(2.0), jnp.int32(3)), Max(jnp.float32(-2.0)), Counts(jnp.arange(3, dtype=jnp.int32))]
)
def test_empty_is_neutral_and_keeps_shapes_and_dtypes(metric):
    empty = metric.empty()
    for both in (empty.merge(metric), metric.merge(empty)):
        for got, want in zip(jax.tree.leaves(both), jax.tree.leaves(metric), strict=True):
            np.testing.assert_array_equal(got, want)
            assert got.dtype == want.dtype
            chex.assert_equal_shape([got, want])


def test_a_metric_of_its_own_needs_only_compute():
    one = Counts(jnp.array([1, 2, 3]))
    assert one.merge(one).compute()["zeros"] == 2
    assert Counts(jnp.array([[1, 2, 3], [1, 1, 1]])).collapse().compute()["all"].tolist() == [2, 3, 4]
    with pytest.raises(TypeError, match="Metric does not say how to compute"):
        Metric().compute()


@pytest.mark.weekly
@given(
    values=st.lists(st.integers(-50, 50), min_size=1, max_size=24),
    cuts=st.lists(st.integers(0, 24), max_size=3),
    padding=st.integers(0, 3),
)
def test_any_split_gives_the_same_value(values, cuts, padding):
    """Exact on the host whatever the batches: integers in float32 add without rounding here."""
    array = np.asarray(values, np.float32)
    edges = [0, *sorted(min(c, len(values)) for c in cuts), len(values)]
    host = None
    for low, high in itertools.pairwise(edges):
        part = jnp.asarray(np.concatenate([array[low:high], np.full(padding, np.nan, np.float32)]))
        mask = jnp.asarray([1.0] * (high - low) + [0.0] * padding)
        biggest = jnp.where(mask > 0, part, -jnp.inf).max(initial=-jnp.inf)
        host = fold(host, {"mean": Sum.of(part, mask), "max": Max(biggest)})
    assert host["mean"].compute() == float(array.astype(np.float64).sum() / len(values))
    assert host["max"].compute() == array.max()


def test_float32_counts_would_stop_at_2_to_the_24_and_folded_ones_do_not():
    step, steps, more = 2**20, 17, 3
    part = Sum(jnp.float32(step), jnp.int32(step))
    one = Sum(jnp.float32(1.0), jnp.int32(1))
    frozen = {"n": Sum(jnp.float32(2**24), jnp.int32(2**24))}
    assert float(merge(frozen, {"n": one})["n"].total) == 2**24, "float32 alone does freeze"
    host = None
    for _ in range(steps):
        host = fold(host, {"n": part})
    for _ in range(more):
        host = fold(host, {"n": one})
    assert float(host["n"].total) == steps * step + more
    assert int(host["n"].count) == steps * step + more
    assert host["n"].compute() == 1.0


def test_counts_grow_past_int32_on_the_host():
    host = None
    for _ in range(3):
        host = fold(host, {"n": Sum(jnp.int32(2**31 - 1), jnp.int32(2**31 - 1)), "c": Counts(jnp.full(2, 2**31 - 1))})
    assert int(host["n"].count) == 3 * (2**31 - 1)
    assert host["n"].compute() == 1.0
    assert host["c"].compute()["all"].tolist() == [3 * (2**31 - 1)] * 2
    assert host["n"].total.dtype == host["n"].count.dtype == np.int64


def test_more_values_than_int32_counts_are_refused():
    mask = jax.ShapeDtypeStruct((2**31,), bool)
    with pytest.raises(ValueError, match=r"values=\(2147483648,\): 2,147,483,648 in one step"):
        jax.eval_shape(Sum.of, mask)
    with pytest.raises(ValueError, match="fewer than 2\\^31"):
        jax.eval_shape(lambda x: ConfusionMatrix.of(x, x, num_classes=2), jax.ShapeDtypeStruct((2**15, 2**16), "int32"))
    jax.eval_shape(Sum.of, jax.ShapeDtypeStruct((2**31 - 1,), bool))


def test_fold_leaves_its_arguments_alone_and_keeps_kinds():
    device = {"max": Max(jnp.float32(1.0)), "last": Last(jnp.float32(0.5)), "sum": Sum(jnp.float32(1.0))}
    host = fold(None, device)
    again = fold(host, {**device, "max": Max(jnp.float32(3.0)), "last": Last(jnp.float32(0.25))})
    assert (host["max"].compute(), host["last"].compute(), host["sum"].compute()) == (1.0, 0.5, 1.0)
    assert (again["max"].compute(), again["last"].compute(), again["sum"].compute()) == (3.0, 0.25, 2.0)
    assert all(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(again))


def test_metrics_pass_through_jit():
    total = jax.jit(lambda a, b: a.merge(b))(Sum.of(jnp.ones(3)), Sum.of(jnp.zeros(1)))
    assert total.compute() == 0.75


def test_mask_of():
    index = jnp.arange(3)
    np.testing.assert_array_equal(mask_of({"index": index}), [1.0, 1.0, 1.0])
    got = mask_of({"index": index, "mask": jnp.array([True, False, True])})
    np.testing.assert_array_equal(got, [1.0, 0.0, 1.0])
    assert got.dtype == jnp.float32


def test_keys_of_examples_come_from_the_index_alone():
    rng = jax.random.key(3)
    whole = jax.random.key_data(example_keys(rng, {"index": jnp.arange(6)}))
    other = jax.random.key_data(example_keys(rng, {"index": jnp.array([4, 1])}))
    np.testing.assert_array_equal(other, whole[jnp.array([4, 1])])
    assert len({tuple(row) for row in np.asarray(whole).tolist()}) == 6
    moved = jax.random.key_data(example_keys(jax.random.key(4), {"index": jnp.arange(6)}))
    assert not (np.asarray(whole) == np.asarray(moved)).all(-1).any()


def test_a_learner_may_leave_out_its_loss_and_batched_leaves():
    learner = Learner(*(lambda *args: None,) * 4)
    assert learner.loss is None
    assert learner.batched == ()
    assert Range(0) == (0, math.inf)


def test_a_state_takes_arrays_of_its_own():
    @struct.dataclass
    class Carried(State):
        carry: jax.Array

    state = Carried(jnp.int32(0), jax.random.key(0), {"w": jnp.ones(2)}, (), carry=jnp.zeros(3))
    paths = [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in jax.tree_util.tree_leaves_with_path(state)]
    assert paths == ["step", "rng", "params/w", "carry"]
    assert state.replace(carry=jnp.ones(3)).carry.sum() == 3


def test_every_learner_checks_its_arguments():
    """Each function called `learner` refuses numbers outside its ranges and words that it does not know."""
    checked = 0
    for path in sorted(Path(dlcore.__file__).parent.glob("*/*.py")):
        if "\ndef learner(" not in path.read_text():
            continue
        function = importlib.import_module(f"dlcore.{path.parent.name}.{path.stem}").learner
        for name, hint in get_type_hints(inspect.unwrap(function), include_extras=True).items():
            limits = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Range)), None)
            kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
            bad = "no such word" if get_origin(kind) is Literal else limits and limits.low - 1
            if bad is not None:
                checked += 1
                with pytest.raises(ValueError, match=f"^{name}="):
                    function(**{name: bad})
    assert checked > 50


def test_traced_arguments_pass_the_check():
    @check_arguments
    def learner(*, rate: Annotated[float, Range(0, 1)] = 0.5, kind: Literal["a", "b"] = "a"):
        return rate

    assert jax.jit(lambda rate: learner(rate=rate))(2.0) == 2.0
    assert learner(rate=1, kind="b") == 1


@pytest.mark.parametrize(
    "number",
    [np.float32(2), np.float64(2), np.int32(2), np.float16(-0.5), 2, float("nan"), np.array(2.0), jnp.float32(2)],
)
def test_numbers_of_numpy_are_limited_too(number):
    @check_arguments
    def learner(*, rate: Annotated[float, Range(0, 1)] = 0.5):
        return rate

    with pytest.raises(ValueError, match=r"rate=.*: out of range; allowed: at least 0, at most 1"):
        learner(rate=number)
    assert learner(rate=np.float32(1)) == learner(rate=jnp.float32(1)) == 1
    with pytest.raises(ValueError, match=r"rate='0.5': no number; allowed: at least 0, at most 1"):
        learner(rate="0.5")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"count": 2.5}, r"^count=2\.5: no whole number; allowed: integers$"),
        ({"count": True}, r"^count=True: no whole number; allowed: integers$"),
        ({"count": None}, r"^count=None: no whole number; allowed: integers$"),
        ({"limit": 1.0}, r"^limit=1\.0: no whole number; allowed: integers$"),
        ({"on": "false"}, r"^on='false': no bool; allowed: True, False$"),
        ({"rate": math.inf}, r"^rate=inf: no finite number; allowed: finite numbers$"),
        ({"shift": math.nan}, r"^shift=nan: no finite number; allowed: finite numbers$"),
        ({"share": 2.0}, r"^share=2\.0: out of range; allowed: at least 0, at most 1$"),
        ({"share": math.nan}, r"^share=nan: out of range; allowed: at least 0, at most 1$"),
        ({"depth": 1.5}, r"^depth=1\.5: no whole number; allowed: integers$"),
        ({"model": "mlp"}, r"^model='mlp': a word; allowed: a Module, as create_model\("),
        ({"model": ["mlp"]}, r"^model=\['mlp'\]: a list; allowed: a Module"),
        ({"optimizer": 0.1}, r"^optimizer=0\.1: a number; allowed: a GradientTransformation, as optax\.adam\(1e-3\)$"),
        ({"optimizer": "adam"}, r"^optimizer='adam': a word; allowed: a GradientTransformation, as optax\.adam\("),
        ({"second": 0.1}, r"^second=0\.1: a number; allowed: a GradientTransformation"),
    ],
)
def test_an_argument_of_another_kind_is_refused(argument, message):
    """A word for a bool would be true, and a fraction for a number of things would be cut off or fail late."""

    @check_arguments
    def learner(
        *,
        model: nn.Module = nn.Dense(1),
        optimizer: optax.GradientTransformation = optax.sgd(0.1),
        second: optax.GradientTransformation | None = None,
        count: Annotated[int, Range(1)] = 3,
        limit: int | None = None,
        on: bool = False,
        rate: Annotated[float, Range(0)] = 0.5,
        shift: float | None = 0.0,
        share: Annotated[float, Range(0, 1)] | None = None,
        depth: Annotated[int, Range(1)] | None = None,
        sizes: tuple[int, int] = (1, 2),
    ):
        return count

    allowed = {"limit": None, "on": np.bool_(True), "rate": jnp.float32(0.5), "shift": 1, "sizes": (3, 4)}
    assert learner(count=np.int64(4), optimizer=optax.adam(1e-3), second=optax.identity(), **allowed) == 4
    with pytest.raises(ValueError, match=message):
        learner(**argument)


def test_an_array_in_place_of_a_batch_is_named():
    @check_arguments
    def learner():
        return Learner(None, None, None, lambda state, batch: state + batch["image"])

    predict = learner().predict
    assert predict(1, {"image": 2}) == 3
    for call in (predict, jax.jit(predict)):
        with pytest.raises(ValueError, match=r"^batch: an array \[2, 3\]; allowed: a dict of arrays, as \{'image'"):
            call(1, np.zeros((2, 3)))
    with pytest.raises(TypeError):
        learner().predict(1, {"image": "word"})


def test_sums_are_of_numbers_and_lists_too():
    assert (Sum.of(0.5).compute(), Sum.of([1.0, 2.0]).compute()) == (0.5, 1.5)


@pytest.mark.parametrize("seed", [2**70, 2**32, -1, np.int64(-1), np.uint64(2**63)])
def test_seeds_that_a_key_does_not_hold_are_refused(seed):
    with pytest.raises(ValueError, match=r"seed=-?\d+: out of range; allowed: integers from 0 to 4294967295"):
        root_key(seed)


@pytest.mark.parametrize("seed", [1.0, "1", None, np.float32(1), np.zeros(2)])
def test_seeds_that_are_no_integers_are_refused(seed):
    with pytest.raises(ValueError, match=r"seed=.*: no integer; allowed"):
        root_key(seed)


def test_the_root_key_is_that_of_jax():
    for seed in (0, 7, 2**32 - 1, np.int32(5), np.uint8(3), jnp.int32(4)):
        np.testing.assert_array_equal(jax.random.key_data(root_key(seed)), jax.random.key_data(jax.random.key(seed)))
    assert jnp.array_equal(jax.jit(root_key)(3), root_key(3))


def test_results_depend_neither_on_the_default_generator_nor_on_the_batch():
    """Under rbg, vmap draws for all keys from the first one."""

    def draws(keys):
        return np.concatenate([jax.vmap(jax.random.uniform)(part) for part in keys])

    with jax.default_prng_impl("rbg"):
        root = root_key(3)
        keys = [example_keys(root, {"index": np.arange(*part)}) for part in ((0, 6), (0, 4), (4, 6))]
        np.testing.assert_array_equal(draws(keys[:1]), draws(keys[1:]))
    assert root.dtype == jax.random.key(3, impl="threefry2x32").dtype


def test_keys_come_from_root_key_everywhere():
    """jax.random.key without a generator takes that of a flag; only shapes may come from such a key."""

    def calls(node, shapes=False):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        shapes |= name.endswith(("eval_shape", "first_reads"))
        if name in ("jax.random.key", "jax.random.PRNGKey") and not shapes and "impl" not in ast.unparse(node):
            yield node.lineno
        for child in ast.iter_child_nodes(node):
            yield from calls(child, shapes)

    package = Path(dlcore.__file__).parent
    sources = {path: text for path in package.rglob("*.py") if "random.key(" in (text := path.read_text())}
    found = {str(path.relative_to(package)): list(calls(ast.parse(text))) for path, text in sources.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_class_or_a_function_in_the_place_of_its_result_is_named():
    @check_arguments
    def learner(
        *, model: nn.Module, optimizer: optax.GradientTransformation, augment: Callable | None = None, x: Any = 0
    ):
        return model, optimizer, augment, x

    with pytest.raises(ValueError, match=r"^model=Dense: a class; allowed: a Module, as Dense\(...\)$"):
        learner(model=nn.Dense, optimizer=optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"^optimizer=sgd: a function; allowed: a GradientTransformation, as sgd\("):
        learner(model=nn.Dense(1), optimizer=optax.sgd)
    assert learner(model=nn.Dense(1), optimizer=optax.sgd(0.1), augment=len, x=optax.sgd)
