import json
import math
import struct
import subprocess
import sys

import numpy as np
import pytest

from dlcore.run.event_file import EventFile
from dlcore.run.metrics_writer import MetricsWriter, read_metrics


def events(folder):
    """Every event of a folder's TensorBoard files: records of (length, crc, bytes, crc), little-endian."""
    from tensorboardX.proto import event_pb2

    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, position = path.read_bytes(), 0
        while position < len(data):
            (length,) = struct.unpack_from("<Q", data, position)
            event = event_pb2.Event()
            event.ParseFromString(data[position + 12 : position + 12 + length])
            yield event
            position += 12 + length + 4


def scalars(folder):
    return [
        (event.step, value.tag, value.simple_value)
        for event in events(folder)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


@pytest.mark.covers("TR-26")
def test_rows_read_back_from_both_files(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write({"step": 10, "split": "train", "loss": np.float32(0.1), "examples": np.int32(320)})
        writer.write({"step": 10, "split": "valid", "loss": 0.25, "accuracy": None, "note": "first"})
        writer.write({"step": 20, "split": "train", "loss": 1 / 3, "calibration": {"ece": 0.5, "bins": np.arange(2)}})
    assert read_metrics(tmp_path) == [
        {"step": 10, "split": "train", "loss": float(np.float32(0.1)), "examples": 320},
        {"step": 10, "split": "valid", "loss": 0.25, "accuracy": None, "note": "first"},
        {"step": 20, "split": "train", "loss": 1 / 3, "calibration/ece": 0.5, "calibration/bins": [0, 1]},
    ]
    assert scalars(tmp_path) == [
        (10, "train/loss", np.float32(0.1)),
        (10, "train/examples", 320.0),
        (10, "valid/loss", 0.25),
        (20, "train/loss", np.float32(1 / 3)),
        (20, "train/calibration/ece", 0.5),
    ]


@pytest.mark.covers("TR-26")
def test_pictures_read_back_from_the_event_file(tmp_path):
    import io

    from PIL import Image

    picture = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    with MetricsWriter(tmp_path) as writer:
        writer.image("filters", picture, 7)
        writer.image("grey", picture[..., 0] / np.float32(255), 8)
    found = {value.tag: value.image for event in events(tmp_path) for value in event.summary.value}
    colour, grey = (np.asarray(Image.open(io.BytesIO(found[tag].encoded_image_string))) for tag in ("filters", "grey"))
    np.testing.assert_array_equal(colour, picture)
    np.testing.assert_array_equal(grey if grey.ndim == 2 else grey[..., 0], picture[..., 0])


def test_numbers_that_are_not_finite_stay_valid_json(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write({"step": 1, "split": "nan", "a": math.nan, "b": -math.inf, "c": [1.0, math.inf]})
    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "step": 1,
        "split": "nan",
        "a": "nan",
        "b": "-inf",
        "c": [1.0, "inf"],
    }
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert math.isnan(row["a"])
    assert (row["split"], row["b"], row["c"]) == ("nan", -math.inf, [1.0, math.inf])


@pytest.mark.covers("TR-26")
def test_resume_cuts_back_to_the_restored_step(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        for step in range(0, 50, 10):
            writer.write({"step": step, "split": "train", "loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "spl')
    with MetricsWriter(tmp_path, resume_step=20) as writer:
        assert [row["step"] for row in read_metrics(tmp_path)] == [0, 10, 20]
        writer.write({"step": 30, "split": "train", "loss": -1.0})
    assert [row["loss"] for row in read_metrics(tmp_path)] == [0.0, 10.0, 20.0, -1.0]
    assert not list(tmp_path.glob("*.tmp"))
    assert scalars(tmp_path)[-1] == (30, "train/loss", -1.0)
    assert len(scalars(tmp_path)) == 6, "a restart within the same second must not overwrite the event file"
    assert [event.step for event in events(tmp_path) if event.HasField("session_log")] == [21]


@pytest.mark.parametrize(("resume_step", "kept"), [(None, 2), (0, 1), (-1, 0)])
def test_half_a_line_is_always_dropped(tmp_path, resume_step, kept):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 10}\n{"step": 5')
    assert len(read_metrics(path)) == 2
    MetricsWriter(tmp_path, resume_step).close()
    assert path.read_text() == "".join(['{"step": 0}\n', '{"step": 10}\n'][:kept])


def test_a_damaged_line_is_named_and_costs_its_row_alone(tmp_path, caplog):
    """A crash of the machine may leave zeros in the middle; the run goes on."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n\0\0\0\n{"step": 10}\n{"step": 2\n{"step": 20}\n')
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 10, 20]
    assert "metrics.jsonl: damaged, and left out: line 2, 4" in caplog.text
    with MetricsWriter(tmp_path, resume_step=20) as writer:
        writer.write({"step": 30})
    caplog.clear()
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 10, 20, 30]
    assert not caplog.text


def test_a_row_can_be_read_before_the_writer_is_flushed(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write({"step": 1, "loss": 2.0})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.0}]
    writer.flush()
    assert scalars(tmp_path) == [(1, "loss", 2.0)]
    writer.close()
    writer.close()


def test_trouble_with_tensorboard_is_one_warning_and_costs_no_row(tmp_path, monkeypatch, caplog):
    with MetricsWriter(tmp_path) as writer:
        monkeypatch.setattr(EventFile, "add", lambda *args: 1 / 0)
        writer.write({"step": 1, "loss": 2.0})
        writer.write({"step": 2, "loss": 2.0})
        writer.flush()
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]
    assert caplog.text.count("the tracker tensorboard failed") == 1
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.slow
def test_nothing_heavy_is_imported_before_the_first_row():
    code = "import sys, dlcore.run.metrics_writer as w; sys.exit('tensorboardX' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bad_input_is_named(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        with pytest.raises(ValueError, match=r"row\['step'\]=None"):
            writer.write({"loss": 1.0})
        with pytest.raises(ValueError, match=r"array.shape=\(2, 2, 4\)"):
            writer.image("a", np.zeros((2, 2, 4)), 0)
    (tmp_path / "metrics.jsonl").write_text("[1]\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl:1: .* is not a JSON object"):
        read_metrics(tmp_path)
