"""Raw values <-> tokens around the model: what is given is encoded, what is generated is decoded and checked.

Shapes: V ids of a vocabulary.
"""

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_codecs.base import Codec, TokenBatch, Value
from fourm_codecs.build import build_codec
from fourm_codecs.dense import DenseView
from fourm_codecs.set_part import DrawnCodec, SetPart, read_part
from fourm_codecs.sets import SetCodec
from fourm_codecs.sets_4m import RecordTextCodec
from fourm_codecs.tokenizers_4m.codec import KEEP_IDS, TokenizerOf4M
from fourm_codecs.wordpiece import WordPieceCodec
from fourm_runtime.batch import Float32, Int32
from fourm_runtime.generation.combine import Produced
from fourm_runtime.generation.plan import GenerationPlan
from fourm_runtime.generation.request import Prefix, Request, RequestFaults, input_stream
from fourm_runtime.generation.run import Job
from fourm_runtime.generation.samples import Tokens
from fourm_schema.errors import CodecError, Fault, nearest
from fourm_schema.plan import Plan, Stream
from fourm_schema.schema import Schema


@attrs.frozen(eq=False)
class Generated:
    """A generated value.

    Attributes:
        value: in the schema's units: an array, a text, or the records of a set. Of samples that were joined:
            the records of all, the texts with a line each, the ids end to end.
        tokens: (T,) int32, the ids it was decoded from.
        confidence: (T,) float32, probability that the model gave to each id when it was drawn.
    """

    value: Value
    tokens: Int32
    confidence: NDArray[np.float32]


