"""Readers and transforms of data name an argument that does not fit, before they read or compute anything."""

import numpy as np
import pytest

from dlcore.data import masks, preprocess, text, token_file, volume_files, words
from dlcore.data.bank_and_queries import bank_and_queries
from dlcore.data.captions import caption_source
from dlcore.data.clip_sampling import clip_indices, clip_start, clips_in_memory, repeat_for_views, view_starts
from dlcore.data.clips import clip_sentences
from dlcore.data.coco import coco_source, coco_splits
from dlcore.data.crossings import crossings
from dlcore.data.decoding import (
    decode_box,
    decode_files,
    decode_image,
    load_center_crop,
    load_image,
    random_box,
    stretch_image,
)
from dlcore.data.digit_scenes import digit_scenes
from dlcore.data.episodes import episodes
from dlcore.data.factor_shapes import draw_factors, simulate_camera
from dlcore.data.few_labels import few_labels, two_streams
from dlcore.data.flickr8k import flickr8k
from dlcore.data.font_digits import font_digits
from dlcore.data.image_classification import (
    check_labels,
    folder_source,
    folder_splits,
    load,
    shard_splits,
    unlabeled_source,
)
from dlcore.data.image_folder import list_folder
from dlcore.data.image_headers import take_evenly
from dlcore.data.image_pixels import center_box
from dlcore.data.labeled_lines import labeled_texts
from dlcore.data.melodies import melody_waveform
from dlcore.data.mesh_files import read_mesh
from dlcore.data.normalization import normalizer
from dlcore.data.other_domain import blend
from dlcore.data.parquet_images import list_parquet
from dlcore.data.planted_organs import interval_dice, planted_organs, standardize
from dlcore.data.questions import question_tokens, question_words
from dlcore.data.rasterizer import rasterize, shade
from dlcore.data.resizing import ShortestEdge, check_resize, resize_bilinear, shortest_edge
from dlcore.data.sample_images import fit_to, sample_image
from dlcore.data.scenes import scene_semantics, scenes
from dlcore.data.segmentation import class_pixels
from dlcore.data.sentiment import word_counts
from dlcore.data.shape_grid import Placed, cell_shares, check_grid, draw_shapes, foreground, paint, read_shapes
from dlcore.data.shapes3d import mesh_points, modelnet, shapenet
from dlcore.data.shards import sharded_images
from dlcore.data.solid_images import camera_intrinsics, solid_images
from dlcore.data.solid_meshes import revolve_profile, torus_mesh
from dlcore.data.solids import Solid, occupancy_grid, render_depth
from dlcore.data.source import Source
from dlcore.data.spirals import segments
from dlcore.data.streaming import StreamedImages, random_crops, sample_of
from dlcore.data.strings import strings, symbols
from dlcore.data.style_patterns import style_pattern
from dlcore.data.text_images import text_images
from dlcore.data.tfds_source import tfds_source, tfds_sources
from dlcore.data.topics import as_characters
from dlcore.data.video_datasets import read_video_dataset
from dlcore.data.video_files import read_frames
from dlcore.data.video_folder import labeled_clips, list_classes
from dlcore.data.vowels import glottal_pulses, resonate
from dlcore.data.voxel_solids import depth_map, occupancy, solid_volume
from dlcore.data.webdataset import list_webdataset
from dlcore.data.workers import Workers
from dlcore.data.youtube8m import read_youtube8m

NAN = float("nan")
RNG = np.random.default_rng(0)
PICTURE = np.zeros((4, 4, 3), np.uint8)
LABELED = Source({"image": np.zeros((6, 4, 4, 1), np.float32), "label": np.arange(6) % 2}, name="toy")
BARE = Source({"image": LABELED.arrays["image"]}, name="bare")
TOKENS = np.arange(20)
VIDEOS = np.zeros((2, 8, 4, 4, 3), np.uint8)
VOLUME = volume_files.Volume(np.zeros((4, 4, 4)), (1.0, 1.0, 1.0))
RANGE = "out of range; allowed: at least"
WHOLE = "no whole number"
SIZE = r"not a size; allowed: a positive int, or a pair \(height, width\)"


def streamed(**settings):
    return StreamedImages(**{"read": str, "name_of": str, "records": np.arange(2), "size": (4, 4), **settings})


