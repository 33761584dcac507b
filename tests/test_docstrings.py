"""Public functions say what goes in, what comes out and what is raised.

A line may be absent where it would only repeat a type, and where a method overrides a documented one.
`python tests/test_docstrings.py dlcore/losses` lists what is missing below a path.
"""

import ast
import functools
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORDS = {
    ("flags", "Flags"),
    ("spec", "Spec"),
    ("spec", "dict"),
    ("splits", "Splits"),
    ("data", "Splits"),
    ("context", "ReportContext"),
    ("run", "ResolvedRun"),
    ("run", "Run"),
    ("run", "Any"),
    ("flags", "Any"),
    ("training", "Run"),
    ("facts", "Facts"),
    ("learner", "Learner"),
    ("experiment", "Experiment"),
    ("setting", "Setting"),
    ("dtype", "Any"),
    ("train", "bool"),
    ("axis_name", "str | None"),
    ("backbone", "nn.Module"),
    ("preprocess", "Any"),
    ("preprocess", "Callable[[jax.Array], jax.Array]"),
    ("augment", "Any"),
    ("augment", "ExampleAugmentation | None"),
    ("optimizer", "optax.GradientTransformation"),
    ("generator_optimizer", "optax.GradientTransformation"),
    ("discriminator_optimizer", "optax.GradientTransformation"),
}
"""(name, type) of arguments that the documentation of their type describes, or CONTRIBUTING.md for all networks."""
CLASS_NAME = re.compile(
    r"bool|str|Path|list\[str\]"
    r"|(list\[)?([a-z_]\w*\.)*(?!Any\b|Array\b|Batch\b|Callable\b|[A-Z]\b)[A-Z]\w+\]?( \| None)?"
)
"""An annotation that says, with the function's summary, what it returns; arrays need their shape, numbers a unit."""
REFERENCE = re.compile(r"^  As `([\w.]+)`\.$")
"""A line of Args: parameters that the section does not name are those of another function or class."""
PART_METHODS = "dlcore/experiment/part.py"
METHODS = {"models": "dlcore/models/registry.py"}
"""Rooms whose functions stand for methods of other classes than parts, and the file that describes these."""


def _load(path):
    """A module by its file: the package that holds it needs Sphinx."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


inheritance = _load(ROOT / "docs" / "site_extension" / "inheritance.py")


@functools.cache
def parse(path):
    """The syntax tree of a file of the repository, None where there is none."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8")) if (ROOT / path).is_file() else None


@functools.cache
def contract(path):
    """{(name, parameters): method} of the classes of a file that describe functions or methods elsewhere."""
    classes = [node for node in parse(path).body if isinstance(node, ast.ClassDef)]
    methods = [part for node in classes for part in node.body if isinstance(part, ast.FunctionDef)]
    return {(method.name, *parameters(method, True)): method for method in methods}


def entries(lines):
    """The names that a section documents, one a line, `name: text`."""
    return {match[1] for line in lines if (match := inheritance.ENTRY.match(line))}


def referred(lines, tree):
    """The names that the functions and classes document that a section refers to, of this module or of dlcore."""
    for name in (match[1] for line in lines if (match := REFERENCE.match(line))):
        module, _, last = name.rpartition(".")
        home = parse(f"{module.replace('.', '/')}.py") if module.startswith("dlcore.") else tree
        kinds = (ast.ClassDef, ast.FunctionDef)
        for node in (node for node in ast.walk(home) if isinstance(node, kinds) and node.name == last):
            section = inheritance.split_sections(node).get("Args", [])
            yield from entries(section) | {*referred(section, home)}


def parameters(function, is_method):
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None]
    static = any(ast.unparse(d) == "staticmethod" for d in function.decorator_list)
    return [name for name in names[1 if is_method and not static else 0 :] if not name.startswith("_")]


