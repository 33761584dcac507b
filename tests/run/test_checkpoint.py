"""Checkpoints: byte for byte, refused when foreign, mended when damaged, loud when the disk is full."""

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from dlcore.learner import State
from dlcore.run import make_mesh
from dlcore.run.checkpoint import CheckpointMismatch, Checkpoints, check_writable, remove_empty
from dlcore.run.sharding import leaf_paths, state_shardings


class Pair(NamedTuple):
    left: Any
    right: Any


@struct.dataclass
class Everything(State):
    """One leaf of every kind that a state may hold."""

    half: jax.Array
    flags: jax.Array
    bytes: jax.Array
    keys: jax.Array
    rbg: jax.Array
    nothing: Any
    empty: dict
    zero: jax.Array
    pair: Pair


def everything(seed: int = 0) -> Everything:
    def build():
        rng = jax.random.key(seed)
        params = {"Dense_0": {"kernel": jax.random.normal(rng, (64, 32)), "bias": jnp.arange(8.0)}}
        tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(0.1, 10)))
        return Everything(
            step=jnp.int32(7),
            rng=rng,
            params=params,
            opt_state=tx.init(params),
            half=jnp.arange(3, dtype=jnp.bfloat16) / 3,
            flags=jnp.array([True, False]),
            bytes=jnp.arange(4, dtype=jnp.uint8),
            keys=jax.random.split(rng, 3),
            rbg=jax.random.key(1, impl="rbg"),
            nothing=None,
            empty={},
            zero=jnp.zeros((0, 5)),
            pair=Pair(jnp.float32(jnp.nan), jnp.int32(-1)),
        )

    return jax.jit(build)()


def small(value: float = 0.0, shape=(4, 3), dtype=jnp.float32) -> State:
    return State(jnp.int32(1), jax.random.key(0), {"w": jnp.full(shape, value, dtype)}, ())


def abstract(tree: Any, mesh: str | None = None, rule: str = "replicate", count: int = 8) -> Any:
    devices = jax.devices()[:count]
    shardings = state_shardings(jax.eval_shape(lambda: tree), make_mesh(mesh, devices), rule)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings)


def raw(x):
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


def same_bytes(left: Any, right: Any) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for (path, a), (_, b) in zip(leaf_paths(left), leaf_paths(right), strict=True):
        assert a.dtype == b.dtype, path
        chex.assert_equal_shape([a, b], custom_message=path)
        assert raw(a).tobytes() == raw(b).tobytes(), path


@pytest.fixture
def warnings(caplog):
    """The text of what was said at WARNING or above."""
    caplog.set_level(logging.WARNING)
    return lambda: "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)


def filled(folder: Path, steps=(2, 4), **options) -> None:
    store = Checkpoints(folder, **options)
    for step in steps:
        store.save(step, small(step), {"step": step})
    store.close()


# What is saved comes back


@pytest.mark.slow
@pytest.mark.covers("SY-13")
def test_every_kind_of_leaf_comes_back_byte_for_byte(tmp_path):
    state = everything()
    note = {"data": {"seed": 0, "names": ["a"]}, "pi": 0.1 + 0.2, "nothing": None, "nan": float("nan")}
    store = Checkpoints(tmp_path)
    store.save(7, state, note)
    store.close()
    step, back, again = Checkpoints(tmp_path).restore(abstract(state))
    assert step == 7
    same_bytes(back, state)
    assert isinstance(back, Everything)
    assert isinstance(back.pair, Pair)
    assert again.pop("nan") != 0
    assert again == {k: v for k, v in note.items() if k != "nan"}
    # A restored key is a key: it draws what the saved one would.
    np.testing.assert_array_equal(jax.random.normal(back.rng, (3,)), jax.random.normal(state.rng, (3,)))


@pytest.mark.slow(unless=["saved1-wanted1-shard1"])
@pytest.mark.parametrize(
    ("saved", "wanted", "shard"),
    [
        (("data:8", "fsdp", 8), ("data:2", "replicate", 2), (64, 32)),
        (("data:4,model:2", "fsdp+tensor", 8), ("data:4", "fsdp", 4), (16, 32)),
        (("data:1", "replicate", 1), ("data:2,model:4", "tensor", 8), (64, 8)),
    ],
)
def test_another_number_of_devices_gets_the_same_numbers_in_its_own_shardings(tmp_path, saved, wanted, shard):
    here = abstract(everything(), *saved)
    state = jax.tree.map(lambda x, a: jax.device_put(x, a.sharding), everything(), here)
    store = Checkpoints(tmp_path)
    store.save(1, state, {})
    store.close()
    _, back, _ = Checkpoints(tmp_path).restore(abstract(everything(), *wanted))
    same_bytes(back, everything())
    assert back.params["Dense_0"]["kernel"].addressable_shards[0].data.shape == shard
    assert back.opt_state[1][0].mu["Dense_0"]["kernel"].addressable_shards[0].data.shape == shard
    assert len(back.zero.sharding.device_set) == wanted[2]


