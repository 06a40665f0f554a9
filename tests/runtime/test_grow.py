"""Claims about growing: what was learned stays bit for bit, and training goes on."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from fourm_codecs.base import Record
from fourm_codecs.lawbook.set_validity import record_faults
from fourm_codecs.sets import SetCodec
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.assemble import assemble
from fourm_runtime.batch import MicroBatch
from fourm_runtime.checkpoints.grow import compare_schemas, grow, grow_state, require_same_schema
from fourm_runtime.checkpoints.store import Checkpoint, load, load_training_state, save
from fourm_runtime.generation.request import Prefix
from fourm_runtime.masking.mask import Masker
from fourm_runtime.packing import pack
from fourm_runtime.training.metrics import read_metrics
from fourm_schema.allocation import Span
from fourm_schema.errors import CheckpointError, TrainingError
from fourm_schema.load import parse_schema
from fourm_schema.modality import Set
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve
from tests.runtime.small_run import (
    SCHEMA,
    MadeUp,
    small_codecs,
    small_recipe,
    small_schema,
    small_train,
    small_words,
)

MORE = """
  depth:
    kind: image
    size: 4
    patch: 1
    cell: {type: continuous, range: [0, 8], levels: 9}
    shown: [pixels, tokens]
  speed: {kind: vector, dim: 2, ranges: [[0, 1]], bins: 4}
  note: {kind: text, vocabulary: words, max_tokens: 6}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained")
    small_train(run, small_recipe(steps={"total": 4}))
    return run


def batch_of_old_streams(checkpoint: Checkpoint, plan: Plan) -> MicroBatch:
    """The same tokens, packed for a model that may know more streams."""
    old = resolve(small_schema())
    masker = Masker(old, small_recipe().mixture(old), 0)
    masked = masker(MadeUp(old).batch(np.arange(40), np.zeros(40, np.int64), 0), 0)
    (batch,) = pack(masked, plan, checkpoint.allocation)
    return batch


def test_what_the_old_streams_say_stays_the_same_bits(trained: Path) -> None:
    """Adding a modality costs nothing of what was learned: not a bit, before the first new step."""
    before = load(trained)
    after = grow(before, small_schema(MORE), small_codecs(small_schema(MORE)), seed=5)
    with torch.no_grad():
        expected = before.model()(batch_of_old_streams(before, before.plan))
        found = after.model()(batch_of_old_streams(after, after.plan))

    assert expected.keys() == found.keys() == {"digit.tokens", "shape.tokens", "caption.tokens"}
    assert all(torch.equal(found[name], logits) for name, logits in expected.items())


SIGNS = """
  signs:
    kind: set
    max_items: 3
    order: distance_to_origin
    fields:
      box: {type: box, bins: 8}
      label: {type: category, classes: [stop, go], optional: true}
      says: {type: text, vocabulary: words, max_tokens: 4}
"""


def test_a_model_grown_by_a_set_says_the_same_of_the_old_and_generates_valid_sets(
    trained: Path, tmp_path: Path
) -> None:
    """A set brings its own id space and grammar, and its texts use a vocabulary that is there: no old row
    moves, and before the first new step the set can be generated, from nothing or from some of its items."""
    schema = small_schema(SIGNS)
    before = load(trained)
    save(tmp_path / "grown", grow(before, schema, small_codecs(schema), seed=5))
    after = load(tmp_path / "grown")
    with torch.no_grad():
        expected = before.model()(batch_of_old_streams(before, before.plan))
        found = after.model()(batch_of_old_streams(after, after.plan))

    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], logits) for name, logits in expected.items())
    model = AnyToAny.from_pretrained(tmp_path / "grown")
    entry, codec = schema.modalities["signs"], model.codecs["signs"]
    assert isinstance(entry, Set) and isinstance(codec, SetCodec)
    item = {"box": [0.5, 0.5, 1.0, 1.0], "label": "stop", "says": "one two"}
    (kept,) = codec.decode(codec.encode([[item]]))[0]
    for given in (None, Prefix([item])):
        inputs = {"shape": [0.1, 0.5, 0.9], "signs": given}
        for sample in model.generate([inputs] * 10, ["signs", "caption"], temperature=3.0):
            value = cast("list[Record]", sample["signs"].value)
            assert record_faults(entry, value, small_words(schema)) == []
            assert codec.automaton.chunk_lengths(sample["signs"].tokens.tolist()) is not None
            assert given is None or kept in value
    spoken = model.generate({"signs": [item]}, ["caption"])[0]["caption"].value
    assert isinstance(spoken, str)


