"""Hypothesis-drawn declarations of sets: every convention, order and type of field that can be built, small
enough to be quick."""

from hypothesis import strategies as st

from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.modality import Set
from fourm_schema.special import sentinels_needed, special_ids

CAPTIONS = ("a red cat, asleep", "two dogs & a café", "it's the third sign: STOP!", "x y z 0 1 2")
WORDS = WordVocabulary.train(CAPTIONS, "words", 120, special_ids(sentinels_needed(0)))
PIECES = WORDS.size - WORDS.special.size

NAMES = ("a", "b", "c", "d")
CLASSES = (
    "cat",
    "hot dog",
    "7",
    "[EOS]",
    "猫",
    "\u00e9",
    "e\u0301",  # the same letter as the one before to a reader, another name to us
    "👩\u200d👩\u200d👧\u200d👦",
    "שָׁלוֹם",
    "\u202eabc",
    " ",
    "long " * 200,
)
"""Names as people have them: composed and combining letters, joined emoji, right to left, very long."""

_RANGES = st.sampled_from([(0.0, 1.0), (-1.0, 3.0), (0.0, 224.0), (-180.0, -90.0)])


_BINS = st.integers(2, 20)
_OPTIONAL = st.booleans()


def _declared(kind: str, **keys: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({"type": st.just(kind), **keys, "optional": _OPTIONAL})


FIELDS: dict[str, st.SearchStrategy[dict[str, object]]] = {
    "number": st.one_of(
        _declared("number", range=_RANGES, bins=_BINS),
        _declared(
            "number",
            range=st.sampled_from([(0.001, 1.0), (1.0, 1e6)]),
            scale=st.just("log"),
            bins=_BINS,
        ),
        _declared(
            "number",
            edges=st.sampled_from([(0, 1, 10, 100), (-1.5, 0.25, 7), (0, 1e-3, 1e9)]),
            unit=st.just("m"),
        ),
    ),
    "angle": _declared("angle", bins=_BINS, unit=st.sampled_from(["degree", "radian"])),
    "category": _declared(
        "category",
        classes=st.one_of(
            st.integers(2, 5), st.lists(st.sampled_from(CLASSES), min_size=2, max_size=5, unique=True)
        ),
    ),
    "point": _declared("point", bins=_BINS, range=_RANGES),
    "box": _declared(
        "box", bins=_BINS, range=_RANGES, convention=st.sampled_from(["xyxy", "xywh", "cxcywh"])
    ),
    "vector": _declared("vector", dim=st.integers(1, 4), bins=_BINS, range=_RANGES),
    "text": _declared("text", vocabulary=st.just("words"), max_tokens=st.integers(1, 6)),
}
"""Every type of field that can be built."""

_ORDERS = {
    "given": [*FIELDS],
    "random": [*FIELDS],
    "distance_to_origin": ["box", "point"],
    "area": ["box"],
}
"""Order -> types of which a set needs one field."""


@st.composite
def sets(draw: st.DrawFn) -> Set:
    """A declared set of up to four fields and four items."""
    order = draw(st.sampled_from([*_ORDERS]))
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, len(NAMES)))]
    types = [draw(st.sampled_from([*FIELDS])) for _ in names[1:]]
    types.insert(draw(st.integers(0, len(types))), draw(st.sampled_from(_ORDERS[order])))
    return Set.model_validate(
        {
            "kind": "set",
            "fields": {name: draw(FIELDS[kind]) for name, kind in zip(names, types, strict=True)},
            "max_items": draw(st.integers(1, 4)),
            "order": order,
            "out_of_range": draw(st.sampled_from(["error", "clip"])),
        }
    )
