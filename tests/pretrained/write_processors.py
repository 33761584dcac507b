"""Write the processors of transformers: the defaults of their classes, and what they make of five photographs.

python tests/pretrained/write_processors.py          (needs torch, torchvision and transformers)

dlcore/pretrained/processors.json has the defaults, and goldens/published_processors.npz the photographs' values.
"""

import json
import warnings
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).parents[1] / "goldens"
DEFAULTS = GOLDENS.parents[1] / "dlcore" / "pretrained" / "processors.json"
CLASSES = (
    *("Beit", "Bit", "Blip", "ChineseCLIP", "CLIP", "ConditionalDetr", "ConvNext", "DPT", "DeformableDetr", "DeiT"),
    *("Detr", "DINOv3ViT", "EfficientNet", "GLPN", "Levit", "Mask2Former", "MaskFormer", "MobileNetV1"),
    *("MobileNetV2", "MobileViT", "OwlViT", "PoolFormer", "Pvt", "RTDetr", "Sam", "Segformer"),
    *("Siglip", "TextNet", "ViT", "VideoMAE", "Vivit", "Yolos"),
)
READ = (
    *(
        "crop_pct",
        "crop_size",
        "default_to_square",
        "do_center_crop",
        "do_flip_channel_order",
        "do_normalize",
        "do_pad",
    ),
    *("do_rescale", "do_resize", "ensure_multiple_of", "image_mean", "image_std", "include_top", "keep_aspect_ratio"),
    *("offset", "pad_size", "resample", "rescale_factor", "rescale_offset", "size", "size_divisor"),
)
STEPS = ("do_center_crop", "do_normalize", "do_pad", "do_rescale", "do_resize")
SIZES = ("crop_size", "pad_size", "size")
SIDES = ((60, 40), (40, 60), (5, 7), (530, 710), (1, 50))
"""Height and width: portrait, landscape, tiny, huge, one pixel high."""
SMALL = {
    "ConvNext": {"size": {"shortest_edge": 40}},
    "DPT": {"size": {"height": 48, "width": 48}, "keep_aspect_ratio": True, "ensure_multiple_of": 8},
    "EfficientNet": {"size": {"height": 40, "width": 40}},
    "Sam": {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}},
    "Vivit": {"size": {"shortest_edge": 48}, "crop_size": {"height": 40, "width": 40}, "rescale_factor": 1 / 127.5},
}
"""Sizes of the goldens; of the others the published ones divided by six."""
MORE = {
    "ConvNext large": ("ConvNext", {"size": {"shortest_edge": 384}}),
    "EfficientNet offset": (
        "EfficientNet",
        {**SMALL["EfficientNet"], "rescale_offset": True, "rescale_factor": 1 / 127.5, "include_top": False},
    ),
    "Yolos large": ("Yolos", {"size": {"shortest_edge": 50, "longest_edge": 131}}),
}


def photograph(seed, height, width):
    """[height, width, 3] uint8: blocks of 4 pixels and noise."""
    rng = np.random.RandomState(seed)
    blocks = rng.randint(0, 206, (-(-height // 4), -(-width // 4), 3)).repeat(4, 0).repeat(4, 1)[:height, :width]
    return (blocks + rng.randint(0, 50, (height, width, 3))).astype(np.uint8)


def sides(size):
    return {key: value for key, value in dict(size).items() if value is not None}


def smaller(size):
    return {key: max(24, value // 6) for key, value in size.items()}


def main():
    warnings.filterwarnings("ignore")
    import transformers

    defaults, arrays, meta = {}, {}, {}
    for name in CLASSES:
        processor = getattr(transformers, f"{name}ImageProcessor")()
        values = {key: getattr(processor, key) for key in READ if getattr(processor, key, None) is not None}
        values |= {key: bool(getattr(processor, key, None)) for key in STEPS}
        defaults[f"{name}ImageProcessor"] = {
            key: sides(value) if key in SIZES else int(value) if key == "resample" else value
            for key, value in sorted(values.items())
        }
    cases = {name: (name, SMALL.get(name)) for name in CLASSES} | MORE
    for case, (name, settings) in cases.items():
        about = defaults[f"{name}ImageProcessor"]
        if settings is None:
            settings = {key: smaller(about[key]) for key in ("size", "crop_size", "pad_size") if key in about}
        processor = getattr(transformers, f"{name}ImageProcessor")(**settings)
        for i, (height, width) in enumerate(SIDES):
            image = photograph(i, height, width)
            key = f"{case}.{i}"
            try:
                image = [image] if name in ("VideoMAE", "Vivit") else image
                found = np.asarray(
                    processor(image, return_tensors="np", input_data_format="channels_last")["pixel_values"], np.float32
                )
            except Exception as error:
                print(case, (height, width), type(error).__name__, str(error)[:90])
                continue
            found = found.reshape(found.shape[-3:])
            stride = max(1, found.size // 200)
            arrays[key] = found.reshape(-1)[::stride]
            meta[key] = {"shape": list(found.shape), "stride": stride}
        meta[case] = {"image_processor_type": f"{name}ImageProcessor", **settings}
    DEFAULTS.write_text(json.dumps(defaults, indent=1) + "\n")
    about = {"library": "transformers", "version": transformers.__version__, "cases": meta}
    np.savez_compressed(GOLDENS / "published_processors.npz", meta=json.dumps(about), **arrays)


if __name__ == "__main__":
    main()