def shows_errors(function):
    """Whether the body raises a ValueError or calls a check, or its decorator checks the arguments."""
    parts = list(ast.walk(function))
    raised = [ast.unparse(n.exc) for n in parts if isinstance(n, ast.Raise) and n.exc is not None]
    called = [n.func for n in parts if isinstance(n, ast.Call)]
    names = [call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in called]
    is_checked = any("check_arguments" in ast.unparse(d) for d in function.decorator_list)
    is_raised = any(re.match(r"(Value|Flag)Error\b", text) for text in raised)
    return is_checked or is_raised or any(re.match(r"_?check(ed)?(_|$)", name) for name in names)


def is_other_error(function):
    """Whether the body raises an error that is no ValueError of an argument."""
    inside = [n for n in statements(function) if isinstance(n, ast.Raise) and n.exc is not None]
    pattern = r"(?!ValueError|FlagError)\w*(Error|Mismatch|Preempted)\b"
    return any(re.match(pattern, ast.unparse(n.exc)) for n in inside)


def statements(node):
    """The statements below a node, at any depth: a tenth of what ast.walk gives."""
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        for part in getattr(node, field, ()):
            yield part
            yield from statements(part)


def describes(name, annotation):
    """Whether an argument needs no line: one of `RECORDS`, or a record by the name of its type, `outputs: Outputs`."""
    record = annotation.removesuffix(" | None").rpartition(".")[2]
    return (name, annotation) in RECORDS or (record[:1].isupper() and name.replace("_", "") == record.lower())


def unnamed(function, text):
    """What a method of one line, `x [B, D], t [B] -> [B, D]`, lacks; the name of its only argument may be left out."""
    names = [name for name in parameters(function, True) if not is_record(function, name)]
    if missing := [name for name in names if len(names) > 1 and not re.search(rf"\b{name}\b", text)]:
        yield f"its line lacks {', '.join(missing)}"


def is_record(function, name):
    """Whether the type of an argument describes it."""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    annotation = next((a.annotation for a in arguments if a.arg == name), None)
    return annotation is not None and describes(name, ast.unparse(annotation))


def wrong_function(function, tree, is_method=False, bases=()):
    """What the docstring of a function lacks; `bases` are the methods that it overrides."""
    merged = inheritance.merge_sections([inheritance.split_sections(node) for node in (function, *bases)])
    decorators = {ast.unparse(d).split("(")[0] for d in function.decorator_list}
    if decorators & {"property", "functools.cached_property", "overload", "typing.overload", "x.setter"}:
        return
    if is_method and set(merged) == {""} and not parameters(function, True):
        return
    if is_method and set(merged) == {""} and " -> " in (text := " ".join(merged[""])):
        yield from unnamed(function, text)
        return
    documented = entries(merged.get("Args", [])) | {*referred(merged.get("Args", []), tree)}
    names = [name for name in parameters(function, is_method) if not is_record(function, name)]
    if missing := [name for name in names if name not in documented]:
        yield f"Args lacks {', '.join(missing)}"
    returns = "" if function.returns is None else ast.unparse(function.returns).strip("'")
    is_clear = returns in ("None", "NoReturn") or CLASS_NAME.fullmatch(returns)
    if not is_clear and not ({"Returns", "Yields"} & set(merged)):
        yield "no Returns"
    if "Raises" not in merged and is_other_error(function):
        yield "no Raises"
    if entries(inheritance.split_sections(function).get("Raises", [])) == {"ValueError"} and shows_errors(function):
        yield "Raises repeats the body"


