"""Images for a report, as PNG inside the page: examples, a classifier's worst mistakes, first-layer filters.

Small images are enlarged by whole factors without smoothing, so that a pixel stays a square.
"""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from dlcore.report.html import Panel

__all__ = ["GAP", "data_uri", "examples", "filter_grid", "filters", "to_uint8", "worst_mistakes"]

GAP = 6
_SMALL, _LARGE, _TILE = 96, 128, 44


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images [N, H, W], [N, H, W, 1] or [N, H, W, 3] as uint8 of the same shape.

    Floats are taken to lie in [0, 1]; where some do not (images normalised for a network), each image is stretched to
    its own range. Raises ValueError for another shape.
    """
    images = np.asarray(images)
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        raise ValueError(f"images has shape {images.shape}; it must be [N, H, W], [N, H, W, 1] or [N, H, W, 3]")
    if images.dtype == np.uint8:
        return images
    images = np.nan_to_num(images.astype(np.float32))
    if images.size and (images.min() < -1e-3 or images.max() > 1 + 1e-3):
        images = np.stack([_stretch(image) for image in images])
    return np.rint(255 * images.clip(0, 1)).astype(np.uint8)


def data_uri(image: np.ndarray, scale: int = 1) -> str:
    """A PNG as a data address. image: uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; each pixel `scale` wide."""
    from PIL import Image

    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    buffer = io.BytesIO()
    Image.fromarray(image.repeat(scale, 0).repeat(scale, 1)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def examples(
    images: np.ndarray, titles: Sequence[str] | None = None, title: str = "Examples", note: str = "", count: int = 48
) -> Panel:
    """A grid of the first `count` images, as `to_uint8` takes them, each with its title (escaped).

    Raises ValueError where there are not as many titles as images.
    """
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"titles has {len(titles)} entries for {len(images)} images; there must be one an image")
    captions = [escape(str(text)) for text in titles[:count]] if titles is not None else [""] * len(images)
    return Panel(title, _grid(to_uint8(images[:count]), captions[:count]), note)


def worst_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str] | None = None,
    count: int = 24,
    title: str = "Worst mistakes",
) -> Panel:
    """The wrong predictions that the classifier was surest of.

    images: [N, H, W, C] as `to_uint8` takes them. labels: [N] int. probabilities: [N, K]. class_names: K names, or
    None for numbers. Raises ValueError where the lengths differ.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if not len(images) == len(labels) == len(probabilities):
        raise ValueError(
            f"images, labels and probabilities have lengths {len(images)}, {len(labels)} and {len(probabilities)}; "
            "they must be equal"
        )
    if class_names is None:
        class_names = [str(number) for number in range(probabilities.shape[1])]
    if len(class_names) != probabilities.shape[1]:
        raise ValueError(f"class_names has {len(class_names)} entries for {probabilities.shape[1]} classes")
    said = probabilities.argmax(-1)
    wrong = np.flatnonzero(said != labels)
    if not len(wrong):
        return Panel(title, f"<p>No mistakes in {len(labels):,} examples.</p>")
    worst = wrong[np.argsort(-probabilities[wrong].max(-1), kind="stable")][:count]
    captions = [
        f'<span class="said">{escape(str(class_names[said[i]]))} {100 * probabilities[i].max():.0f} %</span><br>'
        f"is {escape(str(class_names[labels[i]]))}"
        for i in worst
    ]
    shown = f"the {len(worst)} that the model was surest of" if len(worst) < len(wrong) else "all of them, surest first"
    note = (
        f"{len(wrong):,} of {len(labels):,} predictions are wrong; {shown}. In colour: what the model said, how surely."
    )
    chosen = images[worst] if hasattr(images, "dtype") else np.asarray(images)[worst]
    return Panel(title, _grid(to_uint8(chosen), captions), note)


