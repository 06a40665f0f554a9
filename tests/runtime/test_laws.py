"""`fourm test` and its pytest plugin: what they try, what they find, and how they tell it."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fourm_codecs.base import TokenBatch
from fourm_codecs.bins import BinsCodec
from fourm_runtime.attention import Blocks
from fourm_runtime.batch import Int32, MicroBatch
from fourm_runtime.cli.app import app
from fourm_runtime.lawbook import workers
from fourm_runtime.lawbook.book import CHAPTERS, SCHEMA, cases, hold
from fourm_runtime.lawbook.report import law_report
from fourm_runtime.masking.draws import sample_keys
from fourm_runtime.packing import _rows
from fourm_runtime.transformer import Routes
from fourm_schema.lawbook.search import Profile
from fourm_schema.load import load_schema, parse_schema
from tests.forks import forks

SMALL = """\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 200}
modalities:
  wind: {kind: vector, dim: 2, ranges: [0, 1], bins: 8}
  photo: {kind: image, size: 4, patch: 2, cell: {type: direction}, vocab_size: 40, shown: [pixels, tokens]}
  caption: {kind: text, vocabulary: words, max_tokens: 8}
  words_of: {kind: vector, dim: 3, max_length: 4, shown: [values]}
  crowd: {kind: vector, dim: 2, codec: "plugin:absent", vocab_size: 9}
"""
"""Things that are exact, learned, of words, of sequences, and one that cannot be built."""


EVERY_KIND = """\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 300}
  released: {kind: wordpiece, size: 5000, sentinels: 200}
modalities:
  depth:
    {kind: image, size: [8, 4], patch: [4, 2], cell: {type: continuous, range: [0, 10]}, out_of_range: clip,
     vocab_size: 40, shown: [tokens, pixels], mean: 3, std: 2, pixel_patch: [2, 4]}
  tenths:
    {kind: image, size: 2, patch: 1, cell: {type: continuous, range: [-0.3, 0.7], levels: 11},
     out_of_range: clip}
  features: {kind: image, size: 4, patch: 2, cell: {type: features, channels: 5}, shown: [pixels]}
  one: {kind: image, size: 1, patch: 1, cell: {type: categorical, classes: 200}}
  speed: {kind: vector, dim: 1, ranges: [0, 1], bins: 2, out_of_range: clip, shown: [values, tokens]}
  given: {kind: vector, dim: 70, codec: ids, vocab_size: 1000, tokens: 5}
  sequence: {kind: vector, dim: 2, max_length: 3, ranges: [0, 1], shown: [values]}
  title: {kind: text, vocabulary: words, max_tokens: 6, out_of_range: clip, role: target}
  given_text: {kind: text, vocabulary: released, max_tokens: 12, codec: ids}
  shapes:
    kind: set
    max_items: 4
    order: area
    out_of_range: clip
    fields:
      box: {type: box, bins: 10, convention: cxcywh, range: [0, 224], optional: true}
      turn: {type: angle, bins: 7, unit: radian}
      mass: {type: number, range: [0.001, 10], scale: log, bins: 9}
      grade: {type: number, edges: [0, 1, 10], optional: true}
      at: {type: point, bins: 12}
      says: {type: text, vocabulary: words, max_tokens: 4, optional: true}
  bag:
    {kind: set, max_items: 5, order: random, role: input,
     fields: {x: {type: vector, dim: 2, optional: true}}}
  detections:
    kind: set
    max_items: 5
    order: distance_to_origin
    dialect: {name: 4m, vocabulary: released, max_tokens: 80}
    fields: {box: {type: box, bins: 1000}, label: {type: category, classes: [dog, cat, hot dog]}}
"""
"""What the shipped file does not have."""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "my.yaml"
    file.write_text(SMALL)
    return file


def run(*arguments: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["test", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done.output


def words(panel: str) -> str:
    """What an error panel says, on one line."""
    return " ".join(panel.replace("│", " ").split())


def test_the_shipped_schema_keeps_every_law(root: Path) -> None:
    """The file that a user copies first, on the profile that a user runs."""
    schema = load_schema(root / "modalities.yaml")
    found = cases(schema)
    outcomes = hold(found)

    assert [(each.subject, each.law, each.fault) for each in outcomes if each.fault] == []
    assert {each.subject for each in outcomes} == {SCHEMA, *schema.modalities}
    assert [(each.subject, each.law) for each in outcomes if each.not_tested] == [("caption_t5", "masks")]
    assert all(each.examples for each in outcomes if not each.not_tested)


def test_every_kind_of_entry_keeps_every_law() -> None:
    """Clipped, dense, given, in 4M's words, of one number, of sequences: no law finds fault with them."""
    outcomes = hold(cases(parse_schema(EVERY_KIND)), Profile.of(examples=1))

    assert [(each.subject, each.law, each.fault) for each in outcomes if each.fault] == []
    assert {each.subject for each in outcomes if each.not_tested} == {"sequence"}


