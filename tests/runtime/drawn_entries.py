"""Schema entries of every kind, drawn small, for laws that hold of any modality."""

from hypothesis import strategies as st

from fourm_schema.modality import Image, Modality, Text, Vector
from tests.codecs.drawn_sets import sets

MARKUP = "<i>&\"'"
"""What a careless page would take for a tag; it stands in drawn names."""

_RANGES = st.sampled_from([(0.0, 1.0), (0.0, 16.0), (-3.0, 2.5)])
_HUGE = st.just((-1e308, 1e308))


def _cells() -> st.SearchStrategy[dict[str, object]]:
    return st.one_of(
        st.fixed_dictionaries(
            {
                "type": st.just("continuous"),
                "channels": st.integers(1, 5),
                "range": st.one_of(_RANGES, _HUGE),
                "unit": st.sampled_from([None, f"metre {MARKUP}"]),
            }
        ),
        st.just({"type": "continuous", "range": (0.0, 16.0), "levels": 17}),
        st.just({"type": "direction"}),
        st.fixed_dictionaries({"type": st.just("features"), "channels": st.integers(1, 5)}),
        st.just({"type": "categorical", "classes": ["paper", MARKUP, "ink"], "ignore": "ink"}),
        st.fixed_dictionaries({"type": st.just("categorical"), "classes": st.integers(2, 300)}),
    )


@st.composite
def images(draw: st.DrawFn) -> Image:
    """An image of any cells."""
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    return Image.model_validate({"kind": "image", "size": size, "patch": 1, "cell": draw(_cells())})


@st.composite
def vectors(draw: st.DrawFn) -> Vector:
    """A vector of a few numbers, with or without names, units and ranges; or of many."""
    dim = draw(st.sampled_from([1, 3, 40]))
    given: dict[str, object] = {
        "ranges": draw(_RANGES),
        "names": [f"{MARKUP} {k}" for k in range(dim)],
        "units": [MARKUP] * dim,
    }
    kept = {name: value for name, value in given.items() if draw(st.booleans())}
    return Vector.model_validate({"kind": "vector", "dim": dim, **kept})


def entries() -> st.SearchStrategy[Modality]:
    """An entry of any kind."""
    texts = st.just(Text.model_validate({"kind": "text", "vocabulary": "words", "max_tokens": 12}))
    return st.one_of(images(), vectors(), texts, sets())