def filters(kernel: np.ndarray, title: str = "First-layer filters", max_tiles: int = 256) -> Panel:
    """A convolution's filters as a grid of tiles, each in its own range. kernel: [kh, kw, cin, cout].

    See `filter_grid` for how a tile is drawn.
    """
    kernel = np.asarray(kernel, np.float32)
    scale = max(1, round(_TILE / max(kernel.shape[:2])))
    grid = filter_grid(kernel, max_tiles, scale)
    kh, kw, cin, cout = kernel.shape
    kind = "red, green and blue are the three inputs" if cin == 3 else "mid-grey is 0"
    total = cout if cin == 3 else cin * cout
    shown = f"the first {max_tiles} of {total:,} tiles" if total > max_tiles else f"{total} tiles"
    note = f"{cout} filters of {kh} × {kw} × {cin}; {shown}, each in its own range; {kind}."
    html = f'<img class="tiles" alt="filters" width="{grid.shape[1]}" src="{data_uri(grid)}">'
    return Panel(title, html, note)


def filter_grid(kernel: np.ndarray, max_tiles: int = 256, scale: int = 1) -> np.ndarray:
    """The tiles of a kernel [kh, kw, cin, cout], `GAP` transparent pixels apart: uint8 [H, W, 4].

    Each weight is a square of scale by scale pixels.

    Three input channels make a coloured tile a filter, from its least value (black) to its greatest (full). Otherwise
    each input channel of each filter is a tile, in which 0 is mid-grey and the largest magnitude black or white.
    Raises ValueError for another number of axes.
    """
    if kernel.ndim != 4:
        raise ValueError(f"kernel has shape {kernel.shape}; it must be [kh, kw, cin, cout]")
    kh, kw, cin, _ = kernel.shape
    if cin == 3:
        tiles = [_stretch(tile) for tile in kernel.transpose(3, 0, 1, 2)[:max_tiles]]
    else:
        flat = kernel.transpose(3, 2, 0, 1).reshape(-1, kh, kw, 1)[:max_tiles]
        tiles = [np.broadcast_to(_around_zero(tile), (kh, kw, 3)) for tile in flat]
    columns = _columns(len(tiles), cin)
    rows = -(-len(tiles) // columns)
    height, width = kh * scale, kw * scale
    grid = np.zeros((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 4), np.uint8)
    for number, tile in enumerate(tiles):
        y, x = (number // columns) * (height + GAP) + GAP, (number % columns) * (width + GAP) + GAP
        grid[y : y + height, x : x + width, :3] = np.rint(255 * tile).repeat(scale, 0).repeat(scale, 1)
        grid[y : y + height, x : x + width, 3] = 255
    return grid


def _columns(tiles: int, cin: int) -> int:
    """A row a filter where its inputs are tiles of their own and fit; else full rows, about twice as wide as high."""
    if cin not in (1, 3) and cin <= 32:
        return min(cin, tiles)
    wanted = max(8, int(np.ceil(np.sqrt(2 * tiles))))
    full = [n for n in range(8, 2 * wanted) if tiles % n == 0]
    return min(full, key=lambda n: abs(n - wanted)) if full else min(tiles, wanted)


def _stretch(image: np.ndarray) -> np.ndarray:
    """From its least to its greatest value, as 0 to 1; a flat image is mid-grey."""
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else np.full_like(image, 0.5)


def _around_zero(image: np.ndarray) -> np.ndarray:
    largest = np.abs(image).max()
    return 0.5 + 0.5 * image / largest if largest > 0 else np.full_like(image, 0.5)


def _grid(images: np.ndarray, captions: Sequence[str]) -> str:
    """Figures side by side; captions are HTML."""
    if not len(images):
        return "<p>No images.</p>"
    largest = max(images.shape[1:3])
    scale = max(1, -(-_SMALL // largest))
    smooth = "" if scale > 1 else ' class="smooth"'
    cells = (
        f'<figure><img{smooth} alt="" src="{data_uri(image, scale)}">'
        + (f"<figcaption>{caption}</figcaption>" if caption else "")
        + "</figure>"
        for image, caption in zip(images, captions, strict=True)
    )
    kind = "images" if largest < _LARGE else "images large"
    return f'<div class="{kind}">{"".join(cells)}</div>'
