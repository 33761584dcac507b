"""Prompts of vision-language models: a question with image tokens, as the published model was trained to read it.

A folder's chat template (chat_template.jinja, chat_template.json, or in tokenizer_config.json) writes the prompt where
`jinja2` is installed; else a plain one of the class. An image is one word of the prompt, which becomes as many image
tokens as the image has features, between the class's marks.
"""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

from dlcore.models.stored_arrays import read_config

__all__ = ["expand_image", "prompt_of"]


class Prompt(NamedTuple):
    """How a class of models writes a question about one image.

    Args:
      text: plain prompt, with {image} and {words}.
      before: what stands before the image tokens.
      after: what stands behind them.
    """

    text: str
    before: str = ""
    after: str = ""


_IM = "<|im_start|>user\n{image}\n{words}<|im_end|>\n<|im_start|>assistant\n"
_IDEFICS = ("<fake_token_around_image><global-img>", "<fake_token_around_image>")
_COHERE = (
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{image}{words}<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
)
PROMPTS = {
    "PaliGemma": Prompt("{image}<bos>{words}\n"),
    "Gemma3": Prompt(
        "<bos><start_of_turn>user\n{image}{words}<end_of_turn>\n<start_of_turn>model\n",
        "\n\n<start_of_image>",
        "<end_of_image>\n\n",
    ),
    "Idefics3": Prompt("<|begin_of_text|>User:{image}{words}<end_of_utterance>\nAssistant:", *_IDEFICS),
    "SmolVLM": Prompt("<|im_start|>User:{image}{words}<end_of_utterance>\nAssistant:", *_IDEFICS),
    "InternVL": Prompt(_IM, "<img>", "</img>"),
    "AyaVision": Prompt(_COHERE, "<|START_OF_IMG|>", "<|END_OF_IMG|>"),
    "Cohere2Vision": Prompt(_COHERE, "<|START_OF_IMG|>", "<|END_OF_IMG|>"),
}
"""{start of a class's name: its prompt}; the others have LLaVA's."""


LLAVA = Prompt("USER: {image}\n{words} ASSISTANT:")


MARKS = ("<image>", "<start_of_image>", "<IMG_CONTEXT>", "<|image|>", "<image_soft_token>", "[IMG]")
"""Words that stand for an image in chat templates, beside the image token itself."""


def _prompt(architecture: str) -> Prompt:
    return next((prompt for start, prompt in PROMPTS.items() if architecture.startswith(start)), LLAVA)


def _template(folder: Path) -> str | None:
    if (file := folder / "chat_template.jinja").is_file():
        return file.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (file := folder / name).is_file() and isinstance(template := read_config(file).get("chat_template"), str):
            return template
    return None


def prompt_of(folder: Path, architecture: str, words: str, image_word: str) -> str:
    """Write the prompt of a question about one image.

    Args:
      folder: folder of the published network.
      architecture: name of its class.
      words: the question.
      image_word: text of the image token.

    Returns:
      The prompt, in which `image_word` stands once.
    """
    template = _template(folder)
    if template is None or importlib.util.find_spec("jinja2") is None:
        return _prompt(architecture).text.format(image=image_word, words=words)
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    file = folder / "tokenizer_config.json"
    config = read_config(file) if file.is_file() else {}
    special = {name: config.get(name) or "" for name in ("bos_token", "eos_token")}
    special = {name: word["content"] if isinstance(word, dict) else word for name, word in special.items()}
    content = [{"type": "image"}, {"type": "text", "text": words}]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    messages = [{"role": "user", "content": content}]
    text = environment.from_string(template).render(messages=messages, add_generation_prompt=True, **special)
    mark = next((mark for mark in (image_word, *MARKS) if mark in text), None)
    if mark is None:
        raise ValueError(f"{folder}: its chat template has no image; allowed: with one of {', '.join(MARKS)}")
    return text.replace(mark, image_word, 1)


def expand_image(tokenizer: Any, prompt: str, architecture: str, image_token: int, count: int) -> list[int]:
    """Turn a prompt into tokens, with as many image tokens as the image has features.

    Args:
      tokenizer: a `tokenizers.Tokenizer`.
      prompt: see `prompt_of`.
      architecture: name of the class.
      image_token: the image token.
      count: features of the image.

    Returns:
      The tokens.
    """
    marks, word = _prompt(architecture), tokenizer.id_to_token(image_token)
    before, _, after = prompt.partition(word)
    texts = before + marks.before, marks.after + after
    parts = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    first = tokenizer.encode("").ids  # a start token, where the tokenizer adds one and the prompt has none
    first = [] if {*first} & {*parts[0], *parts[1]} else first
    return [*first, *parts[0], *[image_token] * count, *parts[1]]
