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


def _bins(most: int = 20) -> st.SearchStrategy[int]:
    return st.integers(2, most)


def _fields() -> st.SearchStrategy[dict[str, object]]:
    optional = st.booleans()
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("number"), "range": _RANGES, "bins": _bins(), "optional": optional}
        ),
        st.fixed_dictionaries(
            {
                "type": st.just("number"),
                "range": st.sampled_from([(0.001, 1.0), (1.0, 1e6)]),
                "scale": st.just("log"),
                "bins": _bins(),
                "optional": optional,
            }
        ),
        st.fixed_dictionaries(
            {
                "type": st.just("number"),
                "edges": st.sampled_from([(0, 1, 10, 100), (-1.5, 0.25, 7), (0, 1e-3, 1e9)]),
                "unit": st.just("m"),
                "optional": optional,
            }
        ),
        st.fixed_dictionaries(
            {
                "type": st.just("angle"),
                "bins": _bins(),
                "unit": st.sampled_from(["degree", "radian"]),
                "optional": optional,
            }
        ),
        st.fixed_dictionaries(
            {
                "type": st.just("category"),
                "classes": st.one_of(
                    st.integers(2, 5),
                    st.lists(st.sampled_from(CLASSES), min_size=2, max_size=5, unique=True),
                ),
                "optional": optional,
            }
        ),
        st.fixed_dictionaries(
            {"type": st.just("point"), "bins": _bins(), "range": _RANGES, "optional": optional}
        ),
        st.fixed_dictionaries(
            {
                "type": st.just("box"),
                "bins": _bins(),
                "range": _RANGES,
                "convention": st.sampled_from(["xyxy", "xywh", "cxcywh"]),
                "optional": optional,
            }
        ),
        st.fixed_dictionaries(
            {
                "type": st.just("vector"),
                "dim": st.integers(1, 4),
                "bins": _bins(),
                "range": _RANGES,
                "optional": optional,
            }
        ),
        st.fixed_dictionaries(
            {
                "type": st.just("text"),
                "vocabulary": st.just("words"),
                "max_tokens": st.integers(1, 6),
                "optional": optional,
            }
        ),
    )


@st.composite
def sets(draw: st.DrawFn) -> Set:
    """A declared set of up to four fields and four items."""
    fields = draw(st.dictionaries(st.sampled_from(NAMES), _fields(), min_size=1, max_size=4))
    orders = ["given", "random"]
    types = {field["type"] for field in fields.values()}
    if types & {"box", "point"}:
        orders.append("distance_to_origin")
    if "box" in types:
        orders.append("area")
    return Set.model_validate(
        {
            "kind": "set",
            "fields": fields,
            "max_items": draw(st.integers(1, 4)),
            "order": draw(st.sampled_from(orders)),
            "out_of_range": draw(st.sampled_from(["error", "clip"])),
        }
    )