def test_old_rows_keep_their_places_and_new_rows_follow(trained: Path) -> None:
    before = load(trained)
    after = grow(before, small_schema(MORE), seed=5)

    for old, new in (
        (before.allocation.tokens, after.allocation.tokens),
        (before.allocation.learned_positions, after.allocation.learned_positions),
        (before.allocation.fixed_positions, after.allocation.fixed_positions),
        (before.allocation.streams, after.allocation.streams),
    ):
        assert {name: new[name] for name in old} == old
    assert after.allocation.tokens["depth.tokens"] == Span(before.allocation.token_rows, 9)
    assert after.allocation.streams["depth.pixels"] == before.allocation.stream_rows


def test_new_rows_start_as_a_fresh_model_would_start_them(trained: Path) -> None:
    """Their first values depend on their name and the seed, not on what the model was before."""
    after = grow(load(trained), small_schema(MORE), seed=5)
    fresh = assemble(after.plan, after.architecture, 5, after.allocation).state_dict()
    rows = after.allocation.tokens["speed.tokens"]

    for table in ("tables.encoder.tokens", "tables.decoder.tokens"):
        grown = after.weights[table][rows.start : rows.stop]
        assert torch.equal(grown, fresh[table][rows.start : rows.stop])
        assert bool(grown.any())
    name = "tables.dense.depth__pixels.weight"
    assert torch.equal(after.weights[name], fresh[name])


def test_moments_of_new_rows_are_zero_and_their_average_is_their_first_value(trained: Path) -> None:
    """An average that started at zero would give new streams embeddings of almost nothing for long."""
    before, state = load(trained), load_training_state(trained)
    after = grow(before, small_schema(MORE), seed=5)
    grown = grow_state(state, after)
    rows = len(before.weights["tables.encoder.tokens"])

    for field in ("exp_avg", "exp_avg_sq"):
        moments = grown.optimizer[f"tables.encoder.tokens.{field}"]
        assert torch.equal(moments[:rows], state.optimizer[f"tables.encoder.tokens.{field}"])
        assert not moments[rows:].any()
    assert float(grown.optimizer["tables.encoder.tokens.step"]) == 4
    assert float(grown.optimizer["tables.dense.depth__pixels.weight.step"]) == 0
    assert grown.average is not None
    assert state.average is not None
    average = grown.average["tables.encoder.tokens"]
    assert torch.equal(average[:rows], state.average["tables.encoder.tokens"])
    assert torch.equal(average[rows:], after.weights["tables.encoder.tokens"][rows:])


def test_training_goes_on_with_the_added_modalities(tmp_path: Path) -> None:
    small_train(tmp_path, small_recipe(steps={"total": 2}))
    small_train(tmp_path, small_recipe(steps={"total": 6}), resume=True, extend=True, more=MORE)

    metrics = read_metrics(tmp_path)
    assert [m.step for m in metrics] == list(range(6))
    assert not any("depth.tokens" in m.losses for m in metrics[:2])
    assert any("depth.tokens" in m.losses and "note.tokens" in m.losses for m in metrics[2:])
    grown = load(tmp_path)
    assert {"depth", "speed", "note"} <= grown.codecs.keys()
    small_train(tmp_path, small_recipe(steps={"total": 7}), resume=True, more=MORE)


def test_a_removed_modality_leaves_a_hole(trained: Path) -> None:
    """Rows after it would otherwise mean other tokens. They stay, and come back with the modality."""
    without = parse_schema(SCHEMA.replace("  shape: {kind: vector, dim: 3, ranges: [[0, 1]], bins: 8}\n", ""))
    before = load(trained)
    smaller = grow(before, without)

    assert smaller.plan.names == ["digit.pixels", "digit.tokens", "caption.tokens"]
    assert smaller.allocation == before.allocation
    assert set(smaller.codecs) == {"digit", "caption"}
    rows = "tables.decoder.tokens"
    assert torch.equal(smaller.weights[rows], before.weights[rows])
    assert smaller.model().state_dict()[rows].shape == before.weights[rows].shape

    restored = grow(smaller, small_schema())
    batch = batch_of_old_streams(before, before.plan)
    with torch.no_grad():
        expected, found = before.model()(batch), restored.model()(batch)
    assert all(torch.equal(found[name], logits) for name, logits in expected.items())


