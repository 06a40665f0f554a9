"""The profile of a dataset: its numbers are those of the data, and what should be mended is said."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.profiling.copies import CopyCounter, hashes_of
from fourm_runtime.profiling.dataset_profile import profile
from fourm_runtime.profiling.quantities import MOST_SAMPLED, NumberGatherer
from fourm_runtime.profiling.record import Classes, Lengths, Numbers, Profile
from fourm_schema.load import parse_schema
from tests.runtime.command_line import fourm
from tests.runtime.data_samples import SCHEMA, encoded, samples
from tests.runtime.markup import read

YAML = """
version: 1
vocabularies: {words: {kind: wordpiece, size: 300}}
modalities:
  depth: {kind: image, size: 4, patch: 2, cell: {type: continuous, range: [0, 10], unit: metre}, OUT}
  land: {kind: image, size: 4, patch: 1, cell: {type: categorical, classes: [water, wood, town]}}
  gps: {kind: vector, dim: 2, names: [north, east], ranges: [[-90, 90], [-180, 180]]}
  boxes: {kind: set, max_items: 3, fields: {box: {type: box}, label: {type: category, classes: [cat, dog]}}}
  says: {kind: text, vocabulary: words, max_tokens: 6}
  never: {kind: vector, dim: 1, ranges: [0, 1]}
