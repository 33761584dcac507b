"""One door for pictures: every reader gives a file the same pixels, or refuses it in one line that names the file."""

import io
import json
import struct
import warnings
import zlib
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dlcore.data.coco import coco_source
from dlcore.data.decoding import load_center_crop, load_image
from dlcore.data.facts import Facts
from dlcore.data.flickr8k import flickr8k
from dlcore.data.image_classification import folder_splits
from dlcore.data.sample_images import sample_image
from dlcore.data.segmentation import segmentation_splits
from dlcore.data.workers import Workers
from dlcore.evaluators import box_results
from dlcore.generative.translated_images import EnlargeImages
from dlcore.modes.exported_loader import preprocess
from dlcore.report import prediction

RNG = np.random.default_rng(0)
SIDE = 16
COLOR = RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
GRAY = COLOR[..., 0]
SMOOTH = np.asarray(Image.fromarray(COLOR[:4, :4]).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}
"""EXIF orientation -> what it does to the rows and columns of a file, by the standard's table."""


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, form, **options)
    return file.getvalue()


def rgb(gray):
    return np.repeat(gray[..., None], 3, -1)


def exif(number):
    block = Image.Exif()
    block[0x0112] = number
    return block


def png(width, height, bits, rows):
    """A gray PNG by hand: header, and each row of packed bits behind a filter byte."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def twelve_bit_tiff(values):
    """A gray TIFF of 12 bits by hand: two pixels in three bytes, the first in the high bits."""
    a, b = values.reshape(-1, 2).T
    data = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], -1).astype(np.uint8).tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(data)))
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + rows + bytes(4)


def kinds():
    """Name of a file -> (its bytes, its pixels [16, 16, 3])."""
    alpha = RNG.integers(0, 256, (SIDE, SIDE), np.uint8)
    palette = RNG.integers(0, 256, (256, 3), np.uint8)
    indexed = Image.frombytes("P", (SIDE, SIDE), GRAY.tobytes())
    indexed.putpalette(palette.reshape(-1).tolist())
    deep = (np.arange(SIDE * SIDE, dtype=np.uint16) * 257 + 128).reshape(SIDE, SIDE)  # // 257: 0 to 255
    ten = (np.arange(SIDE * SIDE) * 4).reshape(SIDE, SIDE)  # of 1023
    twelve = (np.arange(SIDE * SIDE) * 16).reshape(SIDE, SIDE)  # of 4095
    cmyk = RNG.integers(0, 256, (SIDE, SIDE, 4), np.uint8).astype(int)
    inks = (255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255
    jpeg = encoded(SMOOTH, "JPEG", quality=95)
    seen = np.asarray(Image.open(io.BytesIO(jpeg)))
    bits = GRAY > 127
    return {
        "color.png": (encoded(COLOR), COLOR),
        "gray.png": (encoded(GRAY), rgb(GRAY)),
        "rgba.png": (encoded(np.dstack([COLOR, alpha])), COLOR),
        "la.png": (encoded(np.dstack([GRAY, alpha])), rgb(GRAY)),
        "palette.png": (encoded(indexed), palette[GRAY]),
        "see_through.png": (encoded(indexed, transparency=3), palette[GRAY]),
        "see_through.gif": (encoded(indexed, "GIF", transparency=3), palette[GRAY]),
        "bit.png": (encoded(bits), rgb(255 * bits.astype(np.uint8))),
        "two_bits.png": (
            png(SIDE, SIDE, 2, [bytes([0b00011011] * 4)] * SIDE),
            rgb(np.tile([0, 85, 170, 255], (16, 4))),
        ),
        "cmyk.tif": (encoded(Image.fromarray(cmyk.astype(np.uint8), "CMYK"), "TIFF"), inks),
        "deep.png": (encoded(deep), rgb(deep // 257)),
        "deep.tiff": (encoded(deep, "TIFF"), rgb(deep // 257)),
        "deep.pgm": (encoded(deep, "PPM"), rgb(deep // 257)),
        "ten_bits.pgm": (b"P5 16 16 1023\n" + ten.astype(">u2").tobytes(), rgb(ten * 255 // 1023)),
        "twelve_bits.tif": (twelve_bit_tiff(twelve), rgb(twelve * 255 // 4095)),
        "color.bmp": (encoded(COLOR, "BMP"), COLOR),
        "color.webp": (encoded(COLOR, "WEBP", lossless=True), COLOR),
        "color.ppm": (encoded(COLOR, "PPM"), COLOR),
        "color.tga": (encoded(COLOR, "TGA"), COLOR),
        "smooth.jpg": (jpeg, seen),
        "smooth.JPEG": (jpeg, seen),
        "smooth.jfif": (jpeg, seen),
        "smooth.jpe": (jpeg, seen),
        "trailing.jpg": (jpeg + bytes(500), seen),
        "progressive.jpg": (encoded(SMOOTH, "JPEG", quality=95, progressive=True), seen),
        "wrong_ending.png": (jpeg, seen),
        "broken_exif.jpg": (encoded(SMOOTH, "JPEG", quality=95, exif=b"Exif\0\0no block"), seen),
        "broken_exif.png": (encoded(COLOR, exif=b"Exif\0\0no block"), COLOR),
        "short_exif.png": (encoded(COLOR, exif=b"Exif\0\0II*\0"), COLOR),
        "orientation_99.jpg": (encoded(SMOOTH, "JPEG", quality=95, exif=exif(99)), seen),
        "turned_6.jpg": (encoded(SMOOTH, "JPEG", quality=95, exif=exif(6)), TURNS[6](seen)),
        "turned_6.tif": (encoded(COLOR, "TIFF", exif=exif(6)), TURNS[6](COLOR)),
        **{f"turned_{k}.png": (encoded(COLOR, exif=exif(k)), turn(COLOR)) for k, turn in TURNS.items()},
    }


def readings(folder, name, data, decoder="pillow"):
    """Reader -> function that gives the pixels of the file, each from a layout of its own."""

    def put(*place):
        path = folder.joinpath(*place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    alone = put("alone", name)
    for place in (("classes", "a"), ("coco", "images"), ("pairs", "images")):
        put(*place, name)
    (folder / "classes" / "b").mkdir()
    (folder / "classes" / "b" / "other.png").write_bytes(encoded(COLOR))
    content = {
        "images": [{"id": 1, "file_name": name, "width": SIDE, "height": SIDE}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}],
    }
    (folder / "coco" / "instances.json").write_text(json.dumps(content))
    (folder / "pairs" / "masks").mkdir()
    mask = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 2
    (folder / "pairs" / "masks" / name).with_suffix(".png").write_bytes(encoded(mask.astype(np.uint8)))
    for split in ("train", "val", "test"):
        put("captioned", split, name)
        (folder / "captioned" / f"captions_{split}.json").write_text(json.dumps({name: ["a picture"]}))
    flags, spec = SimpleNamespace(input=str(alone), get=lambda name: None), {"image_shape": (SIDE, SIDE, 3)}

    def classes(**options):
        return np.asarray(folder_splits(folder / "classes", SIDE, 3, **options)["all"].arrays["image"][:1])[0]

    def predicted(inputs):
        return inputs(flags, spec)[0].arrays["image"][0]

    rule = {"shape": ["batch", SIDE, SIDE, 3], "crop_pct": 1.0}
    return {
        "load_image": lambda: load_image(alone),
        "load_image, sized": lambda: load_image(alone, SIDE),
        "load_center_crop": lambda: load_center_crop(alone, (SIDE, SIDE), 3, 1.0),
        "class folders": classes,
        "class folders, streamed": lambda: classes(limit_bytes=0, workers=Workers(0, decoder)),
        "coco": lambda: coco_source(folder / "coco/instances.json", folder / "coco/images", SIDE).arrays["image"][0],
        "flickr8k": lambda: flickr8k(folder / "captioned", SIDE)["valid"].image[0],
        "segmentation": lambda: segmentation_splits(folder / "pairs")["train"].arrays["image"][0],
        "predict": lambda: predicted(
            lambda flags, spec: prediction.images_under(flags.input, Facts.of(spec), flags.get("skip_bad"))
        ),
        "predict, detection": lambda: predicted(box_results.inputs),
        "predict, stretched": lambda: predicted(
            lambda flags, spec: prediction.stretched_images(flags.input, Facts.of(spec))
        ),
        "predict, super-resolution": lambda: EnlargeImages().inputs(str(alone), None)[0].arrays["low"][0],
        "export": lambda: 255 * preprocess(load_image(alone)[None], rule)[0],
        "sample_image": lambda: sample_image(str(alone), SIDE),
    }


DECODERS = ["pillow", pytest.param("opencv", marks=pytest.mark.skipif(not find_spec("cv2"), reason="needs OpenCV"))]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", kinds())
def test_all_readers_give_a_file_the_same_pixels(tmp_path, name, decoder):
    data, pixels = kinds_of[name]
    for reader, read in readings(tmp_path, name, data, decoder).items():
        apart = np.abs(read() - np.asarray(pixels, float)).max()
        assert apart <= (1 if "cmyk" in name or reader == "export" else 0), (reader, apart)


kinds_of = kinds()
JPEG = encoded(SMOOTH, "JPEG", quality=95)
REFUSED = {
    "float.tif": encoded(GRAY.astype(np.float32), "TIFF"),
    "int32.tif": encoded(GRAY.astype(np.int32), "TIFF"),
    "half.jpg": JPEG[: len(JPEG) * 3 // 4],
    "thumbnail.jpg": encoded(SMOOTH, "JPEG", exif=b"Exif\0\0" + JPEG)[:-40],
    "half.png": encoded(COLOR)[:400],
    "text.png": b"no image",
    "empty.jpg": b"",
    "bomb.png": png(20_000, 20_000, 1, [b"\0"]),
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", REFUSED)
def test_all_readers_refuse_a_file_in_one_line_with_its_name(tmp_path, name, decoder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for reader, read in readings(tmp_path, name, REFUSED[name], decoder).items():
            with pytest.raises(ValueError, match=name) as refused:
                read()
            message = str(refused.value)
            assert "\n" not in message, reader
            assert "0x" not in message, (reader, message)
            if reader.startswith("class folders"):
                assert "--skip_bad" in message, reader


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_sizes_in_headers_are_those_after_the_turn(tmp_path, form):
    """A TIFF's size is swapped by Pillow, others' is not: 4 high and 6 wide, turned by 90 degrees, is 6 high."""
    from dlcore.data.image_headers import read_header

    for number in (0, *TURNS, 9):  # 0 and 9 are no orientations
        data = encoded(COLOR[:4, :6], form, exif=exif(number))
        (tmp_path / "a").write_bytes(data)
        size = (6, 4) if 5 <= number <= 8 else (4, 6)
        assert read_header(io.BytesIO(data))[0] == load_image(tmp_path / "a").shape[:2] == size
