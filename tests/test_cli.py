"""The console script: what it lists, and how it fails."""

from pathlib import Path

import pytest

from dlcore import cli


def test_models_are_listed_with_their_counts(capsys):
    assert cli.main(["models", "resnet20_*"]) == 0
    line = capsys.readouterr().out
    assert "resnet20_cifar" in line
    assert "269,722 parameters" in line
    assert "32x32x3" in line


@pytest.mark.covers("CO-16")
@pytest.mark.parametrize("side", [224, 227])
def test_the_cost_of_alexnet_is_the_stored_table(side, tmp_path, capsys):
    assert cli.main(["cost", "alexnet", f"--input={side}x{side}x3", f"--csv={tmp_path / 'cost.csv'}"]) == 0
    stored = Path(__file__).parent / "goldens" / f"alexnet_cost_{side}.csv"
    assert (tmp_path / "cost.csv").read_text() == stored.read_text()
    out = capsys.readouterr().out
    assert f"alexnet on 1 x {side}x{side}x3 float32" in out
    assert "61,100,840 parameters (233.1 MiB)" in out
    assert ("72.86" if side == 227 else "70.28") in out


def test_cost_with_every_option(capsys):
    argv = ["cost", "resnet8_cifar", "--batch=4", "--dtype=bfloat16", "--chip=h100", "--xla", "--depth=1"]
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    assert "resnet8_cifar on 4 x 32x32x3 bfloat16" in out
    for text in ("bound by", "a batch of 4", "989.4 bfloat16 TFLOP/s", "XLA counts", "of temporaries"):
        assert text in out, text


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["models", "nothing*"], "matches none"),
        (["cost", "resnet19"], "did you mean"),
        (["cost", "resnet18", "--input=224"], "input is '224': height, width and channels are needed"),
        (["cost", "resnet18", "--input=0x4x3"], "input is '0x4x3'"),
        (["cost", "vgg16", "--input=12x12x3"], "at least 32x32"),
        (["cost", "lenet5", "--batch=0"], "batch is 0: at least 1"),
        (["cost", "lenet5", "--chip=abacus"], "chip is 'abacus': v4, v5e"),
        (["cost", "lenet5", "--depth=0"], "depth is 0"),
        (["cost", "lenet5", "--csv=missing/there.csv"], "missing"),
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
