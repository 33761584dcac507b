"""`dlcore ask`: a tiny LLaVA with a tokenizer of words answers a question about a photograph."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlcore import cli
from dlcore.modes.photograph_answer import answer_tokens, prepare_photograph
from dlcore.pretrained import from_pretrained
from dlcore.pretrained.chat_prompt import expand_image, prompt_of
from dlcore.pretrained.prompt_encoder import open_tokenizer
from tests.pretrained.test_published import read_published

WORDS = ["USER", ":", "what", "is", "this", "?", "ASSISTANT", "red", "square"]


@pytest.fixture
def folder(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    read_published("hf_llava_for_conditional_generation", tmp_path)
    vocabulary = {word: i for i, word in enumerate(WORDS)} | {f"w{i}": i for i in range(len(WORDS), 48) if i != 44}
    tokenizer = Tokenizer(models.WordLevel(vocabulary | {"<image>": 44}, unk_token="w47"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<image>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    side = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(side).save(tmp_path / "photo.png")
    return tmp_path


@pytest.mark.slow
@pytest.mark.covers("CP-13")
def test_a_model_answers_a_question_about_a_photograph(folder, capsys):
    tokenizer, net = open_tokenizer(folder), from_pretrained(folder)
    prompt = prompt_of(folder, "LlavaForConditionalGeneration", "what is this?", "<image>")
    tokens = expand_image(tokenizer, prompt, "LlavaForConditionalGeneration", 44, 16)
    assert tokens == [0, 1, *[44] * 16, 2, 3, 4, 5, 6, 1]
    photograph = np.asarray(Image.open(folder / "photo.png"))
    about = {"image_processor_type": "LlavaNextImageProcessor", "image_mean": [0, 0, 0], "image_std": [2, 1, 1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(about | {"resample": 0}))
    images = prepare_photograph(net, photograph, folder)
    assert images.shape == (1, 32, 32, 3)
    np.testing.assert_allclose(images[0, 0, 0] * np.array([2, 1, 1]), photograph[0, 0] / 255, rtol=0, atol=1e-6)
    expected = list(tokens)
    for _ in range(4):  # greedy, by the whole sequence each time
        logits = net.model.apply(net.variables, jnp.asarray([expected]), images)
        expected.append(int(logits[0, -1].argmax()))
    answer = expected[len(tokens) :]
    assert answer_tokens(net, tokens, images, (), 4) == answer
    config = json.loads((folder / "config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [answer[3], 46]}))
    assert cli.main(["ask", str(folder), f"--input={folder}/photo.png", "--words=what is this?", "--max_tokens=6"]) == 0
    end = answer.index(answer[3])
    assert capsys.readouterr().out.split() == tokenizer.decode(answer[:end]).split()
    assert config["image_token_index"] == 44


@pytest.mark.covers("CP-13")
def test_a_network_that_reads_no_question_is_refused(tmp_path, capsys):
    read_published("hf_swin_model", tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    assert cli.main(["ask", str(tmp_path), f"--input={tmp_path}/photo.png", "--words=a"]) == 1
    assert "reads no questions; allowed: such as LLaVA" in capsys.readouterr().err
