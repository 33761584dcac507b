"""Write the golden of a published architecture: a tiny network of its library, its configuration and outputs.

python tests/pretrained/write_golden.py hf_swin_model transformers SwinModel \\
    --config='{"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]}' \\
    --inputs='{"pixel_values": {"shape": [2, 3, 32, 32], "seed": 2}}' --outputs=last_hidden_state,pooler_output
python tests/pretrained/write_golden.py timm_resnet26d timm resnet26d --config='{"num_classes": 5}'
python tests/pretrained/write_golden.py --again tests/goldens/published/*.npz

It needs torch, transformers, timm and diffusers. All weights are those of the goldens' rule, none is loaded.
`--config` holds arguments of the configuration's class, or of timm's `create_model`; the golden keeps the configuration
as the hub would serve it. An output that is a tuple, such as `feature_maps`, becomes `feature_maps.0` and so on.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).parents[1] / "goldens"
sys.path[:0] = [str(GOLDENS), str(GOLDENS.parent / "models")]
from det_weights import det_input  # noqa: E402
from published_goldens import fill  # noqa: E402

BOOL_MASKS = ("GroundingDinoForObjectDetection", "MMGroundingDinoForObjectDetection")
"""They hand their BERT a mask of bools, which transformers' eager attention would add to the scores."""
IMAGE = {"shape": [2, 3, 64, 64], "seed": 2, "coarse": 8}


def correct_sam_hq():
    """Let SAM-HQ's decoder read the pixels of its transformer, which transformers 5.24 drops under another name."""
    import inspect
    import textwrap

    from transformers.models.sam_hq import modeling_sam_hq

    source = textwrap.dedent(inspect.getsource(modeling_sam_hq.SamHQMaskDecoder.forward))
    fixed = source.replace(
        "point_embedding, iou_token_out = self.tran", "point_embedding, image_embeddings = self.tran"
    )
    assert fixed != source
    names = {}
    exec(fixed, vars(modeling_sam_hq), names)
    modeling_sam_hq.SamHQMaskDecoder.forward = names["forward"]


def show_answers(kind):
    """Let BLIP give the logits of answers, which its forward drops, from the states that its `generate` attends to."""
    from transformers.modeling_outputs import CausalLMOutput

    def forward(self, pixel_values, input_ids, attention_mask, decoder_input_ids, return_dict):
        images = self.vision_model(pixel_values)[0]
        states = self.text_encoder(input_ids, attention_mask, encoder_hidden_states=images)[0]
        return CausalLMOutput(logits=self.text_decoder(decoder_input_ids, encoder_hidden_states=states).logits)

    kind.forward = forward


def show_match(kind):
    """Let BLIP-2 give both of what it compares: vectors, and under another name the head's logits."""
    from types import SimpleNamespace

    both = kind.forward

    def forward(self, **inputs):
        found = both(self, **inputs)
        match = both(self, **inputs, use_image_text_matching_head=True)
        return SimpleNamespace(**found, itm_score=match.logits_per_image)

    kind.forward = forward


def build_transformers(name, config):
    """(network, configuration as transformers saves it)."""
    import transformers

    if name == "SamHQModel":
        correct_sam_hq()
    kind = getattr(transformers, name)
    if name == "BlipForQuestionAnswering":
        show_answers(kind)
    if name == "Blip2ForImageTextRetrieval":
        show_match(kind)
    settings = kind.config_class(**config)
    if name not in BOOL_MASKS:
        settings._attn_implementation = "eager"
    served = json.loads(settings.to_json_string(use_diff=True)) | {"architectures": [name]}
    return kind(settings), served


def build_timm(name, config):
    """(network, configuration as timm saves it)."""
    import timm
    from timm.models._hub import save_config_for_hf

    network = timm.create_model(name, **config)
    path = GOLDENS / "published" / "config.json"
    save_config_for_hf(network, path, model_args={key: value for key, value in config.items() if key != "num_classes"})
    served = json.loads(path.read_text())
    path.unlink()
    return network, served


def build_diffusers(name, config):
    """(network, configuration as diffusers saves it)."""
    import diffusers

    network = getattr(diffusers, name)(**config)
    return network, json.loads(network.to_json_string())


def flatten(outputs):
    """{name: array} of the outputs by name, tuples by position."""
    flat = {}
    for key, value in outputs.items():
        parts = [(key, value)] if hasattr(value, "shape") else [(f"{key}.{i}", part) for i, part in enumerate(value)]
        flat |= {name: part.numpy() for name, part in parts}
    return flat


BUILDERS = {"transformers": build_transformers, "timm": build_timm, "diffusers": build_diffusers}


def write(file, library, name, config, inputs, names, gain2):
    """Run the network in float32 and float64, and store the former's outputs."""
    import torch

    network, served = BUILDERS[library](name, config)
    network.eval()
    entries, tied, const = fill(network, gain2)
    const = [name for name in const if name != "pos_embed.pos_embed"]  # the network computes it
    entries = [entry for entry in entries if not entry[0].endswith(("num_batches_tracked", "pos_embed.pos_embed"))]
    arrays = {key: torch.from_numpy(np.asarray(det_input(spec))) for key, spec in inputs.items()}

    def run(arrays):
        if library == "timm":
            return flatten({"logits": network(*arrays.values())})
        found = network(**arrays, return_dict=True)
        return flatten({key: getattr(found, key) for key in names})

    with torch.no_grad():
        outputs = run(arrays)
        network.double()
        torch.set_default_dtype(torch.float64)  # for arrays that a network makes itself
        exact = run({key: value.double() if value.is_floating_point() else value for key, value in arrays.items()})
        torch.set_default_dtype(torch.float32)
    about = {
        key: {
            "shape": list(value.shape),
            "stride": max(1, value.size // 512),
            "std": float(value.std()),
            "absmax": float(abs(value).max()),
            "f64_err": float(abs(value - exact[key]).max() / value.std()),
        }
        for key, value in outputs.items()
    }
    meta = {
        "library": library,
        "version": importlib.import_module(library).__version__,
        "torch": torch.__version__,
        "name": name,
        "arguments": config,
        "config": served,
        "inputs": inputs,
        "gain2": gain2,
        "state_dict": entries,
        "tied": tied,
        "const": const,
        "outputs": about,
    }
    sampled = {key: value.reshape(-1)[:: about[key]["stride"]] for key, value in outputs.items()}
    np.savez_compressed(GOLDENS / "published" / f"{file}.npz", meta=json.dumps(meta), **sampled)
    print(
        file,
        {key: (value["shape"], f"std {value['std']:.3g}", f"{value['f64_err']:.1e}") for key, value in about.items()},
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?")
    parser.add_argument("library", nargs="?", choices=tuple(BUILDERS))
    parser.add_argument("name", nargs="?")
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--inputs", type=json.loads)
    parser.add_argument("--outputs", default="logits")
    parser.add_argument("--gain2", type=float, default=1.0)
    parser.add_argument("--again", nargs="*", default=())
    given = parser.parse_args()
    for path in map(Path, given.again):
        meta = json.loads(str(np.load(path)["meta"]))
        names = list(dict.fromkeys(key.split(".")[0] for key in meta["outputs"]))
        write(path.stem, meta["library"], meta["name"], meta["arguments"], meta["inputs"], names, meta["gain2"])
    if given.file:
        key = "x" if given.library == "timm" else "pixel_values"
        inputs = given.inputs or {key: IMAGE}
        write(given.file, given.library, given.name, given.config, inputs, given.outputs.split(","), given.gain2)


if __name__ == "__main__":
    main()
