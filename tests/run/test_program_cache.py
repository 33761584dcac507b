"""Where programs are kept, whose folder it is, and what stays out of it."""

import json
import os
import subprocess
import sys

import jax
import pytest

from dlcore.run import program_cache
from dlcore.run.program_cache import program_folder, use_program_cache

PROGRAM = """
import json, os, sys
import jax, jax.numpy as jnp, numpy as np
from dlcore.run.program_cache import program_folder, use_program_cache
from dlcore.run.xla_flags import use_fast_cpu_convolutions
use_fast_cpu_convolutions()
use_program_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_raise_persistent_cache_errors", True)
x = np.ones((64, 2000), np.float32)
product, sine = jax.jit(lambda x: x @ x.T), jax.jit(lambda x: jnp.sin(x))
result = {
    "values": [float(product(x)[0, 0]), float(sine(x)[0, 0])],
    "files": sorted(path.name for path in program_folder().iterdir()) if program_folder().exists() else None,
}
print(json.dumps(result))
"""


def run(folder, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    environment |= {"XDG_CACHE_HOME": str(folder), "JAX_PLATFORMS": "cpu", **variables}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.weekly
def test_programs_are_kept_and_read_back(tmp_path):
    first = run(tmp_path)
    assert first["values"] == pytest.approx([2000.0, 0.841471], rel=1e-5)
    names = {name.split("-")[0] for name in first["files"]}
    assert "jit__lambda" in names
    assert sum(name.startswith("jit__lambda") for name in first["files"]) == 2
    assert run(tmp_path) == first, "read back"
    assert run(tmp_path / "off", JAX_ENABLE_COMPILATION_CACHE="false")["files"] is None
    mine = run(tmp_path / "mine", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "users"))
    assert mine["files"] is None, "all is saved where the user said"
    assert sum(path.name.startswith("jit__lambda") for path in (tmp_path / "users").iterdir()) == 2


def test_a_folder_of_the_users_stays(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
        use_program_cache()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
        assert not program_folder().exists()
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_the_folder_is_the_users_and_this_machines(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = program_folder()
    assert here.parent == tmp_path / "dlcore" / "programs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert program_folder() == tmp_path / "home" / ".cache" / "dlcore" / "programs" / here.name
    monkeypatch.setattr(program_cache, "version", lambda package: "0.99")
    assert program_folder().name != here.name, "programs of another jaxlib"


def test_the_oldest_programs_go(monkeypatch, tmp_path):
    for age, name in enumerate("abc"):
        (tmp_path / name).write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    monkeypatch.setattr(program_cache, "MAX_BYTES", 20)
    program_cache._prune(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}, "30 bytes, of which 20 may stay: c is the oldest"


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """A process without a cache of programs."""
    names = ("jax_compilation_cache_dir", "jax_enable_compilation_cache", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", True)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_that_took_long_are_kept_in_the_folder(no_cache, monkeypatch):
    monkeypatch.setattr(program_cache, "MAX_BYTES", 20)
    program_folder().mkdir(parents=True)
    for age, name in enumerate("ab"):
        (program_folder() / name).write_bytes(b"x" * 15)
        os.utime(program_folder() / name, (1000 - age, 1000 - age))
    use_program_cache()
    assert jax.config.jax_compilation_cache_dir == str(program_folder())
    assert jax.config.jax_persistent_cache_min_compile_time_secs == program_cache.MIN_SECONDS
    assert [path.name for path in program_folder().iterdir()] == ["a"], "30 bytes, of which 20 may stay"


@pytest.mark.parametrize("reason", ["switched off", "read-only", "no folder"])
def test_no_folder_is_used_where_none_can_be(no_cache, monkeypatch, tmp_path, reason):
    if reason == "switched off":
        jax.config.update("jax_enable_compilation_cache", False)
    elif reason == "read-only":
        monkeypatch.setattr(program_cache.os, "access", lambda path, mode: mode != os.W_OK)
    else:
        (tmp_path / "dlcore").write_text("a file")
    use_program_cache()
    assert jax.config.jax_compilation_cache_dir is None


def test_without_a_table_of_processors_their_name_and_kind_decide(monkeypatch, tmp_path):
    def missing(path, **options):
        raise OSError

    monkeypatch.setattr(program_cache, "version", lambda package: "1")
    folders = [program_folder()]
    monkeypatch.setattr(program_cache.Path, "read_text", missing)
    for name, machine in (("a", "x86"), ("b", "x86"), ("a", "arm")):
        monkeypatch.setattr(program_cache.platform, "processor", lambda name=name: name)
        monkeypatch.setattr(program_cache.platform, "machine", lambda machine=machine: machine)
        folders.append(program_folder())
    assert len(set(folders)) == 4
