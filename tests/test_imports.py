"""How the package hangs together: imports point one way, and importing does no work."""

import ast
import functools
import re
import subprocess
import symtable
import sys
from pathlib import Path

import pytest

from tests.layers import LAYERS

ROOT = Path(__file__).resolve().parents[1]

RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}

ANYWHERE = ("activity", "choices", "json_content", "learner", "lazy", "extras", "setting")
"""Files that any room may import, and that import nothing of dlcore but one another."""

ALLOWED: dict[tuple[str, str], str] = {
    ("classification", "rl"): "hard attention draws where to look, and learns it by the score function of rl",
    ("detection", "classical_vision"): "selective search joins the regions of graph segmentation, by color and texture",
    ("video", "classical_vision"): "two-stream networks read the optical flow of Lucas and Kanade",
    ("evaluators", "data"): "the truth of masks comes packed into bits, as sources hold it, and goes out run by run",
    ("generative", "sequence"): "the likelihood of sounds stands beside that of n-grams",
    ("generative", "transfer"): "LoRA personalizes a text-to-image network, and so does an adapter of one embedding",
    ("segmentation", "detection"): "panoptic DETR is a DETR with a head of masks",
    ("segmentation", "vision3d"): "DPT segments by the decoder with which it estimates depth",
    ("segmentation", "classical_vision"): "prompted masks stand beside those of Otsu's threshold",
    ("segmentation", "transfer"): "a promptable segmenter may keep parts of its network frozen",
    ("segmentation", "classic_ml"): "the colors that GrabCut tells apart are mixtures of Gaussians",
    ("self_supervised", "classic_ml"): "DeepCluster clusters features by k-means",
    ("self_supervised", "generative"): "the tokens that BEiT predicts are the codes of a VQ-VAE",
    ("self_supervised", "transfer"): "a classifier of domains makes a renderer's labels hold for photographs",
    ("self_supervised", "vision_language"): "CLIP is the learner of retrieval, with classes by prompts",
    (
        "semi_supervised",
        "classification",
    ): "a semi-supervised classifier is measured as a supervised one",
    ("semi_supervised", "classic_ml"): "labels spread over a graph of distances between points",
    ("semi_supervised", "self_supervised"): "the classifier of a GAN is measured as the encoder of a pretext",
    ("semi_supervised", "generative"): "the classifier of K+1 classes is one player of a GAN",
    ("sequence", "classification"): "a classifier of texts is the supervised classifier, of tokens",
    ("transfer", "classic_ml"): "a logistic regression of domains gives the ratio of their densities",
    ("vision3d", "classical_vision"): "a bundle of many views starts from two views and from the poses of the others",
    ("vision_language", "sequence"): "captions are decoded by the search that every sequence is decoded by",
}
"""(room, a neighbour of its layer that it may import): why."""

HEAVY = ("orbax", "grain", "tensorflow_datasets", "sklearn", "matplotlib", "tensorboardX", "PIL")
"""Not rich: flax imports it."""

AT_WORK = ("jax.numpy.", "jax.random.", "jax.lax.")
ASKS_DEVICES = {
    f"jax.{name}"
    for name in (
        "devices",
        "local_devices",
        "default_backend",
        "device_count",
        "local_device_count",
        "process_index",
        "process_count",
        "device_put",
        "make_mesh",
    )
}
MAKES_NO_ARRAY = re.compile(
    r"jax\.numpy\.(dtype|finfo|iinfo|issubdtype|promote_types|result_type|vectorize)|jax\.lax\.[A-Z]\w*"
)


