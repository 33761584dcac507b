"""Write the goldens of whole pipelines: images that diffusers draws of a prompt, from given noise.

python -m tests.pretrained.pipelines FOLDER                 writes tiny pipelines and their noise
python tests/pretrained/write_pipeline_goldens.py FOLDER    needs torch, diffusers and transformers
"""

import json
import sys
from pathlib import Path
from unittest import mock

import diffusers
import numpy as np
import torch
import transformers

GOLDENS = Path(__file__).parents[1] / "goldens"
TEXTS = {"CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"}


def read_part(folder):
    """A network, by the class that its configuration names."""
    config = json.loads((folder / "config.json").read_text())
    name = config.get("_class_name") or config["architectures"][0]
    return getattr(transformers if name in TEXTS else diffusers, name).from_pretrained(folder).eval()


def read_tokenizer(folder, window):
    """CLIP's from its vocabulary, T5's from tokenizer.json."""
    if (folder / "vocab.json").exists():
        kind = transformers.CLIPTokenizer
        ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
        return kind.from_pretrained(folder, model_max_length=window, unk_token="<|endoftext|>", **ends)
    kind = transformers.PreTrainedTokenizerFast
    return kind(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def read_pipeline(folder):
    """The pipeline of a folder of `tests.pretrained.pipelines.write_pipeline`."""
    index = json.loads((folder / "model_index.json").read_text())
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    parts = {"scheduler": getattr(diffusers, scheduler["_class_name"]).from_config(scheduler)}
    for part in sorted(folder.iterdir()):
        if part.name.startswith("tokenizer"):
            parts[part.name] = read_tokenizer(part, 12 if (part / "vocab.json").exists() else 512)
        elif (part / "config.json").exists():
            parts[part.name] = read_part(part)
    kind = index["_class_name"]
    if kind in ("StableDiffusionPipeline", "LatentConsistencyModelPipeline"):
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return getattr(diffusers, kind)(**parts)


def draw(folder):
    """Images [B, H, W, 3] in [0, 1] of the call that call.json describes."""
    pipeline, call = read_pipeline(folder), json.loads((folder / "call.json").read_text())
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.from_numpy(np.moveaxis(np.load(folder / "start.npy"), -1, 1).copy())
    if "Flux" in type(pipeline).__name__:
        rows, columns = noise.shape[2:]
        noise = pipeline._pack_latents(noise, len(noise), noise.shape[1], rows, columns)
    noises = iter(torch.from_numpy(np.moveaxis(np.load(folder / "noises.npy"), -1, 2).copy()))
    added = mock.patch("diffusers.schedulers.scheduling_lcm.randn_tensor", side_effect=lambda *_, **__: next(noises))
    with torch.no_grad(), added:
        return pipeline(**call, num_images_per_prompt=len(noise), latents=noise, output_type="np").images


if __name__ == "__main__":
    goldens = {folder.name: draw(folder) for folder in sorted(Path(sys.argv[1]).iterdir())}
    print({name: (images.shape, float(images.std())) for name, images in goldens.items()})
    np.savez_compressed(GOLDENS / "pipelines.npz", **goldens)
