"""The notebooks: one for each chapter and lesson, equal to its script, and each script runs to its end."""

import ast
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.tutorial import notebooks
from experiments.tutorial.cells import parse, run

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = notebooks.scripts()
CHAPTERS = notebooks.scripts("chapter_")


def test_every_chapter_has_a_script_and_every_script_a_notebook():
    book = sorted(path.stem for path in (ROOT / "docs" / "book").glob("[0-9]*.md"))
    assert [path.stem.removeprefix("chapter_") for path in CHAPTERS] == book
    written = sorted(path.stem for path in notebooks.NOTEBOOKS.glob("*.ipynb"))
    assert written == sorted(path.stem for path in SCRIPTS)
    index = (notebooks.NOTEBOOKS / "index.md").read_text()
    for path in SCRIPTS:
        assert f"- [{parse(path.read_text()).title}]({path.stem}.ipynb)\n" in index
        assert f"\n{path.stem}\n" in index


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_has_the_cells_of_its_script_and_their_outputs(path):
    lesson = parse(path.read_text())
    file = notebooks.NOTEBOOKS / f"{path.stem}.ipynb"
    written = json.loads(file.read_text())
    again = f"python -m experiments.tutorial.notebooks --only={path.stem}"
    sources = [cell["source"] for cell in written["cells"]]
    assert sources == [notebooks.title(lesson), *(cell.source for cell in lesson.cells)], again
    for cell in written["cells"]:
        if cell["cell_type"] == "code":
            kinds = {output["output_type"] for output in cell["outputs"]}
            assert ("display_data" in kinds) == ("plt.show()" in cell["source"]), again
    assert file.stat().st_size < 400_000


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_compiles_and_begins_with_prose(path):
    lesson = parse(path.read_text())
    assert re.match(r"Chapter \d+: ", lesson.title)
    assert lesson.cells[0].kind == "text"
    assert lesson.cells[0].source.startswith("## ")
    for cell in lesson.cells:
        if cell.kind == "code":
            ast.parse(cell.source)


def test_a_figure_becomes_small():
    noise = np.random.default_rng(0).integers(0, 255, (300, 1800, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    small = Image.open(io.BytesIO(notebooks.small_png(file.getvalue())))
    assert small.size == (900, 150)
    assert len(small.getcolors()) <= 128


def test_an_error_in_a_cell_is_named_and_writes_nothing(tmp_path, monkeypatch, capsys):
    script = tmp_path / "chapter_0.py"
    script.write_text('"""Broken."""\n\n# %%\nprint(1)\n\n# %%\n1 / 0\n')
    monkeypatch.setattr(notebooks, "scripts", lambda only: [script])
    assert notebooks.main([f"--out={tmp_path}"]) == 1
    assert "error: chapter_0: ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert not (tmp_path / "chapter_0.ipynb").exists()


def test_unknown_scripts_are_refused(capsys):
    with pytest.raises(SystemExit):
        notebooks.main(["--only=chapter_99"])
    assert "only='chapter_99': in no name; allowed: part of lesson_1" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_runs_and_draws(path):
    outputs = [output for _, output in run(path) if output is not None]
    assert [output.traceback for output in outputs if output.error] == []
    assert any(output.figures for output in outputs)
    assert any(output.printed for output in outputs)
