"""What a panel of a report shows: the cells of its table, and its pictures."""

import base64
import io
import re

import numpy as np
from PIL import Image

__all__ = ["cells", "images_in", "shrunk"]


def cells(html):
    """The body of the first table, as text."""
    body = re.search(r"<tbody>(.*?)</tbody>", html, re.DOTALL)[1]
    return [
        [re.sub("<[^>]+>", "", c) for c in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", r)] for r in body.split("<tr>")[1:]
    ]


def images_in(html):
    """Every PNG of a panel, decoded."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def shrunk(image, size):
    """An enlarged image at its own size; every square must be of one color."""
    scale = image.shape[0] // size
    small = image[::scale, ::scale]
    np.testing.assert_array_equal(small.repeat(scale, 0).repeat(scale, 1), image)
    return small
