"""Write the lessons and the chapters as notebooks with their outputs into docs/notebooks.

python -m experiments.tutorial.notebooks
python -m experiments.tutorial.notebooks --only=chapter_03

Each file of `lessons/` and `chapters/` is run cell by cell (`cells.run`) and written as a
.ipynb file, which Jupyter opens and the site shows. Figures are PNG files of few colors, so that notebooks stay small.
The sixth lesson trains the longest.
"""

import argparse
import base64
import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.tutorial.cells import Cell, Lesson, Output, parse, run

__all__ = ["NOTEBOOKS", "main", "notebook", "scripts", "small_png", "title"]

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parents[1] / "docs" / "notebooks"
WIDTH, COLORS = 900, 128
"""Of a figure: largest width in pixels, and number of colors."""


def scripts(only: str = "") -> list[Path]:
    """List the scripts of the lessons and of the chapters whose names have the part `only`, in order."""
    pages = [*sorted((HERE / "lessons").glob("lesson_*.py")), *sorted((HERE / "chapters").glob("chapter_*.py"))]
    paths = [path for path in pages if only in path.stem]
    if not paths:
        raise ValueError(f"only={only!r}: in no name; allowed: part of {', '.join(path.stem for path in pages)}")
    return paths


def title(lesson: Lesson) -> str:
    """The first cell of a notebook in Markdown: the heading and the rest of the docstring."""
    return f"# {lesson.title}\n\n{lesson.more}".strip()


def small_png(png: bytes) -> bytes:
    """Shrink a PNG file to at most WIDTH pixels and COLORS colors."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail((WIDTH, 10 * WIDTH), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.quantize(COLORS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def notebook(lesson: Lesson, done: Iterable[tuple[Cell, Output | None]]) -> dict:
    """Make the notebook, JSON of nbformat 4.5, of a script and its cells with their outputs."""
    cells = [_cell(0, "markdown", title(lesson))]
    for number, (cell, output) in enumerate(done, 1):
        if output is None:
            cells.append(_cell(number, "markdown", cell.source))
        else:
            outputs = []
            if output.printed:
                outputs.append({"output_type": "stream", "name": "stdout", "text": output.printed + "\n"})
            for figure in output.figures:
                data = {"image/png": base64.b64encode(small_png(figure)).decode(), "text/plain": "<Figure>"}
                outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
            cells.append({**_cell(number, "code", cell.source), "execution_count": None, "outputs": outputs})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _cell(number: int, kind: str, source: str) -> dict:
    return {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the scripts and write the notebooks; return 1 where a cell failed."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.tutorial.notebooks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--only", default="", help="part of the names of the scripts")
    parser.add_argument("--out", type=Path, default=NOTEBOOKS, help="folder (default docs/notebooks)")
    options = parser.parse_args(argv)
    try:
        paths = scripts(options.only)
    except ValueError as error:
        parser.error(str(error))
    failed = 0
    options.out.mkdir(parents=True, exist_ok=True)
    for path in paths:
        done = list(run(path))
        if error := done[-1][1] and done[-1][1].error:
            print(f"error: {path.stem}: {error}\n{done[-1][1].traceback}", file=sys.stderr)
            failed += 1
            continue
        text = json.dumps(notebook(parse(path.read_text(encoding="utf-8")), done), indent=1, ensure_ascii=False) + "\n"
        (options.out / f"{path.stem}.ipynb").write_text(text, encoding="utf-8")
        print(f"{path.stem}.ipynb: {len(text.encode()):,} bytes", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
