"""Lessons are parsed into cells and run one after the other, with what they print, draw and raise."""

import sys
import textwrap

import matplotlib.pyplot as plt
import pytest

from experiments.tutorial import cells

TOY = textwrap.dedent(
    '''\
    """A toy lesson.

    In two cells.
    """

    # %% [markdown]
    # ## Add
    #
    # Some *prose*.

    # %%
    import sys

    x = 2 + 3
    print("x is", x, sys.argv[1:])

    # %%
    import matplotlib.pyplot as plt

    plt.plot([0, x])
    plt.show()
    '''
)


def write(folder, text):
    path = folder / "toy.py"
    path.write_text(text)
    return path


def test_a_lesson_is_a_title_prose_and_code():
    lesson = cells.parse(TOY)
    assert (lesson.title, lesson.more) == ("A toy lesson", "In two cells.")
    assert [(cell.kind, cell.line) for cell in lesson.cells] == [("text", 7), ("code", 12), ("code", 18)]
    assert lesson.cells[0].source == "## Add\n\nSome *prose*."
    assert lesson.cells[1].source.splitlines()[0] == "import sys"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# %%\nx = 1\n", "must begin with a docstring"),
        ('"""T."""\n', "must have a cell"),
        ('"""T."""\nx = 1\n# %%\n', "line 2: code before the first cell"),
        ('"""T."""\n# %% [markdown]\n# prose\nx = 1\n', "line 4: 'x = 1' stands in a cell of prose"),
        ('"""T."""\n# %% [raw]\n# x\n', r"line 2: a cell of kind '\[raw\]'; allowed are none"),
    ],
)
def test_errors_name_the_line_of_an_invalid_lesson(text, message):
    with pytest.raises(ValueError, match=message):
        cells.parse(text)


def test_cells_share_names_and_give_what_they_print_and_draw(tmp_path):
    before = list(sys.argv)
    (_, prose), (_, first), (_, second) = cells.run(write(tmp_path, TOY), ["--small"])
    assert prose is None
    assert (first.printed, first.figures, first.error) == ("x is 5 ['--small']", (), None)
    assert second.printed == ""
    assert len(second.figures) == 1
    assert second.figures[0].startswith(b"\x89PNG")
    assert sys.argv == before
    assert not plt.get_fignums()


def test_an_error_ends_the_lesson_and_names_its_line(tmp_path):
    text = TOY + '\n# %%\nprint("before")\n1 / 0\n\n# %%\nprint("never")\n'
    done = list(cells.run(write(tmp_path, text)))
    assert len(done) == 4
    output = done[-1][1]
    assert output.printed == "before"
    assert output.error == "ZeroDivisionError: division by zero"
    line = text.splitlines().index("1 / 0") + 1
    assert f'toy.py", line {line}' in output.traceback
    assert "cells.py" not in output.traceback


def test_a_lesson_that_ends_the_program_does_not_end_ours(tmp_path):
    ((_, output),) = cells.run(write(tmp_path, '"""T."""\n# %%\nraise SystemExit(2)\n'))
    assert output.error == "SystemExit: 2"
