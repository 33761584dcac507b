"""Figures of techniques of dlcore.models: each function is named as its technique, and its docstring is the caption."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.data.sample_images import fit_to, sample_image
from dlcore.models import create_model
from dlcore.models.mae import MAE
from dlcore.models.registry import example_inputs
from dlcore.models.t5 import T5
from dlcore.models.transformer import Transformer
from dlcore.nn.position import relative_buckets
from dlcore.ops.patches import patchify, unpatchify
from dlcore.report.figure import GRAY, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "bart",
    "clip",
    "dinov2",
    "llama",
    "mae",
    "t5",
    "transformer",
    "video_resnet",
    "vision_encoder_decoder",
]


def _parameters(name: str, parts: Mapping[str, str]) -> dict[str, float]:
    """Millions of parameters of the published model by part: the first pattern that its path matches."""
    shapes = jax.eval_shape(create_model(name).init, jax.random.key(0), *example_inputs(name, {}))
    sums = dict.fromkeys(parts, 0.0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        named = "/".join(key.key for key in path)
        sums[next(part for part, pattern in parts.items() if re.search(pattern, named))] += leaf.size / 1e6
    return sums


def _stack(axes: "Axes", names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> None:
    """A horizontal bar for each name, stacked of its parts."""
    left = np.zeros(len(names))
    for part, color in zip(rows[0], PALETTE, strict=False):
        widths = np.array([row[part] for row in rows])
        axes.barh(names, widths, left=left, color=color, label=part, height=0.7)
        left += widths
    axes.invert_yaxis()


def bart() -> "Figure":
    """Parameters of the two sizes of BART and of Marian by part, counted from shapes.

    The one table of tokens serves the encoder, the decoder and the head; in Marian, the narrowest, it is the largest
    part, and sines in place of learned positions have no parameters.
    """
    parts = {
        "table of tokens": r"shared|head_bias",
        "self-attention": r"/attn/",
        "attention to the source": "cross_attn",
        "feed-forward": "/mlp/",
        "positions, norms": "_positions|norm",
    }
    figure, axes = new_figure((7, 2.6))
    names = ("bart_base", "bart_large", "marian")
    _stack(axes, names, [_parameters(name, parts) for name in names])
    axes.set(xlabel="parameters in millions")
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def clip() -> "Figure":
    """Parameters of both towers of published CLIP and SigLIP models, and the multiply-adds of an image and of a text.

    Smaller patches cost no parameters but more tokens: ViT-B/16 has about as many as ViT-B/32, at about four times
    the multiply-adds of an image. A text is of the full window.
    """
    parts = {"blocks of texts": "text_(?!pos)", "table of tokens": "token_embed|text_pos", "images": "."}
    names = ("clip_vit_b_32", "clip_vit_b_16", "clip_vit_l_14", "siglip_base_patch16_224")
    figure, (left, right) = new_figure((7, 2.8), 1, 2, sharey=True)
    _stack(left, names, [_parameters(name, parts) for name in names])
    left.set(xlabel="parameters in millions")
    left.legend(frameon=False, fontsize=9, loc="upper right")
    macs = {"an image": [], "a text": []}
    for name in names:
        model = create_model(name)
        image = jax.ShapeDtypeStruct((1, model.image_size, model.image_size, 3), jnp.float32)
        text = jax.ShapeDtypeStruct((1, model.window), jnp.int32)
        macs["an image"].append(total(layer_costs(model, image, method="encode_image")).macs / 1e9)
        macs["a text"].append(total(layer_costs(model, text, method="encode_text")).macs / 1e9)
    for shift, (label, values) in zip((-0.2, 0.2), macs.items(), strict=True):
        right.barh(np.arange(len(names)) + shift, values, height=0.4, label=label, color=PALETTE[3 if shift < 0 else 4])
    right.set(xlabel="multiply-adds in billions")
    right.legend(frameon=False, fontsize=9, loc="upper right")
    return figure


def dinov2() -> "Figure":
    """Multiply-adds of DINOv2 small with patches of 14 pixels by the side of the image, and parameters of its sizes.

    Dense layers cost by the number of tokens, the products of attention by its square: at 518 pixels, the side of the
    published positions, they are more than a third of the sum. On the right, feed-forward layers hold about
    two thirds of the parameters.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    sides, model = range(70, 519, 112), create_model("dinov2_small")
    costs = [layer_costs(model, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)) for side in sides]
    products = np.array([sum(layer.macs for layer in layers if layer.kind == "product") for layers in costs]) / 1e9
    sums = np.array([total(layers).macs for layers in costs]) / 1e9
    left.stackplot(sides, sums - products, products, colors=PALETTE, labels=["dense layers", "products of attention"])
    left.set(xlabel="side of the image in pixels", ylabel="multiply-adds in billions")
    left.legend(frameon=False, fontsize=8, loc="upper left")
    parts = {"attention": "/attn/", "feed-forward": "/mlp/", "other": "."}
    names = [f"dinov2_{size}" for size in ("small", "base", "large")]
    _stack(right, [name.removeprefix("dinov2_") for name in names], [_parameters(name, parts) for name in names])
    right.set(xlabel="parameters in millions")
    right.legend(frameon=False, fontsize=8)
    return figure