def test_the_state_may_be_donated_as_soon_as_save_returns(tmp_path):
    store = Checkpoints(tmp_path, keep_last=100)
    spoil = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    big = {"w": jnp.zeros((512, 512))}
    for step in range(1, 6):
        store.save(step, big, {})
        big = spoil(big)
    store.close()
    again = Checkpoints(tmp_path, keep_last=100)
    for step in range(1, 6):
        _, back, _ = again.restore(jax.tree.map(lambda x: abstract(x), big), step)
        np.testing.assert_array_equal(back["w"], np.full((512, 512), step - 1, np.float32))


def test_an_empty_folder_restores_nothing(tmp_path):
    store = Checkpoints(tmp_path / "new")
    assert store.restore(abstract(small())) is None
    assert store.steps() == []
    assert store.best_step() is None
    store.close()


def test_a_step_by_number(tmp_path):
    filled(tmp_path, (2, 4, 6), keep_last=3)
    store = Checkpoints(tmp_path, read_only=True)
    assert store.restore(abstract(small()), 4)[1].params["w"][0, 0] == 4
    with pytest.raises(FileNotFoundError, match=r"step=5: not in .*; allowed: \[2, 4, 6\]"):
        store.restore(abstract(small()), 5)


def test_strange_files_beside_the_steps_are_ignored(tmp_path):
    filled(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "plots").mkdir()
    (tmp_path / "12abc").mkdir()
    store = Checkpoints(tmp_path)
    assert store.steps() == [2, 4]
    assert store.restore(abstract(small()))[0] == 4
    store.close()
    assert (tmp_path / "notes.txt").read_text() == "mine"


# What is kept


def scored(folder, scores, **options):
    store = Checkpoints(folder, **options)
    for step, score in scores:
        store.save(step, small(step), {}, score)
    store.close()
    return Checkpoints(folder, **options)


def test_the_best_and_the_last_stay_over_restarts(tmp_path):
    scored(tmp_path, [(1, 0.1), (2, 0.9), (3, 0.2)], keep_last=2).close()
    store = scored(tmp_path, [(4, 0.3), (5, None), (6, 0.5), (7, None)], keep_last=2)
    assert store.steps() == [2, 6, 7]
    assert store.best_step() == 2
    assert store.score(2) == 0.9
    assert store.score(7) is None
    assert store.restore(abstract(small()))[0] == 7, "a resume goes on from the newest and not from the best"
    store.close()


def test_the_smallest_is_the_best_under_min(tmp_path):
    store = scored(tmp_path, [(1, 3.0), (2, 0.5), (3, 2.0), (4, 4.0)], keep_last=1, mode="min")
    assert store.steps() == [2, 4]
    assert store.best_step() == 2
    store.close()


def test_without_scores_only_the_last_stay(tmp_path):
    store = scored(tmp_path, [(step, None) for step in range(1, 6)], keep_last=2)
    assert store.steps() == [4, 5]
    assert store.best_step() is None
    store.close()


# Foreign checkpoints


def mismatch(folder, wanted):
    before = sorted(p.relative_to(folder) for p in folder.rglob("*"))
    store = Checkpoints(folder)
    with pytest.raises(CheckpointMismatch) as caught:
        store.restore(abstract(wanted))
    store.close()
    assert sorted(p.relative_to(folder) for p in folder.rglob("*")) == before, "nothing is touched"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_shape_is_named_with_both(tmp_path):
    filled(tmp_path)
    message = mismatch(tmp_path, small(shape=(4, 5)))
    assert "params/w is float32[4, 3] there and float32[4, 5] here" in message
    assert "checkpoint 4" in message


def test_another_dtype_is_named_with_both(tmp_path):
    filled(tmp_path)
    message = mismatch(tmp_path, small(dtype=jnp.bfloat16))
    assert "params/w is float32[4, 3] there and bfloat16[4, 3] here" in message