def test_a_grown_and_shrunk_model_is_saved_and_loaded(tmp_path: Path) -> None:
    """The hole is part of the checkpoint: a reader that recounts the rows would refuse it."""
    without = SCHEMA.replace("  shape: {kind: vector, dim: 3, ranges: [[0, 1]], bins: 8}\n", "")
    small_train(tmp_path, small_recipe(steps={"total": 1}))
    save(tmp_path / "smaller", grow(load(tmp_path), parse_schema(without + MORE)))

    assert "shape.tokens" in load(tmp_path / "smaller").allocation.tokens


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bins: 8", "bins: 16", r"modality 'shape', field bins: was 8 when the model was trained; got 16"),
        ("range: [0, 16]", "range: [0, 32]", r"modality 'digit', field cell: was .*; got .*32\.0"),
        ("max_tokens: 8", "max_tokens: 9", r"modality 'caption', field max_tokens: was 8 .*; got 9"),
        ("size: 64", "size: 65", r"vocabulary 'words', field size: was 64 .*; got 65"),
        ("sentinels: 12", "sentinels: 13", r"vocabulary 'words', field sentinels: came to 12 .*; got 13"),
    ],
)
def test_a_change_of_meaning_is_refused_even_when_extending(
    trained: Path, old: str, new: str, message: str
) -> None:
    """A trained row cannot be made to mean something else; the way out is a new name."""
    changed = parse_schema(SCHEMA.replace(old, new))

    with pytest.raises(CheckpointError, match=message) as error:
        grow(load(trained), changed)

    assert "declare the changed modality under a new name and use --extend" in str(error.value)


def test_a_longer_text_is_told_about_the_sentinels(trained: Path) -> None:
    """With derived sentinels a longer text would push every word of the shared vocabulary along."""
    derived = SCHEMA.replace(", sentinels: 12", "")
    small, long = (
        parse_schema(derived),
        parse_schema(derived + MORE.replace("max_tokens: 6", "max_tokens: 30")),
    )
    (fault,) = compare_schemas(small, long).broken

    assert str(fault).startswith("vocabulary 'words', field sentinels: came to ")
    assert "give longer texts another vocabulary" in fault.mend


def test_without_extend_another_schema_is_refused_and_the_way_on_is_said(trained: Path) -> None:
    found = load(trained)
    with pytest.raises(CheckpointError) as error:
        require_same_schema(found, small_schema(MORE))
    assert "stream 'depth.pixels' is not in the checkpoint" in str(error.value)
    assert "take over the new one with --extend" in str(error.value)

    policy = SCHEMA.replace("kind: vector, dim: 3", "kind: vector, role: target, dim: 3")
    with pytest.raises(CheckpointError, match=r"modality 'shape', field role: was 'both' .*; got 'target'"):
        require_same_schema(found, parse_schema(policy))


def test_descriptions_and_sources_are_no_difference(trained: Path) -> None:
    """Rewording a file must not end a run."""
    reworded = SCHEMA.replace("kind: vector, dim: 3", "kind: vector, description: its outline, dim: 3")

    require_same_schema(load(trained), parse_schema(reworded))


def test_a_run_cannot_go_on_with_another_network(tmp_path: Path) -> None:
    """Extending adds rows to tables; no other tensor can take another shape."""
    small_train(tmp_path, small_recipe(steps={"total": 1}))
    wider = small_recipe(steps={"total": 2}, model={"dim": 64})

    with pytest.raises(
        TrainingError, match=r"was begun with another network(?s:.)*model\.dim: is 32 .*; got 64"
    ):
        small_train(tmp_path, wider, resume=True, extend=True)


def test_extend_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"--extend: needs a run to go on with; give --resume too"):
        small_train(tmp_path, small_recipe(), extend=True)
