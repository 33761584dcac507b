"""Tiny pipelines as diffusers writes them: networks of the goldens, text encoders by the weight rule, few words.

write_pipeline(tmp_path, "StableDiffusion3Pipeline")
"""

import json
import string

import numpy as np
from safetensors.numpy import save_file

from tests.models.parity import read_golden, weight_rule

VOCAB = 64
MERGES = [("r", "e"), ("re", "d</w>"), ("a", "r"), ("e", "</w>")]
PARTS = {
    "StableDiffusionPipeline": ("unet", "UNet2DConditionModel", "df_unet2d_cond"),
    "LatentConsistencyModelPipeline": ("unet", "UNet2DConditionModel", "df_unet2d_cond"),
    "StableDiffusionXLPipeline": ("unet", "UNet2DConditionModel", "df_unet_xl"),
    "StableDiffusion3Pipeline": ("transformer", "SD3Transformer2DModel", "df_sd3"),
    "FluxPipeline": ("transformer", "FluxTransformer2DModel", "df_flux"),
    "PixArtAlphaPipeline": ("transformer", "PixArtTransformer2DModel", "df_pixart"),
}
TEXTS = {  # width and head of a CLIP, or width of a T5
    "StableDiffusionPipeline": [(12, None)],
    "LatentConsistencyModelPipeline": [(12, None)],
    "StableDiffusionXLPipeline": [(4, None), (8, 10)],
    "StableDiffusion3Pipeline": [(4, 4), (8, 6), 12],
    "FluxPipeline": [(10, None), 12],
    "PixArtAlphaPipeline": [12],
}
DIFFUSION = {
    "_class_name": "DDIMScheduler",
    "clip_sample": False,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_network(folder, architecture, config, weights, file="diffusion_pytorch_model"):
    key = {"architectures": [architecture]} if file == "model" else {"_class_name": architecture}
    write_json(folder / "config.json", {**key, **config})
    save_file({k: np.ascontiguousarray(v) for k, v in weights.items()}, folder / f"{file}.safetensors")


def drawn(state):
    entries = [[name, list(shape)] for name, shape in state.items()]
    return weight_rule().det_state_dict({"state_dict": entries, "gain2": 1.0})


def clip_shapes(width, head):
    shapes = {"embeddings.token_embedding.weight": (VOCAB, width), "embeddings.position_embedding.weight": (12, width)}
    for k in range(2):
        layer = f"encoder.layers.{k}"
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= {f"{layer}.self_attn.{name}.weight": (width, width), f"{layer}.self_attn.{name}.bias": (width,)}
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}.{name}.weight": (width,), f"{layer}.{name}.bias": (width,)}
        shapes |= {f"{layer}.mlp.fc1.weight": (16, width), f"{layer}.mlp.fc1.bias": (16,)}
        shapes |= {f"{layer}.mlp.fc2.weight": (width, 16), f"{layer}.mlp.fc2.bias": (width,)}
    shapes |= {"final_layer_norm.weight": (width,), "final_layer_norm.bias": (width,)}
    shapes = {f"text_model.{name}": shape for name, shape in shapes.items()}
    return shapes | ({} if head is None else {"text_projection.weight": (head, width)})


def write_clip(folder, width, head):
    config = {
        "vocab_size": VOCAB,
        "max_position_embeddings": 12,
        "eos_token_id": 2,
        "num_hidden_layers": 2,
        "hidden_size": width,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": head or 512,
    }
    name = "CLIPTextModel" if head is None else "CLIPTextModelWithProjection"
    write_network(folder, name, config, drawn(clip_shapes(width, head)), "model")


def write_t5(folder, width):
    shapes = {"shared.weight": (VOCAB, width), "encoder.final_layer_norm.weight": (width,)}
    block = "encoder.block.0.layer"
    shapes |= {f"{block}.0.SelfAttention.{name}.weight": (8, width) for name in "qkv"}
    shapes |= {f"{block}.0.SelfAttention.o.weight": (width, 8)}
    shapes |= {f"{block}.0.SelfAttention.relative_attention_bias.weight": (8, 2)}
    shapes |= {f"{block}.{k}.layer_norm.weight": (width,) for k in (0, 1)}
    shapes |= {f"{block}.1.DenseReluDense.{name}.weight": (16, width) for name in ("wi_0", "wi_1")}
    shapes |= {f"{block}.1.DenseReluDense.wo.weight": (width, 16)}
    config = {"vocab_size": VOCAB, "num_layers": 1, "num_heads": 2, "d_model": width, "d_kv": 4, "d_ff": 16}
    config |= {"feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 8}
    write_network(folder, "T5EncoderModel", config, drawn(shapes), "model")


def clip_vocabulary():
    """Letters, letters at the end of a word, the merges, and the ends: 57 tokens."""
    words = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    words += ["re", "red</w>", "ar"]
    words = {word: k for k, word in enumerate(words)}
    return words | {"<|startoftext|>": VOCAB - 2, "<|endoftext|>": VOCAB - 1}


def write_clip_tokenizer(folder):
    write_json(folder / "vocab.json", clip_vocabulary())
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in MERGES[:3]) + "\n")
    write_json(folder / "special_tokens_map.json", {"pad_token": {"content": "<|endoftext|>"}})


