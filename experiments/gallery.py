"""Make the pictures of the documentation site: a panel of a run's report, as a small WebP file in docs/gallery.

python -m experiments.gallery RUN_DIR ...
python -m experiments.gallery RUN_DIR --panel=samples
python -m experiments.gallery --models alexnet resnet50
python -m experiments.gallery --figures nn.rotary ops.nms

Without --panel the picture is the first panel with images or, where there is none, the first with a figure; curves of
the training, videos of an episode and the worst images come last. A browser draws the panel as the report shows it in
light mode: it needs playwright (`pip install -e '.[docs-test]'`) and a chromium. The site shows the picture on the page
of the experiment, in its chapter and on the front page. The file holds the run's command and the panel's title, which
the page shows below the picture. Smoke runs are refused. The picture of a model's page draws the costs of its layers.
The figure at the top of a technique's page explains how it works. A function in docs/figures calls the technique and
draws what it gives: `rotary` of docs/figures/nn/rotary.py is the figure of `dlcore.nn.rotary`, and its docstring is the
caption. Its picture is in docs/gallery/figures. Look at each picture before you commit it.
"""

import argparse
import functools
import html
import importlib.util
import inspect
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dlcore.extras import require
from experiments import ledger

__all__ = [
    "MAX_BYTES",
    "MAX_TOTAL_BYTES",
    "Panel",
    "choose",
    "chromium",
    "encode",
    "figure_function",
    "main",
    "origin_of",
    "panels",
]

DOCS = Path(__file__).resolve().parents[1] / "docs"
GALLERY, FIGURES = DOCS / "gallery", DOCS / "figures"
MAX_BYTES, MAX_TOTAL_BYTES = 60_000, 14_000_000
"""Largest size of a picture, and of all together."""
WANTED_BYTES = 25_000
"""A picture above it is written with lower quality, down to `LEAST_QUALITY`."""
LEAST_QUALITY = 50
SHRUNK = (0.8, 0.64)
"""Shares of its width, tried in turn where a picture is too large at the lowest quality."""
DESCRIPTION, SOFTWARE = 0x010E, 0x0131
"""Exif tags of the panel's title and of the command."""
WIDTH, MAX_HEIGHT, MARGIN = 720, 600, 6
"""Of the report's panel, in CSS pixels; figures and rows that end below the height are left out."""
LESS_TELLING = re.compile(r"curves|learning|training|monitor|memory|an episode|worst images|most errors", re.IGNORECASE)
STYLE = """
header, nav, main > :not(#chosen):not(.halves), .halves > :not(#chosen), #chosen > h2, #chosen > .note
  { display: none !important; }
body, section { padding: 12px !important; margin: 0 !important; border: 0 !important; background: white !important; }
.halves { display: block !important; margin: 0 !important; }
"""
PREPARE = """([id, height]) => {
  const chosen = document.getElementById(id);
  chosen.id = 'chosen';
  const below = chosen.getBoundingClientRect().top + height;
  const parts = [...chosen.querySelectorAll('figure, tr, h3, pre, details')];
  parts.filter((part, i) => i && part.getBoundingClientRect().bottom > below).forEach(part => part.remove());
}"""


class Panel(NamedTuple):
    """A section of a report: position from 1, heading, number of images, and number of drawings (SVG)."""

    number: int
    title: str
    images: int
    figures: int


