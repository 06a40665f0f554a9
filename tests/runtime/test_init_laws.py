"""`fourm init` on folders that Hypothesis makes up: whatever lies there, the draft can be used."""

import csv
import json
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pictures

from fourm_runtime.data.importing.sources.opening import read_rows
from fourm_runtime.data.rows import Checker
from fourm_runtime.scan.draft import Draft, init
from fourm_runtime.training.recipe import Recipe
from fourm_schema.errors import DataError
from fourm_schema.load import load_yaml, parse_schema
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve

Write = Callable[[Path], object]

STEMS = st.sampled_from(
    ["0001", "0002", "a", "B b", "id", "sample", "image", "画像", "x\ny", "train_1", "#: {"]
)
PLACES = st.sampled_from(["", "rgb", "Left Camera", "val", "train/depth", "7", "- a: [", "\udc80"])

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
KEYS = (
    st.sampled_from(["id", "box", "Label", "points", "n", "caption", "source", "", "\ud800", "sample"])
    | WORDS
)
PLAIN = st.none() | st.booleans() | st.integers(-9, 300) | st.integers() | st.floats(width=64) | WORDS
JSON = st.recursive(
    PLAIN | st.sampled_from(["red", "a dog", "a.png", "0001.png", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
DTYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes()
    | hnp.unsigned_integer_dtypes()
    | hnp.floating_dtypes()
    | hnp.unicode_string_dtypes(max_len=4)
    | hnp.complex_number_dtypes()
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))


def picture(mode: str, height: int, width: int, values: list[int]) -> Pictures.Image:
    """A picture whose cells go round some values."""
    channels = {"RGB": 3, "RGBA": 4, "LA": 2, "CMYK": 4}.get(mode, 1)
    cells = np.resize(np.array(values), (height, width, channels))
    if mode in ("I;16", "1"):
        return Pictures.fromarray(cells[..., 0].astype(np.uint16 if mode == "I;16" else bool))
    grey = Pictures.fromarray(cells[..., 0].astype(np.uint8)) if channels == 1 else None
    if grey is not None:
        return grey.convert(mode) if mode != "P" else grey.quantize(8)
    return Pictures.frombytes(mode, (width, height), cells.astype(np.uint8).tobytes())


@st.composite
def files(draw: st.DrawFn) -> tuple[str, Write]:
    """The name of a file, and how it is written."""
    kind = draw(st.sampled_from([".png", ".npy", ".npz", ".txt", ".json", ".jsonl", ".csv", ".tsv", ".doc"]))
    name = f"{draw(PLACES)}/{draw(STEMS)}{kind}".lstrip("/")
    if draw(st.integers(0, 9)) == 0:
        damaged = draw(st.binary(max_size=40))
        return name, lambda file: file.write_bytes(damaged)
    match kind:
        case ".png":
            mode = draw(st.sampled_from(["L", "RGB", "RGBA", "P", "I;16", "1", "LA"]))
            sides, values = st.integers(1, 40), st.lists(st.integers(0, 255), min_size=1, max_size=9)
            shown = picture(mode, draw(sides), draw(sides), draw(values))
            return name, lambda file: shown.save(file)
        case ".npy":
            array = draw(ARRAYS)
            return name, lambda file: np.save(file, array)
        case ".npz":
            held = draw(
                st.dictionaries(st.sampled_from(["a", "B b", "id", "a__present"]), ARRAYS, max_size=3)
            )
            return name, lambda file: np.savez(file, allow_pickle=False, **held)
        case ".json":
            text = json.dumps(draw(JSON))
        case ".jsonl":
            rows = st.dictionaries(KEYS, JSON, max_size=4) | JSON
            text = "\n".join(json.dumps(row) for row in draw(st.lists(rows, max_size=4)))
        case ".csv" | ".tsv":
            cells = st.lists(st.sampled_from(["1", "2.5", "", "red", "a dog", "[1, 2]", "id", "007"]) | WORDS)
            table = draw(st.lists(cells, max_size=5))
            return name, lambda file: write_table(file, table, "\t" if kind == ".tsv" else ",")
        case _:
            text = draw(st.sampled_from(["a dog\na cat\n", "1 2 3", ""]) | WORDS)
    return name, lambda file: file.write_text(text, encoding="utf-8", errors="surrogatepass")


def write_table(file: Path, table: list[list[str]], mark: str) -> None:
    with file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines, delimiter=mark, quoting=csv.QUOTE_ALL).writerows(table)


