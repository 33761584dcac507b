"""The verdict on written runs."""

import pytest

from dlcore.search import LogUniform
from experiments.studies import coarse_to_fine as study


@pytest.mark.covers("TR-15", "TR-16")
def test_the_verdict_follows_the_numbers():
    def run(two, one, edge=()):
        finer = {"learning_rate": LogUniform(1e-3, 1e-1), "weight_decay": LogUniform(1e-7, 1e-2)}
        return {"two": two, "one": one, "finer": finer, "edges": list(edge), "useful": [0.9, 0.3]}

    runs = [run((0.97, 0.93), (0.96, 0.90)), run((0.97, 0.91), (0.96, 0.92), ["rate: the best"])]
    verdict, holds = study.judge(runs)
    assert holds
    assert "from 7 to 2.0 decades and weight decay from 7 to 5.0" in verdict
    assert "92.00% in the test by two stages, 96.00% and 91.00% by one; two are better on 1 of 2" in verdict
    assert "at an end of the narrowed interval on 1." in verdict
    assert not study.judge([run((0.97, 0.9), (0.9, 0.91))])[1]
    same = run((0.97, 0.93), (0.96, 0.90)) | {"finer": study.SPACE}
    assert not study.judge([same])[1]
