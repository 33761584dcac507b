"""The one table: its lines from a ledger, and networks built by the commands of the rows."""

import json

import jax
import pytest

from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from experiments.bench.detectors import COLUMNS, LEDGER, line_of, network_of, rows_of, study
from experiments.detection import fcos

SMALL = "--model.width=8 --fcos.channels=16 --fcos.num_convs=1 --image_size=48,48 --topk_candidates=20"


def row_of(name, command, mean, **fields):
    return {
        "id": name,
        "command": command,
        "dataset": "scenes",
        "metric": "test map",
        "values": {"0": mean},
        "mean": mean,
        "tolerance": 0.01,
        "wall_seconds": {"0": 90.0},
        "hardware": "2 CPU cores",
        "versions": {"python": "3.11"},
        "commit": "0123456789abcdef",
        "date": "2026-01-02",
        "published": None,
        "baseline": {"value": 0.0, "name": "no detection", "better": "higher"},
        "status": "measured",
        "note": "",
        **fields,
    }


@pytest.mark.covers("DE-23")
def test_rows_of_other_topics_studies_and_recipes_are_left_out(tmp_path):
    other = row_of("a", "python -m experiments.rl.dqn", 1.0)
    study_row = row_of("b", "python -m experiments.detection.x", 1.0)
    study_row |= {"claim": "It is.", "holds": True, "verdict": "So.", "wall_seconds": {"all": 9.0}}
    rows = [other, study_row]
    rows += [row_of(str(v), "python -m experiments.detection.fcos", v) for v in (0.2, 0.9)]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row["mean"] for row in rows_of(path)] == [0.9, 0.2]
    assert rows_of(LEDGER), "the ledger has detectors"


@pytest.mark.weekly
@pytest.mark.covers("DE-23")
def test_the_network_of_a_row_is_built_by_its_command():
    command = f"python -m experiments.detection.fcos --num_scenes=4000 {SMALL}"
    columns = network_of(command, "", 1)
    resolved = ResolvedRun(fcos.experiment, resolve(fcos.experiment, [*SMALL.split(), "--num_scenes=10"]))
    splits = fcos.experiment.run(resolved.flags).load()
    learner = resolved.training_of(splits).build()
    state = jax.eval_shape(learner.init, jax.random.key(0), resolved.example(splits.facts))
    assert columns["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert columns["ms an image"] > 0
    # A detector's step contains one of its backbone, and more.
    assert columns["times the plain step"] > 1


@pytest.mark.weekly
@pytest.mark.covers("DE-23")
def test_a_line_takes_value_and_minutes_from_the_ledger_and_the_rest_from_the_network(tmp_path):
    real = row_of("x", "python -m experiments.detection.fcos --dataset=coco --data_dir=$DATA_DIR", 0.5, dataset="cells")
    blank = dict.fromkeys(COLUMNS)
    assert line_of(real, "", 1) == {"data": "cells", "metric": "map", "value": 0.5, "minutes to train": 1.5, **blank}
    with pytest.raises(ValueError, match="no folder cells in it, which x needs"):
        line_of(real, str(tmp_path), 1)

    small = row_of("y", f"python -m experiments.detection.fcos {SMALL}", 0.7)
    other = row_of("z", "python -m experiments.detection.fcos --data_dir=$DATA_DIR", 0.9, dataset="cells")
    ledger = tmp_path / "results.jsonl"
    ledger.write_text("".join(json.dumps(row) + "\n" for row in (real, small, other)))
    result = study(results=str(ledger), num_repeats=1)
    assert list(result.numbers) == ["z", "x", "y"]
    assert result.numbers["y"]["parameters"] > 1000
    assert result.verdict == "3 networks. The best: cells, map: z 0.900; scenes, map: y 0.700."
    left, _, _, right = result.figures["networks"].axes
    assert [line.get_xdata()[0] for line in left.lines] == [0.9, 0.5, 0.7]
    assert [line.get_xdata()[0] for line in right.lines] == [1.5] * 3


def test_no_row_is_an_error():
    with pytest.raises(ValueError, match="only='nobody'"):
        study(only="nobody")