class Values:
    """Encodes and decodes the values of a schema's modalities.

    Args:
        schema: what the data is.
        plan: its streams, as the model knows them.
        codecs: modality -> codec; those that follow from the schema alone may be missing.

    Raises:
        CodecError: if a codec is missing that has to be trained.
    """

    def __init__(self, schema: Schema, plan: Plan, codecs: Mapping[str, Codec] | None = None) -> None:
        self.schema, self.plan = schema, plan
        given = codecs or {}
        self.codecs: dict[str, Codec] = {
            stream.modality: given.get(stream.modality) or build_codec(schema, stream.name)
            for stream in plan.streams
            if not stream.is_dense
        }
        self._views = {
            stream.name: DenseView.from_entry(stream.modality, schema.modalities[stream.modality])
            for stream in plan.streams
            if stream.is_dense
        }

    def jobs(self, plans: Sequence[GenerationPlan], requests: Sequence[Request]) -> list[Job]:
        """Encode what requests give.

        Raises:
            RequestError: naming every value that cannot be encoded.
        """
        faults: list[Fault] = []
        jobs = []
        for name, codec in self._undecodable(plans).items():
            faults.append(Fault(f"targets.{name}", codec.why_not_decoded, mend=KEEP_IDS))
        for plan, request in zip(plans, requests, strict=True):
            shows: dict[str, Tokens] = {}
            prefixes: dict[str, Int32 | SetPart] = {}
            for name, value in request.given.items():
                stream = input_stream(self.plan, name)
                assert stream is not None, "the request was compiled"
                try:
                    if isinstance(value, Prefix):
                        prefixes[stream.name] = self._prefix(stream, value)
                    else:
                        shows[stream.name] = self._tokens(stream, value)
                except CodecError as error:
                    where = f"request {request.index}, inputs.{name}"
                    faults += [_moved(fault, f"{stream.modality}, value 0", where) for fault in error.faults]
            jobs.append(Job(plan, shows, prefixes, request.seed, request.index))
        if faults:
            raise RequestFaults(faults)
        return jobs

    def _undecodable(self, plans: Sequence[GenerationPlan]) -> dict[str, TokenizerOf4M]:
        """Targets whose ids could not be made values of: told before anything is computed."""
        found = {}
        for stream in [self.plan.stream(target.stream) for plan in plans for target in plan.targets]:
            codec = self.codecs[stream.modality]
            if isinstance(codec, TokenizerOf4M) and not codec.can_decode:
                found[stream.modality] = codec
        return found

    def shown(self, samples: Sequence[Mapping[str, object]]) -> list[dict[str, Tokens]]:
        """Encode what samples show: stream name -> tokens. None counts as not given.

        Raises:
            RequestError: naming every value that cannot be encoded or has no stream.
        """
        faults: list[Fault] = []
        found: list[dict[str, Tokens]] = []
        for index, sample in enumerate(samples):
            tokens: dict[str, Tokens] = {}
            for name, value in sample.items():
                where, stream = f"sample {index}, {name}", input_stream(self.plan, name)
                if value is None:
                    continue
                if stream is None or not stream.can_be_input:
                    known = list(dict.fromkeys(n for s in self.plan.inputs for n in (s.modality, s.name)))
                    faults.append(Fault(where, "is no stream or modality to show", mend=nearest(name, known)))
                    continue
                try:
                    tokens[stream.name] = self._tokens(stream, value)
                except CodecError as error:
                    faults += [Fault(where, fault.what, fault.got, fault.mend) for fault in error.faults]
            found.append(tokens)
        if faults:
            raise RequestFaults(faults)
        return found

    def _tokens(self, stream: Stream, value: object) -> Tokens:
        if stream.is_dense and stream.layout == "sequence":
            return Tokens.dense(self._vectors(stream, value))
        if stream.is_dense:
            return Tokens.dense(self._views[stream.name].encode([value])[0])
        return Tokens.whole(self._ids(stream, value))

    def _vectors(self, stream: Stream, value: object) -> Float32:
        """A sequence of vectors: (L, C), L >= 1."""
        several = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)
        count = len(value) if isinstance(value, list | tuple | np.ndarray) and several else -1
        if not 0 < count <= stream.length:
            raise CodecError(
                stream.modality,
                f"a value is a sequence of 1 to {stream.length} vectors of {stream.dense_dim} numbers",
                got=type(value).__name__ if count < 0 else f"{count} of them",
            )
        assert isinstance(value, list | tuple | np.ndarray), "only these have a count"
        return self._views[stream.name].encode(value)[:, 0]

    def _ids(self, stream: Stream, value: object) -> Int32:
        return self.codecs[stream.modality].encode([value]).ids.astype(np.int32)

    def _prefix(self, stream: Stream, prefix: Prefix) -> Int32 | SetPart:
        codec = self.codecs[stream.modality]
        if isinstance(codec, SetCodec | RecordTextCodec):
            return read_part(codec, prefix.value)
        ids = self._ids(stream, prefix.value)
        assert ids[-1] == self.plan.special(stream).end, "a sequence is encoded with its end token"
        return ids[:-1]

    def decode(self, made: Mapping[str, Produced]) -> dict[str, Generated]:
        """Turn generated tokens into values. Modality -> value.

        Raises:
            CodecError: if a codec gives back a value that it would itself refuse.
        """
        found = {}
        for name, tokens in made.items():
            stream = self.plan.stream(name)
            codec = self.codecs[stream.modality]
            values = codec.decode(TokenBatch.of(tokens.parts, codec.vocab_size))
            if isinstance(codec, TokenizerOf4M):
                # The checks of `encode` without its network, which takes as long as decoding did.
                codec.units.numbers(values)
            elif stream.kind != "text":
                codec.encode(values)
            found[stream.modality] = Generated(_joined(values), tokens.ids, tokens.confidence)
        return found

    def sets(self) -> dict[str, DrawnCodec]:
        """Stream name -> codec of each set: its grammar says what may be drawn."""
        found: dict[str, DrawnCodec] = {}
        for stream in self.plan.streams:
            codec = self.codecs.get(stream.modality)
            if isinstance(codec, SetCodec | RecordTextCodec):
                found[stream.name] = codec
        return found

    def meaningful(self) -> dict[str, NDArray[np.bool_]]:
        """Ids that stand for something, of each vocabulary with spare ids: stream name -> (V,)."""
        found = {}
        for stream in self.plan.streams:
            codec = self.codecs.get(stream.modality)
            if isinstance(codec, WordPieceCodec | SetCodec) and codec.vocabulary and not stream.is_dense:
                # Pieces are the last ids of a text and of a set alike, and unused ones the last of these.
                words = codec.vocabulary
                unused = words.size - words.special.size - len(words.pieces)
                found[stream.name] = np.arange(codec.vocab_size) < codec.vocab_size - unused
        return found


def _joined(values: Sequence[Value]) -> Value:
    """One value, or the values of several samples of a sequence as one."""
    (first, *others) = values
    if not others:
        return first
    if isinstance(first, str):
        return "\n".join(map(str, values))
    if isinstance(first, list):
        return [record for value in values if isinstance(value, list) for record in value]
    return np.concatenate([np.asarray(value) for value in values])


def _moved(fault: Fault, codec_place: str, where: str) -> Fault:
    """A codec's fault in a request's words; what the codec says of the place within the value is kept."""
    inner = fault.where.removeprefix(codec_place)
    return attrs.evolve(fault, where=where if inner == fault.where else where + inner)
