"""The surroundings of the tests: eight CPU devices, a compilation cache, hypothesis, the tiers and the catalogue.

`pytest --catalog` runs nothing and prints, area by area, which rows of catalog.csv a test claims by
`@pytest.mark.covers("LO-01")`. A marker that names no row fails the collection of its file in every run; the ID of an
alias stands for the row that it is an alias of.

A plain run is the default tier. `@pytest.mark.slow` moves a test to the tier of `-m slow`; of a parametrized test,
`slow(unless=[...])` leaves the named cases in the default tier, and `slow(only=[...])` moves the named ones alone
(names are the IDs in brackets, or fnmatch patterns of them). `@pytest.mark.weekly` moves a test, or some of its cases,
to the tier of `-m weekly` in the same way, out of either of the other two. `--cpu` prints the processor seconds of
each file and fails the run where a test or a file of the default tier is above its budget; `--cpu=3` allows three times
the budget, for a slow or busy machine.

DLCORE_TESTS_COMPILE=user compiles as a user's program does: no cheaper compiler settings, no shared MLIR contexts, no
compilation cache, one device. tests/test_compiled_as_users_do.py runs the numeric tests so.
"""

import csv
import fnmatch
import gc
import importlib.metadata
import os
import pathlib
import sys
import threading
from collections.abc import Sequence

HERE = pathlib.Path(__file__).resolve().parent
LONGEST = "test_compiled_as_users_do"
AS_USERS_COMPILE = os.environ.get("DLCORE_TESTS_COMPILE") == "user"

TEST_BUDGET, FILE_BUDGET = 1.0, 10.0
"""Processor seconds of a test, and of the tests of a file, in the default tier."""
PAGES_FILE, PAGE_BUDGET, PAGES_BUDGET = "tests/test_page_wiring.py", 3.0, 40.0
"""The file that traces the pages has budgets of its own: of a test, and of the file."""


def _prepare_environment() -> None:
    """Settings that jax reads when it is imported (what the caller has set stays), and `experiments` to import."""
    sys.dont_write_bytecode = False  # pytest rewrites the assertions of 600 files: 15 s a run where it keeps none
    if str(HERE.parent) not in sys.path:
        sys.path.insert(0, str(HERE.parent))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if AS_USERS_COMPILE:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    else:
        _compile_cheaply()
    from dlcore.run.xla_flags import use_fast_cpu_convolutions  # jax reads the above as soon as dlcore is imported

    use_fast_cpu_convolutions()


