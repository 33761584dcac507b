"""--mode=predict: flags that a page cannot serve are refused before its weights are read."""

from types import SimpleNamespace

import pytest

from dlcore.experiment.flags import Flags
from dlcore.modes import predict as module
from dlcore.setting import FlagError


@pytest.mark.parametrize(
    ("without", "given", "flags", "problem"),
    [
        ("use", (), {}, "--mode=predict: a.page has none; allowed: the other modes"),
        ("samples", (), {"run": None}, "--run, --input: missing; allowed: --mode=predict --run=RUN --input=FOLDER"),
        ("samples", (), {"run": "r"}, "--input: missing; allowed: --mode=predict --input=FOLDER"),
        ("inputs", (), {"input": "x"}, "--input=x: a.page reads no input; allowed: --mode=predict without it"),
        ("", ["num_drawn"], {"input": "x", "num_drawn": 4}, "--num_drawn=4: beside --input=x; allowed: one of them"),
        ("", (), {"run": None, "run_dir": ""}, "--run: missing; allowed: --run=runs/1, the run of these settings"),
        ("write", (), {"output": "o"}, "--output=o: a.page writes no files; allowed: none"),
    ],
)
def test_flags_that_a_page_cannot_serve_are_refused(without, given, flags, problem):
    use = SimpleNamespace(**{name: print for name in ("inputs", "samples", "write") if name != without})
    experiment = SimpleNamespace(
        name="a.page", use=None if without == "use" else use, parts=SimpleNamespace(input_kind="FOLDER")
    )
    values = Flags({"input": None, "output": None, "run": "RUN", **flags}, given=frozenset(given))
    run = SimpleNamespace(experiment=experiment, flags=values, folder="runs/1", config=lambda: {})
    with pytest.raises(FlagError) as raised:
        module.MODE.run(run)
    assert str(raised.value).startswith(problem)
