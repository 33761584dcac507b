"""Every lesson is a notebook that parses, and runs to its end on a few examples."""

import re

import numpy as np
import pytest

from dlcore.data.digits import digits
from experiments.tutorial.cells import parse, run
from experiments.tutorial.given import Given, given, pixels, splits
from experiments.tutorial.render import LESSONS, lessons

PATHS = lessons(LESSONS)


def ran(path):
    """{number of the cell of code: output} of a small run."""
    outputs = [output for _, output in run(path, ["--small"]) if output is not None]
    assert [output.traceback for output in outputs if output.error] == []
    return outputs


def test_there_are_six_lessons_in_order():
    assert [path.stem[:9] for path in PATHS] == [f"lesson_{n}_" for n in range(1, 7)]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_cell_compiles_and_begins_with_prose(path):
    lesson = parse(path.read_text())
    assert re.match(r"Lesson \d: ", lesson.title)
    assert lesson.cells[0].kind == "text"
    assert lesson.cells[0].source.startswith("## ")
    assert lesson.cells[-1].kind == "text"
    for cell in lesson.cells:
        if cell.kind == "code":
            compile(cell.source, path.stem, "exec")
            assert not re.search(r"data\.test|\.test\b", cell.source) or path.stem[:8] in ("lesson_1", "lesson_6")


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_lesson_runs_to_its_end(path):
    assert ran(path)


@pytest.mark.slow
def test_the_first_lesson_counts_the_parts_and_chooses():
    outputs = ran(PATHS[0])
    printed = "\n".join(output.printed for output in outputs)
    assert "train        120 images" in printed
    assert re.search(r"chosen: (l1|l2|cosine), k = \d+, \d", printed)
    assert sum(len(output.figures) for output in outputs) == 4


@pytest.mark.slow
def test_the_third_lesson_starts_at_chance_and_learns_twenty_by_heart():
    printed = "\n".join(output.printed for output in ran(PATHS[2]))
    assert "loss before training: 2.3026" in printed  # log 10
    assert re.search(r"20 examples: loss [\d.]+ -> 0\.\d+, accuracy 100%", printed)
    assert printed.count("happy") >= 3


def test_validation_digits_are_of_writers_that_training_has_not():
    parts = splits(Given())
    whole = digits("train").arrays
    joined = np.concatenate([part.arrays["image"] for part in (parts.train, parts.valid)])
    np.testing.assert_array_equal(joined, whole["image"])  # the order of the file, cut once: 973 and 324 of 1,297
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (973, 324, 500)


def test_given_reads_flags_and_refuses_others(capsys):
    assert given(["--small"]) == Given("digits", None, True)
    assert given(["--dataset=mnist", "--data_dir=D"]) == Given("mnist", "D", False)
    assert Given(small=True).pick(100, 3) == 3
    assert Given().pick(100, 3) == 100
    with pytest.raises(SystemExit):
        given(["--sets=mnist"])
    assert "unrecognized arguments: --sets=mnist" in capsys.readouterr().err


def test_pixels_are_in_0_1_whatever_they_were():
    source = splits(Given(small=True)).train
    assert pixels(source)[0].max() == 1
    eight = type(source)({"image": np.full((2, 3, 3, 1), 255, np.uint8), "label": np.zeros(2, np.int32)})
    images, _ = pixels(eight)
    assert images.dtype == np.float32
    assert images.max() == 1