def test_another_kind_of_key_is_named(tmp_path):
    filled(tmp_path)
    assert "rng is key<fry>[] there and key<rbg>[] here" in mismatch(
        tmp_path, small().replace(rng=jax.random.key(0, impl="rbg"))
    )
    assert "rng is key<fry>[] there and uint32[2] here" in mismatch(
        tmp_path, small().replace(rng=jnp.zeros(2, jnp.uint32))
    )


def test_missing_and_left_over_leaves_are_named(tmp_path):
    filled(tmp_path)
    more = small().replace(params={"w": jnp.zeros((4, 3)), "z": jnp.zeros(2), "zz": jnp.zeros(2)})
    assert "has no params/z, which this run needs as float32[2]" in mismatch(tmp_path, more)
    assert "it has params/w float32[4, 3], this run has not" in mismatch(tmp_path, small().replace(params={}))


def test_the_first_difference_is_the_one_named(tmp_path):
    state = small().replace(params={name: jnp.zeros(3) for name in "abc"})
    store = Checkpoints(tmp_path)
    store.save(1, state, {})
    store.close()
    message = mismatch(tmp_path, state.replace(params={"a": jnp.zeros(3), "b": jnp.zeros(4), "c": jnp.zeros(5)}))
    assert "params/b is float32[3] there and float32[4] here" in message
    assert "params/c" not in message


def test_another_optimizer_of_the_same_arrays_is_named_by_its_node(tmp_path):
    """adam and adamw have the same arrays; adamw has one more transformation, which has no state."""
    params = small().params
    adam, adamw = (small().replace(opt_state=tx(0.1).init(params)) for tx in (optax.adam, optax.adamw))
    assert [path for path, _ in leaf_paths(adam)] == [path for path, _ in leaf_paths(adamw)]
    store = Checkpoints(tmp_path)
    store.save(1, adam, {})
    store.close()
    assert "has no opt_state/2, which this run needs as EmptyState" in mismatch(tmp_path, adamw)


def test_two_leaves_of_one_name_are_refused_before_anything_is_written(tmp_path):
    state = {"c.d": jnp.array([3.0]), "c": {"d": jnp.array([4.0])}}
    store = Checkpoints(tmp_path)
    for work in (lambda: store.save(1, state, {}), lambda: store.restore(abstract(state))):
        with pytest.raises(ValueError, match=r"state=c/d, c\.d: two leaves of one name"):
            work()
    assert store.steps() == []
    store.close()


def test_zero_size_leaves_are_compared_too(tmp_path):
    store = Checkpoints(tmp_path)
    store.save(1, small(shape=(0, 3)), {})
    store.close()
    assert "params/w is float32[0, 3] there and float32[0, 4] here" in mismatch(tmp_path, small(shape=(0, 4)))


# Damage


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_every_file(step):
    for path in step.rglob("*"):
        if path.is_file():
            truncate(path)


def cut_arrays(step):
    for path in (step / "state").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            truncate(path)


DAMAGE = {
    "every file cut": cut_every_file,
    "arrays cut": cut_arrays,
    "state gone": lambda step: shutil.rmtree(step / "state"),
    "note gone": lambda step: shutil.rmtree(step / "note"),
    "note cut": lambda step: truncate(step / "note" / "metadata"),
    "note empty": lambda step: (step / "note" / "metadata").write_text("{}"),
    "metadata cut": lambda step: truncate(step / "state" / "_METADATA"),
    "metadata gone": lambda step: (step / "state" / "_METADATA").unlink(),
    "manifest gone": lambda step: (step / "state" / "manifest.ocdbt").unlink(),
    "manifest empty": lambda step: (step / "state" / "manifest.ocdbt").write_bytes(b""),
    "key types gone": lambda step: shutil.rmtree(step / "state" / "array_metadatas"),
    "everything gone": lambda step: [shutil.rmtree(p) if p.is_dir() else p.unlink() for p in step.iterdir()],
}