def parse_recipe(text: str, plan: Plan) -> None:
    """Hold a drafted recipe to the streams that it is for."""
    load_yaml(text, Recipe).mixture(plan)


def used(folder: Path) -> Draft | None:
    """The draft of a folder, held to its law; None where there is nothing to draft."""
    try:
        draft = init(folder)
    except DataError as error:
        if "holds nothing that could be a modality" not in str(error):
            raise
        return None
    schema = parse_schema(draft.yaml)
    plan = resolve(schema)
    assert list(schema.modalities) == [found.name for found in draft.found]
    assert {stream.modality for stream in plan.streams} == set(schema.modalities)
    told = ["".join((item.origin, *item.notes, *item.before_import, *item.written)) for item in draft.found]
    told += [f"{item.what}{item.why}" for item in draft.skipped]
    assert all(text.isprintable() for text in (*told, *draft.before_import))
    parse_recipe(draft.recipe, plan)
    commands = draft.commands(Path("m.yaml"), Path("t.yaml"), Path("s.jsonl"))
    assert all(shlex.split(command)[0] == "fourm" for command in commands)
    if draft.samples is not None:
        assert all(set(line) <= {"id", *schema.modalities} for line in draft.samples.lines(folder))
    return draft


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(files(), max_size=6))
def test_every_draft_loads_and_resolves(made: list[tuple[str, Write]]) -> None:
    """The first thing a new user runs may propose a bad entry, but never a file that is refused."""
    with tempfile.TemporaryDirectory() as place:
        for name, write in made:
            file = Path(place, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file)
        draft = used(Path(place))
        if draft is not None:
            assert init(place).yaml == draft.yaml


RECORDS = st.fixed_dictionaries(
    {"box": st.tuples(*4 * [st.floats(-1e6, 1e6)]).map(sorted), "count": st.integers(-50, 2000)},
    optional={
        "Score": st.floats(1e-9, 1e9),
        "label": st.sampled_from(["cat", "dog"]),
        "point": st.lists(st.floats(-1, 1), min_size=2, max_size=2),
        "class": st.integers(0, 5),
    },
)
COLUMNS: dict[str, st.SearchStrategy[object]] = {
    "vector": st.lists(st.floats(-1e9, 1e9), min_size=3, max_size=3),
    "Image": hnp.arrays(np.int64, (4, 4), elements=st.integers(0, 20)).map(lambda array: array.tolist()),
    "Depth map": hnp.arrays(np.float64, (4, 6), elements=st.floats(0, 99)).map(lambda array: array.tolist()),
    "caption": st.lists(st.sampled_from(["a dog", "two cats asleep"]), min_size=1, max_size=3),
    "title": st.sampled_from(["a dog", "two cats asleep", "an empty street at night", "rain"]),
    "boxes": st.lists(RECORDS, max_size=3),
    "meta": RECORDS,
}


@given(st.data())
def test_what_is_drafted_can_be_imported(data: st.DataObject) -> None:
    """A user who follows the last line that `fourm init` prints meets no fault in values that it has seen."""
    columns = data.draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
    row = st.fixed_dictionaries({name: COLUMNS[name] | st.none() for name in columns})
    rows = data.draw(
        st.lists(row.filter(lambda r: any(v is not None for v in r.values())), min_size=1, max_size=6)
    )
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "samples.jsonl")
        file.write_text("\n".join(map(json.dumps, rows)))
        draft = used(Path(place))
        if draft is None or draft.by_hand or draft.fits:
            return
        expected = len(rows)
        if draft.samples is not None:
            file, held = Path(place, "drafted.jsonl"), list(draft.samples.lines(Path(place)))
            file.write_text("\n".join(map(json.dumps, held)))
            expected = len(held)
        else:
            assert draft.ready == str(file)
        checker = Checker(parse_schema(draft.yaml))
        read = read_rows(file, parse_schema(draft.yaml))
        assert sum(batch.num_rows for batch in checker.batches(read)) == expected
        assert [*map(str, checker.faults)] == [] and checker.error is None


@pytest.mark.parametrize("kind", ["L", "RGB", "P", "I;16", "1", "RGBA"])
def test_pictures_of_the_law_are_of_their_mode(tmp_path: Path, kind: str) -> None:
    """The law above is worth something only if its pictures are as different as they should be."""
    picture(kind, 3, 5, [0, 9, 200]).save(tmp_path / "a.png")
    with Pictures.open(tmp_path / "a.png") as found:
        assert (found.mode, found.size) == (kind, (5, 3))
