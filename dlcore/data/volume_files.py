"""Volumes in files: scans as NIfTI (.nii, .nii.gz) or NumPy's .npz, with the spacing of their voxels.

NIfTI is read by nibabel, an extra. Axes are turned to those nearest to left-right, back-front and foot-head, and
reversed, so that a volume is [D, H, W] with depth from the feet upwards; label maps are written with the axes of the
scan's file. A fourth axis holds channels. An .npz holds `image` or `labels`, [D, H, W] or [D, H, W, C], and `spacing`,
the three sides of a voxel in mm.

    folder      images/ and labels/ that hold files of the same names, or train, val and test (or other names of
                `split_names`) with these two in each; classes.json may hold {"classes": [names]}, the background first

A source has volumes of one spacing, each of mean 0 and deviation 1, padded at the ends of their axes to one size;
padding is 0 in images and void (255) in labels. Images are resampled by linear interpolation, labels to the nearest
voxel. All volumes are held in memory.
"""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_path, is_whole_number
from dlcore.data.augment.examples import VOID
from dlcore.data.planted_organs import standardize
from dlcore.data.source import Source
from dlcore.data.split_names import check_one_name, split_of
from dlcore.extras import require
from dlcore.json_content import parse_json
from dlcore.models.weight_files import read_npz
from dlcore.ops.checks import check_indices, check_shapes, check_spacing

__all__ = [
    "SUFFIXES",
    "Volume",
    "list_volumes",
    "load_volume",
    "pad_volumes",
    "resample",
    "save_labels",
    "size_at",
    "stem",
    "volume_splits",
]

SUFFIXES = (".nii", ".nii.gz", ".npz")
_MILLIMETERS = {"meter": 1000.0, "micron": 0.001}


class Volume(NamedTuple):
    """A volume and the sides of its voxels.

    Args:
      values: [D, H, W] or [D, H, W, C].
      spacing: (depth, height, width) of a voxel in mm.
    """

    values: np.ndarray
    spacing: tuple[float, float, float]


class _Pair(NamedTuple):
    """A scan as float [D, H, W, C], its labels [D, H, W] int, their spacing, and the names of the files."""

    image: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]
    key: str
    label_file: str


