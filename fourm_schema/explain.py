"""Why each stream is treated as it is: the rows that `fourm explain` prints."""

import attrs

from fourm_schema.plan import Plan, Stream


@attrs.frozen
class ExplainedStream:
    """One stream in words.

    Attributes:
        stream: its name.
        kind: kind of its modality.
        role: what it may be.
        codec, embedding, positions: what it gets.
        tokens: its token count, e.g. `64 (8 x 8)` or `at most 16`.
        vocabulary: its id space and size, e.g. `words (128)`; `-` when dense.
        because: the reason for codec, embedding and positions.
    """

    stream: str
    kind: str
    role: str
    codec: str
    tokens: str
    vocabulary: str
    embedding: str
    positions: str
    because: tuple[str, str, str]


def explain_rows(plan: Plan) -> list[ExplainedStream]:
    """Put every stream of a plan in words, in the order of the plan."""
    return [
        ExplainedStream(
            stream=stream.name,
            kind=stream.kind,
            role=stream.role,
            codec=stream.codec,
            tokens=_tokens(stream),
            vocabulary=_vocabulary(stream),
            embedding=stream.embedding,
            positions=stream.positions,
            because=stream.because,
        )
        for stream in plan.streams
    ]


def _tokens(stream: Stream) -> str:
    if stream.layout == "sequence":
        return f"at most {stream.length}"
    if stream.grid is not None and len(stream.grid) > 1:
        return f"{stream.length} ({' x '.join(map(str, stream.grid))})"
    return str(stream.length)


def _vocabulary(stream: Stream) -> str:
    if stream.vocabulary is None:
        return f"- ({stream.dense_dim} numbers per token)"
    shared = "" if stream.vocabulary == stream.name else f"{stream.vocabulary} "
    return f"{shared}({stream.vocab_size} ids)" if shared else f"{stream.vocab_size} ids"
