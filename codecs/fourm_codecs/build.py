"""Name -> codec: one table for ours, entry points for yours.

A package brings a codec by an entry point in the group `fourm.codecs`; a schema asks for it as
`codec: plugin:<its name>`. A name in a file never leads to an import path, so no file can run code.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points

import attrs

from fourm_codecs.base import CodecClass, Parts, StoredCodec
from fourm_codecs.bins import BinsCodec
from fourm_codecs.given_ids import IdsCodec, sequence_settings
from fourm_codecs.levels import LevelsCodec
from fourm_codecs.sets import SetCodec
from fourm_codecs.sets_4m import RecordTextCodec
from fourm_codecs.tokenizer_file import TokenizerCodec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_codecs.wordpiece import WordPieceCodec
from fourm_schema.errors import CodecError, nearest
from fourm_schema.modality import Modality, Set
from fourm_schema.plan import Plan, Stream
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from fourm_schema.select import ASKED_ONLY, CODES_GRAMMAR, LEARNED_CODECS
from fourm_schema.set_layout import text_vocabulary


@attrs.frozen
class _Learned:
    """A learned codec, loaded when one is built: torch takes seconds, which exact codecs should not cost."""

    name: str

    def from_entry(self, modality: str, entry: Modality, parts: Parts) -> StoredCodec:
        from fourm_codecs.learned import LEARNED

        found = LEARNED[self.name].from_entry(modality, entry, parts)
        if found.name != self.name:
            raise CodecError(modality, f"its entry asks for the codec {found.name!r}", got=repr(self.name))
        return found


class _Vq4M:
    """`TokenizerOf4M`, likewise."""

    def from_entry(self, modality: str, entry: Modality, parts: Parts) -> StoredCodec:
        from fourm_codecs.tokenizers_4m.codec import TokenizerOf4M

        return TokenizerOf4M.from_entry(modality, entry, parts)


CODECS: dict[str, CodecClass] = {
    "levels": LevelsCodec,
    "bins": BinsCodec,
    **{name: _Learned(name) for name in LEARNED_CODECS},
    "vq-4m": _Vq4M(),
    "wordpiece": WordPieceCodec,
    "grammar": SetCodec,
    CODES_GRAMMAR: SetCodec,
    "grammar-4m": RecordTextCodec,
    "tokenizer": TokenizerCodec,
    "ids": IdsCodec,
}

ENTRY_POINT_GROUP = "fourm.codecs"
PLUGIN = "plugin:"


def build_codec(
    schema: Schema, name: str, vocabularies: Mapping[str, WordVocabulary] | None = None
) -> StoredCodec:
    """Build the codec of a modality's token stream.

    Args:
        schema: the declaration.
        name: a modality, or one of its streams.
        vocabularies: trained word vocabularies by name; texts, and sets with text fields, need theirs.

    Raises:
        CodecError: if the modality has no token stream, its codec has to
            be trained first, or its vocabulary is missing or was trained for another schema.
        PlanError: if the schema has no such modality.
    """
    plan = resolve(schema)
    stream = plan.stream(name)
    if stream.is_dense:
        raise CodecError(
            stream.name, "is shown dense and has no codec", mend="use fourm_codecs.dense.DenseView.from_entry"
        )
    entry = schema.modalities[stream.modality]
    words = text_vocabulary(stream.modality, entry) if isinstance(entry, Set) else stream.vocabulary
    trained = _vocabulary(plan, stream, words, vocabularies or {}) if stream.layout == "sequence" else None
    settings = sequence_settings(plan, stream) if stream.codec == "ids" else {}
    return codec_of_entry(stream.codec, stream.modality, entry, Parts(trained, settings=settings))


def codec_of_entry(codec: str, modality: str, entry: Modality, parts: Parts) -> StoredCodec:
    """Build a codec by its name.

    Raises:
        CodecError: if nothing installed has that name, or the entry is not one the codec can serve.
    """
    return codec_class(codec, modality).from_entry(modality, entry, parts)


def codec_class(codec: str, modality: str) -> CodecClass:
    """Look a codec up by name, `plugin:` names among the installed entry points.

    Raises:
        CodecError: if nothing has that name; the message lists what has.
    """
    if codec in CODECS:
        return CODECS[codec]
    plugins = entry_points(group=ENTRY_POINT_GROUP)
    ours = [name for name in CODECS if name not in ASKED_ONLY]
    known = [*ours, *(PLUGIN + name for name in plugins.names)]
    if not codec.startswith(PLUGIN) or codec.removeprefix(PLUGIN) not in plugins.names:
        raise CodecError(modality, f"there is no codec {codec!r}", mend=nearest(codec, known))
    found: CodecClass = plugins[codec.removeprefix(PLUGIN)].load()
    if not callable(getattr(found, "from_entry", None)):
        raise CodecError(
            modality,
            f"the plugin behind {codec!r} is no codec",
            got=repr(found),
            mend="its entry point must name a class with from_entry(modality, entry, parts)",
        )
    return found


def _vocabulary(
    plan: Plan, stream: Stream, words: str | None, trained: Mapping[str, WordVocabulary]
) -> WordVocabulary | None:
    if words is None:
        return None
    declared = next(item for item in plan.vocabularies if item.name == words)
    found = trained.get(declared.name)
    if found is not None and (found.size, found.special) != (declared.size, declared.special):
        raise CodecError(
            declared.name,
            f"the vocabulary was trained for another schema than {stream.name} is declared in",
            got=f"{found.size} ids with {found.special.sentinel_count} sentinels, "
            f"declared are {declared.size} with {declared.special.sentinel_count}",
            mend="set size and sentinels back, or train it again and encode its texts anew",
        )
    return found