CASES = {
    "a bank of half an example": (lambda: bank_and_queries(LABELED, LABELED, 1.5), f"size=1.5: {WHOLE}"),
    "a seed below 0 of a bank": (lambda: bank_and_queries(LABELED, LABELED, 1, -1), "seed=-1: too small"),
    "few labels of none": (lambda: few_labels(BARE, 1, 0), "source='bare': holds no label, only .*; allowed: one with"),
    "a stream without labels": (lambda: two_streams(BARE, BARE), "labeled='bare': holds no label; allowed"),
    "a stream without images": (lambda: two_streams(LABELED, Source(length=2)), "unlabeled='': holds no image"),
    "labels of no class": (lambda: check_labels(LABELED, NAN), f"num_classes=nan: {WHOLE}"),
    "no labels": (lambda: check_labels(BARE, 2), "source='bare': holds no label"),
    "half a label": (
        lambda: check_labels(Source({"label": np.array([0.0, 0.5])}), 2),
        r"label 0.5 of example 1 in '' is outside \[0, 2\)",
    ),
    "maps of other classes": (
        lambda: class_pixels(Source({"semantic": np.full((1, 2, 2), 7)}), 2),
        r"semantic\[0, 0\]=7: out of range; allowed: 0 to 1, of 2 classes, or 255",
    ),
    "no maps": (lambda: class_pixels(BARE, 2), "source='bare': holds no semantic"),
    "half a class of maps": (lambda: class_pixels(BARE, 2.5), f"num_classes=2.5: {WHOLE}"),
    "episodes of none": (lambda: episodes(LABELED, -1, way=2, shot=1, query=1), "count=-1: too small"),
    "episodes of no labels": (lambda: episodes(BARE, 1, way=2, shot=1, query=1), "source='bare': holds no label;"),
    # Arguments of readers, before a file is opened.
    "a limit below 0": (lambda: load("folder", "none", limit_bytes=-1), f"limit_bytes=-1: {RANGE} 0"),
    "a limit of NaN": (lambda: load("digits", limit_bytes=NAN), f"limit_bytes=nan: {RANGE} 0"),
    "half a class": (lambda: load("digits", min_classes=2.5), f"min_classes=2.5: {WHOLE}"),
    "a seed below 0": (lambda: load("digits", seed=-1), "seed=-1: too small"),
    "a split of all": (lambda: load("folder", "none", valid_fraction=1.0), "valid_fraction=1: out of range; allowed"),
    "a limit of a folder": (lambda: folder_splits("none", limit_bytes=-1), f"limit_bytes=-1: {RANGE} 0"),
    "a limit of one folder": (lambda: folder_source("none", limit_bytes=NAN), f"limit_bytes=nan: {RANGE} 0"),
    "a limit of shards": (lambda: shard_splits("none", "parquet", limit_bytes="1"), "limit_bytes='1': no number"),
    "a limit of images": (lambda: unlabeled_source("none", limit_bytes=-1), f"limit_bytes=-1: {RANGE} 0"),
    "a limit of a split": (lambda: tfds_source("x", "train", "none", limit_bytes=NAN), f"limit_bytes=nan: {RANGE} 0"),
    "a limit of splits": (
        lambda: tfds_sources("x", "none", (), -1, None, Workers(0)),
        f"limit_bytes=-1: {RANGE} 0",
    ),
    "classes of a folder": (lambda: list_folder("none", -1), "min_classes=-1: too small; allowed: at least 0"),
    "classes of .tar files": (lambda: list_webdataset("none", NAN), f"min_classes=nan: {WHOLE}"),
    "classes of .parquet files": (lambda: list_parquet("none", 1.5), f"min_classes=1.5: {WHOLE}"),
    "classes of records": (lambda: sharded_images("none", {}, min_classes=-1), "min_classes=-1: too small"),
    "half a thread": (lambda: Workers(0.5), f"workers=0.5: {WHOLE}"),
    "boxes of none": (lambda: coco_splits("none", 64, 0), "max_boxes=0: too small; allowed: at least 1"),
    "half a box": (lambda: coco_source("none", "none", 64, 3.5), f"max_boxes=3.5: {WHOLE}"),
    "half a pixel": (lambda: flickr8k("none", 4.5), f"image_size=4.5: {WHOLE}"),
    "half a fold": (lambda: read_video_dataset("ucf101", "none", 1.5), f"fold=1.5: {WHOLE}"),
    "half a class of videos": (lambda: read_youtube8m("none", num_classes=0.5), f"num_classes=0.5: {WHOLE}"),
    "a length of clips": (
        lambda: labeled_clips([], (), length=-1, size=8),
        "length=-1: too small; allowed: at least 1",
    ),
    "a stride of clips": (lambda: labeled_clips([], (), length=1, size=8, stride=NAN), f"stride=nan: {WHOLE}"),
    "a size of clips": (lambda: labeled_clips([], (), length=1, size=8.5), f"size=8.5: {SIZE}"),
    "half a frame": (lambda: read_frames("none", [0.5]), r"frames=float64\[1\]: no frames; allowed: int \[T\]"),
    "no frame": (lambda: read_frames("none", []), r"frames=float64\[0\]: no frames"),
    "frames of no size": (lambda: read_frames("none", [0], (0, 8)), rf"size=\(0, 8\): {SIZE}"),
    "a data set without a name": (lambda: load(None), "name=None: no text; allowed: digits, photographs"),
    "no limit": (lambda: load("digits", limit_bytes=None), "limit_bytes=None: no number; allowed: numbers"),
    "no fraction": (lambda: load("digits", valid_fraction=None), "valid_fraction=None: no number"),
    "two workers": (
        lambda: folder_splits("none", workers=2),
        r"workers=2: no workers; allowed: Workers\(count",
    ),
    "a rate of a text": (
        lambda: labeled_clips([], (), length=1, size=8, frame_rate="3"),
        "frame_rate='3': no number; allowed: numbers",
    ),
    "no folder": (lambda: folder_splits(None), "path=None: no path; allowed: a text or a pathlib.Path"),
    "a number for shards": (lambda: list_webdataset(3), "path=3: no path"),
    "no image file": (lambda: load_image(None), "path=None: no path"),
    "no video": (lambda: read_frames(None, [0]), "path=None: no path"),
    "no classes of videos": (lambda: list_classes(None), "root=None: no path"),
    "no volume": (lambda: volume_files.load_volume(None), "path=None: no path"),
    "no mesh": (lambda: read_mesh(None), "path=None: no path"),
    "no file of tokens": (lambda: token_file.token_rows(None, 2, 1), "path=None: no path"),
    "no text file": (lambda: text.read_lines(None, "data_dir"), "data_dir=None: no path"),
    "no annotations": (lambda: coco_splits(None, 8), "data_dir=None: no path"),
    "no models": (lambda: modelnet(None, "train"), "data_dir=None: no path"),
    # Pixels.
    "a crop of no size": (lambda: load_center_crop("none", (8,)), rf"size=\(8,\): {SIZE}"),
    "a crop of more than all": (lambda: load_center_crop("none", (8, 8), crop_pct=2.0), r"crop_pct=2.0: out of range"),
    "a crop of NaN": (lambda: center_box(4, 4, (2, 2), NAN), r"crop_pct=nan: out of range; allowed: in \(0, 1\]"),
    "a center of no size": (lambda: center_box(4, 4, (2, 2.5)), r"size=\(2, 2.5\): no size; allowed"),
    "a center of no image": (lambda: center_box(0, 4, (2, 2)), "height=0, width=4: no pixel"),
    "channels of an image": (lambda: load_image("none", channels=2), "channels=2: unknown; allowed: 1, 3"),
    "an image of no size": (lambda: decode_image("none", 8, 3), "size=8: no size; allowed"),
    "a box of no size": (lambda: decode_box(b"", center_box, (0, 8)), rf"size=\(0, 8\): {SIZE}"),
    "files of no shape": (lambda: decode_files([], (8, 8), False), r"shape=\(8, 8\): no shape; allowed: \(h, w, chan"),
    "files of no size": (lambda: decode_files([], (8.5, 8, 3), False), rf"shape=\(8.5, 8\): {SIZE}"),
    "a batch to stretch": (lambda: stretch_image(PICTURE[None], (2, 2)), r"image=uint8\[1, 4, 4, 3\]: no picture"),
    "floats to stretch": (lambda: stretch_image(PICTURE / 2, (2, 2)), r"image=float64\[4, 4, 3\]: no picture"),
    "an area of one number": (lambda: random_box(RNG, 4, 4, (0.5,)), r"area=\(0.5,\): no pair"),
    "an area above 1": (lambda: random_box(RNG, 4, 4, (0.5, 2.0)), r"area=\(0.5, 2.0\): no range"),
    "a ratio that falls": (lambda: random_box(RNG, 4, 4, ratio=(2.0, 0.5)), r"ratio=\(2.0, 0.5\): no range"),
    "a box of no image": (lambda: random_box(RNG, 0, 4), "height=0: too small"),
    "items below 0": (lambda: take_evenly([1, 2], -1), "count=-1: too small"),
    "a sample of half": (lambda: sample_of(LABELED, 4.5), f"count=4.5: {WHOLE}"),
    "crops of one number": (lambda: random_crops(LABELED, (0.5,)), r"area=\(0.5,\): no pair"),
    "a crop of a text": (lambda: streamed(crop=("a", "b")), r"crop=\('a', 'b'\): no pair"),
    "a stream of no size": (lambda: streamed(size=(4, 0)), rf"size=\(4, 0\): {SIZE}"),
    "a stream of two channels": (lambda: streamed(channels=2), "channels=2: unknown; allowed: 1, 3"),
    "no resizing": (lambda: check_resize(None), "resize=None: unknown; allowed: stretch"),
    "a canvas of one number": (lambda: shortest_edge("shortest_edge:8,13", (32,)), rf"canvas=\(32,\): {SIZE}"),
    "no side": (lambda: ShortestEdge(8, 13, (32, 32)).size(0, 4), "height=0: too small"),
    "a resize to nothing": (lambda: resize_bilinear(PICTURE, (0, 4)), rf"size=\(0, 4\): {SIZE}"),
    "a batch to resize": (lambda: resize_bilinear(PICTURE[None], (2, 2)), r"image.shape=\(1, 4, 4, 3\): no image"),
    "a normalizer of no size": (lambda: normalizer((0.5,), (0.5,), size=-1), f"size=-1: {SIZE}"),
    "a mean of NaN": (lambda: normalizer((NAN,), (0.5,)), r"mean\[0\]=nan: not finite"),
    "four channels": (
        lambda: normalizer((0.5,) * 3, (0.5,) * 3)(np.zeros((1, 2, 2, 4), np.float32)),
        r"images.shape=\(1, 2, 2, 4\): other channels; allowed: 1 or 3, as of mean",
    ),
    "a mean of another rank": (lambda: preprocess.mean_image(PICTURE), "train=.*wrong shape"),
    "a channel of another rank": (lambda: preprocess.channel_mean(PICTURE), "train=.*wrong shape"),
    "half a component": (lambda: preprocess.fit_pca(np.eye(3), 1.5), f"num_components=1.5: {WHOLE}"),
    "another number of components": (
        lambda: preprocess.fit_pca(np.eye(3), 2).inverse(np.zeros((1, 3))),
        r"y=float.*: wrong shape or dtype; allowed: \[N, 2\]",
    ),
    "a split of other features": (
        lambda: preprocess.fit_on_first(preprocess.fit_standardizer, np.eye(3), np.eye(4)),
        r"others\[0\].shape=\(4, 4\): other examples; allowed: as train",
    ),
    "other features": (
        lambda: preprocess.fit_standardizer(np.eye(3))(np.zeros((2, 1))),
        r"x.shape=\(2, 1\): other features; allowed: \(..., 3,\)",
    ),
    "a deviation of 0": (
        lambda: preprocess.Standardizer(np.zeros(2), np.zeros(2)),
        r"std.shape=\(2,\): no deviations; allowed: \(2,\), above 0",
    ),
    # Masks and volumes.
    "masks of shares": (lambda: masks.pack_masks(np.full((2, 2), 0.5)), r"masks=float64\[2, 2\]: holds other numbers"),
    "a row of masks": (lambda: masks.pack_masks(np.ones(8, bool)), r"masks=bool\[8\]: no masks"),
    "bits of floats": (lambda: masks.unpack_masks(np.ones((2, 1)), 8), "packed=float64: no packed bits"),
    "half a pixel of masks": (lambda: masks.unpack_masks(np.ones((2, 1), np.uint8), 7.5), f"width=7.5: {WHOLE}"),
    "one visible mask": (lambda: masks.visible_masks(np.ones((2, 2), bool)), r"allowed: \[M, H, W\]"),
    "one mask to encode": (lambda: masks.masks_to_rles(np.ones((2, 2), bool)), r"allowed: \[M, H, W\]"),
    "run lengths without size": (lambda: masks.rle_to_mask({"counts": [4]}), "holds no size; allowed: size and counts"),
    "run lengths of half a pixel": (lambda: masks.rle_to_mask({"size": [1.5, 2], "counts": [3]}), r"size=\(1.5, 2\)"),
    "a mask of no size": (lambda: masks.segmentation_to_mask([[0, 0, 1, 0, 1, 1]], (4,)), r"size=\(4,\): no pair"),
    "a volume of two sides": (lambda: volume_files.resample(np.ones((2, 2)), (1, 1, 1)), r"values.shape=\(2, 2\)"),
    "half a voxel": (lambda: volume_files.resample(VOLUME.values, (1.5, 1, 1)), r"size=\(1.5, 1, 1\): no size"),
    "a spacing of 0": (lambda: volume_files.size_at(VOLUME, (1, 0, 1)), r"spacing=\(1, 0, 1\): not the sides"),
    "no volumes": (lambda: volume_files.pad_volumes([], 0), "volumes: none; allowed: one or more"),
    "volumes of two kinds": (
        lambda: volume_files.pad_volumes([VOLUME.values, VOLUME.values[..., None]], 0),
        r"volumes=float64\[4, 4, 4\], float64\[4, 4, 4, 1\]: do not fit",
    ),
    "no room for a volume": (
        lambda: volume_files.pad_volumes([VOLUME.values], 0, (4, 2, 4)),
        r"size=\(4, 2, 4\): too small; allowed: at least \(4, 4, 4\)",
    ),
    "labels of 9 bits": (
        lambda: volume_files.save_labels("none", np.full((1, 1, 1), 256), "none.npz"),
        r"labels\[0, 0, 0\]=256: out of range; allowed: 0 to 255",
    ),
    "no run lengths": (lambda: masks.rle_to_mask(None), "rle=NoneType: no run lengths; allowed: a dict"),
    "pixels of texts": (lambda: preprocess.to_signed(None), "x=object: no numbers; allowed: arrays of numbers"),
    "features of texts": (lambda: preprocess.fit_pca(np.array([["a"]])), "train=<U1: no numbers"),
    # Texts and clips.
    "no text": (lambda: text.Vocabulary("ab").encode(None), "text=NoneType: no text; allowed: a str"),
    "a character twice": (lambda: text.Vocabulary("aab").encode("a"), "characters='aab': one stands there twice"),
    "tokens of texts": (lambda: text.Vocabulary("ab").decode(["a"]), r"tokens=\['a'\]: no number"),
    "a share of a text": (lambda: text.split_text(TOKENS, "0.1"), "valid_fraction='0.1': no number"),
    "words of one text": (lambda: words.Words("abc"), "words='abc': no words; allowed: a list of texts"),
    "words of numbers": (lambda: words.Words((1, 2)), r"words=\(1, 2\): no words"),
    "one sentence": (lambda: words.Words.of("a b"), "sentences='a b': one text; allowed: a list of sentences"),
    "rows of rows": (lambda: words.pad_sequences([[[1], [2, 3]]]), r"sequences\[0\]: rows of unequal lengths"),
    "no vocabulary at all": (
        lambda: words.vocabulary_from_dict(None),
        "entry=NoneType: no vocabulary; allowed",
    ),
    "a vocabulary of nothing": (
        lambda: words.vocabulary_from_dict({"kind": "words"}),
        r"entry=\['kind'\]: holds no words; allowed",
    ),
    "half a stream": (lambda: text.streams(TOKENS, 1.5), f"count=1.5: {WHOLE}"),
    "a table of tokens": (lambda: text.streams(TOKENS[None], 1), r"tokens=.*\[1, 20\]: wrong shape"),
    "a list of tokens": (lambda: text.windows([1, 2, 3], 2), "tokens=list: no tokens; allowed: an array"),
    "tokens of floats": (lambda: text.training_windows(TOKENS / 2, 2), "tokens=ndarray: no tokens"),
    "half a window": (lambda: text.windows(TOKENS, 2.5), f"length=2.5: {WHOLE}"),
    "half a stride": (lambda: text.windows(TOKENS, 2, 0.5), f"stride=0.5: {WHOLE}"),
    "half a training window": (lambda: text.training_windows(TOKENS, 2.5), f"length=2.5: {WHOLE}"),
    "half a line": (lambda: labeled_texts("pages", 2.5), f"length=2.5: {WHOLE}"),
    "half a row": (lambda: token_file.token_rows("none", 2.5, 1), f"size=2.5: {WHOLE}"),
    "half a step": (lambda: token_file.token_rows("none", 2, 1.5), f"stride=1.5: {WHOLE}"),
    "one end of a part": (lambda: token_file.token_rows("none", 2, 1, (0.0,)), r"part=\(0.0,\): no pair"),
    "no vocabulary": (lambda: token_file.token_rows("none", 2, 1, num_tokens=0), f"num_tokens=0: {RANGE} 1"),
    "half a row of tokens": (lambda: words.pad_sequences([[1]], 5.5), f"length=5.5: {WHOLE}"),
    "half a token": (lambda: words.pad_sequences([[4], [4.5]]), r"sequences\[1\]=\[4.5\]: no tokens"),
    "a token below 0": (lambda: words.pad_sequences([[-4]]), r"sequences\[0\]=\[-4\]: no tokens"),
    "half a token to read": (lambda: words.Words(("a",)).decode([4.5]), r"tokens=\[4.5\]: no tokens; allowed: a list"),
    "half a word": (lambda: words.Words.of(["a b"], 0.5), f"min_count=0.5: {WHOLE}"),
    "captions of half a word": (lambda: caption_source(PICTURE, [], words.Words(("a",)), 0.5), f"length=0.5: {WHOLE}"),
    "one caption": (lambda: caption_source(PICTURE[:1], ["a"], words.Words(("a",))), r"texts\[0\]: one text; allowed"),
    "half a clip": (lambda: clip_indices(0, 2.5, 1, 8), f"length=2.5: {WHOLE}"),
    "half a start": (lambda: clip_indices(0.5, 2, 1, 8), r"start=float64\[\]: no whole numbers"),
    "clips of another batch": (
        lambda: clip_indices(np.zeros(2, int), 2, np.ones(1, int), np.full(2, 8)),
        r"stride=int64\[1\]: another length; allowed: 2",
    ),
    "an epoch below 0": (lambda: clip_start(0, -1, 0, 8, 2), f"epoch=-1: {RANGE} 0"),
    "half a video": (lambda: clip_start(0, 0, 0.5, 8, 2), r"video=float64\[\]: no whole numbers"),
    "no frame of a video": (lambda: clip_start(0, 0, 0, 0, 2), f"num_frames=0: {RANGE} 1"),
    "half a view": (lambda: view_starts(1.5, 8, 2), f"views=1.5: {WHOLE}"),
    "views of no frame": (lambda: view_starts(2, -1, 2), f"num_frames=-1: {RANGE} 1"),
    "views of images": (lambda: repeat_for_views(LABELED, 2), "source='toy': holds no clips in `image`"),
    "clips of floats": (lambda: clips_in_memory(VIDEOS / 2, 2), "videos=float64: no pixels; allowed: uint8"),
    # Drawn data.
    "half a spiral": (lambda: segments(Source({"time": np.zeros((2, 8))}), 2.5), f"length=2.5: {WHOLE}"),
    "factors of another number": (lambda: draw_factors(np.ones((3, 4)), np.zeros(1, int), 8), r"label=.*\[1\]: wrong"),
    "factors of NaN": (lambda: draw_factors(np.full((1, 4), NAN), np.zeros(1, int), 8), "factors.*=nan: not finite"),
    "a label of no shape": (lambda: draw_factors(np.ones((1, 4)), np.array([2]), 8), r"label\[0\]=2: out of range"),
    "images of no side": (lambda: draw_factors(np.ones((1, 4)), np.zeros(1, int), 0), f"size=0: {RANGE} 1"),
    "a camera of colors": (lambda: simulate_camera(PICTURE[None]), "images=.*wrong shape"),
    "patches of floats": (lambda: blend(PICTURE[None], PICTURE[None] / 2), "patches=float64.*: no pictures"),
    "no patches": (lambda: blend(PICTURE[None], PICTURE[None][:0]), "patches: none"),
    "a rotation of NaN": (lambda: font_digits(1, rotation=NAN), "rotation=nan: not finite"),
    "clutter below 0": (lambda: digit_scenes("test", 1, clutter=-1), f"clutter=-1: {RANGE} 0"),
    "noise of NaN": (lambda: digit_scenes("test", 1, noise=NAN), "noise=nan: out of range; allowed: 0 to 1"),
    "a seed below 0 of scenes": (lambda: scenes(1, -1), "seed=-1: too small; allowed: at least 0"),
    "a seed below 0 of a style": (lambda: style_pattern("waves", 8, -1), "seed=-1: too small"),
    "alarms without end": (lambda: crossings(1, alarms=np.inf), "alarms=inf: not finite"),
    "organs of half a voxel": (lambda: planted_organs(1, size=(8.5, 8, 8)), f"size=8.5: {WHOLE}"),
    "a plane to standardize": (lambda: standardize(np.ones((2, 2))), r"volume.shape=\(2, 2\): no volume"),
    "intervals of NaN": (lambda: interval_dice(BARE, np.full((1, 2), NAN)), "intervals: hold NaN"),
    "no interval": (lambda: interval_dice(BARE, np.ones((0, 2))), "source='bare': holds no organ"),
    "a triangle of NaN": (
        lambda: rasterize(np.full((3, 2), NAN), np.ones(3), np.array([[0, 1, 2]]), 4, 4),
        r"pixels\[0, 0\]=nan: not finite",
    ),
    "corners of another number": (
        lambda: rasterize(np.ones((3, 2)), np.ones(2), np.array([[0, 1, 2]]), 4, 4),
        r"nearness=float.*\[2\]: wrong shape or dtype; allowed: \[3\]",
    ),
    "half a row to draw": (
        lambda: rasterize(np.ones((3, 2)), np.ones(3), np.array([[0, 1, 2]]), 4.5, 4),
        f"height=4.5: {WHOLE}",
    ),
    "a square to shade": (lambda: shade(np.ones((4, 3)), np.array([[0, 1, 2, 3]])), "faces=.*wrong shape"),
    "a texture of none": (
        lambda: scene_semantics(np.full((2, 2), 3), np.ones((1, 2, 2), bool), np.zeros(1, int)),
        r"textures\[0, 0\]=3: out of range; allowed: 0 to 2, of 3 textures",
    ),
    "a mask of no label": (
        lambda: scene_semantics(np.zeros((2, 2), int), np.ones((1, 2, 2), bool), np.zeros(0, int)),
        "labels: 0 of them; allowed: at least 1, one a mask",
    ),
    "a word of none": (lambda: word_counts(np.array([[-7]])), r"text\[0, 0\]=-7: out of range"),
    "a character of none": (lambda: as_characters(np.array([0.5])), r"tokens\[0\]=0.5: out of range"),
    "cells of nothing": (lambda: cell_shares(0, 3, 3), f"grid=0: {RANGE} 1"),
    "a grid of NaN": (lambda: check_grid(48, NAN), f"grid=nan: {WHOLE}"),
    "a color of none": (
        lambda: draw_shapes(RNG, [Placed("pink", "circle", 0)], 16, 2),
        "color='pink': unknown; allowed",
    ),
    "a cell outside": (
        lambda: draw_shapes(RNG, [Placed("red", "circle", 4)], 16, 2),
        "cell=4: out of range; allowed: 0",
    ),
    "a radius of 0": (lambda: paint(np.ones((4, 4, 3)), "circle", np.ones(3), (2, 2), 0.0), "radius=0: out of range"),
    "a point of one number": (lambda: paint(np.ones((4, 4, 3)), "circle", np.ones(3), (2,), 1.0), r"center=\(2,\): no"),
    "a gray foreground": (lambda: foreground(PICTURE[..., :1]), "image=.*wrong shape"),
    "an overlap of NaN": (lambda: read_shapes(PICTURE, 2, least=NAN), "least=nan: out of range; allowed: 0 to 1"),
    "no shapes to read": (lambda: read_shapes(PICTURE, 2, ()), r"shapes=\(\): none; allowed"),
    "a cube of no side": (lambda: occupancy_grid(Solid("sphere", np.ones(3)), 2, -1.0), "half_side=-1: out of range"),
    "half a cell": (lambda: occupancy_grid(Solid("sphere", np.ones(3)), 1.5), f"resolution=1.5: {WHOLE}"),
    "a camera of two rows": (
        lambda: render_depth([], np.eye(3), np.eye(3)[:2], np.zeros(3), 4, 4),
        r"rotation=float.*\[2, 3\]: wrong shape",
    ),
    "intrinsics of no image": (lambda: camera_intrinsics(0), f"size=0: {RANGE} 1"),
    "no solids": (lambda: solid_images(1, kinds=()), r"kinds=\(\): none; allowed"),
    "half a segment": (lambda: torus_mesh(segments=24.5), f"segments=24.5: {WHOLE}"),
    "a profile of three": (lambda: revolve_profile(np.ones((3, 3)), 4), "profile=.*wrong shape"),
    "extents of 0": (lambda: occupancy("box", np.zeros(3), 4), "half_extents=0: out of range; allowed: above 0"),
    "a center of two": (lambda: occupancy("box", np.ones(3), 4, center=(0, 0)), "center=.*wrong shape"),
    "a tilt of NaN": (lambda: occupancy("box", np.ones(3), 4, tilt=NAN), "tilt=nan: not finite"),
    "a volume of nothing": (lambda: solid_volume("box", -np.ones(3)), "half_extents=-1: out of range"),
    "a plane of voxels": (lambda: depth_map(np.ones((2, 2))), "voxels=.*wrong shape"),
    "half a point": (lambda: modelnet("none", "train", 0.5), f"num_points=0.5: {WHOLE}"),
    "half a point of shapes": (lambda: shapenet("none", num_points=0.5), f"num_points=0.5: {WHOLE}"),
    "no point": (lambda: mesh_points(np.eye(3), np.array([[0, 1, 2]]), 0, RNG), "count=0: too small"),
    "one length of texts": (lambda: text_images(1, lengths=(3,)), r"lengths=\(3,\): no pair"),
    "half a pixel of texts": (lambda: text_images(1, size=(24.5, 80)), f"size=24.5: {WHOLE}"),
    "fonts that shrink": (lambda: text_images(1, font_sizes=(20, 15)), r"font_sizes=\(20, 15\): no range"),
    "one length of strings": (lambda: strings("copy", 1, length=(3,)), r"length=\(3,\): no pair"),
    "no symbol": (lambda: symbols(-1), f"vocabulary=-1: {RANGE} 1"),
    "two directions": (lambda: clip_sentences(2), "directions=2: unknown; allowed: 4, 8"),
    "a beat without end": (lambda: melody_waveform("C", beat=np.inf), "sample_rate=4000, beat=inf: out of range"),
    "half a sample": (lambda: melody_waveform("C", sample_rate=4000.5), f"sample_rate=4000.5: {WHOLE}"),
    "half a row of a photograph": (lambda: sample_image("china", 96.5), f"height=96.5: {WHOLE}"),
    "a shape of one side": (lambda: fit_to(PICTURE, (10,)), rf"shape=\(10,\): {SIZE}"),
    "a batch to fit": (lambda: fit_to(PICTURE[None], (2, 2)), "image=uint8.*: no picture"),
    "half a word of a question": (lambda: question_tokens([], question_words(), 8.5), f"length=8.5: {WHOLE}"),
    "a phase of NaN": (lambda: glottal_pulses(np.full(4, 100.0), 8000, NAN), "phase=nan: not finite"),
    "half a sample of a vowel": (lambda: resonate(np.ones(4), 100.0, 50.0, 8000.5), f"sample_rate=8000.5: {WHOLE}"),
    "clips of images": (lambda: clips_in_memory(VIDEOS[0], 2), "videos=.*wrong shape"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named(name):
    call, message = CASES[name]
    with pytest.raises(ValueError, match=message):
        call()