def stem(path: str | Path) -> str:
    """Return a file's name without .nii, .nii.gz or .npz.

    Args:
      path: path of the file.

    Returns:
      The name.
    """
    path = Path(path)
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def list_volumes(path: Path) -> list[Path]:
    """List the volumes of a folder, or the one file.

    Args:
      path: a file or a folder.

    Returns:
      The paths, sorted.

    Raises:
      FileNotFoundError: there is no such file, or the folder holds no volume.
    """
    check_path("path", path)
    path = Path(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    volumes = [file for file in files if file.is_file() and not file.name.startswith(".") and _is_volume(file)]
    if not volumes:
        raise FileNotFoundError(f"{path}: holds no volume; allowed: files {', '.join(SUFFIXES)}")
    return volumes


def _is_volume(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def load_volume(path: str | Path, key: str = "image") -> Volume:
    """Read a volume.

    Args:
      path: a file .nii, .nii.gz or .npz.
      key: name of the array in an .npz.

    Returns:
      The volume, with its values as the file scales them.
    """
    check_path("path", path)
    path = Path(path)
    if not _is_volume(path):
        raise ValueError(f"{path}: no volume; allowed: files {', '.join(SUFFIXES)}")
    values, sides = (_read_npz if path.suffix.lower() == ".npz" else _read_nifti)(path, key)
    try:
        depth, height, width = check_spacing(sides).tolist()
    except ValueError:
        raise ValueError(
            f"{path}: a volume without spacing, its voxels have the sides {tuple(np.ravel(sides).tolist())}; "
            "allowed: three positive numbers"
        ) from None
    if values.ndim not in (3, 4) or 0 in values.shape:
        raise ValueError(f"{path}: a volume {list(values.shape)}; allowed: [D, H, W] or [D, H, W, C]")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{path}: a volume of {values.dtype}; allowed: real numbers")
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: holds NaN or infinity; allowed: finite values")
    return Volume(values, (depth, height, width))


def _read_npz(path: Path, key: str) -> tuple[np.ndarray, Any]:
    arrays = read_npz(path, [key, "spacing"])
    if key not in arrays:
        raise ValueError(f"{path}: holds no {key}; allowed: {key} and spacing")
    return arrays[key], arrays.get("spacing", ())


def _open_nifti(path: Path) -> Any:
    require("nibabel", what=path.name)
    import nibabel

    try:
        return nibabel.load(path)
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); allowed: a file of NIfTI") from error


def _read_nifti(path: Path, key: str) -> tuple[np.ndarray, Any]:
    image = _open_nifti(path)
    import nibabel

    # nibabel.load replaces sides of 0 by 1, so they are looked up in the header as it is.
    with nibabel.openers.ImageOpener(path) as file:
        sides = np.asarray(type(image.header).from_fileobj(file, check=False)["pixdim"][1:4], np.float64)
    if not np.isfinite(image.affine).all() or np.linalg.matrix_rank(image.affine[:3, :3]) < 3:
        raise ValueError(f"{path}: an affine without an inverse; allowed: one that tells all three axes apart")
    try:
        image = nibabel.as_closest_canonical(image)
        values = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        problem = str(error).partition("\n")[0]
        raise ValueError(f"{path}: cut off or damaged ({problem}); allowed: a whole file of NIfTI") from None
    if np.isfinite(sides).all() and sides.all():
        unit = image.header.get_xyzt_units()[0]
        sides = nibabel.affines.voxel_sizes(image.affine) * _MILLIMETERS.get(unit, 1.0)
    return values.transpose(2, 1, 0, *range(3, values.ndim)) if values.ndim >= 3 else values, sides[::-1]


def save_labels(path: str | Path, labels: np.ndarray, scan: str | Path) -> Path:
    """Write a label map: as NIfTI with the axes and the position of the scan, if that is NIfTI, else as .npy.

    Args:
      path: path without suffix.
      labels: [D, H, W] uint8, of the size of the scan.
      scan: file of the scan.

    Returns:
      The file, .nii.gz or .npy.
    """
    check_shapes(labels=(labels, "D H W"))
    check_indices("labels", labels, 256, "labels of 8 bits")
    scan = Path(scan)
    if scan.suffix.lower() == ".npz":
        file = Path(f"{path}.npy")
        np.save(file, labels)
        return file
    image = _open_nifti(scan)
    import nibabel

    orientation, canonical = nibabel.io_orientation(image.affine), nibabel.as_closest_canonical(image)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(canonical.affine), orientation)
    values = nibabel.apply_orientation(np.asarray(labels, np.uint8).transpose(2, 1, 0), turn)
    label_image = nibabel.Nifti1Image(values, image.affine)
    label_image.header.set_xyzt_units(*image.header.get_xyzt_units())
    file = Path(f"{path}.nii.gz")
    nibabel.save(label_image, file)
    return file


def resample(values: np.ndarray, size: Sequence[int], nearest: bool = False) -> np.ndarray:
    """Resample a volume to another number of voxels over the same extent.

    Args:
      values: [D, H, W] or [D, H, W, C].
      size: (D', H', W') in voxels.
      nearest: take the nearest voxel, for labels; else interpolate linearly.

    Returns:
      [D', H', W'] or [D', H', W', C]; float32 unless nearest.
    """
    if np.ndim(values) not in (3, 4):
        raise ValueError(f"values.shape={np.shape(values)}: no volume; allowed: [D, H, W] or [D, H, W, C]")
    _check_size(size)
    from scipy.ndimage import zoom

    values = values if nearest else np.asarray(values, np.float32)
    if values.shape[:3] == tuple(size):
        return values
    factors = [new / old for new, old in zip(size, values.shape[:3], strict=True)] + [1.0] * (values.ndim - 3)
    return np.asarray(zoom(values, factors, order=0 if nearest else 1, mode="nearest", grid_mode=True))


def size_at(volume: Volume, spacing: Sequence[float]) -> tuple[int, ...]:
    """Compute the number of voxels that a volume has at another spacing.

    Args:
      volume: the volume.
      spacing: (depth, height, width) of the other voxels in mm.

    Returns:
      (D', H', W').
    """
    check_spacing(spacing)
    sides = zip(volume.values.shape[:3], volume.spacing, spacing, strict=True)
    return tuple(max(1, round(count * side / target)) for count, side, target in sides)