def panels(report: str) -> list[Panel]:
    """List the panels of a report, HTML, in their order."""
    parts = re.split(r'<section id="panel-(\d+)"><h2>(.*?)</h2>', report, flags=re.DOTALL)[1:]
    return [
        Panel(int(number), title, body.count("<img"), body.count("<svg"))
        for number, title, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


def choose(candidates: Sequence[Panel], title: str = "") -> Panel:
    """Choose the panel that becomes the picture: by words of its title, or else the first with images or a figure."""
    if title:
        matches = [panel for panel in candidates if title.lower() in panel.title.lower()]
        if not matches:
            titles = ", ".join(panel.title for panel in candidates)
            raise ValueError(f"panel={title!r}: in no title of the report; allowed: words of {titles}")
        return matches[0]
    pictures = [panel for panel in candidates if panel.images or panel.figures]
    if not pictures:
        raise ValueError(
            "the report has no panel with a picture; allowed: one with images or figures, or --panel=TITLE"
        )
    return min(pictures, key=lambda panel: (bool(LESS_TELLING.search(panel.title)), not panel.images, panel.number))


def encode(png: bytes, command: str = "", title: str = "") -> bytes:
    """Write a PNG file as WebP of at most MAX_BYTES, without loss where that is small.

    The command line that drew it and a caption become the Exif tags Software and ImageDescription. A blank picture, or
    one that is too large at the lowest quality and width, is a ValueError.
    """
    from PIL import Image, ImageChops, ImageOps

    image = Image.open(io.BytesIO(png)).convert("RGB")
    inside = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    if inside is None:
        raise ValueError("the panel is blank")
    image = ImageOps.expand(image.crop(inside), MARGIN, "white")
    exif = Image.Exif()
    for tag, text in ((SOFTWARE, command), (DESCRIPTION, title)):
        if text:
            exif[tag] = text.encode()  # Pillow writes a str as ASCII, with ? for other characters
    options = [{"lossless": True}, *({"quality": quality} for quality in range(85, LEAST_QUALITY - 1, -5))]
    for scale in (1, *SHRUNK):
        smaller = image.resize((round(scale * image.width), round(scale * image.height))) if scale < 1 else image
        for option in options:
            file = io.BytesIO()
            smaller.save(file, "WEBP", method=6, exif=exif, **option)
            if len(file.getvalue()) <= WANTED_BYTES:
                return file.getvalue()
        if len(file.getvalue()) <= MAX_BYTES:
            return file.getvalue()
    raise ValueError(f"{len(file.getvalue())} bytes; allowed: {MAX_BYTES}; choose a smaller panel by --panel=TITLE")


def origin_of(path: Path) -> tuple[str, str]:
    """Read (command line, caption) from a WebP file of `encode`, "" where the file lacks it."""
    from PIL import Image

    with Image.open(path) as image:
        exif = image.getexif()
        command, title = (exif.get(tag, "").encode("latin-1").decode() for tag in (SOFTWARE, DESCRIPTION))
        return command, title


def figure_function(page: str) -> Callable[[], Any]:
    """Find the function of docs/figures that draws a technique such as "nn.rotary"; its docstring is the caption."""
    path, name = FIGURES / f"{page.replace('.', '/')}.py", page.split(".")[-1]
    if not path.exists():
        raise ValueError(f"figures={page!r}: no file docs/figures/{path.relative_to(FIGURES).as_posix()}")
    spec = importlib.util.spec_from_file_location(f"figure_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def chromium() -> str | None:
    """Find the browser in $CHROMIUM or on $PATH; None lets playwright take its own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def _shoot(browser, folder: Path, title: str) -> tuple[str, str, bytes]:
    """(page's name, panel's title, WebP file) of a run folder."""
    config, path = folder / "config.json", folder / "report.html"
    if not (config.exists() and path.exists()):
        raise ValueError("no config.json and report.html; allowed: the folder of a finished run")
    report = path.read_text(encoding="utf-8")
    if '<p class="banner"' in report:
        raise ValueError("a smoke run; allowed: a run whose numbers count")
    panel = choose(panels(report), title)
    page = browser.new_page(viewport={"width": WIDTH, "height": MAX_HEIGHT}, color_scheme="light")
    page.goto(path.resolve().as_uri())
    page.evaluate(PREPARE, [f"panel-{panel.number}", MAX_HEIGHT])
    page.add_style_tag(content=STYLE)
    png = page.locator("#chosen").screenshot()
    page.close()
    run = json.loads(config.read_text(encoding="utf-8"))
    command = ledger.seedless(run["command"], keep_seed=True)
    return run["experiment"], panel.title, encode(png, command, html.unescape(panel.title))


def main(argv: Sequence[str] | None = None) -> int:
    """Make the pictures of run folders; return 1 where a folder, a model or a technique gave none."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gallery", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME", help="draw the layers of these models")
    parser.add_argument("--figures", nargs="+", default=[], metavar="PAGE", help="draw the figures of these techniques")
    parser.add_argument("--panel", default="", help="words of the panel's title")
    parser.add_argument("--out", type=Path, default=GALLERY, help="folder of the pictures (default docs/gallery)")
    options = parser.parse_args(argv)
    if not (options.runs or options.models or options.figures):
        parser.error("nothing to draw; allowed: folders of runs, --models or --figures")
    options.out.mkdir(parents=True, exist_ok=True)
    draws = {model: functools.partial(_draw_model, model) for model in options.models}
    draws |= {page: functools.partial(_draw_figure, page) for page in options.figures}
    failed = sum(not _saved(options.out, name, draw) for name, draw in draws.items())
    return int(failed + (_shoot_all(options) if options.runs else 0) > 0)


def _saved(out: Path, source: str | Path, draw: Callable[[], tuple[str, str, bytes]]) -> bool:
    """Write the picture (page's name, title, WebP file) that `draw` makes of `source`; False where it makes none."""
    try:
        name, title, webp = draw()
    except ValueError as error:
        print(f"error: {source}: {error}", file=sys.stderr)
        return False
    path = out / f"{name}.webp"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(webp)
    print(f"{name}.webp: {title!r}, {len(webp)} bytes")
    return True


def _draw_model(model: str) -> tuple[str, str, bytes]:
    """(page's name, model, WebP file) of a model of images."""
    import jax
    import jax.numpy as jnp

    from dlcore.cost.layers import layer_costs
    from dlcore.models import create_model, input_shape
    from dlcore.models.registry import family_of
    from dlcore.report.cost_figure import cost_figure
    from dlcore.report.figure import figure_png

    layers = layer_costs(create_model(model), jax.ShapeDtypeStruct((1, *input_shape(model)), jnp.float32))
    page = family_of(model).__name__.removeprefix("dlcore.")
    png = figure_png(cost_figure(layers, model), dpi=100)
    return page, model, encode(png, f"dlcore cost {model} --picture={model}.png")


def _draw_figure(page: str) -> tuple[str, str, bytes]:
    """(file's name, caption, WebP file) of a technique."""
    from dlcore.report.figure import figure_png

    draw = figure_function(page)
    caption = " ".join((inspect.getdoc(draw) or "").split())
    webp = encode(figure_png(draw(), dpi=100), f"python -m experiments.gallery --figures {page}", caption)
    return f"figures/{page}", caption, webp


def _shoot_all(options: argparse.Namespace) -> int:
    """Number of folders that gave no picture."""
    require("playwright", what="the gallery")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium())
        shots = {folder: functools.partial(_shoot, browser, folder, options.panel) for folder in options.runs}
        failed = sum(not _saved(options.out, folder, shoot) for folder, shoot in shots.items())
        browser.close()
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
