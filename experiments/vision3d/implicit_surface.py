"""Fit a solid by an implicit surface: an occupancy network, or a signed distance function with the eikonal term.

python -m experiments.vision3d.implicit_surface
python -m experiments.vision3d.implicit_surface --target=distance --solid=sphere
python -m experiments.vision3d.implicit_surface --mode=predict --output=FOLDER    (the mesh as .obj and .ply)

Points are half uniform in the cube [-1, 1]³ and half near the surface; distances are exact. The test split is the
centers of 40³ cells, so that `iou` is that of volumes, beside that of the solid's bounding box; `gradient_norm` is 1
for a distance. The report shows the mesh of the level set, by surface nets.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.mesh_files import write_mesh
from dlcore.data.solids import SOLID_KINDS, Solid, random_solid, surface_points
from dlcore.data.source import Source
from dlcore.experiment import Experiment, Measure, Range, Splits, Steps
from dlcore.experiment.parts import Run
from dlcore.main import main
from dlcore.models import Network
from dlcore.ops.mesh import is_closed, mesh_volume
from dlcore.optim import AdamW
from dlcore.vision3d import implicit_surface
from dlcore.vision3d.implicit_surface import ImplicitSurface, extract_surface, grid_points
from experiments.smoke import few_steps


def solid_of(kind: str) -> Solid:
    """The solid of a kind, the same in every run."""
    return random_solid(np.random.default_rng(0), kind)


def source(solid: Solid, count: int, seed: int) -> Source:
    """Points of which half are uniform and half near the surface."""
    rng = np.random.default_rng(seed)
    uniform = rng.uniform(-1, 1, (count - count // 2, 3))
    near = surface_points(solid, max(1, count // 2), rng)[0] + rng.normal(0, 0.05, (max(1, count // 2), 3))
    return measured(solid, np.concatenate([uniform, near])[:count])


def measured(solid: Solid, points: np.ndarray) -> Source:
    arrays = {"points": points.astype(np.float32), "distance": solid.signed_distance(points).astype(np.float32)}
    return Source(arrays, name="points of a solid")


def mesh_of(outputs: dict) -> tuple[np.ndarray, np.ndarray]:
    """The mesh of what `predict` gives on the corners of a grid."""
    field = np.asarray(outputs["field"])
    return extract_surface(lambda points: field, round(len(field) ** (1 / 3)), closed=False)


@dataclasses.dataclass(frozen=True)
class SolidPoints:
    """Points in and around a solid, with their distance from its surface.

    Args:
      solid: what to fit
      num_points: points to train on; an eighth as many validate
      test_cells: cells along each side of the test grid
    """

    solid: Annotated[Literal[SOLID_KINDS], "essential"] = "torus"
    num_points: Annotated[int, Range(8)] = 20000
    test_cells: Annotated[int, Range(8)] = 40

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        solid = solid_of(self.solid)
        middle = (np.arange(self.test_cells) + 0.5) * 2 / self.test_cells - 1
        cells = np.stack(np.meshgrid(middle, middle, middle, indexing="ij"), -1).reshape(-1, 3)
        test = measured(solid, cells)
        inside = cells[test.arrays["distance"] <= 0]
        box = ((cells >= inside.min(0)) & (cells <= inside.max(0))).all(1).sum()
        spec = {
            "dataset": f"{self.solid} points",
            "solid": self.solid,
            "trivial": {"iou": (len(inside) / int(box), "the bounding box")},
        }
        counts = self.num_points, max(8, self.num_points // 8)
        train, valid = (source(solid, count, seed) for seed, count in enumerate(counts))
        return Splits(train, valid, test, spec)


@dataclasses.dataclass(frozen=True)
class ExtractMesh:
    """The mesh of the level set, for the report and for `--mode=predict`.

    Args:
      mesh_resolution: samples along each side for the mesh of the report and of predict
    """

    mesh_resolution: Annotated[int, Range(8), "no identity"] = 48

    def samples(self, run: Run) -> tuple[Source, list[str]]:
        """The corners of a grid, from which `--mode=predict` makes one mesh."""
        solid = run.parts.data.solid
        return measured(solid_of(solid), grid_points(self.mesh_resolution)), [solid]

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """The size of the mesh, and its volume where it is closed."""
        vertices, faces = mesh_of(outputs)
        row = {"vertices": len(vertices), "faces": len(faces), "closed": is_closed(faces)}
        text = f"{len(vertices)} vertices, {len(faces)} faces"
        if not row["closed"]:
            return [{**row, "text": f"{text}, open where the surface leaves the cube [-1, 1]³"}]
        row["volume"] = float(mesh_volume(vertices, faces))
        return [{**row, "text": f"{text}, closed, volume {row['volume']:.3f}"}]

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write the mesh as .obj and .ply."""
        folder.mkdir(parents=True, exist_ok=True)
        return [write_mesh(folder / f"{names[0]}{ending}", *mesh_of(outputs)) for ending in (".obj", ".ply")]

    def panels(self, context: Any, run: Run) -> list:
        """The exact and the learned mesh from two views, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.figure import ORANGE
        from dlcore.report.shapes import shape_panel, two_views

        solid = solid_of(run.parts.data.solid)

        def learned(points: np.ndarray) -> np.ndarray:
            batch = {"points": points, "distance": np.zeros(len(points), np.float32)}
            return context.learner.predict(context.state, batch)["field"]

        images, titles = [], []
        for name, field in (("exact", lambda p: -solid.signed_distance(p)), ("learned", learned)):
            try:
                vertices, faces = extract_surface(field, self.mesh_resolution)
            except ValueError as error:
                titles.append(f"{name}: {error}")
                images.append(np.ones((160, 320, 3)))
                continue
            color = {"color": ORANGE} if name == "learned" else {}
            images.append(two_views(vertices, faces, extent=(np.zeros(3), 1.0), **color))
            titles.append(f"{name}, {len(vertices)} vertices")
        caption = "the level set of the exact distance (blue) and of the network (orange), from two views"
        return [shape_panel(images, titles, "Surfaces", caption), curves(context.history)]


experiment = Experiment(
    __file__,
    __doc__,
    technique=implicit_surface.learner,
    data=SolidPoints("torus", num_points=20000),
    network=Network(ImplicitSurface, prefix="network"),
    optimizer=AdamW(learning_rate=5e-3, schedule="cosine", warmup=0.1, weight_decay=0.0),
    length=Steps(3000, batch_size=1024, eval_every=500, eval_batch_size=8000),
    measures=[Measure("iou")],
    use=ExtractMesh(),
    smoke={
        **few_steps(3),
        "eval_batch_size": 512,
        "num_points": 32,
        "test_cells": 8,
        "mesh_resolution": 8,
        "network.hidden": (8,),
    },
)

if __name__ == "__main__":
    main(experiment)
