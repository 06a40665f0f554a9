"""Schemas that several tests use."""

from hypothesis import strategies as st

from fourm_schema.load import parse_schema
from fourm_schema.schema import Schema

# One of everything that design and documentation show; broad on purpose.
EVERYTHING = """\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 30000}
modalities:
  rgb:
    kind: image
    size: 224
    patch: 16
    cell: {type: continuous, channels: 3, range: [0, 255]}
    shown: [pixels, tokens]
    source: {file: image}
    aliases: ["rgb@224"]
  depth: {kind: image, size: 224, patch: 16, cell: {type: continuous, range: [0, 10], unit: metre}}
  normals: {kind: image, size: 224, patch: 16, cell: {type: direction}}
  land: {kind: image, size: [224, 112], patch: 16, cell: {type: categorical, classes: [water, forest, urban]}}
  edges:
    kind: image
    size: 224
    patch: 16
    cell: {type: continuous, range: [0, 1]}
    derive: {from: rgb, by: canny}
  dense_features: {kind: image, size: 16, patch: 1, cell: {type: features, channels: 768}}
  dino: {kind: vector, dim: 768, label: {by: dinov2, from: rgb}}
  weather: {kind: vector, dim: 3, ranges: [[-40, 60], [0, 100], [0, 60]], units: [celsius, percent, m/s]}
  gyro: {kind: vector, dim: 3, mean: 0, std: [1, 2, 1], shown: [values], role: input}
  boxes:
    kind: set
    max_items: 20
    order: distance_to_origin
    mirror: [[left_eye, right_eye]]
    fields:
      box: {type: box, bins: 1000, convention: cxcywh}
      label: {type: category, classes: coco80}
      score: {type: number, range: [0.001, 1], scale: log, bins: 100, unit: share, optional: true}
      size: {type: number, edges: [0, 1, 10, 100]}
      turn: {type: angle, bins: 36, unit: radian}
      left_eye: {type: point, bins: 100}
      right_eye: {type: point, bins: 100}
      colour: {type: vector, dim: 3, range: [0, 255], bins: 16}
      outline: {type: mask, size: 64, tokens: 16}
      words: {type: text, vocabulary: words, max_tokens: 8}
  caption: {kind: text, vocabulary: words, max_tokens: 256, views: 5}
"""

DIGITS = """\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 128}
modalities:
  digit:
    kind: image
    size: 8
    patch: 1
    pixel_patch: 2
    cell: {type: continuous, channels: 1, range: [0, 16], levels: 17}
    shown: [pixels, tokens]
  strokes: {kind: image, size: 8, patch: 1, cell: {type: categorical, classes: [background, contour, ink]}}
  shape: {kind: vector, dim: 6, ranges: [0, 1], bins: 32}
  caption: {kind: text, vocabulary: words, max_tokens: 16, views: 4}
"""


def schema_of(**entries: str) -> Schema:
    """A schema of the given entries, each as YAML in braces; texts write in the vocabulary `words`."""
    lines = [f"  {name}: {{{entry}}}" for name, entry in entries.items()]
    words = "{words: {kind: wordpiece, size: 128}}" if any("words" in line for line in lines) else "{}"
    return parse_schema("\n".join(["version: 1", f"vocabularies: {words}", "modalities:", *lines, ""]))


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}(_[a-z0-9]{1,4})?", fullmatch=True)
PRINTABLE = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), min_size=1, max_size=8
)
WORDS_LIKE_NUMBERS = st.sampled_from(
    ["1", "1e5", "yes", "null", "~", ".5", "0x1", "a: b", "# c", "- d", "<<", "=", "'", "1_0"]
)
CLASS_NAMES = st.lists(PRINTABLE | WORDS_LIKE_NUMBERS, min_size=2, max_size=5, unique=True)
FLOATS = st.floats(-1e6, 1e6, allow_subnormal=False)
RANGES = st.tuples(FLOATS, FLOATS).filter(lambda ends: ends[0] < ends[1]).map(list)


@st.composite
def images(draw: st.DrawFn) -> dict[str, object]:
    """Entries of images whose patch divides their size."""
    patch, rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    cell = draw(
        st.fixed_dictionaries({"type": st.just("continuous"), "range": RANGES, "channels": st.integers(1, 3)})
        | st.just({"type": "direction"})
        | CLASS_NAMES.map(lambda names: {"type": "categorical", "classes": names})
    )
    return {"kind": "image", "size": [rows * patch, columns * patch], "patch": patch, "cell": cell}


@st.composite
def vectors(draw: st.DrawFn) -> dict[str, object]:
    """Entries of vectors with one range per number."""
    dim = draw(st.integers(1, 4))
    ranges = draw(st.lists(RANGES, min_size=dim, max_size=dim))
    return {"kind": "vector", "dim": dim, "ranges": ranges, "bins": draw(st.integers(2, 99))}


def entries() -> st.SearchStrategy[dict[str, object]]:
    """Entries of images and vectors with what every entry can say."""
    common = st.fixed_dictionaries(
        {},
        optional={
            "description": PRINTABLE,
            "role": st.sampled_from(["input", "target", "both"]),
            "loss_weight": st.floats(0, 10),
            "out_of_range": st.sampled_from(["error", "clip"]),
            "source": PRINTABLE.map(lambda name: {"file": name}),
        },
    )
    return st.builds(lambda entry, rest: {**entry, **rest}, images() | vectors(), common)


def schemas() -> st.SearchStrategy[Schema]:
    """Schemas of one to three modalities."""
    modalities = st.dictionaries(NAMES, entries(), min_size=1, max_size=3)
    return modalities.map(lambda entries: Schema.model_validate({"version": 1, "modalities": entries}))
