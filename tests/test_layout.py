"""The rules of the house that no linter knows: where files stand, who may import whom, what stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "fourm_schema": ROOT / "fourm_schema",
    "fourm_codecs": ROOT / "codecs" / "fourm_codecs",
    "fourm_runtime": ROOT / "runtime" / "fourm_runtime",
}
LINE_LIMIT = 400


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the three packages: (room, file)."""
    for room, folder in ROOMS.items():
        for path in sorted(folder.rglob("*.py")):
            yield room, path


@attrs.frozen
class Facts:
    """What the rules ask of a module.

    Attributes:
        imported: names that it imports, wherever in it: `a.b` for both `import a.b` and `from a.b import c`.
        calls: every call whose callee is a dotted name: (line, `a.b.c`).
        strings: its string constants.
    """

    imported: frozenset[str]
    calls: tuple[tuple[int, str], ...]
    strings: frozenset[str]

    @property
    def roots(self) -> set[str]:
        """Top-level packages that it imports."""
        return {name.partition(".")[0] for name in self.imported}


@cache
def facts(path: Path) -> Facts:
    """Read once for all rules: parsing all modules takes seconds."""
    names, called, strings = set[str](), list[tuple[int, str]](), set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
        elif isinstance(node, ast.Call):
            called.append((node.lineno, ast.unparse(node.func)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
    return Facts(frozenset(names), tuple(called), frozenset(strings))


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def loaded_after(statement: str, *packages: str) -> list[str]:
    """Which of the packages a fresh interpreter has loaded after it ran the statement."""
    code = f"import sys; {statement}; print(*(p for p in {packages!r} if p in sys.modules))"
    search = [str(ROOT), str(ROOT / "codecs"), str(ROOT / "runtime")]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {search!r}; {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("folder", ["codecs", "runtime", "tests"])
def test_folders_that_hold_packages_are_no_packages_themselves(folder: str) -> None:
    """A package named `codecs` would hide the standard library's from every static tool."""
    inits = [*(ROOT / folder).glob("__init__.py"), *(ROOT / "tests").rglob("__init__.py")]

    assert inits == []


def test_names_of_test_files_are_unique() -> None:
    """Without __init__.py a test module is known by its bare name: two of one name are one to mypy."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(
    ("room", "above"),
    [
        ("fourm_schema", {"fourm_codecs", "fourm_runtime", "torch", "xformers", "lance", "typer"}),
        ("fourm_codecs", {"fourm_runtime", "xformers", "lance", "typer"}),
    ],
)
def test_imports_run_one_way(room: str, above: set[str]) -> None:
    """schema <- codecs <- runtime: a lower room works on a machine that lacks what the upper one needs."""
    faults = {place(path): facts(path).roots & above for owner, path in modules() if owner == room}

    assert {name: names for name, names in faults.items() if names} == {}


def test_no_imports_run_in_a_circle() -> None:
    """Not those within functions, or for types, either: of two modules one can be read without the other."""
    of = {
        path: ".".join(path.relative_to(ROOMS[room].parent).with_suffix("").parts) for room, path in modules()
    }
    imports = {name: facts(path).imported & {*of.values()} for path, name in of.items()}

    # In an order that puts each module behind those it imports; a circle has none.
    assert len([*TopologicalSorter(imports).static_order()]) == len(of)


def test_only_the_data_folder_imports_lance() -> None:
    """The model half must run, train aside, where there is no Lance."""
    users = {place(path) for _, path in modules() if "lance" in facts(path).roots}

    assert users
    assert {name for name in users if not name.startswith("runtime/fourm_runtime/data/")} == set()


def test_only_the_attention_modules_import_xformers() -> None:
    """One place knows the backend, so that one place changes when the backend does."""
    users = {
        path.stem
        for _, path in modules()
        if "xformers" in facts(path).roots
        or any(name.startswith("xformers.") for name in facts(path).strings)
    }

    assert users == {"attention_backend", "cpu_operator"}


def test_the_schema_room_loads_no_torch() -> None:
    """Checking a YAML file must not cost the seconds that importing torch takes."""
    everything = ", ".join(
        f"fourm_schema.{path.stem}" for path in ROOMS["fourm_schema"].glob("*.py") if path.stem != "__init__"
    )

    assert loaded_after(f"import {everything}", "torch", "lance", "xformers", "pyarrow") == []


def test_the_model_half_loads_no_lance() -> None:
    """A machine that only generates needs no dataset library."""
    half = ["transformer", "packing", "loss", "checkpoints.store", "any_to_any"]
    modules_of_it = ", ".join(f"fourm_runtime.{name}" for name in half)

    assert loaded_after(f"import {modules_of_it}", "lance", "pyarrow") == []


def test_the_command_line_loads_nothing_heavy_before_it_knows_the_verb() -> None:
    """`fourm explain` answers in the time Python takes to start, not in the time torch takes to load."""
    assert loaded_after("import fourm_runtime.cli.app", "torch", "lance", "numpy", "xformers") == []


def test_no_module_hides_one_of_the_standard_library() -> None:
    """A stack trace through `types.py` or `random.py` should mean Python's."""
    harmless = {"select"}  # the selection table; nobody takes it for the waiting on sockets
    names = sys.stdlib_module_names - harmless
    hidden = {place(path) for _, path in modules() if path.stem in names}

    assert hidden == set()


def test_no_module_is_a_catch_all() -> None:
    """A module called utils is a place where things are put, not a thing."""
    vague = {"utils", "util", "common", "helpers", "misc", "manager"}

    assert {place(path) for _, path in modules() if vague & {path.stem, path.parent.name}} == set()


def test_every_module_fits_in_one_reading() -> None:
    """A longer file holds two ideas and becomes a folder."""
    beside = [path for folder in ("tests", "bench", "examples") for path in (ROOT / folder).rglob("*.py")]
    long = {
        place(path): lines
        for path in [*beside, *(path for _, path in modules())]
        if (lines := len(path.read_text().splitlines())) > LINE_LIMIT
    }

    assert long == {}


def test_nothing_touches_global_random_state() -> None:
    """Same seed, same result, whoever else draws: every draw comes from a generator that was passed in."""
    seeds = {"torch.manual_seed", "torch.seed", "np.random.seed", "random.seed"}
    legacy = ("np.random.", "numpy.random.", "random.")
    allowed = {"np.random.default_rng", "np.random.Generator", "np.random.Philox", "np.random.PCG64"}
    allowed |= {"np.random.SeedSequence"}
    faults = [
        f"{place(path)}:{line} {name}"
        for _, path in modules()
        for line, name in facts(path).calls
        if name in seeds or (name.startswith(legacy) and name not in allowed)
    ]

    assert faults == []


def test_no_file_is_read_by_unpickling_or_by_evaluating() -> None:
    """A checkpoint or schema from a stranger can be wrong, but it cannot run code."""
    forbidden = {
        "torch.load",
        "torch.save",
        "pickle.load",
        "pickle.loads",
        "eval",
        "exec",
        "yaml.unsafe_load",
    }
    faults = [
        f"{place(p)}:{n} {name}" for _, p in modules() for n, name in facts(p).calls if name in forbidden
    ]
    faults += [f"{place(p)} YAML(typ='unsafe')" for _, p in modules() if "unsafe" in facts(p).strings]
    faults += [
        f"{place(p)} imports {sorted(found)}"
        for _, p in modules()
        if (found := facts(p).roots & {"pickle", "dill", "cloudpickle"})
    ]

    assert faults == []


def test_every_package_says_that_it_is_typed() -> None:
    """Without py.typed a user's type checker sees Any."""
    assert all((folder / "py.typed").is_file() for folder in ROOMS.values())
