"""Ctrl-C and a closed pipe end a command by one line or none, and by the status that a shell expects."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from dlcore.run.endings import INTERRUPTED, orderly_ending, resumable
from dlcore.run.preemption import REQUEUE, Preempted


@pytest.fixture(autouse=True)
def sigint_of_a_terminal():
    """A shell starts background jobs with SIGINT ignored; a command in a terminal does not ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


def test_ctrl_c_says_one_line_and_leaves_with_130(capsys):
    with pytest.raises(SystemExit) as stop, orderly_ending():
        press_ctrl_c()
    assert stop.value.code == INTERRUPTED == 128 + signal.SIGINT
    assert capsys.readouterr().err == "\nstopped by Ctrl-C\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_a_garbage_collection_is_not_lost(capsys):
    """Python drops what is raised there."""

    class Last:
        def __del__(self):
            press_ctrl_c()

    def collected():
        del last[:]
        time.sleep(5)

    last = [Last()]
    with pytest.raises(SystemExit) as stop, orderly_ending():
        collected()
    assert stop.value.code == INTERRUPTED
    assert capsys.readouterr().err == "\nstopped by Ctrl-C\n"


def test_a_resumed_run_asks_to_be_run_again():
    with pytest.raises(Preempted) as stop, orderly_ending(), resumable(7):
        press_ctrl_c()
    assert (stop.value.code, stop.value.step) == (REQUEUE, 7)
    with pytest.raises(SystemExit) as stop, orderly_ending(), resumable(0):
        press_ctrl_c()
    assert stop.value.code == INTERRUPTED, "nothing is saved"


def test_other_statuses_and_errors_pass():
    for error in (SystemExit(2), ValueError("x"), BrokenPipeError("of a worker")):
        with pytest.raises(type(error)) as caught, orderly_ending():
            raise error
        assert caught.value is error
    with orderly_ending():
        pass


def program(text):
    """Start a program that says when it is ready."""
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert run.stdout.readline() == "ready\n"
    return run


@pytest.mark.slow
def test_ctrl_c_ends_a_program_that_python_cannot_interrupt():
    run = program("""
        import hashlib
        from dlcore.run import endings
        with endings.orderly_ending():
            print("ready", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2 * 10**9)  # minutes, as a compilation may take
    """)
    time.sleep(0.2)  # it is in the call
    run.send_signal(signal.SIGINT)
    assert run.wait(10) == INTERRUPTED
    assert run.stderr.read().strip() == "stopped by Ctrl-C"


def test_a_reader_that_is_gone_ends_a_program_in_silence():
    run = program("""
        from dlcore.run import endings
        with endings.orderly_ending():
            print("ready", flush=True)
            for _ in range(100000):
                print("a line of some length")
    """)
    run.stdout.close()
    assert run.wait(10) == 128 + signal.SIGPIPE == 141
    assert run.stderr.read() == ""


def test_ctrl_c_while_modules_load():
    run = program("""
        from dlcore.run import endings
        endings.one_line_while_importing()
        print("ready", flush=True)
        import time
        for _ in range(200):  # a signal that comes just before one long sleep would wait for its end
            time.sleep(0.05)
    """)
    run.send_signal(signal.SIGINT)
    assert run.wait(10) == INTERRUPTED
    assert run.stderr.read().strip() == "stopped by Ctrl-C"
