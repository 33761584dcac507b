"""The surroundings of the tests: eight CPU devices, a compilation cache, hypothesis, and the catalogue.

`pytest --catalog` runs nothing and prints, area by area, which rows of catalog.csv a test claims by
`@pytest.mark.covers("LO-01")`. A marker that names no row fails the collection of its file in every run; the ID of an
alias stands for the row that it is an alias of. `-m slow` and `-m contract` run the tests that a plain run leaves out,
and `--cpu` prints the processor seconds of each file.
"""

import csv
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent


def _prepare_environment() -> None:
    """Settings that jax reads when it is imported (what the caller has set stays), and `experiments` to import."""
    flags = os.environ.get("XLA_FLAGS", "")
    wanted = (
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",  # most programs run once: LLVM's optimization takes longer than it saves
        "--xla_cpu_use_fusion_emitters=false",  # the older emitters compile in a third of the time
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",  # eight devices on two busy cores: not a deadlock
        "--xla_cpu_collective_timeout_seconds=600",
    )
    for flag in wanted:
        if flag.partition("=")[0] not in flags:
            flags = f"{flags} {flag}".strip()
    os.environ["XLA_FLAGS"] = flags
    if str(HERE.parent) not in sys.path:
        sys.path.insert(0, str(HERE.parent))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(HERE.parent / ".cache" / "jax-tests"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    from dlcore.run.xla_flags import use_fast_cpu_convolutions  # jax reads the above as soon as dlcore is imported

    use_fast_cpu_convolutions()


_prepare_environment()

import hypothesis  # noqa: E402
import pytest  # noqa: E402

hypothesis.settings.register_profile("dlcore", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("dlcore")


ROOM = 3 * 2**30
"""Bytes of a worker above which it forgets its compiled programs after a file of tests."""


@pytest.fixture(scope="module", autouse=True)
def bounded_memory():
    """jax keeps every program that it has compiled; a worker that runs all files would grow to 7 GB."""
    yield
    statm = pathlib.Path("/proc/self/statm")
    if statm.exists() and int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > ROOM:
        import jax

        jax.clear_caches()


def read_catalog() -> dict[str, str]:
    """Every ID of the catalogue -> the ID of its row (an alias's is another's), in the file's order."""
    with (HERE / "catalog.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["alias_of"] or row["id"] for row in csv.DictReader(file)}


CATALOG = read_catalog()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--catalog", action="store_true", help="print what the tests cover of catalog.csv; run nothing")
    parser.addoption("--cpu", action="store_true", help="print the processor seconds of each test file")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`: a worker a core, with 5 GiB each: a worker's compiled programs and arrays took that much."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    meminfo = pathlib.Path("/proc/meminfo")
    if meminfo.exists():
        available = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
        cores = min(cores, int(available.split()[1]) // (5 * 2**20))
    return max(1, cores)


def _processor_seconds() -> float:
    """Of this process and of the children that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Note what each phase of a test took; xdist carries `processor_seconds` to the main process."""
    report = yield
    now = _processor_seconds()
    report.processor_seconds = now - item.config.stash.get(_CLOCK, now)
    item.config.stash[_CLOCK] = now
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add a test's processor seconds to its file's."""
    file = report.nodeid.partition("::")[0]
    _SECONDS[file] = _SECONDS.get(file, 0.0) + getattr(report, "processor_seconds", 0.0)


_CLOCK = pytest.StashKey[float]()
_SECONDS: dict[str, float] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Collect in this process under --catalog: pytest-xdist's workers could not report what they found."""
    if config.option.catalog:
        config.option.numprocesses = 0
        config.option.dist = "no"
        config.option.tx = []


def claimed_rows(item: pytest.Item) -> list[str]:
    """The IDs that an item's markers name."""
    return [row for marker in item.iter_markers("covers") for row in marker.args]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """Turn a marker that names no row into a collection error of its file."""
    report = yield
    if report.outcome == "passed":
        items = [node for node in report.result if isinstance(node, pytest.Item)]
        wrong = sorted(
            {f"{item.originalname}: {row!r}" for item in items for row in claimed_rows(item) if row not in CATALOG}
        )
        if wrong:
            report.outcome = "failed"
            report.longrepr = f"{collector.nodeid}: covers() names no row of catalog.csv: {', '.join(wrong)}"
            report.result = []
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note what is covered, then leave the slow and the contract tests out unless -m or a test's own name chose."""
    if config.option.catalog:
        config.stash[_COVERED] = {
            CATALOG[row] for item in items if not item.get_closest_marker("skip") for row in claimed_rows(item)
        }
    elif not config.option.markexpr:
        left_out = {item for item in items if any(map(item.get_closest_marker, ("contract", "slow")))}
        if left_out and not any("::" in argument for argument in config.args):
            config.hook.pytest_deselected(items=list(left_out))
            items[:] = [item for item in items if item not in left_out]


_COVERED = pytest.StashKey[set[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run nothing under --catalog; errors of the collection are still reported."""
    return True if session.config.option.catalog and not session.testsfailed else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the processor seconds by file, or the catalogue: one line an area, with what is missing."""
    if config.option.cpu:
        for file, seconds in sorted(_SECONDS.items(), key=lambda pair: -pair[1]):
            terminalreporter.write_line(f"{seconds:8.1f} s  {file}")
        terminalreporter.write_line(f"{sum(_SECONDS.values()):8.1f} s of processor time in {len(_SECONDS)} files")
    if not config.option.catalog:
        return
    covered = config.stash.get(_COVERED, set())
    areas: dict[str, list[str]] = {}
    for row in (row for row, stands_for in CATALOG.items() if row == stands_for):
        areas.setdefault(row.split("-")[0], []).append(row)
    for area, rows in areas.items():
        missing = [row for row in rows if row not in covered]
        line = f"{area} {len(rows) - len(missing)}/{len(rows)}"
        terminalreporter.write_line(f"{line} missing: {' '.join(missing)}" if missing else line)
    terminalreporter.write_line(f"catalogue: {len(covered)} of {sum(map(len, areas.values()))} rows are covered")
