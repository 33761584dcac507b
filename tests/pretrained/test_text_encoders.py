"""The text encoders of pipelines against what transformers computes of the whole networks that they are part of."""

import json
import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dlcore.pretrained import from_pretrained
from dlcore.pretrained.families.text_encoders import CLIPText
from tests.models.parity import read_golden, weight_rule

CLIP = pathlib.Path(__file__).parents[1] / "goldens/hub/openai--clip-tiny"


def write(folder, config, weights):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, folder / "model.safetensors")
    return folder


def clip_text(tmp_path, **changes):
    config = json.loads((CLIP / "config.json").read_text())
    text = {**config["text_config"], "projection_dim": config["projection_dim"], **changes}
    weights = {name: value for name, value in load_file(CLIP / "model.safetensors").items() if "vision" not in name}
    weights = {name: value for name, value in weights.items() if name.startswith("text")}
    return write(tmp_path / "clip", {"architectures": ["CLIPTextModelWithProjection"], **text}, weights)


@pytest.mark.covers("GE-40")
def test_the_text_half_of_a_clip_gives_the_embeddings_of_the_whole(tmp_path):
    """transformers scales `text_embeds` of the whole to length 1, and those of the half alone not."""
    outputs = from_pretrained(clip_text(tmp_path))(input_ids=(ids := np.load(CLIP / "expected.npz")["in.input_ids"]))
    vectors = np.asarray(outputs["text_embeds"])
    expected = np.load(CLIP / "expected.npz")["out.text_embeds"]
    np.testing.assert_allclose(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), expected, atol=2e-6)
    states, end = np.asarray(outputs["last_hidden_state"]), (ids == 59).argmax(1)
    np.testing.assert_allclose(outputs["pooler_output"], states[np.arange(len(ids)), end], atol=1e-6)


def test_a_text_half_reads_tokens_and_places_and_may_have_no_head():
    """Without blocks: the tokens' rows of the table plus those of their places, and their norm; 3 tokens fit."""
    half = CLIPText(9, 8, window=3, text_depth=0, text_width=4, text_heads=1, epsilon=0.5, has_head=False)
    tokens, rng = np.array([[3, 8, 2], [8, 1, 1]]), np.random.default_rng(0)
    shapes = jax.eval_shape(half.init, jax.random.key(0), tokens)
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    params, found = variables["params"], jax.jit(half.apply)(variables, tokens)
    assert found.keys() == {"last_hidden_state", "penultimate", "pooler_output"}
    want = params["token_embed"]["embedding"][tokens] + params["text_positions"]["embedding"]
    np.testing.assert_allclose(found["penultimate"], want, atol=1e-6)
    normed = (want - want.mean(-1, keepdims=True)) / np.sqrt(want.var(-1, keepdims=True) + 0.5)
    states = normed * params["text_norm"]["scale"] + params["text_norm"]["bias"]
    np.testing.assert_allclose(found["last_hidden_state"], states, atol=1e-5)
    np.testing.assert_allclose(found["pooler_output"], states[[0, 1], [1, 0]], atol=1e-5)  # the first token 8
    with pytest.raises(ValueError, match=r"tokens.shape=\(1, 4\): 4 tokens; allowed: at most window=3"):
        half.apply(variables, np.ones((1, 4), int))


@pytest.mark.slow
def test_the_state_before_the_last_block_is_that_of_a_network_of_one_block_less(tmp_path):
    folder = clip_text(tmp_path)
    ids = np.load(CLIP / "expected.npz")["in.input_ids"]
    both = from_pretrained(folder)(input_ids=ids)
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 1}
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if "layers.1." not in k}
    one = from_pretrained(write(tmp_path / "one", config, weights))
    x = np.asarray(both["penultimate"], np.float64)
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    expected = normed * weights["text_model.final_layer_norm.weight"] + weights["text_model.final_layer_norm.bias"]
    np.testing.assert_allclose(one(input_ids=ids)["last_hidden_state"], expected, atol=1e-5)


@pytest.mark.covers("GE-40")
def test_the_encoder_of_a_t5_gives_the_states_of_the_whole(tmp_path):
    golden, meta, weights = read_golden("hf_t5", lambda key: key.startswith(("shared", "encoder")))
    net = from_pretrained(write(tmp_path / "t5", {"architectures": ["T5EncoderModel"], **meta["kwargs"]}, weights))
    ids = weight_rule().det_input(meta["inputs"]["input_ids"])
    np.testing.assert_allclose(net(input_ids=ids)["last_hidden_state"], golden["encoder_last"], atol=2e-5)


def test_other_forms_are_refused(tmp_path):
    _, meta, weights = read_golden("hf_t5", lambda key: key.startswith(("shared", "encoder")))
    config = {"architectures": ["T5EncoderModel"], **meta["kwargs"]}
    with pytest.raises(ValueError, match="feed_forward_proj='swish': not in dlcore's T5; allowed: 'relu'"):
        from_pretrained(write(tmp_path / "a", config | {"feed_forward_proj": "swish"}, weights))
    weights["encoder.embed_tokens.weight"] = weights["encoder.embed_tokens.weight"] + 1
    with pytest.raises(ValueError, match=r"encoder.embed_tokens.weight: differs from shared.weight"):
        from_pretrained(write(tmp_path / "b", config, weights))