def fields(node):
    """The documented fields of a NamedTuple, dataclass or flax module."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign):
            name, annotation = ast.unparse(part.target), ast.unparse(part.annotation)
            if not name.startswith("_") and "ClassVar" not in annotation and not describes(name, annotation):
                yield name


def wrong_class(node, tree):
    bases = inheritance.base_classes(tree, node, parse)
    said = entries(inheritance.class_sections(node, bases).get("Args", []))
    is_enum = any("Enum" in ast.unparse(base) for base in node.bases)
    missing = [] if is_enum else [name for name in fields(node) if name not in said]
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            missing += [name for name in parameters(part, True) if name not in said]
    if missing:
        yield node.lineno, node.name, f"Args lacks {', '.join(missing)}"
    for part in node.body:
        if not isinstance(part, ast.FunctionDef) or part.name in ("__init__", "setup", "features"):
            continue
        if part.name == "__call__" or (not part.name.startswith("_") and ast.get_docstring(part)):
            like_part = contract(PART_METHODS).get((part.name, *parameters(part, True)))
            bases = (*inheritance.base_methods(tree, node, part.name, parse), *([like_part] if like_part else []))
            for text in wrong_function(part, tree, True, bases):
                yield part.lineno, f"{node.name}.{part.name}", text


def wrong_module(tree, room=""):
    """(line, name, what is wrong) of the public names that a module defines.

    A function like a method of a part, or in the rooms of METHODS of another class, serves as that method, which
    documents it.
    """
    public = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            public = set(ast.literal_eval(node.value))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in public:
            method = contract(METHODS.get(room, PART_METHODS)).get((node.name, *parameters(node, False)))
            bases = () if method is None else (method,)
            yield from ((node.lineno, node.name, text) for text in wrong_function(node, tree, bases=bases))
        elif isinstance(node, ast.ClassDef) and node.name in public:
            yield from wrong_class(node, tree)


def wrong_files(folder):
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*.py"))
    for path in paths:
        room = next((part for part in path.parts if part in METHODS), "")
        for line, name, text in wrong_module(ast.parse(path.read_text(encoding="utf-8")), room):
            yield f"{path}:{line}: {name}: {text}"


ROOMS = sorted(
    path.name for path in (ROOT / "dlcore").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
)


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_say_what_they_take_and_give(room):
    wrong = list(wrong_files(ROOT / "dlcore" / room))
    assert not wrong, "\n".join(wrong)


BARE_POINT = re.compile(r"(?<![\w.@:\[\])/*$\\\"'])\.\d+(?!x?[\w.]*[A-WYZa-wyz_])")
"""A number below one without its zero, not one of a path, a version or AP@.5."""


def bare_points(folder):
    """The lines of docstrings below a folder that write .5 for 0.5."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not BARE_POINT.search(text):  # most files: the search takes no time, and the tree does
            continue
        for node in ast.walk(ast.parse(text)):
            lines = (ast.get_docstring(node) or "").split("\n") if isinstance(node, kinds) else []
            yield from (f"{path.relative_to(ROOT)}: {line.strip()}" for line in lines if BARE_POINT.search(line))


@pytest.mark.parametrize("folder", [*(f"dlcore/{room}" for room in ROOMS), "experiments"])
def test_numbers_below_one_have_their_zero(folder):
    assert not list(bare_points(ROOT / folder))


def test_a_number_without_its_zero_is_seen():
    assert all(map(BARE_POINT.search, ["is .5", "(.25)", "-.5", "at .9x PyTorch", "0 to .1"]))
    assert not any(map(BARE_POINT.search, ["0.5", "mAP@[.5:.95]", "AP@.5", "a.1", "run.3mf", "v1.0.0rc1", "1/.5"]))


def test_the_check_sees_what_is_missing():
    code = '''
__all__ = ["f", "g", "A"]
def f(x, y=1):
    """Do.

    Args:
      x: [N].
    """
    raise OSError
def g(*, x: int) -> None:
    """Do.

    Args:
      x: a number.

    Raises:
      ValueError: x is negative.
    """
    check_range("x", x, 0)
class A(NamedTuple):
    """A pair.

    Args:
      x: one.
    """
    x: int
    y: int
    def h(self, z):
        """Do."""
'''
    found = [(name, text) for _, name, text in wrong_module(ast.parse(code))]
    assert found == [
        ("f", "Args lacks y"),
        ("f", "no Returns"),
        ("f", "no Raises"),
        ("g", "Raises repeats the body"),
        ("A", "Args lacks y"),
        ("A.h", "Args lacks z"),
        ("A.h", "no Returns"),
    ]


