"""A folder of codecs, one sub-folder per modality: what `fourm codec train` writes and checkpoints hold."""

from collections.abc import Iterable
from pathlib import Path

from fourm_codecs.base import StoredCodec
from fourm_codecs.build import build_codec, codec_of_entry
from fourm_codecs.set_codes import learned_fields
from fourm_codecs.store import MANIFEST, codec_hash, load_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.data.layout import has_strings, word_vocabulary
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality, Set
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema


def token_modalities(schema: Schema) -> list[str]:
    """Modalities that have a token stream, and so a codec."""
    return list(dict.fromkeys(stream.modality for stream in resolve(schema).streams if not stream.is_dense))


def read_codecs(
    schema: Schema, folder: Path | None, modalities: Iterable[str] | None = None
) -> dict[str, StoredCodec]:
    """The codec of each modality: from the folder where it has one, else built from the schema alone.

    Args:
        schema: what the data is.
        folder: a folder of codecs, e.g. that of a checkpoint; None builds all.
        modalities: which; None takes all that have a token stream.

    Raises:
        CodecError: if a folder is missing or damaged, or a text's vocabulary is not trained yet.
    """
    wanted = token_modalities(schema) if modalities is None else list(modalities)
    stored = stored_codecs(schema, folder) if folder is not None else {}
    words = _vocabularies(schema, stored)
    for name in wanted:
        entry = schema.modalities[name]
        vocabulary = word_vocabulary(name, entry)
        # A set with learned fields gets its words when these are fitted.
        fitted_first = isinstance(entry, Set) and bool(learned_fields(entry))
        needs_words = has_strings(name, entry) and not fitted_first
        if name not in stored and needs_words and vocabulary not in words:
            raise CodecError(
                name,
                f"its vocabulary {vocabulary!r} is not trained yet",
                got="no --codecs" if folder is None else f"{folder} without a codec that has it",
                mend=f"train it: fourm codec train {vocabulary} --data FILE.lance --to codecs/",
            )
    return {name: stored[name] if name in stored else build_codec(schema, name, words) for name in wanted}


def stored_codecs(schema: Schema, folder: Path) -> dict[str, StoredCodec]:
    """The codecs that a folder has, by modality, each under the schema's entry where its ids allow that.

    Raises:
        CodecError: if the folder is missing, or one of its codecs is damaged.
    """
    if not folder.is_dir():
        raise CodecError(str(folder), "there is no such folder", mend="fourm codec train writes one")
    return {
        name: _under(schema.modalities[name], load_codec(folder / name))
        for name in token_modalities(schema)
        if (folder / name / MANIFEST).is_file()
    }


def _under(entry: Modality, codec: StoredCodec) -> StoredCodec:
    """The codec with what the schema says by now, `out_of_range` for example, if its ids mean the same then.

    Otherwise it stays as it was stored; where it is used, it is compared with the schema.
    """
    if codec.entry == entry:
        return codec
    try:
        found = codec_of_entry(codec.name, codec.modality, entry, codec.parts)
    except CodecError:
        return codec
    return found if codec_hash(found) == codec_hash(codec) else codec


def _vocabularies(schema: Schema, stored: dict[str, StoredCodec]) -> dict[str, WordVocabulary]:
    """Trained vocabularies by their declared name."""
    found = {}
    for name, codec in stored.items():
        vocabulary = word_vocabulary(name, schema.modalities[name])
        if vocabulary is not None and codec.parts.vocabulary is not None:
            found[vocabulary] = codec.parts.vocabulary
    return found
