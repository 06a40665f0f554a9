"""Laws of codecs on disk, and of the hash that says whether stored ids can still be read."""

from hypothesis import assume
from hypothesis import strategies as st

from fourm_codecs.base import StoredCodec
from fourm_codecs.lawbook.showing import show
from fourm_codecs.lawbook.subject import Subject, has_codec, is_stored
from fourm_codecs.store import codec_hash
from fourm_schema.lawbook.article import Article, Draw, article, require
from fourm_schema.modality import Categorical, Continuous, Image, Modality, Set, Vector
from fourm_schema.set_fields import CategoryField, MaskField, TextField


def can_be_rebuilt(tested: Subject) -> bool:
    return is_stored(tested) and tested.rebuilt is not None


def has_other_meanings(tested: Subject) -> bool:
    return can_be_rebuilt(tested) and tested.entry is not None and bool(other_meanings(tested.entry))


@article(is_stored)
def saved_codecs_load_equal(tested: Subject, draw: Draw) -> None:
    """A codec, saved and loaded, gives the same ids."""
    codec, value = tested.code(), draw(tested.values)
    assert isinstance(codec, StoredCodec)
    loaded = tested.loaded
    one, other = codec.encode([value]), loaded.encode([value])
    require(one.same(other), lambda: f"the loaded codec gives {show(value)} other ids")
    require(codec.vocab_size == loaded.vocab_size, f"{codec.vocab_size} ids became {loaded.vocab_size}")


@article(is_stored, once=True)
def saved_codecs_mean_the_same(tested: Subject, draw: Draw) -> None:
    """A codec, saved and loaded, states the same law and has the same hash."""
    codec, loaded = tested.code(), tested.loaded
    assert isinstance(codec, StoredCodec)
    laws = codec.law.describe(), loaded.law.describe()
    require(laws[0] == laws[1], f"its law was {laws[0]!r}, loaded it is {laws[1]!r}")
    require(codec_hash(codec) == codec_hash(loaded), "the loaded codec has another hash")


@article(can_be_rebuilt, once=True)
def hash_is_stable(tested: Subject, draw: Draw) -> None:
    """A codec that is built twice from one entry has one hash."""
    codec = tested.code()
    assert isinstance(codec, StoredCodec) and tested.rebuilt is not None and tested.entry is not None
    again = tested.rebuilt(tested.entry)
    require(codec_hash(codec) == codec_hash(again), "built again, it has another hash")


@article(can_be_rebuilt)
def hash_is_of_the_meaning(tested: Subject, draw: Draw) -> None:
    """Description, loss weight and role of an entry do not change the hash of its codec."""
    codec = tested.code()
    assert isinstance(codec, StoredCodec) and tested.rebuilt is not None and tested.entry is not None
    changes: dict[str, object] = {"description": "of no account", "loss_weight": 3.5, "role": "input"}
    key = draw(st.sampled_from([*changes]))
    again = tested.rebuilt(tested.entry.model_copy(update={key: changes[key]}))
    require(codec_hash(codec) == codec_hash(again), f"its {key} changes the hash")


@article(has_other_meanings)
def hash_changes_with_the_meaning(tested: Subject, draw: Draw) -> None:
    """An entry whose ids would mean something else gives another hash, so that stored ids are not misread."""
    codec = tested.code()
    assert isinstance(codec, StoredCodec) and tested.rebuilt is not None and tested.entry is not None
    what, entry = draw(st.sampled_from(other_meanings(tested.entry)))
    assume(entry != tested.entry)
    require(codec_hash(codec) != codec_hash(tested.rebuilt(entry)), f"{what} does not change the hash")


@article(has_codec, once=True)
def law_is_one_sentence(tested: Subject, draw: Draw) -> None:
    """The law of a codec is told in one sentence for people."""
    told = tested.code().law.describe()
    require(told.strip() and "\n" not in told, f"its law is told as {told!r}")


STORAGE_LAWS: tuple[Article[Subject], ...] = (
    saved_codecs_load_equal,
    saved_codecs_mean_the_same,
    hash_is_stable,
    hash_is_of_the_meaning,
    hash_changes_with_the_meaning,
    law_is_one_sentence,
)


def other_meanings(entry: Modality) -> list[tuple[str, Modality]]:
    """What else an entry might say, so that the same ids would mean something else: (what, entry)."""
    if entry.codec == "ids":
        return []
    if isinstance(entry, Image):
        return _other_images(entry)
    if isinstance(entry, Vector) and entry.ranges is not None:
        wider = tuple((low, high + (high - low)) for low, high in entry.ranges)
        return [
            ("a wider range", entry.model_copy(update={"ranges": wider})),
            ("another number of bins", entry.model_copy(update={"bins": entry.bins + 1})),
        ]
    return _other_sets(entry) if isinstance(entry, Set) and entry.dialect is None else []


def _other_images(entry: Image) -> list[tuple[str, Modality]]:
    cell = entry.cell
    if isinstance(cell, Continuous):
        low, high = cell.range
        wider = cell.model_copy(update={"range": (low, high + (high - low))})
        return [("a wider range", entry.model_copy(update={"cell": wider}))]
    if isinstance(cell, Categorical):
        classes = cell.classes + 1 if isinstance(cell.classes, int) else (*cell.class_names, "one more")
        more = cell.model_copy(update={"classes": classes, "ignore": None})
        return [("one class more", entry.model_copy(update={"cell": more}))]
    return []


def _other_sets(entry: Set) -> list[tuple[str, Modality]]:
    found: list[tuple[str, Modality]] = []
    for name, field in entry.fields.items():
        change: dict[str, object] = {}
        if isinstance(field, CategoryField):
            change = {"classes": (*field.names, "one more")}
        elif not isinstance(field, TextField | MaskField) and getattr(field, "edges", None) is None:
            change = {"bins": field.bins + 1}
        if change:
            fields = {**entry.fields, name: field.model_copy(update=change)}
            (what,) = change
            found.append((f"other {what} of {name!r}", entry.model_copy(update={"fields": fields})))
    return found