def llama() -> "Figure":
    """Memory of the keys and values of one text in bfloat16 by its length, and parameters by part.

    Llama 3 of 8 billion parameters has 32 heads of queries but 8 of keys and values, so that its cache takes a quarter
    of the memory of the same network with 32. Its vocabulary is four times as large, and so are its embeddings.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2, width_ratios=(1, 1.1))
    names, lengths = ("llama2_7b", "llama2_13b", "llama3_8b"), np.array([1, 2048, 4096])
    variants = {name: create_model(name, dtype=jnp.bfloat16) for name in names}
    variants["llama3_8b, 32 heads"] = create_model("llama3_8b", num_kv_heads=32, dtype=jnp.bfloat16)
    for (name, model), color, line in zip(variants.items(), PALETTE, ("-", "-", "-", ":"), strict=False):
        caches = [jax.eval_shape(lambda model=model, n=n: model.init_cache(1, n)) for n in lengths.tolist()]
        sizes = [sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(cache)) for cache in caches]
        left.plot(lengths, np.array(sizes) / 2**30, line, color=color, label=name)
    left.set(xlabel="tokens", ylabel="cache in GiB", ylim=(0, 5))
    left.legend(frameon=False, fontsize=8)
    parts = {"embeddings, head": "embed_tokens|head", "attention": "/attn/", "feed-forward": "/mlp/", "norms": "norm"}
    rows = [{part: n / 1e3 for part, n in _parameters(name, parts).items()} for name in names]
    _stack(right, names, rows)
    right.set(xlabel="parameters in billions")
    right.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.4, 1))
    return figure


def mae() -> "Figure":
    """A photograph of 224 x 224 pixels, the patches of 16 pixels that the encoder sees, and what the networks cost.

    The encoder computes for the seen patches alone: where three quarters are masked, as here and in the paper (dotted),
    ViT-B needs a third of what it does where one quarter is. The decoder reads all places and costs the same.
    """
    figure, (image, seen, right) = new_figure((7, 2.6), 1, 3, width_ratios=(1, 1, 1.2))
    x = jnp.asarray(fit_to(sample_image("china", 224), (224, 224)))[None] / 255
    noise = jax.random.uniform(jax.random.key(0), (1, 196))
    small = MAE(3, depth=1, width=16, num_heads=1, mlp_features=16, decoder_depth=1, decoder_width=16, decoder_heads=1)
    masked = small.init_with_output(jax.random.key(0), x, noise)[0]["mask"][..., None]
    image.imshow(x[0])
    seen.imshow(unpatchify(jnp.where(masked, 0.75, patchify(x, 16)), 16, 224, 224)[0])
    image.set_axis_off()
    seen.set_axis_off()
    ratios, macs = np.array([0.25, 0.5, 0.75]), {"encoder": [], "decoder": []}
    for ratio in ratios.tolist():
        model = create_model("mae_vit_b_16", mask_ratio=ratio)
        layers = layer_costs(model, jax.ShapeDtypeStruct(x.shape, jnp.float32), noise)
        decoder = sum(layer.macs for layer in layers if layer.path.startswith("decoder")) / 1e9
        macs["decoder"].append(decoder)
        macs["encoder"].append(total(layers).macs / 1e9 - decoder)
    for (label, values), color in zip(macs.items(), PALETTE, strict=False):
        right.plot(100 * ratios, values, "o-", color=color, label=label)
    right.axvline(100 * small.mask_ratio, color=GRAY, linestyle=":")
    right.set(xlabel="masked patches in %", ylabel="multiply-adds in billions", ylim=(0, None), xticks=100 * ratios)
    right.legend(frameon=False, fontsize=8)
    return figure


def t5() -> "Figure":
    """Buckets of distances in T5's encoder and decoder, and the bias of one head of an untrained encoder.

    Near distances have a bucket each, far ones share ever wider buckets, and the farthest all share the last; the
    decoder, which sees no later tokens, has all its buckets for earlier ones. A bias depends on the distance
    alone, so that it is constant along the diagonals.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    offset = jnp.arange(-160, 161)
    for bidirectional, label, color in ((True, "encoder", PALETTE[0]), (False, "decoder", PALETTE[1])):
        bucket = relative_buckets(offset, T5.num_buckets, T5.max_distance, bidirectional)
        left.step(offset, bucket, color=color, label=label, where="mid")
    left.set(xlabel="position of the key less that of the query", ylabel="bucket")
    left.legend(frameon=False)
    model = T5(vocab_size=8, encoder_layers=1, decoder_layers=1, width=8, mlp_features=8, num_heads=2, head_features=4)
    tokens = jnp.ones((1, 2), int)
    variables = model.init(jax.random.key(0), tokens, tokens)
    bias = model.apply(variables, "encoder", jnp.arange(160), 160, method="bias")
    drawn = right.imshow(bias[0], cmap="coolwarm", vmin=-0.05, vmax=0.05)
    right.set(xlabel="position of the key", ylabel="position of the query")
    figure.colorbar(drawn, ax=right, label="bias of the score")
    return figure