@pytest.mark.parametrize("name", ["audio", "earth", "robot"])
def test_an_example_keeps_every_law_its_learned_codecs_untrained_and_fitted(root: Path, name: str) -> None:
    """Once each: the laws of fitted weights are those that a user runs before a long training."""
    found = cases(load_schema(root / "examples" / f"{name}.yaml"), fit=True)
    outcomes = hold(found, Profile.of(examples=1))

    assert [(each.subject, each.law, each.fault) for each in outcomes if each.fault] == []
    assert [each for each in outcomes if each.not_tested] == []
    assert any(each.subject.endswith(" (fitted)") for each in outcomes)


def test_several_processes_find_what_one_finds(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws are shared out, not the examples: which process tries one changes nothing."""
    # As new as processes that are spawned, but the libraries are loaded.
    monkeypatch.setattr(workers, "get_context", {"spawn": forks()}.__getitem__)
    asked = (small, "--modality", "wind", "--modality", "crowd", "--examples", 2, "--json")

    assert run(*asked, "--workers", 2) == run(*asked)


def test_there_are_many_laws_and_each_has_a_name_of_its_own() -> None:
    names = [law.id for laws in CHAPTERS.values() for law in laws]

    assert len(names) == len(set(names)) >= 100
    assert all(law.statement.endswith(".") for laws in CHAPTERS.values() for law in laws)


def test_a_table_says_how_many_examples_kept_each_law(small: Path) -> None:
    printed = run(small, "--modality", "wind", "--modality", "photo", "--examples", 3)
    rows = [line.split() for line in printed.splitlines()]

    assert ["wind", "photo"] in rows
    assert ["law-is-kept", "3", "3"] in rows
    assert ["canonical-ids-survive", "3", "."] in rows, "a learned codec does not promise it"
    assert "tested with what stands in for training:\n  photo: random weights" in printed
    assert printed.splitlines()[-1].endswith("examples: all are kept")


def test_what_cannot_be_tested_is_told_and_not_counted_as_kept(small: Path) -> None:
    record = json.loads(run(small, "--examples", 1, "--json"))
    untested = {each["subject"]: each for each in record["laws"] if each["not_tested"]}

    assert set(untested) == {"crowd", "words_of"}
    assert untested["crowd"]["not_tested"].startswith("crowd: there is no codec 'plugin:absent'")
    assert untested["words_of"]["not_tested"] == "sequences of vectors cannot be masked yet"
    assert not any(each["kept"] for each in untested.values())
    assert (record["broken"], record["not_tested"], record["seed"]) == (0, 2, 0)
    assert {each["subject"] for each in record["laws"]} >= {"schema", "wind", "words_of"}


def shifted(self: BinsCodec, tokens: TokenBatch) -> list[object]:
    return [np.full(2, 0.5, np.float32) for _ in tokens.rows()]


def test_a_broken_law_is_told_in_words_and_ends_with_status_1(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec whose every bin decodes to the middle of the range."""
    monkeypatch.setattr(BinsCodec, "decode", shifted)
    printed = run(small, "--modality", "wind", "--seed", 5, status=1)

    assert (
        "wind: law-is-kept is broken\n  Decoding keeps of a value what the law of its codec promises.\n"
        in printed
    )
    assert "0.0 at [0] came back as 0.5, 0.5 apart (at most 0.0625); the value: float64 [0.0, 0.0]" in printed
    assert any(line.split() == ["law-is-kept", "BROKEN"] for line in printed.splitlines())
    assert printed.splitlines()[-1].endswith("cases are broken")


def test_the_same_seed_prints_the_same(small: Path) -> None:
    arguments = (small, "--modality", "caption", "--examples", 2, "--seed")

    assert run(*arguments, 1) == run(*arguments, 1)


def test_a_modality_that_is_none_is_refused(small: Path) -> None:
    assert "did you mean 'wind.tokens'?" in words(run(small, "--modality", "winds", status=2))


def test_without_the_extra_the_verb_names_it(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    hidden = {"hypothesis": None}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: hidden.get(name) if name in hidden else find(name)
    )

    assert "needs the extra 'test'; install it with: pip" in words(run(small, status=2))


def test_a_narrow_page_has_several_tables(small: Path) -> None:
    """A terminal of 80 columns shows modalities a few at a time."""
    found = [case for case in cases(load_schema(small)) if case.law == "entry-survives-json"]
    report = law_report(found, hold(found), width=50)

    assert max(map(len, report.splitlines())) <= 70
    assert report.count("an entry:") > 1


def no_offset(stream: object, selection: object, allocation: object, target: bool) -> Int32:
    """Rows without the offset of the stream: two streams share theirs."""
    return _rows(stream, selection, allocation, target) // 2  # type: ignore[arg-type]  # passed on


def by_place(seed: int, epoch: object, ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> object:
    """Keys by the place in the batch: another batch size, other masks."""
    return sample_keys(seed, epoch, np.arange(len(ids)))  # type: ignore[arg-type]  # passed on


def leaking(batch: MicroBatch) -> Routes:
    """Every sample sees all that the others show."""
    whole = Blocks.build([sum(batch.encoder_lengths)])
    return attrs.evolve(RIGHT(batch), encoder=whole)


def nought(entry: object, column: object) -> list[object]:
    """A column that gives back other values than were put in."""
    return [np.zeros(2)]


RIGHT = Routes.of
MASKED = parse_schema(SMALL.partition("  words_of")[0])


@pytest.mark.parametrize(
    ("law", "place", "fault", "said"),
    [
        ("rows-are-those-of-the-stream", "packing._rows", no_offset, ".tokens: rows ["),
        ("masks-know-no-batch", "masking.mask.sample_keys", by_place, "is masked otherwise alone"),
        ("packed-is-padded", "transformer.Routes.of", leaking, "logits packed and padded differ by"),
        ("samples-do-not-see-each-other", "transformer.Routes.of", leaking, "alone and beside others"),
        ("stored-values-read-back", "lawbook.data_laws.raw_values", nought, "is read from its column as"),
    ],
)
def test_a_planted_fault_is_caught(
    law: str, place: str, fault: Callable[..., object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Laws of masks, packing, the model and storage, each shown one fault; without it they are kept."""
    subject = "wind" if law == "stored-values-read-back" else SCHEMA
    (case,) = [each for each in cases(MASKED) if each.law == law and each.subject == subject]
    assert case.run(Profile.of(examples=15)).kept
    monkeypatch.setattr(f"fourm_runtime.{place}", fault)

    assert said in case.run(Profile.of(examples=15)).fault


class TestThePytestPlugin:
    @pytest.fixture
    def collected(self, small: Path) -> Callable[..., str]:
        def run(*arguments: str) -> str:
            """Run pytest in a process of its own, in an empty folder with one test."""
            (small.parent / "test_mine.py").write_text("def test_mine():\n    pass\n")
            (small.parent / "pytest.ini").write_text("[pytest]\n")
            # A checkout that is not installed has no entry point that would load it.
            installed = entry_points(group="pytest11", name="fourm")
            loaded = [] if installed else ["-p", "fourm_runtime.pytest_plugin"]
            plugin = [*loaded, "-p", "no:cacheprovider", "-p", "no:randomly"]
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *plugin, *arguments],
                cwd=small.parent,
                env={"PYTHONPATH": ":".join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            return done.stdout + done.stderr

        return run

    def test_collects_a_test_per_modality_and_law_beside_those_there_are(
        self, collected: Callable[..., str]
    ) -> None:
        """Once each; what cannot be tested is skipped, with the reason."""
        asked = ("--modalities", "my.yaml", "--modality", "wind", "--modality", "crowd")
        printed = collected(*asked, "--law-examples", "1", "-v")
        lines = [line.split()[:2] for line in printed.splitlines() if "::" in line]

        assert ["test_mine.py::test_mine", "PASSED"] in lines
        assert ["my.yaml::wind::law-is-kept", "PASSED"] in lines
        assert ["my.yaml::crowd::codec", "SKIPPED"] in lines
        assert "(crowd: there is no codec" in printed
        assert len({name for name, _ in lines}) == len(lines) > 30
        assert {state for _, state in lines} == {"PASSED", "SKIPPED"}

    def test_costs_nothing_where_it_is_not_asked(self) -> None:
        """It is loaded by every pytest on a machine that has this package."""
        heavy = ("torch", "numpy", "hypothesis", "fourm_schema", "fourm_codecs", "pydantic")
        code = f"import sys, fourm_runtime.pytest_plugin; print(*(n for n in {heavy!r} if n in sys.modules))"
        path = ":".join(path for path in sys.path if path)
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
        )

        assert done.stdout.split() == []


def test_the_model_of_the_laws_has_no_parameter_at_rest(small: Path) -> None:
    """A bias of 0 or a scale of 1 would hide that it is left out."""
    from fourm_runtime.lawbook.masked_plan import MaskedPlan
    from fourm_schema.resolve import resolve

    model = MaskedPlan.of_plan(resolve(MASKED)).model
    still = [
        name
        for name, parameter in model.named_parameters()
        if not name.startswith("tables.") and torch.equal(parameter, parameter.round())
    ]

    assert still == []