"""

SIXTEENTHS = st.integers(-300, 300).map(lambda number: number / 16) | st.integers(-(10**6), 10**6).map(float)
"""Numbers well apart, so that rounding does not decide what lies on an end of a range and what beyond it."""


def made(path: Path, rows: list[dict[str, object]], depth: str = "out_of_range: clip") -> Dataset:
    return Dataset.create(path, parse_schema(YAML.replace("OUT", depth)), rows)


def rows_of(count: int) -> list[dict[str, object]]:
    """Samples with nothing odd in them but that `never` is never there."""
    draws = np.random.default_rng(1)
    return [
        {
            "depth": draws.uniform(0.5, 9.5, (4, 4)),
            "land": draws.integers(0, 3, (4, 4)),
            "gps": [draws.uniform(-80, 80), draws.uniform(-170, 170)],
            "boxes": [{"box": [0.1, 0.2, 0.5, 0.9], "label": ("cat", "dog")[number % 2]}],
            "says": f"place number {number}",
        }
        for number in range(count)
    ]


def said(found: Profile) -> list[str]:
    """The findings, without those that every fresh dataset has."""
    return [f"{one.level}: {one}" for one in found.findings if "not encoded" not in one.what]


@given(
    st.lists(st.lists(SIXTEENTHS, min_size=2, max_size=2), min_size=1, max_size=40),
    st.integers(1, 40),
)
def test_numbers_in_blocks_have_the_statistics_of_all(rows: list[list[float]], cut: int) -> None:
    """Blocks are only for memory: mean, deviation, ends and counts are as if all had been there at once."""
    table = np.array(rows, np.float64)
    gatherer = NumberGatherer(("a", "b"), ((0.0, 10.0), None))
    for start in range(0, len(table), cut):
        gatherer.add(table[start : start + cut])
    found = gatherer.finished()

    for kind, name in enumerate(("a", "b")):
        column = table[:, kind]
        assert found[name].count == len(table)
        assert np.isclose(found[name].mean, column.mean(), rtol=1e-9, atol=1e-6)
        assert np.isclose(found[name].std, column.std(), rtol=1e-6, atol=1e-3)  # of squares near 1e12
        assert (found[name].least, found[name].most) == (column.min(), column.max())
        assert found[name].quantiles["0.5"] == pytest.approx(np.quantile(column, 0.5))
        assert sum(found[name].histogram) == len(table)
    assert found["a"].below == (table[:, 0] < 0).sum() and found["a"].above == (table[:, 0] > 10).sum()
    assert found["a"].at_low == (table[:, 0] == 0).sum() and found["a"].at_high == (table[:, 0] == 10).sum()


def test_quantiles_of_very_many_numbers_are_near_theirs() -> None:
    """They come from a sample of 65,536; its error at the middle is about half a percent of the range."""
    gatherer = NumberGatherer(("a",), (None,))
    draws = np.random.default_rng(0)
    for _ in range(8):
        gatherer.add(draws.random((MOST_SAMPLED, 1)))
    found = gatherer.finished()["a"]

    assert sum(found.histogram) <= MOST_SAMPLED
    assert all(abs(value - float(share)) < 0.015 for share, value in found.quantiles.items())


@given(st.lists(st.binary(max_size=2), max_size=60), st.integers(1, 60))
def test_copies_are_counted_exactly_while_there_is_room(values: list[bytes], cut: int) -> None:
    counter = CopyCounter()
    for start in range(0, len(values), cut):
        counter.add(hashes_of(values[start : start + cut]))

    assert counter.finished().copies == len(values) - len(set(values))


def test_copies_of_very_many_values_are_counted_on_a_part_of_them() -> None:
    """Either all copies of a value are in that part or none is, so their share stays right."""
    counter = CopyCounter(room=1024)
    for number in range(8000):
        counter.add(hashes_of([str(number // 2).encode()]))
    found = counter.finished()

    assert found.one_in >= 8 and found.values <= 1024
    assert found.share == 0.5


def test_a_clean_dataset_has_nothing_to_act_on_but_what_is_missing(tmp_path: Path) -> None:
    found = profile(made(tmp_path / "a.lance", rows_of(40)))

    assert said(found) == [
        "warning: never: no sample has it: give it values (fourm data fill), or take it out of the schema"
    ]
    assert found.modalities["depth"].present == 40 and found.modalities["never"].present == 0
    north = found.modalities["gps"].parts["north"]
    assert isinstance(north, Numbers) and (north.low, north.high) == (-90, 90)
    land = found.modalities["land"].parts["cells"]
    assert isinstance(land, Classes) and land.total == 40 * 16
    assert isinstance(words := found.modalities["says"].parts["words"], Lengths) and words.counts == {3: 40}


def test_what_is_odd_is_said_with_its_mend(tmp_path: Path) -> None:
    """Each of these costs a training run when nobody sees it before."""
    rows = rows_of(40)
    for number, row in enumerate(rows):
        row["gps"] = [48.25, 1.0 + number / 1000]
        row["boxes"] = [{"box": [0.2, 0.2, 0.2, 0.7], "label": "cat"}]
    for row in rows[:10]:
        row["depth"] = np.full((4, 4), 12.0)
        row["land"] = np.ones((4, 4))
    rows[3]["says"] = "a sentence of more words than six tokens hold"
    rows[4]["says"] = ""
    rows += [dict(rows[20]), {**rows[21], "id": "twice"}, {**rows[22], "id": "twice"}]
    found = said(profile(made(tmp_path / "a.lance", rows)))

    assert found == [
        "fault: says: at least 1 of 43 texts (2 %) are longer than max_tokens (up to 9 words"
        " and marks, 6 tokens):"
        " raise max_tokens or write out_of_range: clip; as it is they are refused when encoded",
        "warning: samples: 3 of 43 samples (7 %) equal another in all modalities: import each"
        " once: copies count"
        " double, and leak between training and held-out samples",
        "warning: samples: 1 have the id of another: give each its own: values that are filled in later are"
        " matched by id",
        "warning: depth: 10 of 43 images (23 %) hold one value in all cells: write null where"
        " there is no image",
        "warning: depth: 23 % of values lie on the upper end 10, to which others are clipped:"
        " widen the range if"
        " they are no mistakes, and import again",
        "warning: gps.north: is always 48.25: leave it out: it costs tokens and teaches nothing",
        "warning: boxes: 43 boxes have no area: leave them out, or mend their corners",
        "warning: boxes.label: 100 % are 'cat': a model that always says so is nearly always right: weigh or"
        " split it",
        "warning: says: 1 text is empty: write null where there is no text",
        "warning: never: no sample has it: give it values (fourm data fill), or take it out of the schema",
        "note: land: 10 of 43 images (23 %) hold one value in all cells: write null where there is no image",
        "note: gps.east: values take 0.011 % of the range [-180, 180]: narrow it to [1,"
        " 1.04]: the same bins are"
        " finer then",
        "note: boxes.label: 1 of 2 classes never occur: dog: keep them if other data have them",
    ]


def test_values_outside_a_range_that_was_narrowed_are_faults(tmp_path: Path) -> None:
    """An import refuses them, but an entry can be changed when the values are stored."""
    dataset = made(tmp_path / "a.lance", rows_of(40), "out_of_range: error")
    dataset.add_modality(
        parse_schema(YAML.replace("OUT", "out_of_range: error").replace("[0, 10]", "[0, 5]"))
    )
    found = profile(dataset)
    depth = found.modalities["depth"].parts["cells"]

    assert isinstance(depth, Numbers)
    share = round(100 * depth.above / depth.count)
    assert 40 < share < 60
    assert said(found)[0] == (
        f"fault: depth: values lie outside the declared range: {share} % above 5: widen the range"
        " to [0, 9.5],"
        " or clip (out_of_range: clip) and import again"
    )


def test_values_that_were_normalised_before_are_told(tmp_path: Path) -> None:
    """They fit the range, so nothing refuses them; a model would be trained on nearly nothing."""
    for least, told in ((0, "[0, 1]"), (-1, "[-1, 1]")):
        draws = np.random.default_rng(2)
        rows = [{"photo": draws.uniform(least, 1, (4, 4))} for _ in range(9)]
        declared = "{kind: image, size: 4, patch: 2, cell: {type: continuous, range: [-255, 255]}}"
        schema = parse_schema(f"version: 1\nmodalities: {{photo: {declared}}}")
        found = said(profile(Dataset.create(tmp_path / f"{least}.lance", schema, rows)))

        assert found == [
            f"warning: photo: all values lie in {told} of the range [-255, 255]: normalised already?:"
            f" import them in the unit of the schema, or declare range: {told}"
        ]


def test_tokens_are_held_against_their_vocabulary_and_the_budgets(tmp_path: Path) -> None:
    dataset, _ = encoded(tmp_path / "a.lance", 60)
    (tmp_path / "train.yaml").write_text("budget: {input: 8, target: 8}\nsteps: {total: 1}\n")
    command = ("data", "profile", tmp_path / "a.lance", "--recipe", tmp_path / "train.yaml")
    record = json.loads(fourm(*command, "--json"))
    digit = record["streams"]["digit.tokens"]
    stored = [row for row in dataset.arrow.to_table(["digit__tokens"])[0].to_pylist() if row is not None]

    assert digit["tokens"] == 16 * len(stored)
    assert digit["used"] == len({one for row in stored for one in row})
    assert record["streams"]["caption.tokens"]["lengths"]["limit"] == 16
    whole = sum(int(length) * count for length, count in record["tokens_per_sample"]["counts"].items())
    assert whole >= digit["tokens"]
    assert any(one["where"] == "budget" for one in record["findings"])


def test_a_sample_is_spread_over_the_dataset(tmp_path: Path) -> None:
    """The first thousand rows of a sorted dataset would tell nothing of the others."""
    schema = parse_schema(
        "{version: 1, modalities: {n: {kind: vector, dim: 1, ranges: [0, 5000], names: [n]}}}"
    )
    dataset = Dataset.create(tmp_path / "a.lance", schema, ({"n": [float(n)]} for n in range(3000)))
    found = profile(dataset, sample=1024)
    numbers = found.modalities["n"].parts["n"]

    assert isinstance(numbers, Numbers)
    assert (found.rows, found.profiled, numbers.count) == (3000, 1024, 1024)
    assert (numbers.least, numbers.most) == (0, 2999)


def test_the_verb_says_what_to_act_on_before_it_says_numbers(tmp_path: Path) -> None:
    rows = rows_of(20)
    Dataset.create(
        tmp_path / "a.lance", parse_schema(YAML.replace("OUT", "out_of_range: clip")), [*rows, rows[0]]
    )
    page = tmp_path / "profile.html"
    printed = fourm("data", "profile", tmp_path / "a.lance", "--html", page)
    seen = read(page.read_text())

    assert printed.startswith(
        f"{tmp_path / 'a.lance'}: 21 samples, version 1\n\nto act on:\n  warning: samples: 1 of"
    )
    assert printed.index("to act on") < printed.index("mean")
    assert seen.text.index("equal another in all modalities") < seen.text.index("north")
    # depth, land, two of gps, three of boxes (items, box, its share), its label, says; and tokens per sample.
    assert seen.tags.count("svg") == 10


def test_memory_holds_a_block_and_not_the_dataset(tmp_path: Path) -> None:
    """A dataset larger than the memory can be profiled; what grows is eight bytes a value."""
    schema = parse_schema("{version: 1, modalities: {v: {kind: vector, dim: 2048}}}")
    zeros = np.zeros(2048, np.float32)
    peaks = []
    for count in (1024, 4096):
        rows = ({"v": zeros + number} for number in range(count))
        dataset = Dataset.create(tmp_path / f"{count}.lance", schema, rows)
        tracemalloc.start()
        profile(dataset)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.25 * peaks[0]


def test_an_empty_dataset_has_a_profile(tmp_path: Path) -> None:
    found = profile(Dataset.create(tmp_path / "a.lance", SCHEMA))

    assert said(found) == ["fault: samples: there are none: append some (fourm data append)"]
    assert list(samples(0)) == []
