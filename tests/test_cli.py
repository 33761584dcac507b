"""The console script: what it lists, and how it fails."""

import pytest

from dlcore import cli


def test_models_are_listed_with_their_counts(capsys):
    assert cli.main(["models", "resnet20_*"]) == 0
    line = capsys.readouterr().out
    assert "resnet20_cifar" in line
    assert "269,722 parameters" in line
    assert "32x32x3" in line


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["models", "nothing*"], "matches none"),
        (["convert", "missing.npz", "--model=resnet18"], "does not exist"),
        (["convert", "FILE.txt", "--model=resnet18"], "end in .safetensors"),
        (["convert", "FILE.npz", "--model=resnet19"], "did you mean"),
        (["convert", "FILE.npz", "--model=lenet5"], "left over: strange"),
    ],
)
def test_errors_are_one_line_and_status_1(argv, text, tmp_path, capsys):
    import numpy as np

    np.savez(tmp_path / "FILE.npz", strange=np.zeros(3))
    (tmp_path / "FILE.txt").write_text("weights")
    argv = [str(tmp_path / word) if word.startswith("FILE") else word for word in argv]
    if argv[0] == "convert":
        argv.append(f"--out={tmp_path / 'out'}")
    assert cli.main(argv) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert text in error
    assert not (tmp_path / "out").exists()


def test_a_command_that_is_none_is_refused():
    with pytest.raises(SystemExit) as stop:
        cli.main(["train"])
    assert stop.value.code == 2