def _check_size(size: Sequence[int]) -> None:
    if len(size) != 3 or not all(is_whole_number(side) and side >= 1 for side in size):
        raise ValueError(f"size={tuple(size)}: no size; allowed: three whole numbers of at least 1")


def pad_volumes(volumes: Sequence[np.ndarray], value: float, size: Sequence[int] | None = None) -> np.ndarray:
    """Stack volumes of several sizes, padded at the ends of their axes.

    Args:
      volumes: [D, H, W] or [D, H, W, C], of one dtype.
      value: value of the padding.
      size: (D, H, W) of the result; None takes the largest of each side.

    Returns:
      [N, D, H, W] or [N, D, H, W, C].
    """
    if not len(volumes):
        raise ValueError("volumes: none; allowed: one or more")
    kinds = {(volume.dtype, volume.ndim, volume.shape[3:]) for volume in volumes}
    if len(kinds) > 1 or volumes[0].ndim not in (3, 4):
        kinds_given = ", ".join(f"{volume.dtype}{list(volume.shape)}" for volume in volumes[:5])
        raise ValueError(f"volumes={kinds_given}: do not fit; allowed: [D, H, W] or [D, H, W, C] of one dtype and C")
    largest = np.max([volume.shape[:3] for volume in volumes], 0)
    size = largest if size is None else size
    _check_size(size)
    if (largest > np.asarray(size)).any():
        raise ValueError(f"size={tuple(size)}: too small; allowed: at least {tuple(largest.tolist())}")
    stacked = np.full((len(volumes), *size, *volumes[0].shape[3:]), value, volumes[0].dtype)
    for row, volume in zip(stacked, volumes, strict=True):
        depth, height, width = volume.shape[:3]
        row[:depth, :height, :width] = volume
    return stacked


def volume_splits(
    data_dir: str | Path,
    spacing: Sequence[float] | None = None,
    check_size: Callable[[str, tuple[int, ...], tuple[float, ...]], None] | None = None,
) -> tuple[dict[str, Source], tuple[float, float, float]]:
    """Load scans with label maps from a folder.

    Args:
      data_dir: the folder.
      spacing: (depth, height, width) in mm of the voxels that volumes are resampled to; None takes the median of the
        training scans.
      check_size: (file, size in voxels, spacing) -> None; raises where a resampled volume is too small.

    Returns:
      (split -> source of `image: [N, D, H, W, C] float32` and `semantic: [N, D, H, W] uint8`, the spacing). The splits
      are "train", and "valid" and "test" where they exist.

    Raises:
      FileNotFoundError: there is no such folder.
    """
    check_path("data_dir", data_dir)
    root = Path(data_dir)
    if not root.is_dir():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: no such folder")
    folders = {"train": root}
    if not (root / "images").is_dir():
        names = [path.name for path in sorted(root.iterdir()) if path.is_dir() and split_of(path.name)]
        check_one_name(names, f"data_dir={str(data_dir)!r}")
        folders = {str(split_of(name)): root / name for name in names}
    if "train" not in folders:
        raise ValueError(f"data_dir={str(data_dir)!r}: holds no training scans; allowed: images/ and labels/")
    pairs = {split: _load_pairs(folder, root) for split, folder in folders.items()}
    names = _class_names(root, pairs)
    sides = np.median([pair.spacing for pair in pairs["train"]], 0) if spacing is None else check_spacing(spacing)
    depth, height, width = (float(side) for side in sides)
    common, channels = (depth, height, width), pairs["train"][0].image.shape[-1]
    rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {split: [] for split in pairs}
    for split, several in pairs.items():
        for pair in several:
            if pair.image.shape[-1] != channels:
                raise ValueError(f"{root}: {pair.key} has {pair.image.shape[-1]} channels; allowed: {channels}")
            size = size_at(Volume(pair.image, pair.spacing), common)
            if check_size is not None:
                check_size(f"{root}: {pair.key}", size, common)
            rows[split].append((standardize(resample(pair.image, size)), resample(pair.labels, size, nearest=True)))
    largest = np.max([image.shape[:3] for several in rows.values() for image, _ in several], 0)
    sources = {}
    for split, several in rows.items():
        images = pad_volumes([image for image, _ in several], 0, largest)
        labels = pad_volumes([part for _, part in several], VOID, largest)
        keys = np.array([pair.key for pair in pairs[split]])
        sources[split] = Source(
            {"image": images, "semantic": labels}, len(several), names, f"{root.name} ({split})", names=keys
        )
    return sources, common