def transformer() -> "Figure":
    """How far the logits of an untrained transformer move when one token changes to another; white is exactly 0.

    A token of the target moves the logits of its own and of later positions alone: the causal mask. A token of the
    source moves all of them, through the attention to the source. Tokens of 32 features, 1 + 1 blocks.
    """
    figure, axes = new_figure((7, 3), 1, 2, sharey=True)
    model = Transformer(50, None, 32, 4, 64, 1, 1)
    source, target = np.random.default_rng(0).integers(1, 49, (2, 12))
    variables = model.init(jax.random.key(0), source[None], target[None])
    sources, targets, one = np.tile(source, (12, 1)), np.tile(target, (12, 1)), np.eye(12, dtype=int)
    run = jax.jit(lambda source, target: model.apply(variables, source, target))
    before = run(sources, targets)
    for ax, after, side in zip(
        axes, (run(sources, targets + one), run(sources + one, targets)), ("target", "source"), strict=True
    ):
        moved = np.sqrt(np.square(after - before).sum(-1)).T
        drawn = ax.imshow(np.where(moved > 0, moved, np.nan), norm="log", cmap="viridis")
        ax.set(xlabel=f"changed token of the {side}", xticks=range(0, 12, 2))
        figure.colorbar(drawn, ax=ax, label="distance of the logits")
    axes[0].set(ylabel="position of the logits")
    return figure


def video_resnet() -> "Figure":
    """Multiply-adds and parameters of three 18-layer networks by stage, for clips of 16 frames of 112 x 112 pixels.

    R(2+1)D parts each kernel of 3 x 3 x 3 into one of space and one of time, with about as many parameters as
    R3D. MC3 joins time in the stem and the first stage alone: it has fewer parameters, but keeps all frames, so that
    its last three stages cost the same.
    """
    figure, axes = new_figure((7, 2.8), 1, 2)
    names, stages = ("r3d_18", "mc3_18", "r2plus1d_18"), ("stem", "layer1", "layer2", "layer3", "layer4")
    for shift, name, color in zip((-0.27, 0, 0.27), names, PALETTE, strict=False):
        layers = layer_costs(create_model(name), jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32))
        stage = [total([layer for layer in layers if layer.path.startswith(part)]) for part in stages]
        for ax, values in zip(axes, ([s.macs / 1e9 for s in stage], [s.parameters / 1e6 for s in stage]), strict=True):
            ax.bar(np.arange(5) + shift, values, width=0.27, color=color, label=name)
            ax.set_xticks(range(5), stages)
    axes[0].set(ylabel="multiply-adds in billions")
    axes[1].set(ylabel="parameters in millions")
    axes[1].legend(frameon=False)
    return figure


def vision_encoder_decoder() -> "Figure":
    """Multiply-adds of the published captioner for an image of 224 x 224 pixels and texts of 16 and of 64 tokens.

    The ViT reads the image once, whatever the text; the decoder's cost grows with the tokens. To project the image's
    197 tokens to keys and values is the same for every length.
    """
    parts = {
        "ViT": r"^encoder",
        "keys and values of the image": r"cross_attn/(key|value)",
        "attention to the image": "cross_attn",
        "self-attention": "/attn",
        "feed-forward": "/mlp",
        "head": ".",
    }
    figure, axes = new_figure((7, 2.5))
    model, image, rows, lengths = (
        create_model("vit_gpt2"),
        jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32),
        [],
        (16, 64),
    )
    for length in lengths:
        row = dict.fromkeys(parts, 0.0)
        for layer in layer_costs(model, image, jnp.zeros((1, length), int)):
            row[next(part for part, pattern in parts.items() if re.search(pattern, layer.path))] += layer.macs / 1e9
        rows.append(row)
    _stack(axes, [f"{length} tokens" for length in lengths], rows)
    axes.set(xlabel="multiply-adds in billions")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure
