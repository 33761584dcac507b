"""The pictures of `docs/gallery`, which `python -m experiments.gallery` makes of runs."""

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.gallery import MAX_BYTES, MAX_TOTAL_BYTES
from site_extension.book import Chapter, Entry, PageError
from site_extension.repository import DOCS
from site_extension.text import escape

__all__ = [
    "FRONT",
    "address",
    "chapter_pictures",
    "check_pictures",
    "figure_file",
    "front_gallery",
    "gallery_grid",
    "is_chart",
    "picture",
    "picture_file",
]


FRONT = [
    "detection.faster_rcnn",
    "detection.mask_rcnn",
    "segmentation.unet",
    "detection.detr",
    "generative.style_gan",
    "generative.ddpm",
    "generative.cycle_gan",
    "generative.super_resolution",
    "interpretability.style_transfer",
    "interpretability.deep_dream",
    "interpretability.attribution",
    "interpretability.unit_images",
    "adversarial.attack",
    "classical_vision.panorama",
    "classical_vision.stereo",
    "classical_vision.flow",
    "classic_ml.embedding",
    "classic_ml.classifiers",
    "diagnostics.loss_landscape",
    "nn.rotary",
    "ops.nms",
    "optim.clipping",
    "semi_supervised.fixmatch",
    "self_supervised.simclr",
]
"""Pictures of the front page."""
WHITE_SHARE = 0.8
"""White paper of a chart, at least."""


def front_gallery(chapters: Iterable[Chapter]) -> str:
    """Show the pictures of the front page.

    Args:
      chapters: of the book.

    Returns:
      Markdown.
    """
    entries = {entry.name: entry for chapter in chapters for entry in chapter.entries}
    return gallery_grid([entries[name] for name in FRONT if name in entries])


def check_pictures(entries: list[Entry], folder: Path = DOCS / "gallery") -> None:
    """Check the pictures.

    Args:
      entries: lines of all chapters.
      folder: where the pictures are.

    Raises:
      PageError: a picture is no WebP file, belongs to no page or is too large, or all together are.
    """
    names = {entry.name for entry in entries}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        size = path.stat().st_size
        if path.suffix != ".webp":
            raise PageError(f"gallery/{path.name}: not a .webp file; python -m experiments.gallery makes them")
        if path.stem not in names:
            raise PageError(f"gallery/{path.name}: no chapter lists a page of this name")
        if size > MAX_BYTES:
            raise PageError(f"gallery/{path.name}: {size} bytes; allowed: at most {MAX_BYTES}")
    if (total := sum(path.stat().st_size for path in files)) > MAX_TOTAL_BYTES:
        raise PageError(f"gallery: {total} bytes together; allowed: at most {MAX_TOTAL_BYTES}")


def figure_file(entry: Entry) -> Path:
    """Name the figure that explains a technique.

    Args:
      entry: line of a chapter.

    Returns:
      The file, which may not exist.
    """
    return DOCS / "gallery" / "figures" / f"{entry.name}.webp"


def picture_file(entry: Entry) -> Path:
    """Name the picture that a run of a page gave, or the costs of a model's layers.

    Args:
      entry: line of a chapter.

    Returns:
      The file, which may not exist.
    """
    return DOCS / "gallery" / f"{entry.name}.webp"


def picture(entry: Entry) -> str | None:
    """Find the picture that a run of a page gave.

    Args:
      entry: line of a chapter.

    Returns:
      Its address on the site, or None.
    """
    path = picture_file(entry)
    return address(path) if path.exists() else None


def address(path: Path) -> str:
    """Name a picture as the site does.

    Args:
      path: WebP file.

    Returns:
      Its address.
    """
    return f"/{path.relative_to(DOCS).as_posix()}"


@functools.cache
def is_chart(path: Path) -> bool:
    """Whether a picture may be shown light on dark: nearly all of it is white paper, so it has no photograph.

    Args:
      path: WebP file.

    Returns:
      True or False.
    """
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    return float((pixels >= 250).mean()) >= WHITE_SHARE


def gallery_grid(entries: list[Entry]) -> str:
    """Show the pictures of pages as a grid of cards: what a run gave or, where there is none, the figure.

    Args:
      entries: lines of chapters; those with neither are left out.

    Returns:
      Markdown; "" where none has a picture.
    """
    files = [(entry, picture_file(entry) if picture(entry) else figure_file(entry)) for entry in entries]
    cards = [
        f":::{{grid-item-card}} {escape(entry.title)}\n:link: {entry.label}\n:link-type: ref\n"
        f":img-top: {address(file)}\n:img-alt: {escape(entry.title)}\n"
        + (":class-img-top: chart\n:::" if is_chart(file) else ":::")
        for entry, file in files
        if file.exists()
    ]
    if not cards:
        return ""
    return "::::{grid} 2 3 4 4\n:gutter: 2\n:class-container: gallery\n\n" + "\n".join(cards) + "\n::::"


def chapter_pictures(docname: str, targets) -> str:
    """Show the pictures of a chapter's pages.

    Args:
      docname: page of the chapter.
      targets: what shows each file.

    Returns:
      Markdown; "" for other pages, and where no page has a picture.
    """
    chapter = targets.chapters.get(docname.removeprefix("book/"))
    grid = gallery_grid(list(chapter.entries)) if chapter else ""
    return f"\n## Pictures\n\n{grid}\n" if grid else ""
