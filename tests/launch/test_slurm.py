"""The batch script with srun and scontrol played by stubs; on a real Slurm where DLCORE_SLURM=1 asks for it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.slurm import cluster, proof, task

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "launch" / "slurm" / "run.sbatch"

SRUN = """#!/usr/bin/env bash
echo "srun $*" >> calls
echo "$JAX_COORDINATOR_ADDRESS" > address
env > variables
while [[ $1 == --* ]]; do shift; done
for (( rank = SLURM_NTASKS - 1; rank >= 0; rank-- )); do SLURM_PROCID=$rank "$@" & done
wait
exit 134
"""
SCONTROL = """#!/usr/bin/env bash
if [[ $1 == show ]]; then echo n1; echo n2; else echo "scontrol $*" >> calls; fi
"""
PAGE = """
import os, sys, time, signal
status = sys.argv[1 + int(os.environ["SLURM_PROCID"])]
if status == "stop":  # Slurm ends the job: the batch script's shell is signalled too
    os.kill(int(os.environ["BATCH"]), signal.SIGTERM)
    status = "75"
if int(status) < 0:
    os.kill(os.getpid(), -int(status))
sys.exit(int(status))
"""


@pytest.fixture
def submit(tmp_path):
    """Run the script as Slurm would, with a program whose ranks end with given statuses; (status, printed, calls)."""
    (tmp_path / "launch").symlink_to(ROOT / "launch")
    (tmp_path / "program.py").write_text(PAGE)
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(*statuses, words=("program",), **environment):
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "JAX_C"))},
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "DLCORE_PYTHON": sys.executable,
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_ID": "5001",
            "SLURM_JOB_NODELIST": "n[1-2]",
            "SLURM_NTASKS": str(len(statuses)),
            **environment,
        }
        command = f'export BATCH=$$; exec bash {SCRIPT} "$@"'
        done = subprocess.run(
            ["bash", "-c", command, "bash", *words, *map(str, statuses)],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        calls = tmp_path / "calls"
        called = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return done.returncode, done.stdout, called

    return run


def test_all_ranks_finish(submit, tmp_path):
    status, out, calls = submit(0, 0)
    assert status == 0
    assert len(calls) == 1, "srun and no requeue"
    assert "--kill-on-bad-exit=0" in calls[0], "a rank that fails gives the others time to say so"
    # 61440 + 5001 % 4096 = 61440 + 905
    assert (tmp_path / "address").read_text() == "n1:62345\n"
    assert "attempt 1: 2 x program 0 0 on n[1-2]" in out
    assert list((tmp_path / ".cache" / "slurm").iterdir()) == [], "the statuses are cleared away"


def test_one_process_has_no_coordinator(submit, tmp_path):
    assert submit(0)[0] == 0
    assert (tmp_path / "address").read_text() == "\n"


def test_the_step_has_cpus_per_task_and_a_compilation_cache(submit, tmp_path):
    submit(0, SLURM_CPUS_PER_TASK="7")
    found = dict(line.split("=", 1) for line in (tmp_path / "variables").read_text().splitlines() if "=" in line)
    assert found["SRUN_CPUS_PER_TASK"] == "7", "srun does not take it over from sbatch"
    assert found["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / ".cache" / "jax")
    submit(0, JAX_COMPILATION_CACHE_DIR="/mine")
    assert "JAX_COMPILATION_CACHE_DIR=/mine\n" in (tmp_path / "variables").read_text()


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ((75, 75), "rank 1 of 2 on NODE: preempted, saved"),
        ((-9, -6), "rank 0 of 2 on NODE: lost, ended by SIGKILL"),
        ((-15, 75), "rank 0 of 2 on NODE: ended by SIGTERM"),
    ],
)
def test_preempted_and_killed_jobs_are_requeued(submit, statuses, said):
    status, out, calls = submit(*statuses, SLURMD_NODENAME="NODE", SLURM_RESTART_COUNT="2")
    assert status == 75
    assert calls[1:] == ["scontrol requeue 5001"]
    assert said in out
    assert "attempt 3" in out


@pytest.mark.parametrize(("statuses", "expected"), [((1, -6), 1), ((-6, 2), 2), ((0, -11), 139)])
def test_an_error_of_one_rank_is_not_requeued_though_others_were_aborted(submit, statuses, expected):
    status, out, calls = submit(*statuses)
    assert status == expected
    assert len(calls) == 1
    assert f"not requeued: status {expected} is an error of the program" in out


def test_restarts_have_a_limit(submit):
    assert submit(75, SLURM_RESTART_COUNT="2", DLCORE_MAX_RESTARTS="3")[2][1:] == ["scontrol requeue 5001"]
    status, out, calls = submit(75, SLURM_RESTART_COUNT="3", DLCORE_MAX_RESTARTS="3")
    assert (status, len(calls)) == (75, 1)
    assert "not requeued: it has restarted 3 times" in out


def test_a_cancelled_job_is_not_requeued_by_its_script(submit):
    status, out, calls = submit("stop", 75)
    assert (status, len(calls)) == (75, 1)
    assert "Slurm has ended this job" in out


def test_without_an_experiment_it_prints_its_usage(submit):
    status, out, calls = submit(words=())
    assert (status, calls) == (2, [])
    assert "sbatch [OPTIONS] launch/slurm/run.sbatch experiments.TOPIC.NAME" in out


def test_a_dry_run_prints_the_course_and_starts_nothing(submit):
    status, out, calls = submit(words=("--dry-run", "experiments.a.page", "--words=a cat"), SLURM_NTASKS="2")
    lines = out.splitlines()
    assert (status, calls) == (0, [])
    assert lines[2].startswith("srun --label")
    assert lines[2].endswith("-m experiments.a.page --words=a\\ cat ")
    assert "--judge=2" in lines[3]


def test_where_srun_starts_nothing_that_is_an_error(submit, tmp_path):
    (tmp_path / "bin" / "srun").write_text("#!/usr/bin/env bash\nexit 1\n")
    status, out, calls = submit(0, 0)
    assert (status, calls) == (1, [])
    assert "no rank began" in out


def test_the_script_is_shell_and_slurm_reads_its_lines():
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    options = [line.split()[1] for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH ")]
    assert {"--signal=TERM@120", "--requeue", "--ntasks-per-node=1", "--open-mode=append"} <= set(options)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", SCRIPT], check=True)


def wrapped(folder, code):
    environment = {**os.environ, "SLURM_PROCID": "3", "SLURMD_NODENAME": "n7"}
    command = [sys.executable, "-m", "launch.slurm.task", str(folder), "-c", code]
    return subprocess.Popen(command, env=environment, cwd=ROOT)


def told(folder):
    return json.loads((folder / "rank-3").read_text())


def test_sigterm_is_passed_on_and_the_status_is_the_command_s(tmp_path):
    mark = tmp_path / "ready"
    code = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        f"pathlib.Path({str(mark)!r}).touch()\n"
        "time.sleep(30)"
    )
    process = wrapped(tmp_path / "s", code)
    while not mark.exists():
        time.sleep(0.01)
    assert told(tmp_path / "s") == {"host": "n7", "status": None, "ended": None}, "seen as begun before it ends"
    process.send_signal(signal.SIGTERM)  # to the wrapper alone, as proctrack/cgroup does
    assert process.wait(30) == 75
    assert (told(tmp_path / "s")["status"], told(tmp_path / "s")["host"]) == (75, "n7")


def test_a_command_that_is_killed_has_the_status_of_a_shell(tmp_path):
    assert wrapped(tmp_path, "import os; os.kill(os.getpid(), 9)").wait(30) == 137
    assert told(tmp_path)["status"] == -9


def write(folder, **ranks):
    for name, (status, ended) in ranks.items():
        (folder / name.replace("_", "-")).write_text(json.dumps({"host": "h", "status": status, "ended": ended}))


def test_the_verdict_names_the_lost_rank_and_counts_the_seconds(tmp_path):
    write(tmp_path, rank_0=(-6, 107.5), rank_1=(-9, 100.0), rank_2=(0, 50.0))
    assert task.judge(tmp_path, 3) == (
        75,
        [
            "rank 0 of 3 on h: aborted, as jax does when another is gone, 7.5 s later",
            "rank 1 of 3 on h: lost, ended by SIGKILL",
        ],
    )


def test_a_rank_that_left_with_134_by_itself_was_not_the_lost_one(tmp_path):
    write(tmp_path, rank_0=(134, 100.5), rank_1=(-9, 100.0))
    status, lines = task.judge(tmp_path, 2)
    assert (status, lines[0]) == (75, "rank 0 of 2 on h: aborted, as jax does when another is gone, 0.5 s later")


def test_an_error_after_a_kill_is_a_consequence_and_one_before_it_is_not(tmp_path):
    write(tmp_path, rank_0=(1, 100.8), rank_1=(-9, 100.0))
    status, lines = task.judge(tmp_path, 2)
    assert (status, lines[0]) == (75, "rank 0 of 2 on h: failed with status 1 when another was killed, 0.8 s later")
    write(tmp_path, rank_0=(1, 99.5))
    assert task.judge(tmp_path, 2)[0] == 75, "half a second is the clocks'"
    write(tmp_path, rank_0=(1, 40.0))
    status, lines = task.judge(tmp_path, 2)
    assert (status, lines[0]) == (1, "rank 0 of 2 on h: failed with status 1"), "srun kills what is left after a minute"
    write(tmp_path, rank_0=(1, 100.8), rank_1=(-6, 100.0))
    assert task.judge(tmp_path, 2)[0] == 1, "who aborts does so because another went first"


def test_a_rank_without_a_status_was_lost(tmp_path):
    write(tmp_path, rank_0=(-6, 10.0), rank_1=(None, None))
    status, lines = task.judge(tmp_path, 3)
    assert status == 75
    assert lines == [
        "rank 0 of 3 on h: aborted, as jax does when another is gone",
        "rank 1 of 3 on h: lost without a status; its node or its whole task is gone",
        "rank 2 of 3: never began",
    ]
    write(tmp_path, rank_0=(0, 10.0))
    assert task.judge(tmp_path, 2)[0] == 75, "though nobody says so"
    write(tmp_path, rank_0=(1, 10.0))
    assert task.judge(tmp_path, 3)[0] == 1, "an error of its own counts more than a loss"


@pytest.mark.skipif(os.environ.get("DLCORE_SLURM") != "1", reason="starts a Slurm, for four minutes: DLCORE_SLURM=1")
def test_the_proof_on_a_real_slurm():
    if reason := cluster.missing():
        pytest.skip(reason)
    done = subprocess.run([sys.executable, "-m", "launch.slurm.proof"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_proof_says_why_it_cannot_run(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(cluster, "ELSEWHERE", ())
    assert "slurmctld" in cluster.missing()
    assert proof.main([]) == 77
    assert capsys.readouterr().out.startswith("skipped: munged, munge, slurmctld")