def _compile_cheaply() -> None:
    """Eight devices, a compiler that does little, and a cache of its programs."""
    flags = os.environ.get("XLA_FLAGS", "")
    wanted = (
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",  # most programs run once: LLVM's optimization takes longer than it saves
        "--xla_cpu_parallel_codegen_split_count=1",  # a program that is split costs more than its parts save
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",  # eight devices on two busy cores: not a deadlock
        "--xla_cpu_collective_timeout_seconds=600",
    )
    if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):  # later XLA aborts on this flag
        wanted += ("--xla_cpu_use_fusion_emitters=false",)  # the older emitters compile in a third of the time
    for flag in wanted:
        if flag.partition("=")[0] not in flags:
            flags = f"{flags} {flag}".strip()
    os.environ["XLA_FLAGS"] = flags
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(HERE.parent / ".cache" / "jax-tests"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


_prepare_environment()

import hypothesis  # noqa: E402
import pytest  # noqa: E402

PROGRAMS_OF_A_CONTEXT = 100
"""Programs that are lowered in one MLIR context, which keeps their types and constants as long as it lives."""


def _share_mlir_contexts() -> None:
    """Lower many programs in one MLIR context: jax makes one for each, in 4 ms and 4 MB of a small program's 16 ms."""
    mlir = sys.modules.get("jax._src.interpreters.mlir")  # not public: where it is gone, each program has its own
    make = getattr(mlir, "make_ir_context", None)
    if make is None:
        return
    lock = threading.Lock()
    left, context = 0, None

    def shared_ir_context():
        nonlocal left, context
        with lock:
            if left == 0:
                left, context = PROGRAMS_OF_A_CONTEXT, make()
            left -= 1
            return context

    mlir.make_ir_context = shared_ir_context


if not AS_USERS_COMPILE:
    _share_mlir_contexts()

hypothesis.settings.register_profile("dlcore", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("dlcore")


ROOM = 3 * 2**30
"""Bytes of a worker above which it forgets its compiled programs after a file of tests."""


@pytest.fixture(scope="module", autouse=True)
def matmul_precision():
    """A page's flag sets the precision of all products that are traced later; each file begins with the default."""
    import jax

    before = jax.config.jax_default_matmul_precision
    yield
    jax.config.update("jax_default_matmul_precision", before)


@pytest.fixture(scope="module", autouse=True)
def bounded_memory(request: pytest.FixtureRequest):
    """jax keeps every program that it has compiled; a worker that runs all files would grow to 7 GB."""
    yield
    statm = pathlib.Path("/proc/self/statm")
    if statm.exists() and int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > ROOM:
        import jax

        began = _processor_seconds()
        jax.clear_caches()
        request.config.stash[_CLOCK] += _processor_seconds() - began  # seconds of no test; a file's last would pay them


def read_catalog() -> dict[str, str]:
    """Every ID of the catalogue -> the ID of its row (an alias's is another's), in the file's order."""
    with (HERE / "catalog.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["alias_of"] or row["id"] for row in csv.DictReader(file)}


CATALOG = read_catalog()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--catalog", action="store_true", help="print what the tests cover of catalog.csv; run nothing")
    parser.addoption(
        "--cpu",
        nargs="?",
        type=float,
        const=1.0,
        metavar="FACTOR",
        help="print the processor seconds of each file; fail where the default tier is above FACTOR times its budget",
    )


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
    report.is_slow = tier(item) != "default"
    item.config.stash[_CLOCK] = now
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up a test's processor seconds."""
    seconds = _SLOW_SECONDS if getattr(report, "is_slow", False) else _SECONDS
    seconds[report.nodeid] = seconds.get(report.nodeid, 0.0) + getattr(report, "processor_seconds", 0.0)


_CLOCK = pytest.StashKey[float]()
_SECONDS: dict[str, float] = {}
_SLOW_SECONDS: dict[str, float] = {}


def by_file(seconds: dict[str, float]) -> dict[str, float]:
    """{test: seconds} -> {file: seconds}, the longest first."""
    files: dict[str, float] = {}
    for test, value in seconds.items():
        file = test.partition("::")[0]
        files[file] = files.get(file, 0.0) + value
    return dict(sorted(files.items(), key=lambda pair: -pair[1]))


def above_budget(seconds: dict[str, float], factor: float) -> list[str]:
    """A line for each test and each file of the default tier that is above `factor` times its budget."""

    def budget(name: str) -> float:
        test, file = (PAGE_BUDGET, PAGES_BUDGET) if name.startswith(PAGES_FILE) else (TEST_BUDGET, FILE_BUDGET)
        return factor * (test if "::" in name else file)

    return [
        f"{name}: {value:.1f} s of processor time; allowed: {budget(name):g} s without @pytest.mark.slow"
        for name, value in (*seconds.items(), *by_file(seconds).items())
        if value > budget(name)
    ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run under --cpu where the default tier is above its budget."""
    factor = None if hasattr(session.config, "workerinput") else session.config.option.cpu
    if factor and session.exitstatus == 0 and above_budget(_SECONDS, factor):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_finish() -> None:
    """Keep what the collection made out of garbage collections, and have fewer: they took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


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


def case_is_marked(case: str, unless: Sequence[str] | None = None, only: Sequence[str] = ("*",)) -> bool:
    """Whether a marker's (unless=..., only=...) means the case with this ID; names may be fnmatch patterns."""
    names = only if unless is None else unless
    named = any(case == name or fnmatch.fnmatchcase(case, name) for name in names)
    return named == (unless is None)


def tier(item: pytest.Item) -> str:
    """The tier of a test: "default", "slow" or "weekly"."""
    for name in ("weekly", "slow"):
        marker = item.get_closest_marker(name)
        if marker is not None and (not marker.kwargs or case_is_marked(item.callspec.id, **marker.kwargs)):
            return name
    return "default"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests into tiers, note what each covers, and leave out what neither -m nor a test's own name chose."""
    proved: dict[bool, set[str]] = {False: set(), True: set()}
    tiers = {item: tier(item) for item in items}  # asked for once: there are 20,000 items
    for item in items:
        others = {"weekly", "slow"} - {tiers[item]}
        item.own_markers[:] = [marker for marker in item.own_markers if marker.name not in others]  # for -m
        if not item.get_closest_marker("skip"):
            proved[tiers[item] != "default"] |= {CATALOG[row] for row in claimed_rows(item)}
    config.stash[COVERED] = proved[False] | proved[True]
    whole = not config.option.keyword and [*map(str, config.args)] == [*config.getini("testpaths")]
    config.stash[SLOW_ONLY] = sorted(proved[True] - proved[False]) if whole else None
    elsewhere = "several_devices" if AS_USERS_COMPILE else "user_compile"  # tests/test_compiled_as_users_do.py
    items[:] = [item for item in items if not item.get_closest_marker(elsewhere)]
    items.sort(key=lambda item: item.path.stem != LONGEST)  # first, so that no worker waits for it at the end
    if not config.option.catalog and not config.option.markexpr:
        left_out = {item for item in items if tiers[item] != "default"}
        if left_out and not any("::" in argument for argument in config.args):
            config.hook.pytest_deselected(items=list(left_out))
            items[:] = [item for item in items if item not in left_out]


COVERED = pytest.StashKey[set[str]]()
SLOW_ONLY = pytest.StashKey[list[str] | None]()


@pytest.fixture
def bare_panels(monkeypatch):
    """Rows of samples are their arguments and curves the history; triage and a classifier give a list of one panel."""
    monkeypatch.setattr("dlcore.report.curves.curves", lambda history: history)
    monkeypatch.setattr("dlcore.report.generative.sample_rows", lambda *rest: rest)
    monkeypatch.setattr("dlcore.report.triage.triage_panels", lambda history, floor: [(history, floor)])
    monkeypatch.setattr("dlcore.report.classifier.classifier_panels", lambda *rest: [rest])


@pytest.fixture
def slow_only(request: pytest.FixtureRequest) -> list[str] | None:
    """Rows that no test of the default tier proves; None where only a part of the tests was collected."""
    return request.config.stash[SLOW_ONLY]


@pytest.fixture
def surroundings() -> dict:
    """This file's functions, for the tests of what they do."""
    return globals()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run nothing under --catalog; errors of the collection are still reported."""
    return True if session.config.option.catalog and not session.testsfailed else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the processor seconds by file, or the catalogue: one line an area, with what is missing."""
    if config.option.cpu:
        for file, seconds in by_file(_SECONDS | _SLOW_SECONDS).items():
            terminalreporter.write_line(f"{seconds:8.1f} s  {file}")
        for tier, spent in (("default tier", _SECONDS), ("slow", _SLOW_SECONDS)):
            terminalreporter.write_line(f"{sum(spent.values()):8.1f} s of processor time, {tier}, {len(spent)} tests")
        for line in above_budget(_SECONDS, config.option.cpu):
            terminalreporter.write_line(line, red=True)
    if not config.option.catalog:
        return
    covered = config.stash.get(COVERED, set())
    areas: dict[str, list[str]] = {}
    for row in (row for row, stands_for in CATALOG.items() if row == stands_for):
        areas.setdefault(row.split("-")[0], []).append(row)
    for area, rows in areas.items():
        missing = [row for row in rows if row not in covered]
        line = f"{area} {len(rows) - len(missing)}/{len(rows)}"
        terminalreporter.write_line(f"{line} missing: {' '.join(missing)}" if missing else line)
    for row in config.stash.get(SLOW_ONLY, None) or ():
        terminalreporter.write_line(f"{row}: no test of the default tier proves it")
    terminalreporter.write_line(f"catalogue: {len(covered)} of {sum(map(len, areas.values()))} rows are covered")