def write_t5_tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: k for k, word in enumerate(("<pad>", "</s>", "<unk>", "a", "red", "square", "blue"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"pad_token": "<pad>"})


def autoencoder(latent_channels):
    """Configuration and weights of a golden's autoencoder for another number of channels of the latents."""
    _, meta, _ = read_golden("df_autoencoder_kl")
    n, shapes = latent_channels, dict(meta["state_dict"])
    for name in ("encoder.conv_out", "quant_conv"):
        shapes |= {f"{name}.weight": [2 * n, *shapes[f"{name}.weight"][1:]], f"{name}.bias": [2 * n]}
    shapes["quant_conv.weight"][1] = 2 * n
    shapes |= {"post_quant_conv.weight": [n, n, 1, 1], "post_quant_conv.bias": [n]}
    shapes["decoder.conv_in.weight"][1] = n
    return {**meta["kwargs"], "latent_channels": n}, drawn(shapes)


def write_pipeline(folder, kind, scheduler=None, **changes):
    """Write a pipeline; `changes` go into model_index.json."""
    name, architecture, file = PARTS[kind]
    _, meta, weights = read_golden(file)
    config = meta["kwargs"]
    if kind == "LatentConsistencyModelPipeline":  # its network reads 16 waves of the guidance
        config = {**config, "time_cond_proj_dim": 16}
        weights |= drawn({"time_embedding.cond_proj.weight": (config["block_out_channels"][0], 16)})
    write_network(folder / name, architecture, config, weights)
    write_network(folder / "vae", "AutoencoderKL", *autoencoder(1 if kind == "FluxPipeline" else 4))
    index = {"_class_name": kind}
    for k, text in enumerate(TEXTS[kind]):
        end = f"_{k + 1}" if k else ""
        index[f"text_encoder{end}"] = ["transformers", "Encoder"]
        if isinstance(text, int):
            write_t5(folder / f"text_encoder{end}", text)
            write_t5_tokenizer(folder / f"tokenizer{end}")
        else:
            write_clip(folder / f"text_encoder{end}", *text)
            write_clip_tokenizer(folder / f"tokenizer{end}")
    flow = kind in ("StableDiffusion3Pipeline", "FluxPipeline")
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler or (FLOW if flow else DIFFUSION))
    write_json(folder / "model_index.json", index | changes)
    return folder


PNDM = {key: value for key, value in DIFFUSION.items() if key != "clip_sample"}
PNDM |= {"_class_name": "PNDMScheduler", "skip_prk_steps": True}
LCM = {"_class_name": "LCMScheduler", "original_inference_steps": 50, "timestep_scaling": 10.0}
GUIDED = {"guidance_scale": 3.0}
DRAWN = {
    "sd": ("StableDiffusionPipeline", None, GUIDED),
    "sd_plms": ("StableDiffusionPipeline", PNDM, GUIDED | {"num_inference_steps": 5}),
    "lcm": ("LatentConsistencyModelPipeline", LCM, {"guidance_scale": 4.0}),
    "sdxl": ("StableDiffusionXLPipeline", None, GUIDED),
    "sd3": ("StableDiffusion3Pipeline", None, GUIDED),
    "flux": ("FluxPipeline", None, {"guidance_scale": 1.0}),
    "pixart": ("PixArtAlphaPipeline", None, GUIDED | {"use_resolution_binning": False, "clean_caption": False}),
}
"""The goldens' pipelines: class, scheduler, and arguments of diffusers' call, beside the prompt and SIZES."""
LATENTS = {
    "StableDiffusionXLPipeline": {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.5, 0.5, 1.0, 2.0]},
    "StableDiffusion3Pipeline": {"shift_factor": 0.1},
    "FluxPipeline": {"shift_factor": 0.1},
}
"""What the autoencoders' configurations say of the latents."""
SIZES = {"height": 16, "width": 8, "num_inference_steps": 3}


def write_all(folder):
    """Write the pipelines of the goldens, what they are called with, and the noise that they start from."""
    from tests.pretrained.test_pipeline import WORDS, latents, noises

    for name, (kind, scheduler, call) in DRAWN.items():
        path = write_pipeline(folder / name, kind, scheduler)
        vae = json.loads((path / "vae" / "config.json").read_text())
        write_json(path / "vae" / "config.json", vae | LATENTS.get(kind, {}))
        write_json(path / "call.json", {"prompt": WORDS, **SIZES, **call})
        shape = (8, 4, 1 if kind == "FluxPipeline" else 4)
        np.save(path / "start.npy", latents(shape))
        np.save(path / "noises.npy", noises(shape, call.get("num_inference_steps", SIZES["num_inference_steps"])))


if __name__ == "__main__":
    import pathlib
    import sys

    write_all(pathlib.Path(sys.argv[1]))
