"""Packages that only some of dlcore needs: which extra installs each, and one message where one is missing."""

from importlib.util import find_spec

__all__ = ["EXTRAS", "MissingPackage", "require"]

EXTRAS = {
    "av": "video",
    "cv2": "input",
    "flatbuffers": "export",
    "grain": "grain",
    "gymnax": "rl",
    "huggingface_hub": "hub",
    "jsonschema": "launch",
    "kubernetes_validate": "launch",
    "libtpu": "tpu",
    "mlflow": "track",
    "nibabel": "volumes",
    "playwright": "docs-test",
    "pyarrow": "parquet",
    "pycocotools": "detection",
    "safetensors": "convert",
    "submitit": "launch",
    "tensorflow_datasets": "tfds",
    "tokenizers": "text",
    "wandb": "track",
    "yaml": "launch",
}
"""The name that is imported -> the extra of pyproject.toml that installs it."""


class MissingPackage(ImportError):
    """A package that a part of dlcore needs is not installed; the message says what to install."""


def require(*packages: str, what: str = "this") -> None:
    """Check that packages are installed, without importing them.

    Args:
      *packages: names as they are imported; those outside `EXTRAS` are installed by name.
      what: name of the feature that needs them, for the error.

    Raises:
      MissingPackage: one is not installed.
    """
    missing = [name for name in packages if not _is_installed(name)]
    if not missing:
        return
    extras = ",".join(dict.fromkeys(EXTRAS[name] for name in missing if name in EXTRAS))
    others = [name for name in missing if name not in EXTRAS]
    words = [f"-e '.[{extras}]' in a checkout of dlcore"] * bool(extras) + others
    those = f"{', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
    raise MissingPackage(f"{what} needs {those}: pip install {' '.join(words)}")


def _is_installed(name: str) -> bool:
    """Return whether a package can be imported; a folder of its name, such as ./wandb, is none."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None
