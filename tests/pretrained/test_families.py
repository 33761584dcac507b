"""The index of families: a network's file is found without importing those of others."""

import json
import os
import subprocess
import sys
from pathlib import Path

from dlcore import pretrained
from dlcore.pretrained.family import family_index

ROOT = Path(__file__).resolve().parents[2]
INDEX = Path(pretrained.__file__).parent / "families" / "index.json"


def test_the_index_is_what_the_files_say():
    """DLCORE_UPDATE_SNAPSHOTS=1 writes it again. A new family works without it, by importing all files."""
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        INDEX.write_text(json.dumps(family_index(), indent=1) + "\n", encoding="utf-8")
    assert json.loads(INDEX.read_text(encoding="utf-8")) == family_index()


def test_a_resnet_of_timm_loads_its_own_family_alone():
    folder = ROOT / "tests" / "goldens" / "hub" / "timm--resnet18.tiny"
    code = (
        f"import sys; from dlcore.pretrained import from_pretrained; from_pretrained({str(folder)!r});"
        "print(*(name for name in sys.modules if name.startswith('dlcore')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    families = [name for name in modules if name.startswith("dlcore.pretrained.families.")]
    assert families == ["dlcore.pretrained.families.resnet"]
    assert len(modules) <= 60
