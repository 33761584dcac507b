"""Readers of data sets of three-dimensional shapes: ModelNet, ShapeNet and Pix3D.

    ModelNet   modelnet10_SPLIT.npz (sampled points), or the original tree CLASS/SPLIT/NAME.off
    ShapeNet   SYNSET/MODEL/models/model_normalized.obj; taxonomy.json, which names the synsets, is optional
    Pix3D      pix3d.json, with cameras and the paths of images, masks and meshes

Meshes of ModelNet and ShapeNet become point clouds: points are sampled uniformly over the surface, centered and scaled
into the unit sphere. The points of a .npz are taken as they are.
References: Wu et al. 2015, arXiv:1406.5670; Chang et al. 2015, arXiv:1512.03012; Sun et al. 2018, arXiv:1804.04610.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.choices import check_choice, check_path, check_whole_number
from dlcore.data.mesh_files import read_mesh
from dlcore.data.source import Source, check_seed, whole_numbers
from dlcore.json_content import parse_json
from dlcore.models.weight_files import read_npz
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.mesh import check_mesh
from dlcore.ops.point_sets import check_points

__all__ = ["Pix3DImage", "mesh_points", "modelnet", "pix3d", "shapenet"]

_SENSOR_WIDTH = 32.0
"""Width of the sensor of Pix3D's cameras in millimeters."""