@pytest.mark.slow(unless=["arrays cut", "note gone", "everything gone"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_falls_back_to_the_one_before_and_says_so(tmp_path, damage, warnings):
    filled(tmp_path)
    DAMAGE[damage](tmp_path / "4")
    store = Checkpoints(tmp_path)
    step, back, note = store.restore(abstract(small()))
    assert (step, note) == (2, {"step": 2})
    same_bytes(back, small(2))
    assert "checkpoint 4" in warnings()
    assert "damaged" in warnings()
    # The step can be reached and saved again.
    store.save(4, small(40.0), {"again": True})
    store.close()
    step, back, note = Checkpoints(tmp_path).restore(abstract(small()))
    assert (step, note) == (4, {"again": True})
    assert back.params["w"][0, 0] == 40


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


LARGEST_FILE = {
    "flipped": flip_a_bit,
    "short": lambda path: os.truncate(path, 100),
    "emptied": lambda path: os.truncate(path, 0),
    "gone": Path.unlink,
}


@pytest.mark.slow(unless=["flipped-True", "short-False"])
@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("damage", LARGEST_FILE)
def test_a_damaged_array_falls_back_to_the_step_before(tmp_path, damage, read_only, warnings, capfd):
    """orbax raises a bare Exception for a short file, and restores a flipped bit as it is."""
    state = {"w": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)}
    store = Checkpoints(tmp_path)
    for step in (1, 2):
        store.save(step, state, {"step": step})
    store.close()
    arrays = [path for path in (tmp_path / "2" / "state").rglob("*") if path.is_file()]
    LARGEST_FILE[damage](max(arrays, key=lambda path: path.stat().st_size))
    capfd.readouterr()
    store = Checkpoints(tmp_path, read_only=read_only)
    step, back, note = store.restore(abstract(state, "data:1", count=1))
    store.close()
    assert (step, note) == (1, {"step": 1})
    np.testing.assert_array_equal(back["w"], state["w"])
    assert "checkpoint 2" in warnings()
    assert "Traceback" not in capfd.readouterr().err
    if damage == "flipped":
        assert "w differs from its checksum" in warnings()


def test_a_checkpoint_without_checksums_still_restores(tmp_path):
    filled(tmp_path, (2,))
    path = tmp_path / "2" / "note" / "metadata"
    note = json.loads(path.read_text())
    path.write_text(json.dumps({"step": 2, "leaves": note["leaves"]}))
    same_bytes(Checkpoints(tmp_path, read_only=True).restore(abstract(small()))[1], small(2))


@pytest.mark.slow(only=["False-<lambda>*", "True-truncate"])
@pytest.mark.parametrize("damage", [truncate, lambda path: path.write_bytes(b""), lambda path: path.write_text("{}")])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_damaged_score_does_not_keep_the_run_from_its_checkpoints(tmp_path, damage, read_only):
    """A disk that was full at the wrong moment leaves an empty file: the folder must still open."""
    scored(tmp_path, [(2, 0.1), (4, 0.2)]).close()
    damage(tmp_path / "4" / "metrics" / "metrics")
    store = Checkpoints(tmp_path, read_only=read_only)
    step, back, _ = store.restore(abstract(small()))
    assert step in (2, 4)
    assert back.params["w"][0, 0] == step
    assert store.best_step() == 2
    if not read_only:
        for more in (6, 8):
            store.save(more, small(more), {}, more / 10)
        store.wait()
        assert store.best_step() == 8
    store.close()
    assert Checkpoints(tmp_path).restore(abstract(small()))[0] == (step if read_only else 8)


def test_when_all_are_damaged_nothing_starts_from_scratch(tmp_path):
    """An error today and the same error tomorrow: a requeued job must not begin anew over what is there."""
    filled(tmp_path)
    for step in (2, 4):
        cut_every_file(tmp_path / str(step))
    for _ in range(2):
        store = Checkpoints(tmp_path)
        with pytest.raises(OSError, match=r"none of the checkpoints \[4, 2\] in .* can be read"):
            store.restore(abstract(small()))
        store.close()


def test_a_damaged_step_asked_for_by_number_is_an_error_and_stays(tmp_path):
    filled(tmp_path)
    cut_every_file(tmp_path / "2")
    store = Checkpoints(tmp_path)
    with pytest.raises(OSError, match=r"checkpoint 2 in .* is damaged") as caught:
        store.restore(abstract(small()), 2)
    assert "\n" not in str(caught.value)
    assert store.steps() == [2, 4]
    store.close()


def test_a_reader_renames_nothing(tmp_path):
    filled(tmp_path)
    cut_every_file(tmp_path / "4")
    before = sorted(tmp_path.rglob("*"))
    store = Checkpoints(tmp_path, read_only=True)
    assert store.restore(abstract(small()))[0] == 2
    store.close()
    assert sorted(tmp_path.rglob("*")) == before


def test_half_written_saves_of_a_killed_process_are_ignored_and_cleaned(tmp_path):
    filled(tmp_path)
    shutil.copytree(tmp_path / "4", tmp_path / "6.orbax-checkpoint-tmp")
    store = Checkpoints(tmp_path)
    assert store.steps() == [2, 4]
    assert store.restore(abstract(small()))[0] == 4
    store.save(6, small(6), {})
    store.close()
    assert [p.name for p in tmp_path.glob("*tmp*")] == []
    assert Checkpoints(tmp_path).steps() == [4, 6]


# Disks


@pytest.fixture
def file_limit():
    """`limit(n)`: no file may grow past n bytes, as on a full disk; `limit(None)` lifts that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, handler)


def noise(step):
    return {"w": jnp.asarray(np.random.default_rng(step).normal(size=(300, 300)), jnp.float32)}  # 360 kB


def test_a_full_disk_is_loud_and_keeps_the_last_good_checkpoint(tmp_path, file_limit, warnings):
    store = Checkpoints(tmp_path)
    store.save(1, noise(1), {})
    store.wait()
    file_limit(100_000)
    store.save(2, noise(2), {})
    store.wait()
    assert isinstance(store.failure, Exception)
    assert "CHECKPOINT NOT SAVED at step 2" in warnings()
    assert str(tmp_path) in warnings()
    store.save(3, noise(3), {})
    store.check()
    with pytest.raises(OSError, match="could not be saved"):
        store.close()
    file_limit(None)
    again = Checkpoints(tmp_path)
    assert again.steps() == [1]
    step, back, _ = again.restore(abstract(noise(1)))
    assert step == 1
    same_bytes(back, noise(1))
    again.close()
    assert not list(tmp_path.glob("*.orbax-checkpoint-tmp")), "half-written saves must not hold the disk full"


def test_a_full_disk_is_one_line(tmp_path, monkeypatch, caplog, capfd):
    store = Checkpoints(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=100_000))
    store.save(1, noise(1), {})
    with pytest.raises(OSError, match="could not be saved: 100,000 bytes are free, and a checkpoint takes 360,000"):
        store.close()
    assert len(caplog.records) == 1
    assert not capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "steps"), [(658_144, []), (658_145, [1])])
def test_a_checkpoint_needs_a_tenth_and_a_quarter_of_a_mebibyte_more_than_its_arrays(
    tmp_path, monkeypatch, free, steps
):
    """1.1 times 360,000 bytes are 396,000, and 2^18 are 262,144."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=free))
    store = Checkpoints(tmp_path)
    store.save(1, noise(1), {})
    store.wait()
    assert store.steps() == steps


def test_a_save_that_fails_on_the_way_is_one_record(tmp_path, file_limit, caplog):
    """Where the disk looks free and is not (a quota), orbax logs no traceback of its own."""
    store = Checkpoints(tmp_path)
    file_limit(100_000)
    store.save(1, noise(1), {})
    with pytest.raises(OSError, match="could not be saved"):
        store.close()
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert errors[0].startswith("CHECKPOINT NOT SAVED at step 1")


def test_a_disk_that_has_room_again_is_forgiven(tmp_path, file_limit):
    store = Checkpoints(tmp_path)
    file_limit(100_000)
    store.save(1, noise(1), {})
    store.wait()
    file_limit(None)
    store.save(2, noise(2), {})
    store.close()  # the latest save is there: nothing to complain of
    assert Checkpoints(tmp_path).restore(abstract(noise(2)))[0] == 2


def test_close_waits_for_the_save_in_flight(tmp_path):
    store = Checkpoints(tmp_path)
    store.save(1, noise(1), {})
    store.close()
    assert (tmp_path / "1").is_dir()
    assert not list(tmp_path.glob("*tmp*"))


def test_a_folder_that_can_be_written_is_created_and_left_clean(tmp_path):
    created = check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    assert check_writable(tmp_path / "a" / "b") == []
    (tmp_path / "a" / "mine").write_text("kept")
    remove_empty(created)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mine"]
    remove_empty(check_writable(tmp_path / "c" / "d"))
    assert not (tmp_path / "c").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(OSError, match=f"run folder {file}/run cannot be written to: "):
        check_writable(file / "run")
    assert file.read_text() == "mine"


@pytest.mark.slow
def test_a_read_only_folder_is_named(tmp_path):
    """As a user without rights: root may write anywhere, so the check runs under another user's."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    script = (
        "import os, pathlib, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from dlcore.run.checkpoint import check_writable\n"
        "if os.geteuid() == 0:\n"
        "    os.chdir(sys.argv[1]); os.seteuid(65534)\n"
        "try:\n"
        "    check_writable(pathlib.Path('.'))\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), root], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "run folder . cannot be written to: Permission denied", done.stderr
    assert os.listdir(folder) == []
