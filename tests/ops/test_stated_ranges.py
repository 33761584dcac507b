"""Numbers and shapes out of the range that a docstring states are named, in one line."""

import importlib

import jax
import numpy as np
import pytest

from dlcore.rl import mdp
from dlcore.sequence.kalman import constant_velocity

KEY, IMAGE = jax.random.key(0), np.zeros((4, 4, 3), np.float32)
SEVERAL = np.zeros((2, 3), np.float32)
KEYS = jax.random.split(KEY, 2)
POLICY = np.eye(2)
MDP = mdp.make(np.zeros((2, 2, 1), int), np.ones((2, 2, 1)), np.zeros((2, 2, 1)), gamma=0.5)

CASES = [
    ("data.token_file.token_rows", ("none.bin", 4, 0), "stride=0"),
    ("data.token_file.token_rows", ("none.bin", 0, 4), "size=0"),
    ("data.token_file.token_rows", ("none.bin", 4, 4, (0.5, 0.2)), r"part=\(0.5, 0.2\)"),
    ("data.token_file.token_rows", ("none.bin", 4, 4, (0.0, np.nan)), r"part=\(0.0, nan\)"),
    ("generative.latents.arcs", (SEVERAL, SEVERAL, 1), "num_steps=1"),
    ("losses.contrastive_loss", (SEVERAL, SEVERAL, np.array([3, 1])), r"same\[0\]=3"),
    ("losses.cosine_embedding_loss", (SEVERAL, SEVERAL, np.array([1, 2])), r"y\[1\]=2"),
    ("losses.hinge_embedding_loss", (np.ones(2), np.array([0, 1])), r"y\[0\]=0"),
    ("losses.margin_ranking_loss", (np.ones(2), np.ones(2), np.array([0.5, 1])), r"y\[0\]=0.5"),
    ("losses.gaussian_nll_loss", (SEVERAL, SEVERAL, SEVERAL - 1), r"variance\[0, 0\]=-1"),
    ("losses.hard_distillation_loss", (SEVERAL, SEVERAL, SEVERAL, np.array([0, 7])), r"labels\[1\]=7"),
    (
        "losses.softmax_cross_entropy_loss",
        (SEVERAL, np.array([0, 1]), 0.0, np.array([1.0, -1, 1])),
        r"class_weights\[1\]=-1",
    ),
    ("losses.ctc_loss", (IMAGE[:1], np.array([[1]]), np.array([9])), r"logits_length\[0\]=9"),
    ("losses.ctc_loss", (IMAGE[:1], np.array([[1]]), None, np.array([2])), r"labels_length\[0\]=2"),
    ("metrics.normalized_mutual_information", (np.array([0, np.nan]), np.array([0, 1])), r"labels\[1\]=nan"),
    ("metrics.verification", (np.array([0.1, 0.9]), np.array([False, True]), (2.0,)), r"rates\[0\]=2"),
    ("metrics.voxel_iou", (IMAGE, IMAGE, np.nan), "threshold=nan"),
    ("ops.max_unpool", (np.ones((1, 2, 2, 1)), np.full((1, 2, 2, 1), 99)), r"indices\[0, 0, 0, 0\]=99"),
    ("ops.mu_law_encode", (np.array([0.5, np.nan]),), r"waveform\[1\]=nan"),
    ("ops.mu_law_decode", (np.array([0, 256]),), r"codes\[1\]=256"),
    ("ops.nms", (np.array([[0.0, 0, 4, 4]]), np.array([np.nan]), 0.5), r"scores\[0\]=nan"),
    ("ops.pad_points", ([],), r"clouds=\[\]"),
    ("ops.unpatchify", (np.ones((1, 4, 12)), 2, 2, 3), r"patches.shape=\(1, 4, 12\)"),
    ("ops.unpatchify", (np.ones((2, 4, 12)), 2, 4, 8), r"patches.shape=\(2, 4, 12\)"),
    ("transfer.active.core_set", (SEVERAL * np.nan, np.array([True, False]), 1), r"features\[0, 0\]=nan"),
    ("transfer.active.score", ("entropy", SEVERAL * np.nan), r"probabilities\[0\]="),
    ("transfer.continual.forgetting", (np.array([[2.0, 3], [1, 1]]),), r"accuracies\[0, 0\]=2"),
    ("classic_ml.elastic_net.lasso", (SEVERAL, SEVERAL[:, 0], -1.0), "alpha=-1.0"),
    ("data.augment.resized_crop", (IMAGE, 0, 0, 9, 4, (4, 4)), "top=0, left=0, height=9, width=4"),
    ("data.augment.apply_operation", ("identity", IMAGE, 1.5), "strength=1.5"),
    ("data.normalization.normalizer", ((0.5, 0.5), (0.0, 0.2)), r"std\[0\]=0"),
    ("data.normalization.normalizer", ((0.5,), (0.2, 0.2)), r"std=float32\[2\]"),
    ("data.grammar.grammar_pairs", (-1,), "count=-1"),
    ("data.text.split_text", (SEVERAL,), r"tokens=float32\[2, 3\]"),
    ("data.text.training_windows", (np.arange(9), 0), "length=0"),
    ("evaluators.text.bleu", ([], []), "hypotheses=0 texts"),
    ("evaluators.text.word_error_rate", (["a"], ["b", "c"]), "hypotheses=1 texts"),
    ("generative.autoencoder.activation_divergence", (SEVERAL, 1.5), "rho=1.5"),
    ("generative.latents.slerp", (SEVERAL[0], SEVERAL[0], 1.5), "share=1.5"),
    ("generative.levels.num_outputs", (1,), "levels=1"),
    ("generative.likelihood.quantize", (IMAGE, 1), "levels=1"),
    ("generative.schedules.linear_betas", (0,), "num_timesteps=0"),
    ("generative.schedules.scaled_linear_betas", (0,), "num_timesteps=0"),
    ("generative.schedules.cosine_betas", (0,), "num_timesteps=0"),
    ("generative.vae.kl_to_standard_normal", (SEVERAL, SEVERAL[:, :2]), r"log_variance=float32\[2, 2\]"),
    ("generative.vae.reparameterize", (KEY, SEVERAL, SEVERAL[:, :2]), r"log_variance=float32\[2, 2\]"),
    ("interpretability.cam.resize_map", (SEVERAL, (4, 4)), r"values=float32\[2, 3\]"),
    ("interpretability.cam.resize_map", (SEVERAL[None], (0, 4)), r"size=\(0, 4\)"),
    ("losses.class_balanced_weights", (np.ones(3), 1.5), "beta=1.5"),
    ("metrics.detection.average_precision", ([True], [0.5], 0), "num_truth=0"),
    ("metrics.detection.average_precision", ([True, False], [0.5], 1), r"scores=\(1,\)"),
    ("metrics.detection.precision_recall_curve", ([True, False], [0.5, np.nan], 1), r"scores\[1\]=nan"),
    ("nn.soft_shrink", (IMAGE, -1.0), "threshold=-1"),
    ("ops.clip_boxes", (np.zeros((1, 4)), (-1, 4)), r"size=\(-1, 4\)"),
    ("ops.effective_kernel_size", (0, 1), "kernel_size=0"),
    ("ops.effective_kernel_size", (3, 0), "dilation=0"),
    ("ops.masks_to_boxes", (np.zeros(3),), r"masks=float32\[3\]"),
    ("ops.resize_boxes", (np.zeros((1, 4)), (0, 4), (4, 4)), r"original_size=\(0, 4\)"),
    ("ops.resize_boxes", (np.zeros((1, 4)), (4, 4), (4, 0)), r"new_size=\(4, 0\)"),
    ("optim.constraints.project_max_norm", (np.ones((2, 2)), -1.0), "limit=-1"),
    ("optim.ema.ema_decay", (1.5, 0), "decay=1.5"),
    ("optim.schedules.cosine", (0.1, 0), "steps=0"),
    ("optim.schedules.linear", (0.1, 0.0, 0), "steps=0"),
    ("optim.schedules.linear_scaling", (0.1, 0, 4), "batch_size=0"),
    ("optim.schedules.linear_scaling", (0.1, 4, 0), "base_batch_size=0"),
    ("optim.schedules.multi_step", (0.1, (5, 3)), r"milestones=\(5, 3\)"),
    ("optim.schedules.polynomial", (0.1, 0), "steps=0"),
    ("optim.schedules.step_decay", (0.1, 0), "step_size=0"),
    ("optim.schedules.warm_up", (lambda t: t, 0), "steps=0"),
    ("rl.dynamic_programming.evaluate_policy", (MDP, 2 * POLICY), r"policy\[0\]=\[2. 0.\]"),
    ("rl.dynamic_programming.solve_policy", (MDP, POLICY[:1]), r"policy=\[1, 2\]"),
    ("rl.dynamic_programming.value_sweeps", (MDP, -1), "num_sweeps=-1"),
    ("rl.environments.epsilon_greedy", (None, None, None, 1.5), "epsilon=1.5"),
    ("rl.gridworld.corridor", (0,), "length=0"),
    ("rl.gridworld.open_map", (0, 3), "height=0"),
    ("rl.gridworld.open_map", (1, 1), "width=1"),
    ("rl.mdp.discounted_sum", (np.ones(3), 2.0), "gamma=2"),
    ("rl.off_policy.average_targets", (SEVERAL, SEVERAL, 2.0), "tau=2"),
    ("rl.policy_gradient.policy_gradient_loss", (np.ones(3), SEVERAL), r"weights=float32\[2, 3\]"),
    ("rl.policy_gradient.returns_to_go", (np.ones(3), 2.0), "gamma=2"),
    ("rl.ppo.clipped_surrogate_loss", (SEVERAL, SEVERAL, SEVERAL, -0.2), "clip_eps=-0.2"),
    ("rl.ppo.clipped_surrogate_loss", (SEVERAL, SEVERAL, SEVERAL[0]), r"advantage=float32\[3\]"),
    ("rl.sac.soft_value", (SEVERAL, np.ones(3), -0.1), "alpha=-0.1"),
    ("rl.sac.soft_value", (SEVERAL, SEVERAL, 0.1), r"log_prob=float32\[2, 3\]"),
    ("sequence.decoding.beam_search", (None, SEVERAL, SEVERAL, 4, 2, 3), "stop_token=3"),
    ("sequence.decoding.beam_search", (None, SEVERAL, SEVERAL, 4, 2, 1, np.float32(-1)), "length_penalty=-1"),
    ("sequence.decoding.filter_logits", (SEVERAL, 0, np.array([0.5, 2.0])), r"top_p\[1\]=2"),
    ("sequence.decoding.generate", (None, (), SEVERAL, KEYS, 4, np.array([1.0, -1])), r"temperature\[1\]=-1"),
    ("sequence.decoding.generate", (None, (), SEVERAL, KEYS, 4, 1.0, -1), "stop_token=-1"),
    ("sequence.decoding.generate", (None, (), SEVERAL[:1], KEYS, 4), "keys="),
    ("sequence.kalman.constant_velocity", (-1.0,), "drift=-1"),
    ("sequence.kalman.kalman_filter", (constant_velocity(1.0), SEVERAL[:, :2] + np.nan), r"observations\[0, 0\]=nan"),
    ("sequence.ngram.ngram_loss", (np.arange(5), np.arange(5), -1, 5), "order=-1"),
    ("sequence.ngram.ngram_loss", (np.arange(5), np.full(5, 9), 1, 5), r"test\[0\]=9"),
    ("sequence.ngram.ngram_loss", (np.arange(5), np.arange(5), 1, 5, -1.0), "smoothing=-1"),
    ("transfer.gradient_reversal.reversal_strength", (1.5,), "share=1.5"),
    ("vision3d.radiance_field.frequency_encoding", (SEVERAL, -1), "num_frequencies=-1"),
    *[(f"optim.by_hand.{name}", (0.1, 1.5), "rho=1.5") for name in ("momentum", "nesterov")],
    ("optim.by_hand.rmsprop", (0.1, 1.5), "gamma=1.5"),
    *[(f"optim.by_hand.{name}", (0.1, 1.0), "b1=1") for name in ("adam", "adamw", "adamax", "nadam", "radam")],
    *[(f"optim.by_hand.{name}", (0.1, 0.9, -0.1), "b2=-0.1") for name in ("adam", "adamw", "adamax", "nadam", "radam")],
]


@pytest.mark.parametrize(("name", "arguments", "message"), CASES, ids=[f"{name}-{words}" for name, _, words in CASES])
def test_a_number_out_of_its_stated_range_is_named(name, arguments, message):
    module, function = f"dlcore.{name}".rsplit(".", 1)
    with pytest.raises(ValueError, match=rf"^{message}.*: .*; allowed: "):
        getattr(importlib.import_module(module), function)(*arguments)
