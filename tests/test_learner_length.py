"""A learner is read at once: at most 70 lines beside its docstring, but for those that stand below."""

import ast
from pathlib import Path

DLCORE = Path(__file__).resolve().parents[1] / "dlcore"
MOST = 70
LONG = {
    "rl/model_based.py:learner",
    "generative/vq_vae.py:learner",
    "rl/gail.py:learner",
    "semi_supervised/gan_classifier.py:learner",
    "generative/ddpm.py:learner",
    "classification/recurrent_attention.py:learner",
    "self_supervised/dino.py:learner",
    "vision_language/captioning.py:learner",
    "classification/hard_attention.py:learner",
    "adversarial/training.py:learner",
    "generative/cycle_gan.py:learner",
    "generative/gan.py:learner",
    "generative/vae.py:learner",
    "segmentation/semantic.py:learner",
    "semi_supervised/noisy_labels.py:learner",
    "classification/supervised.py:learner",
    "semi_supervised/two_streams.py:two_stream_learner",
    "rl/recurrent_ppo.py:learner",
    "generative/autoencoder.py:learner",
    "self_supervised/moco.py:learner",
    "transfer/domain_adaptation.py:learner",
    "sequence/seq2seq.py:learner",
    "sequence/char_rnn.py:learner",
    "generative/image_to_image.py:paired_learner",
    "vision3d/mesh_rcnn.py:learner",
    "vision3d/pointnet.py:learner",
    "rl/sac.py:learner",
    "sequence/language_model.py:learner",
    "rl/td3.py:learner",
    "interpretability/fast_style.py:learner",
    "self_supervised/mae.py:learner",
    "classification/distillation.py:learner",
    "sequence/masked_language_model.py:learner",
}
"""Learners that may be above that. Take their pure pieces to module level, and their names from here."""


def lines_of(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
    docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0
    return node.end_lineno - node.lineno + 1 - docstring


def learners() -> dict[str, int]:
    found = {}
    for file in sorted(DLCORE.rglob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.endswith("learner"):
                found[f"{file.relative_to(DLCORE)}:{node.name}"] = lines_of(node)
    return found


def test_lines_are_counted_without_the_docstring():
    node = ast.parse('def learner(x):\n    """One.\n\n    Two.\n    """\n    y = x\n\n    return y\n').body[0]
    assert lines_of(node) == 4


def test_learners_are_short_or_known_to_be_long():
    assert not {name: count for name, count in learners().items() if count > MOST and name not in LONG}
