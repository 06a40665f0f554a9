"""Samples of 4M-21's kind: its modalities, lengths like those of its data, masks of its mixture.

There are 19 modalities, of which 17 are predicted (4M-21's name counts otherwise). Lengths of texts are drawn
evenly between the least and the most of 20 real samples. T5 features are masked like a text, each hidden run
becoming one zero vector; as in 4M they take a part of the target budget though they are never predicted. With
256 + 256 tokens to give, 4M's own code shows 166 and asks for 189 on average.
"""

import attrs
import numpy as np

from fourm_runtime.batch import Batch, Column, Dense, Float32, Grid, Int64, Masked, Sequences
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import WHOLE, Component, Keep, Mixture
from fourm_runtime.released.schema import released_schema
from fourm_schema.plan import Plan, Stream
from fourm_schema.resolve import resolve

SHOWN_ONLY = ("rgb@224", "t5_caption")
PREDICTED = (
    *("caption", "color_palette", "det", "human_poses", "metadata", "sam_instance"),
    *("tok_canny_edge@224", "tok_clip@224", "tok_depth@224", "tok_dinov2@224", "tok_dinov2_global"),
    *("tok_imagebind@224", "tok_imagebind_global", "tok_normal@224", "tok_rgb@224", "tok_sam_edge@224"),
    "tok_semseg@224",
)
LENGTHS = {
    "caption": (15, 54),
    "color_palette": (5, 23),
    "det": (6, 56),
    "human_poses": (2, 118),
    "metadata": (17, 39),
    "sam_instance": (89, 253),
    "t5_caption": (5, 59),
}
"""Least and most ids, end token included."""

FIRST_WORD, PAST_COORDINATES = 204, 4284
BUDGET = 256


def build_plan(own_rows: bool, most_ids: int | None = None) -> Plan:
    """The streams of 4M-21.

    Args:
        own_rows: each text has rows of its own in the tables, as in released models; else all texts share
            those of the word vocabulary, as in models that are declared here.
        most_ids: cut every vocabulary to so many, for a quick look; None leaves them as they are.
    """
    plan = resolve(released_schema(sorted((*SHOWN_ONLY, *PREDICTED)), sorted(PREDICTED)))
    streams = tuple(
        attrs.evolve(
            stream,
            row_space=stream.row_space if own_rows else None,
            vocab_size=min(stream.vocab_size, most_ids or stream.vocab_size),
        )
        for stream in plan.streams
    )
    return attrs.evolve(plan, streams=streams)


def build_mixture(plan: Plan) -> Mixture:
    """The seven components that 4M-21 was trained with."""
    rgb, caption, t5 = (plan.stream(name).name for name in ("rgb", "caption", "t5_caption"))
    shown, asked = [s.name for s in plan.inputs], [s.name for s in plan.targets]
    palette: dict[str, Keep] = {plan.stream("color_palette").name: "binary"}

    def biased(favoured: str, other: str) -> Component:
        inputs = dict.fromkeys(shown, 0.05) | {favoured: 5.0, other: 0.0}
        targets = dict.fromkeys(asked, 0.5) | {favoured: 0.0}
        return Component(0.5, inputs, targets, {**palette, favoured: "all"})

    evenly = [
        Component(1.0, dict.fromkeys(shown, alpha), dict.fromkeys(asked, alpha), palette)
        for alpha in (0.01, 0.1, 1.0, 10.0)
    ]
    from_rgb = Component(1.0, {rgb: WHOLE}, dict.fromkeys(asked, 0.5), palette)
    components = (*evenly, from_rgb, biased(caption, t5), biased(t5, caption))
    return Mixture(components, (BUDGET, BUDGET), (BUDGET, BUDGET))


def draw(plan: Plan, size: int, steps: int, seed: int = 0) -> list[tuple[Batch, Masked]]:
    """Draw batches of samples that have every modality, and mask them."""
    rng = np.random.default_rng(seed)
    maskable = attrs.evolve(plan, streams=tuple(map(_maskable, plan.streams)))
    masker = Masker(maskable, build_mixture(maskable), seed)
    drawn = []
    for step in range(steps):
        ids = np.arange(step * size, (step + 1) * size)
        batch = Batch(ids, {s.name: _column(s, size, rng) for s in maskable.streams})
        masked = masker(batch, 0)
        for stream in plan.streams:
            if stream.is_dense and stream.layout == "sequence":
                vectors = rng.standard_normal((size, stream.length, stream.dense_dim or 0), dtype=np.float32)
                masked = _as_vectors(masked, stream, vectors)
        drawn.append((batch, masked))
    return drawn


def _maskable(stream: Stream) -> Stream:
    """A sequence of vectors as the text that it is masked as: vector n is the word n."""
    if not stream.is_dense or stream.layout == "grid":
        return stream
    size = FIRST_WORD + stream.length
    return attrs.evolve(stream, role="both", dense_dim=None, vocabulary="words", vocab_size=size)


def _column(stream: Stream, size: int, rng: np.random.Generator) -> Column:
    present = np.ones(size, np.bool_)
    if stream.dense_dim is not None:
        values = rng.standard_normal((size, stream.length, stream.dense_dim), dtype=np.float32)
        return Dense(values, present)
    if stream.layout == "grid":
        return Grid(rng.integers(0, stream.vocab_size, (size, stream.length), dtype=np.int32), present)
    least, most = LENGTHS[stream.modality]
    lengths = rng.integers(least, most + 1, size)
    offsets: Int64 = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    if stream.modality == "t5_caption":
        return Sequences(np.concatenate([FIRST_WORD + np.arange(n) for n in lengths]), offsets, present)
    used = used_ids(stream)
    ids = rng.integers(used.start, used.stop, int(offsets[-1]), dtype=np.int32)
    ids[offsets[1:] - 1] = 3
    return Sequences(ids, offsets, present)


def used_ids(stream: Stream) -> range:
    """Ids of a stream that samples can have. All texts but captions are coordinates and names of classes."""
    if stream.layout == "grid":
        return range(stream.vocab_size)
    past = stream.vocab_size
    return range(FIRST_WORD, past if stream.modality == "caption" else min(past, PAST_COORDINATES))


def _as_vectors(masked: Masked, stream: Stream, vectors: Float32) -> Masked:
    """Words to the vectors they stand for, and sentinels to zeros; nothing of them is predicted."""
    inputs = dict(masked.inputs)
    shown = inputs.get(stream.name)
    values = np.zeros_like(vectors)
    if shown is not None:
        words = np.maximum(shown.ids - FIRST_WORD, 0)
        seen = (shown.ids >= FIRST_WORD)[:, None]
        values[shown.samples, shown.positions] = vectors[shown.samples, words] * seen
        inputs[stream.name] = attrs.evolve(shown, ids=shown.positions)
    targets = {name: selection for name, selection in masked.targets.items() if name != stream.name}
    return attrs.evolve(masked, inputs=inputs, targets=targets, dense={**masked.dense, stream.name: values})
