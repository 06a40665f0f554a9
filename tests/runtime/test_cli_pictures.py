"""The verbs that draw: `fourm data show` and `fourm mask show`."""

import json
from pathlib import Path

import pytest

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.reader import Reader
from fourm_runtime.masking.mask import Masker
from fourm_runtime.training.recipe import load_recipe
from tests.runtime.command_line import fourm, refused
from tests.runtime.data_samples import SCHEMA, codecs_of, samples
from tests.runtime.markup import read

SCRIPT = "<script>alert('seven')</script>"
RECIPE = """\
budget: {input: [4, 20], target: 12}
masks:
  - {preset: from, stream: digit.pixels}
  - {preset: all_to_all, alpha: [0.2, 5]}
steps: {total: 1, samples_per_step: 1}
seed: 3
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoded dataset, a bare one and a recipe."""
    folder = tmp_path_factory.mktemp("home")
    rows = [{"id": f"s{number}", **row} for number, row in enumerate(samples(12))]
    rows[1]["caption"] = [SCRIPT]
    Dataset.create(folder / "bare.lance", SCHEMA, rows)
    dataset = Dataset.create(folder / "few.lance", SCHEMA, rows)
    dataset.encode(codecs_of(SCHEMA, dataset.texts("caption")))
    (folder / "train.yaml").write_text(RECIPE)
    return folder


def test_a_sheet_shows_every_modality_of_the_first_samples(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    record = json.loads(fourm("data", "show", home / "few.lance", "--rows", 3, "--to", page, "--json"))
    seen = read(page.read_text())

    assert [sample["id"] for sample in record["samples"]] == ["s0", "s1", "s2"]
    drawn = [name for sample in record["samples"] for name in sample["drawn"]]
    absent = [name for sample in record["samples"] for name in sample["absent"]]
    assert len(drawn) + len(absent) == 3 * 4 and absent
    assert seen.texts.count("absent") == len(absent)
    assert seen.tags.count("img") == drawn.count("digit") + drawn.count("classes")
    assert SCRIPT in seen.texts and "script" not in seen.tags


def test_a_sheet_counts_the_tokens_of_every_alternative(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    record = json.loads(fourm("data", "show", home / "few.lance", "--ids", "s7,3", "--to", page, "--json"))
    tokens = record["samples"][1]["tokens"]
    said = f"caption.tokens: {' and '.join(map(str, tokens['caption.tokens']))} tokens"

    assert [sample["row"] for sample in record["samples"]] == [7, 3]
    assert len(tokens["caption.tokens"]) == 4 and tokens["classes.tokens"] == [16]
    assert said in read(page.read_text()).texts


def test_a_dataset_without_tokens_can_be_looked_at(home: Path, tmp_path: Path) -> None:
    """The first look at imported samples comes before anything is encoded."""
    page = tmp_path / "sheet.html"
    said = fourm("data", "show", home / "bare.lance", "--to", page)

    assert said.splitlines() == [f"{page}: 8 of 12 samples, 4 modalities"]
    assert "shape.values: 1 token\nshape.tokens: not encoded" in read(page.read_text()).texts


def test_masks_of_a_sample_are_drawn_as_a_run_would_draw_them(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "mask.html"
    command = ("mask", "show", home / "few.lance", "--recipe", home / "train.yaml", "--sample", "s10")
    record = json.loads(fourm(*command, "--draws", 5, "--to", page, "--json"))

    dataset = Dataset.open(home / "few.lance")
    masker = Masker(dataset.plan, load_recipe(home / "train.yaml").mixture(dataset.plan), 3)
    with Reader(dataset, dataset.plan) as reader:
        for draw in record["draws"]:
            masked = masker(reader.batch([10], draw["epoch"], 3), draw["epoch"])
            assert draw["visible"] == sum(each.size for each in masked.inputs.values())
            assert draw["predicted"] == sum(each.size for each in masked.targets.values())
            for name, counts in draw["streams"].items():
                assert counts["visible"] == (masked.inputs[name].size if name in masked.inputs else 0)
    assert record["seed"] == 3 and [draw["epoch"] for draw in record["draws"]] == [0, 1, 2, 3, 4]
    assert {f"epoch {epoch}" for epoch in range(5)} <= set(read(page.read_text()).texts)


def test_another_seed_or_recipe_gives_other_masks(home: Path, tmp_path: Path) -> None:
    command = (
        "mask",
        "show",
        home / "few.lance",
        "--recipe",
        home / "train.yaml",
        "--to",
        tmp_path / "m.html",
    )
    found = [
        json.loads(fourm(*command, "--json", *more))["draws"]
        for more in ((), ("--seed", 3), ("--seed", 4), ("--set", "budget.input=1"))
    ]

    assert found[0] == found[1] != found[2]
    assert {draw["visible_budget"] for draw in found[3]} == {1}


def test_masks_need_tokens_and_the_message_names_the_verb_that_makes_them(home: Path, tmp_path: Path) -> None:
    command = ("mask", "show", home / "bare.lance", "--recipe", home / "train.yaml")

    assert "encode first: fourm data encode" in refused(*command, "--to", tmp_path / "m.html")
    assert not (tmp_path / "m.html").exists()


@pytest.mark.parametrize("verb", [("data", "show"), ("mask", "show", "--recipe", "train.yaml")])
def test_an_unknown_sample_is_told_with_what_there_is(
    home: Path, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    option = "--ids" if verb[0] == "data" else "--sample"
    recipe = [home / part if part == "train.yaml" else part for part in verb[2:]]
    said = refused(*verb[:2], home / "few.lance", *recipe, option, "s99", "--to", tmp_path / "x.html")

    assert "has no sample 's99'; give a row from 0 to 11, or an id such as s0, s1, s2" in said


def test_a_page_that_cannot_be_written_is_a_fault_of_the_request(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused("data", "show", home / "few.lance", "--to", tmp_path / "file" / "x.html")

    assert "RequestError" in said and "cannot be written" in said and "name another file" in said
