"""Laws of the declaration: what it says survives writing and reading, and decides everything else."""

import itertools
import json
from collections.abc import Mapping

import attrs
import cattrs
from hypothesis import strategies as st
from pydantic import TypeAdapter

from fourm_schema.allocation import Allocation, Span, allocate
from fourm_schema.digest import schema_hash
from fourm_schema.errors import Fault, SchemaError
from fourm_schema.json_schema import json_schema
from fourm_schema.lawbook.article import Article, Draw, article, require
from fourm_schema.lawbook.json_schema_faults import json_schema_faults
from fourm_schema.load import dump_schema, parse_schema
from fourm_schema.modality import Modality
from fourm_schema.plan import Plan
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from fourm_schema.special import sentinels_needed
from fourm_schema.yaml_writer import write_yaml

ADDED: Mapping[str, dict[str, object]] = {
    "image": {
        "kind": "image",
        "size": 2,
        "patch": 1,
        "cell": {"type": "categorical", "classes": 3},
    },
    "vector": {"kind": "vector", "dim": 2, "ranges": [0, 1], "bins": 7},
    "set": {
        "kind": "set",
        "max_items": 2,
        "fields": {"x": {"type": "number", "range": [0, 1], "bins": 3}},
    },
}
"""Modalities that a user may add to any schema."""

_ENTRY: TypeAdapter[Modality] = TypeAdapter(Modality)


@attrs.frozen(eq=False)
class DeclaredModality:
    """One modality of a schema."""

    schema: Schema
    name: str

    @property
    def entry(self) -> Modality:
        return self.schema.modalities[self.name]


@article(once=True)
def yaml_reads_back(schema: Schema, draw: Draw) -> None:
    """The schema, written as YAML and read again, is equal."""
    text = dump_schema(schema)
    back = parse_schema(text)
    require(back == schema, lambda: f"what is read back differs: {_first_difference(schema, back)}")
    require(schema_hash(back) == schema_hash(schema), "what is read back has another hash")


@article(once=True)
def json_schema_accepts(schema: Schema, draw: Draw) -> None:
    """The exported JSON Schema, by which editors check the file, accepts it."""
    faults = json_schema_faults(_plain(schema), json_schema())
    require(not faults, lambda: "; ".join(faults[:3]))


@article(once=True)
def plan_follows_from_the_schema(schema: Schema, draw: Draw) -> None:
    """Resolving the schema twice, or after it was written and read, gives one plan."""
    plan = resolve(schema)
    require(resolve(schema) == plan, "resolving it twice gives two plans")
    require(resolve(parse_schema(dump_schema(schema))) == plan, "its YAML resolves to another plan")


@article(once=True)
def plan_survives_json(schema: Schema, draw: Draw) -> None:
    """The plan, written as JSON for a checkpoint and read again, is equal."""
    plan = resolve(schema)
    text = json.dumps(cattrs.unstructure(plan))
    back = cattrs.structure(json.loads(text), Plan)
    for one, other in zip(plan.streams, back.streams, strict=True):
        require(one == other, lambda one=one, other=other: f"{one} came back as {other}")  # type: ignore[misc]
    require(back == plan, "its vocabularies came back as others")


@article(once=True)
def names_find_their_stream(schema: Schema, draw: Draw) -> None:
    """A stream is found by its name, and a modality's default stream by the modality's name and aliases."""
    plan = resolve(schema)
    for stream in plan.streams:
        require(plan.stream(stream.name) is stream, f"{stream.name!r} finds another stream")
    for name, entry in schema.modalities.items():
        for spelled in (name, *entry.aliases):
            found = plan.stream(spelled)
            require(found.modality == name, f"{spelled!r} finds {found.name}")


@article(once=True)
def special_ids_are_apart(schema: Schema, draw: Draw) -> None:
    """Special ids of a vocabulary are distinct and in it, and no masked sequence can lack a sentinel."""
    plan = resolve(schema)
    for vocabulary in plan.vocabularies:
        special = vocabulary.special
        ids = [special.pad, special.unknown, special.start, special.end]
        ids += range(special.first_sentinel, special.size)
        where = f"vocabulary {vocabulary.name!r}"
        require(len(set(ids)) == len(ids), f"{where}: two special ids are one: {ids[:6]}")
        require(max(ids) < vocabulary.size, f"{where}: id {max(ids)} is not below {vocabulary.size}")
        declared = schema.vocabularies.get(vocabulary.name)
        texts = [
            each.length for each in plan.streams if each.vocabulary == vocabulary.name and each.kind == "text"
        ]
        if texts and not (declared and declared.sentinels):
            needed = sentinels_needed(max(texts))
            found = special.sentinel_count
            require(found >= needed, f"{where}: {found} sentinels, {needed} may be needed")


@article(once=True)
def rows_are_disjoint(schema: Schema, draw: Draw) -> None:
    """Rows of the tables are given out once, without a gap, and row 0 belongs to nothing."""
    for table, spans in _tables(allocate(resolve(schema))).items():
        ordered = sorted(spans.items(), key=lambda item: item[1].start)
        first = 0 if table == "learned positions" else 1
        for name, span in ordered[:1]:
            require(span.start == first, f"{table}: {name} begins at row {span.start}")
        for (one, before), (other, after) in itertools.pairwise(ordered):
            rows = f"rows {before.start} to {before.stop - 1}"
            told = f"{table}: {one} has {rows}, {other} begins at {after.start}"
            require(before.stop == after.start, told)