def wrong_names(code):
    return [(name, text) for _, name, text in wrong_module(ast.parse(code))]


def test_a_method_may_say_in_a_line_what_it_maps():
    code = "__all__ = ['A']\nclass A(nn.Module):\n    'A.'\n    def __call__(self, %s):\n        'Map: %s.'\n"
    assert not wrong_names(code % ("x, train: bool = False", "[B, D] -> [B]"))
    assert not wrong_names(code % ("x, t", "x [B, D], t [B] -> [B]"))
    assert wrong_names(code % ("x, time", "x [B, D], t [B] -> [B]")) == [("A.__call__", "its line lacks time")]
    assert not wrong_names((code % ("", "[B]")).replace("self, ", "self"))
    assert wrong_names(code % ("x", "[B, D]")) == [("A.__call__", "Args lacks x"), ("A.__call__", "no Returns")]


def test_arguments_may_be_those_of_another_function():
    code = "__all__ = ['f']\ndef f(x, y) -> None:\n    'Do.\\n\\n    Args:\\n      y: one.\\n      As `%s`.'\n"
    g = "def g(x):\n    'Do.\\n\\n    Args:\\n      x: [N].'\n"
    assert not wrong_names(code % "g" + g)
    assert not wrong_names(code % "dlcore.generative.schedules.add_noise")
    assert wrong_names(code % "h" + g) == [("f", "Args lacks x")]


BASE = '''
__all__ = ["Base", "Override"]
class Base:
    """A base."""
    def load(self, path):
        """Load.

        Args:
          path: a file.

        Returns:
          [N] array.
        """
class Between(Base):
    """A class between them."""
    def load(self, path):
        """Load another way."""
class Override(Between):
    """An override."""
    def load(self, path):
        """Load a third way."""
        raise OSError
'''


def test_an_override_needs_only_what_its_bases_do_not_document():
    assert wrong_names(BASE) == [("Override.load", "no Raises")]
    undocumented = BASE.replace("          path: a file.\n", "").replace("Returns:", "It returns")
    assert ("Override.load", "Args lacks path") in wrong_names(undocumented)
    assert ("Override.load", "no Returns") in wrong_names(undocumented)


def test_bases_are_found_in_other_modules():
    code = """
__all__ = ["Clips"]
from dlcore.data import images
class Clips(images.Images):
    def preprocess(self, facts, dtype, folder):
        'Prepare clips.'
        raise ValueError
    def shorter_side(self, facts: Facts) -> int:
        'Measure clips.'
    def length(self, clip):
        'Count frames.'
"""
    assert wrong_names(code) == [
        ("Clips.preprocess", "Args lacks facts, folder"),
        ("Clips.length", "Args lacks clip"),
        ("Clips.length", "no Returns"),
    ]


def test_a_type_that_describes_itself_needs_no_line():
    def wrong(signature):
        return wrong_names(f"__all__ = ['f']\ndef f{signature}: 'Do.'")

    for returns in ("Splits", "'Flags'", "bool", "list[str]", "list[Panel]", "nn.Module", "Start | None", "None"):
        assert not wrong(f"(run: Run, *, flags: Flags) -> {returns}")
    for returns in ("Any", "jax.Array", "np.ndarray", "tuple[Splits, Splits]", "list", "float", "Callable", "T"):
        assert wrong(f"() -> {returns}") == [("f", "no Returns")]
    assert wrong("(run, flags: dict) -> Splits") == [("f", "Args lacks run, flags")]


if __name__ == "__main__":
    lines = [line for name in sys.argv[1:] or ["dlcore"] for line in wrong_files(Path(name))]
    print(*lines, f"{len(lines)} places", sep="\n")