@whole_numbers
def mesh_points(vertices: np.ndarray, faces: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Sample points uniformly over a mesh and scale them into the unit sphere, on the host.

    Args:
      vertices: [V, 3].
      faces: [F, 3] int.
      count: number of points.
      rng: NumPy generator.

    Returns:
      Points [count, 3] float32 of mean 0, the farthest at a distance of 1 from it; a single point is at 0.
    """
    check_whole_number("count", count, 1)
    check_mesh(np.asarray(vertices, np.float64), faces)
    corners = np.asarray(vertices, np.float64)[np.asarray(faces)]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not area.sum() > 0:
        raise ValueError("vertices: no face has an area; allowed: a mesh with a surface")
    face = rng.choice(len(area), count, p=area / area.sum())
    r, s = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    points = (1 - r) * a[face] + r * (1 - s) * b[face] + r * s * c[face]
    points -= points.mean(0)
    radius = np.linalg.norm(points, axis=1).max()
    return (points / (radius if radius > 0 else 1)).astype(np.float32)


def modelnet(data_dir: str | Path, split: str, num_points: int | None = None, seed: int = 0) -> Source:
    """Read ModelNet10 or ModelNet40 as point clouds.

    Args:
      data_dir: folder of modelnet10_train.npz and modelnet10_test.npz (`points` [N, P, 3], `labels`, `class_names`), or
        of the original tree of .off files.
      split: "train" or "test".
      num_points: P, points of each cloud: the first P of a .npz, or P sampled on a mesh; None takes all of a .npz, and
        1024 of a mesh.
      seed: random seed of the points that are sampled from meshes.

    Returns:
      A source of `points: [N, P, 3] float32` and `label: [N] int32`; z is up. Clouds that are sampled from meshes lie
      in the unit sphere.

    Raises:
      FileNotFoundError: the folder holds neither a .npz nor .off files of the split.
    """
    check_path("data_dir", data_dir)
    check_choice("split", split, ("train", "test"))
    check_seed(seed)
    if num_points is not None:
        check_whole_number("num_points", num_points)
    root = Path(data_dir)
    if files := sorted(root.glob(f"modelnet*_{split}.npz")):
        if len(files) > 1:
            names = ", ".join(path.name for path in files)
            raise ValueError(f"data_dir={str(data_dir)!r}: several data sets, {names}; allowed: a folder of one")
        return _modelnet_file(files[0], split, num_points)
    paths = sorted(root.glob(f"*/{split}/*.off"))
    if not paths:
        allowed = f"a folder with modelnet10_{split}.npz, or with CLASS/{split}/NAME.off"
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: no ModelNet; allowed: {allowed}")
    classes = sorted({path.parts[-3] for path in root.glob("*/*/*.off")})
    names = [f"{path.parts[-3]}/{path.stem}" for path in paths]
    label = [classes.index(path.parts[-3]) for path in paths]
    return _sampled(paths, label, names, classes, num_points, seed, f"modelnet{len(classes)}/{split}")


def _modelnet_file(path: Path, split: str, num_points: int | None) -> Source:
    arrays = read_npz(path)
    if missing := sorted({"points", "labels", "class_names"} - set(arrays)):
        raise ValueError(f"path={str(path)!r}: has no {missing[0]}; allowed: points, labels, class_names")
    points, label, classes = arrays["points"], arrays["labels"], tuple(map(str, np.ravel(arrays["class_names"])))
    names = arrays["model_ids"].astype(str) if "model_ids" in arrays else None
    if points.dtype.kind not in "iuf" or label.dtype.kind not in "iu":
        dtypes = f"points of {points.dtype} and labels of {label.dtype}"
        raise ValueError(f"path={str(path)!r}: {dtypes}; allowed: numbers, and whole numbers as labels")
    check_shapes(points=(points, "N P 3"), labels=(label, "N"))
    check_points("points", points)
    if num_points is not None and not 1 <= num_points <= points.shape[1]:
        raise ValueError(f"num_points={num_points}: out of range; allowed: 1 to the {points.shape[1]} of {path.name}")
    if label.size and not 0 <= label.min() <= label.max() < len(classes):
        raise ValueError(f"labels: {label.min()} to {label.max()}; allowed: 0 to {len(classes) - 1}, the classes")
    points = points[:, :num_points].astype(np.float32)
    name = f"{path.stem.rpartition('_')[0]}/{split}"
    return Source({"points": points, "label": label.astype(np.int32)}, class_names=classes, name=name, names=names)


def shapenet(
    data_dir: str | Path, synsets: tuple[str, ...] | None = None, num_points: int | None = None, seed: int = 0
) -> Source:
    """Read ShapeNetCore as point clouds.

    Args:
      data_dir: folder of the synsets.
      synsets: ids such as ("03001627",), or names from taxonomy.json such as ("chair",), in the order of the labels;
        None takes all synsets of the folder.
      num_points: P, points of each cloud; None takes 1024.
      seed: random seed of the points.

    Returns:
      A source of `points: [N, P, 3] float32` in the unit sphere and `label: [N] int32`; y is up. `names` of examples
      are SYNSET/MODEL.

    Raises:
      FileNotFoundError: the folder holds no models.
    """
    check_path("data_dir", data_dir)
    check_seed(seed)
    if num_points is not None:
        check_whole_number("num_points", num_points)
    root = Path(data_dir)
    files = sorted([*root.glob("*/*/models/model_normalized.obj"), *root.glob("*/*/model.obj")])
    if not files:
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: no ShapeNet; allowed: SYNSET/MODEL/models/*.obj")
    ids = [path.relative_to(root).parts[:2] for path in files]
    taxonomy = root / "taxonomy.json"
    taxonomy_entries = _read_list(taxonomy, ("synsetId", "name")) if taxonomy.is_file() else []
    called = {str(entry["synsetId"]): str(entry["name"]).split(",")[0] for entry in taxonomy_entries}
    here = sorted({synset for synset, _ in ids})
    if synsets is not None:
        by_name = {called.get(synset, synset): synset for synset in here} | {synset: synset for synset in here}
        if missing := [synset for synset in synsets if synset not in by_name]:
            raise ValueError(f"synsets={missing[0]!r}: not there; allowed: {', '.join(sorted(by_name))}")
        here = [by_name[synset] for synset in synsets]
    models = [(path, synset, model) for path, (synset, model) in zip(files, ids, strict=True) if synset in here]
    paths, names = [path for path, *_ in models], [f"{synset}/{model}" for _, synset, model in models]
    label = [here.index(synset) for _, synset, _ in models]
    return _sampled(paths, label, names, [called.get(s, s) for s in here], num_points, seed, "shapenet")


def _sampled(paths, label, names, classes, num_points, seed, name) -> Source:
    count = 1024 if num_points is None else num_points
    if count < 1:
        raise ValueError(f"num_points={count}: no points; allowed: at least 1")
    check_seed(seed)
    clouds = []
    for i, path in enumerate(paths):
        vertices, faces = read_mesh(path)
        try:
            clouds.append(mesh_points(vertices, faces, count, np.random.default_rng((seed, i))))
        except ValueError as error:
            raise ValueError(f"path={str(path)!r}: {error}") from None
    arrays = {"points": np.stack(clouds), "label": np.asarray(label, np.int32)}
    return Source(arrays, class_names=tuple(classes), name=name, names=np.asarray(names))


class Pix3DImage(NamedTuple):
    """One photograph of Pix3D with the shape that it shows.

    Args:
      image: path of the photograph.
      mask: path of the object's mask.
      mesh: path of the .obj file.
      voxels: path of the voxels (.mat); None if the entry names none.
      category: name of the category, such as "chair".
      image_size: (width, height) in pixels.
      box: [4], (x1, y1, x2, y2) of the object in pixels.
      focal_length: focal length in pixels.
      rotation: [3, 3], object to camera, in the axes of the data set.
      translation: [3], object to camera.
      is_difficult: whether the index marks the object as truncated, occluded or slightly occluded.
    """

    image: Path
    mask: Path
    mesh: Path
    voxels: Path | None
    category: str
    image_size: tuple[int, int]
    box: np.ndarray
    focal_length: float
    rotation: np.ndarray
    translation: np.ndarray
    is_difficult: bool


def pix3d(data_dir: str | Path, categories: tuple[str, ...] | None = None) -> list[Pix3DImage]:
    """Read the index of Pix3D; images and meshes stay on disk (`read_mesh`).

    Args:
      data_dir: folder of pix3d.json.
      categories: names such as ("chair", "sofa"); None takes all.

    Returns:
      The images in the order of the index. The focal length is converted from millimeters to pixels for a sensor that
      is 32 mm wide.

    Raises:
      FileNotFoundError: the index, or a file that it names, does not exist.
    """
    check_path("data_dir", data_dir)
    root = Path(data_dir)
    index = root / "pix3d.json"
    if not index.is_file():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: has no pix3d.json; allowed: the folder of Pix3D")
    entries = _read_list(index)
    here = sorted({entry.get("category") for entry in entries if entry.get("category")})
    if missing := [name for name in categories or () if name not in here]:
        raise ValueError(f"categories={missing[0]!r}: not there; allowed: {', '.join(here)}")
    images = []
    for i, entry in enumerate(entries):
        try:
            image = _pix3d_image(root, entry)
        except (KeyError, TypeError, ValueError) as error:
            words = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"pix3d.json[{i}]: {words}; allowed: an entry of Pix3D's index") from None
        if categories is not None and image.category not in categories:
            continue
        for path in (image.image, image.mask, image.mesh):
            if not path.is_file():
                raise FileNotFoundError(f"pix3d.json[{i}]: names {path}, which is not there; allowed: existing files")
        images.append(image)
    return images


def _read_list(path: Path, keys: tuple[str, ...] = ()) -> list[dict]:
    """Read a JSON file of a list of objects, each with these keys."""
    try:
        entries = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"path={str(path)!r}: not JSON ({error}); allowed: the file as published") from None
    if not isinstance(entries, list) or not all(isinstance(e, dict) and e.keys() >= {*keys} for e in entries):
        raise ValueError(f"path={str(path)!r}: no list of objects; allowed: the file as published")
    return entries


def _pix3d_image(root: Path, entry: dict) -> Pix3DImage:
    width, height = entry["img_size"]
    rotation, translation, box = (np.asarray(entry[k], np.float32) for k in ("rot_mat", "trans_mat", "bbox"))
    for name, value, shape in (("rot_mat", rotation, (3, 3)), ("trans_mat", translation, (3,)), ("bbox", box, (4,))):
        if value.shape != shape:
            raise ValueError(f"{name} has shape {value.shape} where {shape} is due")
        check_finite(name, value)
    focal_length = float(entry["focal_length"])
    if not 0 < focal_length < np.inf:
        raise ValueError(f"focal_length={focal_length:g} where a length in millimeters is due")
    if not (box[:2] < box[2:]).all():
        raise ValueError(f"bbox={box.tolist()} where (x1, y1, x2, y2) are due, x1 < x2 and y1 < y2")
    return Pix3DImage(
        root / entry["img"],
        root / entry["mask"],
        root / entry["model"],
        root / entry["voxel"] if entry.get("voxel") else None,
        entry["category"],
        (int(width), int(height)),
        box,
        focal_length / _SENSOR_WIDTH * width,
        rotation,
        translation,
        any(entry.get(k, False) for k in ("truncated", "occluded", "slightly_occluded")),
    )