@article()
def rows_never_move(schema: Schema, draw: Draw) -> None:
    """Adding a modality, wherever it stands in the file, appends rows and moves none."""
    kind = draw(st.sampled_from([*ADDED]))
    place = draw(st.integers(0, len(schema.modalities)))
    before = allocate(resolve(schema))
    after = allocate(resolve(_with(schema, {"added_by_law": ADDED[kind]}, place)), before)
    _require_same_rows(before, after, f"a {kind} is added as modality {place}")


@article()
def removed_rows_stay(schema: Schema, draw: Draw) -> None:
    """Removing a modality leaves its rows, and they are its own when it comes back."""
    plan = resolve(schema)
    name = draw(st.sampled_from([*schema.modalities]))
    before = allocate(plan)
    rest = attrs.evolve(plan, streams=tuple(each for each in plan.streams if each.modality != name))
    without = allocate(rest, before)
    _require_same_rows(before, without, f"{name} is removed")
    require(allocate(plan, without) == before, f"{name} comes back to other rows")


@article()
def descriptions_mean_nothing(schema: Schema, draw: Draw) -> None:
    """A description changes no hash, so that stored tokens and checkpoints stay good."""
    name = draw(st.sampled_from([*schema.modalities]))
    entry = schema.modalities[name].model_copy(update={"description": draw(st.text(max_size=12))})
    told = schema.model_copy(update={"modalities": {**schema.modalities, name: entry}})
    require(schema_hash(told) == schema_hash(schema), f"a description of {name} changes the hash")


@article(once=True)
def entry_survives_json(declared: DeclaredModality, draw: Draw) -> None:
    """The entry, written as JSON beside its codec and read again, is equal."""
    text = declared.entry.model_dump_json(by_alias=True, exclude_defaults=True)
    back = _ENTRY.validate_json(text)
    require(back == declared.entry, lambda: f"{text} is read as {back!r}")


@article(once=True)
def every_choice_has_a_reason(declared: DeclaredModality, draw: Draw) -> None:
    """Codec, embedding and positions of every stream come with the reason they were chosen for."""
    for stream in resolve(declared.schema).of_modality(declared.name):
        for what, reason in zip(("codec", "embedding", "positions"), stream.because, strict=True):
            require(reason.strip(), f"{stream.name} does not say why it has its {what}")


@article()
def misspelt_keys_are_told(declared: DeclaredModality, draw: Draw) -> None:
    """A misspelt key is refused with its line, and the key that was meant."""
    tree = _plain(declared.schema)
    entry = tree["modalities"][declared.name]
    # By itself: what it refers to is told as missing too, and is not looked at.
    key = draw(st.sampled_from([key for key in entry if len(key) > 3 and key != "kind"]))
    place = draw(st.integers(0, len(key) - 1))
    wrong = key[: place + 1] + key[place:]
    changed = {wrong if name == key else name: value for name, value in entry.items()}
    tree["modalities"] = {declared.name: changed}
    faults: list[Fault] = []
    try:
        parse_schema(write_yaml(tree))
    except SchemaError as error:
        faults += error.faults
    require(faults, f"{wrong!r} is taken for {key!r}")
    told = [fault for fault in faults if fault.where == f"modalities.{declared.name}.{wrong}"]
    require(told, lambda: f"{wrong!r} for {key!r} is told as: {faults[0]}")
    require(told[0].line is not None and repr(key) in str(told[0]), lambda: f"{wrong!r}: {told[0]}")


SCHEMA_LAWS: tuple[Article[Schema], ...] = (
    yaml_reads_back,
    json_schema_accepts,
    plan_follows_from_the_schema,
    plan_survives_json,
    names_find_their_stream,
    special_ids_are_apart,
    rows_are_disjoint,
    rows_never_move,
    removed_rows_stay,
    descriptions_mean_nothing,
)
ENTRY_LAWS: tuple[Article[DeclaredModality], ...] = (
    entry_survives_json,
    every_choice_has_a_reason,
    misspelt_keys_are_told,
)


def _plain(schema: Schema) -> dict[str, dict[str, dict[str, object]]]:
    content: dict[str, dict[str, dict[str, object]]]
    content = schema.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return content


def _with(schema: Schema, added: Mapping[str, object], place: int) -> Schema:
    tree = _plain(schema)
    modalities = list(tree["modalities"].items())
    grown = {**tree, "modalities": dict([*modalities[:place], *added.items(), *modalities[place:]])}
    return Schema.model_validate_json(json.dumps(grown))


def _first_difference(schema: Schema, back: Schema) -> str:
    for name, entry in schema.modalities.items():
        if back.modalities.get(name) != entry:
            return f"{name} comes back as {back.modalities.get(name)!r}"
    return "modalities or vocabularies are others"


def _tables(allocation: Allocation) -> dict[str, dict[str, Span]]:
    return {
        "tokens": allocation.tokens,
        "fixed positions": allocation.fixed_positions,
        "learned positions": allocation.learned_positions,
        "streams": {name: Span(row, 1) for name, row in allocation.streams.items()},
    }


def _require_same_rows(before: Allocation, after: Allocation, when: str) -> None:
    grown = _tables(after)
    for table, spans in _tables(before).items():
        for name, span in spans.items():
            now = grown[table].get(name)
            told = f"when {when}, {name} moves from row {span.start} of {table} to {now and now.start}"
            require(now == span, told)