def sources(*folders):
    """Every Python file below the folders, as its path from the root."""
    found = (path.relative_to(ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [str(path) for path in found if not any(part.startswith(".") for part in path.parts)]


def module_name(path):
    parts = Path(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def parse(path):
    return ast.parse(read(path), path)


IMPORT = re.compile(r"^[ \t]*((?:from[ \t]+\S+[ \t]+)?import[ \t]+(?:\([^)]*\)|[\w.][^\n]*))", re.M)


@functools.cache
def parse_imports(path):
    """The import statements of a file alone, at any depth: all files in a tenth of the time of `parse`."""
    code = re.sub(r'"""[\s\S]*?"""', "", read(path))
    return ast.parse("\n".join(IMPORT.findall(code)), path)


def imported(tree, package):
    """The dotted names of all that a tree imports, at any depth; `package` resolves relative imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def wrong_imports(tree, module, is_package=False):
    """What a module of dlcore may not import, in words."""
    package = module if is_package else module.rpartition(".")[0]
    room = module.split(".")[1] if "." in module else None
    for name in imported(tree, package):
        parts = name.split(".")
        if parts[0] in ("experiments", "launch", "tests"):
            yield f"dlcore imports {name}"
        if parts[0] != "dlcore" or len(parts) == 1 or parts[1] in (*ANYWHERE, "__version__", room):
            continue
        if room in (None, *ANYWHERE):
            yield f"{module} imports {name}; it may import nothing of dlcore"
        elif parts[1] not in RANK:
            yield f"{name} is in no layer of LAYERS"
        elif RANK[parts[1]] > RANK[room]:
            yield f"{room} imports {name}, which stands to its right"
        elif RANK[parts[1]] == RANK[room] and (room, parts[1]) not in ALLOWED:
            yield f"{room} imports its neighbour {name}; ALLOWED would have to say why"


def run_on_import(node):
    """The nodes that are evaluated when a module is imported: not the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            outside = [*child.decorator_list, *child.args.defaults, *(d for d in child.args.kw_defaults if d)]
        elif isinstance(child, ast.Lambda):
            outside = [*child.args.defaults, *(d for d in child.args.kw_defaults if d)]
        elif isinstance(child, ast.If) and "__main__" in ast.unparse(child.test):
            outside = child.orelse
        else:
            yield child
            yield from run_on_import(child)
            continue
        for part in outside:
            yield part
            yield from run_on_import(part)


def imported_names(tree):
    """{name: what it stands for} of the imports of a tree, at any depth."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def work_on_import(tree):
    """Calls at import time that make arrays or keys or ask for devices, in words."""
    names = imported_names(tree)
    for node in run_on_import(tree):
        if isinstance(node, ast.Call):
            first, _, rest = ast.unparse(node.func).partition(".")
            name = f"{names.get(first, first)}.{rest}" if rest else names.get(first, first)
            if name in ASKS_DEVICES or (name.startswith(AT_WORK) and not MAKES_NO_ARRAY.fullmatch(name)):
                yield f"line {node.lineno}: {name}() runs when the module is imported"


def read_on_import(table):
    """The names that are read outside of functions."""
    yield from (symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced())
    for part in table.get_children():
        if part.get_type() != "function" or part.get_name() in ("listcomp", "setcomp", "dictcomp", "genexpr"):
            yield from read_on_import(part)


USES_JAX = re.compile(rf"\b({'|'.join(map(re.escape, (*(name[:-1] for name in AT_WORK), *sorted(ASKS_DEVICES))))})\b")


def may_work_on_import(source, imports):
    """Whether `work_on_import` could find something: quick, as the tree of a file is not."""
    names = {name for name, whole in imported_names(imports).items() if whole.split(".")[0] == "jax"}
    if not USES_JAX.search(re.sub(r"^[ \t]*(from|import) .*", "", source, flags=re.MULTILINE)):
        names -= {"jax"}
    return bool(names) and not names.isdisjoint(read_on_import(symtable.symtable(source, "source", "exec")))


def test_every_room_of_the_package_has_its_place_in_a_layer():
    rooms = {Path(path).parts[1].removesuffix(".py") for path in sources("dlcore")} - {"__init__", *ANYWHERE}
    assert rooms - RANK.keys() == set()


ROOMS = sorted({"/".join(Path(path).parts[:2]) for path in sources("dlcore", "experiments", "launch")})


def of_room(room):
    return sources(room) if (ROOT / room).is_dir() else [room]


@pytest.mark.parametrize("room", [room for room in ROOMS if room.startswith("dlcore/")])
def test_imports_point_only_left(room):
    wrong = [
        f"{path}: {text}"
        for path in of_room(room)
        for text in wrong_imports(parse_imports(path), module_name(path), path.endswith("__init__.py"))
    ]
    assert not wrong, "\n".join(wrong)


def imports_of_files(paths):
    """{module: the modules of `paths` that it imports, at any depth and under TYPE_CHECKING}."""
    modules = {module_name(path): path for path in paths}
    graph = {}
    for module, path in modules.items():
        package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
        names = set(imported(parse_imports(path), package))
        graph[module] = {name if name in modules else name.rpartition(".")[0] for name in names} & modules.keys()
    return graph


def circle(graph):
    """The modules of one circle, the first again at the end; None where there is none."""
    finished = set()

    def search(module, trail):
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in finished:
            return None
        steps = (search(other, [*trail, module]) for other in sorted(graph[module]))
        found = next((loop for loop in steps if loop), None)
        finished.add(module)
        return found

    return next((loop for loop in (search(module, []) for module in sorted(graph)) if loop), None)


def test_no_two_files_import_each_other():
    loop = circle(imports_of_files(sources("dlcore")))
    assert loop is None, " -> ".join(loop)


def test_the_check_of_circles_sees_one():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"a"}}) == ["a", "a"]


def test_the_short_parser_finds_every_import():
    for path in of_room("dlcore/run"):
        whole, short = (set(imported(tree, module_name(path))) for tree in (parse(path), parse_imports(path)))
        assert whole <= short, path


def test_experiments_import_nothing_of_launch():
    wrong = [
        f"{path}: {name}"
        for path in sources("experiments")
        for name in imported(parse_imports(path), module_name(path))
        if name.split(".")[0] in ("launch", "tests")
    ]
    assert not wrong, "\n".join(wrong)


def test_every_exception_is_used_and_says_why():
    used = {
        (Path(path).parts[1], name.split(".")[1])
        for path in sources("dlcore")
        if len(Path(path).parts) > 2
        for name in imported(parse_imports(path), module_name(path))
        if name.startswith("dlcore.")
    }
    assert set(ALLOWED) <= used
    assert all(len(reason.split()) > 2 for reason in ALLOWED.values())


def test_the_library_imports_no_page():
    """A page is given to dlcore as an object; the command `dlcore` and the words that it records name the package."""
    named = {
        str(path)
        for path in sources("dlcore")
        if re.search(r"""["']experiments[.\w]*["']""", (ROOT / path).read_text())
    }
    assert named == {"dlcore/cli.py", "dlcore/run/provenance.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_importing_makes_no_arrays_and_asks_for_no_devices(room):
    # The cells of the tutorial's chapters are run as notebooks, and never imported.
    paths = [path for path in of_room(room) if not str(path).startswith("experiments/tutorial/chapters/")]
    paths = [path for path in paths if may_work_on_import(read(path), parse_imports(path))]
    wrong = [f"{path}: {text}" for path in paths for text in work_on_import(parse(path))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow(unless=["dlcore.report.tables"])
@pytest.mark.parametrize("module", ["dlcore.losses", "dlcore.models", "dlcore.metrics", "dlcore.report.tables"])
def test_import_is_light(module):
    if not (ROOT / module.replace(".", "/")).exists() and not (ROOT / f"{module.replace('.', '/')}.py").exists():
        pytest.skip(f"{module} is not written yet")
    code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "code", "wrong"),
    [
        ("dlcore.nn.conv", "from dlcore.ops import pooling", False),
        ("dlcore.nn.conv", "from dlcore.learner import Learner", False),
        ("dlcore.nn.conv", "from dlcore import models", True),
        ("dlcore.nn.conv", "import dlcore.models.resnet as r", True),
        ("dlcore.nn.conv", "def f():\n    from dlcore.run import fit", True),
        ("dlcore.nn.conv", "from ..models import resnet", True),
        ("dlcore.nn.conv", "from .precision import x", False),
        ("dlcore.nn.conv", "from dlcore.losses import focal", True),
        ("dlcore.detection.fcos", "from dlcore.run import fit", True),
        ("dlcore.detection.fcos", "from dlcore.video import flow", True),
        ("dlcore.run.fit", "from dlcore.detection import fcos", False),
        ("dlcore.run.fit", "from dlcore.experiment import Run", True),
        ("dlcore.diagnostics.triage", "from dlcore.report import html", True),
        ("dlcore.learner", "from dlcore.ops import pooling", True),
        ("dlcore.nn.conv", "from dlcore.lazy import lazy_exports", False),
        ("dlcore.lazy", "from dlcore.ops import pooling", True),
        ("dlcore.run.fit", "from experiments import results", True),
        ("dlcore.run.fit", "from dlcore.attic import x", True),
    ],
)
def test_the_check_of_imports_sees_what_is_wrong(module, code, wrong):
    assert bool(list(wrong_imports(ast.parse(code), module))) == wrong


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("import jax.numpy as jnp\nX = jnp.zeros(3)", True),
        ("import jax\nX = [jax.numpy.zeros(n) for n in (1, 2)]", True),
        ("import jax.numpy as jnp\nX = jnp.float32(1)", True),
        ("import jax.numpy as jnp\ndef f(x=jnp.ones(2)): pass", True),
        ("import jax.numpy as jnp\nclass A:\n    x = jnp.ones(2)", True),
        ("import jax\nclass A:\n    x = {n: jax.numpy.ones(n) for n in (1, 2)}", True),
        ("from jax import random\nKEY = random.key(0)", True),
        ("from jax.random import PRNGKey\nKEY = PRNGKey(0)", True),
        ("import jax\nN = jax.device_count()", True),
        ("import jax\nif jax.default_backend() == 'cpu':\n    pass", True),
        ("import jax\nN = len(jax.devices())", True),
        ("import jax.numpy as jnp\ndef f(): return jnp.zeros(3)", False),
        ("import jax.numpy as jnp\nf = lambda x: jnp.zeros(3)", False),
        ("from jax import lax\nD = lax.ConvDimensionNumbers((0,), (0,), (0,))\nP = lax.Precision.HIGHEST", False),
        ("import jax.numpy as jnp\nEPS = jnp.finfo(jnp.float32).eps\nLOW = -jnp.inf", False),
        ("import jax\nimport numpy as np\nX = np.zeros(3)\nf = jax.jit(len)", False),
        ("import jax\nif __name__ == '__main__':\n    print(jax.devices())", False),
    ],
)
def test_the_check_of_work_on_import_sees_what_is_wrong(code, wrong):
    assert bool(list(work_on_import(ast.parse(code)))) == wrong
    assert may_work_on_import(code, ast.parse(code)) >= wrong
