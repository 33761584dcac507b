"""Reinforcement learning: the environment runs inside the jitted step."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "ActorCritic": "networks",
        "AgentState": "environments",
        "DQNState": "dqn",
        "Environment": "environments",
        "QNetwork": "networks",
        "Rollout": "ppo",
        "Step": "environments",
        "Torso": "networks",
        "Transition": "dqn",
        "advance": "environments",
        "clipped_surrogate_loss": "ppo",
        "episodes": "environments",
        "generalized_advantages": "ppo",
        "leave_one_out_mean": "policy_gradient",
        "make": "environments",
        "play": "environments",
        "policy_gradient_loss": "policy_gradient",
        "q_target": "dqn",
        "returns_to_go": "policy_gradient",
        "score_weights": "policy_gradient",
        "start": "environments",
    },
)
