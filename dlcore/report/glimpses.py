"""Panels of the glimpses of a policy that looks at scenes."""

import numpy as np

from dlcore.report.context import ReportContext

__all__ = ["glimpse_panels"]

SHOWN = 24
"""Scenes in the report."""


def glimpse_panels(context: ReportContext) -> list:
    """Show scenes with the policy as a red veil and the glimpse's frame, the glimpses, and the curves.

    Returns:
      Report panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.pictures import examples
    from dlcore.report.triage import triage_panels

    test, outputs, names = context.data.test.arrays, context.outputs, context.spec["class_names"]
    size, grid = context.spec["scene_size"], context.flags["network.grid"]
    half = context.flags["glimpse_size"] // 2
    predicted = outputs["probabilities"][:SHOWN].argmax(-1)
    titles = [
        f"{names[label]}, read as {names[prediction]}"
        for label, prediction in zip(test["label"][:SHOWN], predicted, strict=True)
    ]
    images = []
    for scene, weights, looked in zip(
        test["image"][:SHOWN], outputs["attention"][:SHOWN], outputs["looked"][:SHOWN], strict=True
    ):
        veil = (weights / weights.max()).reshape(grid, grid).repeat(size // grid, 0).repeat(size // grid, 1)
        picture = np.repeat(scene / 255.0, 3, -1)
        picture[..., 1:] *= 1 - 0.5 * veil[..., None]
        picture[..., 0] += 0.3 * veil * (1 - picture[..., 0])
        if context.flags["attention"] != "soft":
            row, column = ((n + 0.5) * size / grid for n in divmod(int(looked.argmax()), grid))
            top, bottom, left, right = (
                int(np.clip(n, 0, size - 1)) for n in (row - half, row + half, column - half, column + half)
            )
            picture[[top, bottom], left : right + 1] = picture[top : bottom + 1, [left, right]] = (0.0, 0.6, 1.0)
        images.append(picture)
    scale = 2
    large = np.stack(images).repeat(scale, 1).repeat(scale, 2)
    caption = "red: where the policy would look; blue: the frame of the glimpse that was taken"
    return [
        examples(large, titles, "Scenes", caption, SHOWN),
        examples(outputs["glimpse"][:SHOWN].clip(0, 1), titles, "Glimpses", "what the classifier sees", SHOWN),
        *triage_panels(context.history, floor=None),
        curves(context.history),
    ]
