"""Masks from files: the numbers that they hold, whatever Pillow makes of them, and formats that do not keep numbers."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dlcore.data.mask_files import decode_mask

NUMBERS = np.array([[0, 1, 2, 3], [3, 3, 0, 1]])


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, form, **options)
    return file.getvalue()


def gray_png(bits, rows):
    """A gray PNG of 4 by 2 pixels by hand."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header, pixels = struct.pack(">IIBBBBB", 4, 2, bits, 0, 0, 0, 0), b"".join(b"\0" + bytes(row) for row in rows)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def gray_tiff(bits, rows):
    """A gray TIFF of 4 by 2 pixels by hand: the header, one directory of 8 entries, the rows of pixels."""
    size, pixels = 8 + 2 + 8 * 12 + 4, b"".join(bytes(row) for row in rows)
    # Width, height, bits, no compression, black is 0, where the pixels lie, one strip of both rows, their bytes.
    tags = {256: 4, 257: 2, 258: bits, 259: 1, 262: 1, 273: size, 278: 2, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + pixels


def with_palette(numbers):
    image = Image.frombytes("P", numbers.shape[::-1], numbers.astype(np.uint8).tobytes())
    image.putpalette([255, 0, 0, 0, 255, 0, 9, 9, 9, 0, 0, 255])
    return image


FILES = {
    "8 bits": encoded(NUMBERS.astype(np.uint8)),
    "16 bits": encoded(NUMBERS.astype(np.uint16)),
    "2 bits": gray_png(2, [[0b00011011], [0b11110001]]),  # Pillow: 0, 85, 170, 255
    "4 bits": gray_png(4, [[0x01, 0x23], [0x33, 0x01]]),  # Pillow: 0, 17, 34, 51
    "palette": encoded(with_palette(NUMBERS)),
    "palette of 2 bits": encoded(with_palette(NUMBERS), bits=2),
    "gif": encoded(with_palette(NUMBERS), "GIF"),
    "bmp": encoded(NUMBERS.astype(np.uint8), "BMP"),
    "tiff": encoded(NUMBERS.astype(np.uint8), "TIFF", compression="tiff_lzw"),
    "2-bit tiff": gray_tiff(2, [[0b00011011], [0b11110001]]),  # Pillow: 0, 85, 170, 255
    "4-bit tiff": gray_tiff(4, [[0x01, 0x23], [0x33, 0x01]]),  # Pillow: 0, 17, 34, 51
    "32-bit tiff": encoded(NUMBERS.astype(np.int32), "TIFF"),
    "pgm": encoded(NUMBERS.astype(np.uint8), "PPM"),
    "pgm to 3": b"P5 4 2 3\n" + NUMBERS.astype(np.uint8).tobytes(),  # Pillow: 0, 85, 170, 255
    "pgm to 1000": b"P5 4 2 1000\n" + NUMBERS.astype(">u2").tobytes(),
}


@pytest.mark.parametrize("name", FILES)
def test_the_numbers_of_the_file_are_read(name):
    np.testing.assert_array_equal(decode_mask(FILES[name]), NUMBERS)


def test_one_bit_is_0_and_1():
    bits = NUMBERS % 2
    np.testing.assert_array_equal(decode_mask(encoded(bits.astype(bool))), bits)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_mask_is_turned_as_its_own_exif_says(form):
    block = Image.Exif()
    block[0x0112] = 6  # by 90 degrees clockwise
    found = decode_mask(encoded(NUMBERS.astype(np.uint8), form, exif=block))
    np.testing.assert_array_equal(found, np.rot90(NUMBERS, -1))


FLAT = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("data", "problem"), [(encoded(FLAT, "JPEG"), "a mask in JPEG, which does not keep numbers; allowed: PNG")]
)
def test_masks_in_lossy_formats_are_refused(data, problem):
    with pytest.raises(ValueError, match=problem):
        decode_mask(data)