def _load_pairs(folder: Path, root: Path) -> list[_Pair]:
    files = {}
    for kind in ("images", "labels"):
        volumes = list_volumes(folder / kind) if (folder / kind).is_dir() else []
        files[kind] = {stem(path): path for path in volumes}
        if twins := [path for path in volumes if files[kind][stem(path)] is not path]:
            raise ValueError(f"{twins[0]}: {files[kind][stem(twins[0])].name} has its name; allowed: each name once")
        if not volumes:
            raise ValueError(f"{folder / kind}: holds no volume; allowed: files {', '.join(SUFFIXES)}")
    for this, other in (("images", "labels"), ("labels", "images")):
        if unpaired := sorted(set(files[this]) - set(files[other])):
            raise ValueError(f"{files[this][unpaired[0]]}: has no file of its name in {other}; allowed: one of each")
    pairs = []
    for name, path in sorted(files["images"].items()):
        scan, labels = load_volume(path), load_volume(files["labels"][name], "labels").values
        if labels.shape != scan.values.shape[:3]:
            raise ValueError(f"{files['labels'][name]}: labels {labels.shape}; allowed: {scan.values.shape[:3]}")
        _check_same_place(path, files["labels"][name])
        whole = np.rint(labels)
        if not (whole == labels).all() or whole.min() < 0 or whole.max() > VOID:
            raise ValueError(f"{files['labels'][name]}: labels that are no classes; allowed: 0 to {VOID}")
        image = scan.values.reshape(*labels.shape, -1)
        key = str(path.relative_to(root))
        pairs.append(_Pair(image, whole.astype(np.uint8), scan.spacing, key, str(files["labels"][name])))
    return pairs


def _check_same_place(scan: Path, labels: Path) -> None:
    """Check by the headers of two NIfTI files that voxels of one index lie within a voxel of each other."""
    if ".npz" in (scan.suffix.lower(), labels.suffix.lower()):
        return
    import nibabel

    image, other = _open_nifti(scan), _open_nifti(labels)
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(image.shape[:3]) - 1)
    apart = nibabel.affines.apply_affine(other.affine, corners) - nibabel.affines.apply_affine(image.affine, corners)
    distances = np.linalg.norm(apart, axis=-1)
    if distances.max() > nibabel.affines.voxel_sizes(image.affine).max():
        axes, expected = ("".join(nibabel.aff2axcodes(file.affine)) for file in (other, image))
        raise ValueError(
            f"{labels}: its voxels lie up to {distances.max():g} away from those of the scan (axes {axes}, the scan's "
            f"{expected}); allowed: the affine of the scan"
        )


def _class_names(root: Path, pairs: dict[str, list[_Pair]]) -> tuple[str, ...]:
    """Read classes.json, or count the labels of the training scans; check the labels of all splits against it."""
    file = root / "classes.json"
    if file.exists():
        try:
            listed = parse_json(file.read_bytes())["classes"]
            if not isinstance(listed, list):
                raise TypeError(f"{listed!r} is no list")
            names = tuple(map(str, listed))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}: is no {{'classes': [names]}} ({error!r}); allowed: that") from None
    else:
        labels = [pair.labels for pair in pairs["train"]]
        most = max(int(part[part != VOID].max(initial=0)) for part in labels)
        names = tuple(map(str, range(most + 1)))
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"{root}: classes {', '.join(names)}; allowed: the background and organs, no twice")
    for pair in (pair for several in pairs.values() for pair in several):
        outside = pair.labels[(pair.labels >= len(names)) & (pair.labels != VOID)]
        if outside.size:
            raise ValueError(f"{pair.label_file}: label {outside.max()}; allowed: 0 to {len(names) - 1}, {VOID}")
    return names
