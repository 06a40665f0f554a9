"""Codecs on disk: a folder with `codec.json` and what it names.

    codec.json                       the codec's name, its schema entry and settings, the hashes of the files
    tensors-<hash>.safetensors       tables and, in learned codecs, weights
    vocabulary-<hash>.json           the word vocabulary of a text codec

`codec.json` is put in place last and in one step, and the other files are named after their content, so a
folder always holds one whole codec, whenever writing was cut off. Nothing is ever unpickled.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cattrs
import cattrs.errors
import numpy as np
from pydantic import TypeAdapter, ValidationError

from fourm_codecs.base import Json, Parts, StoredCodec
from fourm_codecs.build import codec_of_entry
from fourm_codecs.files import (
    from_bytes,
    read_file,
    tensors_from_bytes,
    tensors_to_bytes,
    to_bytes,
    write_file,
)
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality

MANIFEST = "codec.json"
FORMAT = "fourm-codec-1"
VOCABULARY_FORMAT = "fourm-words-1"

_ENTRY: TypeAdapter[Modality] = TypeAdapter(Modality)


def codec_hash(codec: StoredCodec) -> str:
    """Hash of what a codec's ids mean: equal hashes, and stored ids can be read by either codec.

    Names, descriptions, loss weights and `out_of_range` do not enter it.
    """
    digest = hashlib.sha256(to_bytes([codec.name, codec.vocab_size, list(codec.token_shape or ())]))
    for name, tensor in sorted(codec.parts.tensors.items()):
        digest.update(to_bytes([name, str(tensor.dtype), list(tensor.shape)]))
        digest.update(np.ascontiguousarray(tensor).tobytes())
    if codec.parts.settings:
        digest.update(to_bytes(dict(codec.parts.settings)))
    if codec.parts.vocabulary is not None:
        digest.update(_vocabulary_bytes(codec.parts.vocabulary, named=False))
    return digest.hexdigest()


def save_codec(codec: StoredCodec, directory: Path | str) -> None:
    """Write a codec into a folder, in place of the one that may be there.

    Raises:
        CodecError: if the codec was not built from a schema entry, or the folder cannot be written to.
    """
    if codec.entry is None:
        raise CodecError(
            codec.modality,
            "was built without a schema entry and cannot be saved",
            mend="build it with from_entry",
        )
    folder, files = Path(directory), dict[str, Json]()
    contents = {"tensors": tensors_to_bytes(codec.parts.tensors)}
    if codec.parts.vocabulary is not None:
        contents["vocabulary"] = _vocabulary_bytes(codec.parts.vocabulary)
    for part, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        files[part] = digest
        write_file(folder / _file_name(part, digest), content)
    entry: Json = codec.entry.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    manifest: dict[str, Json] = {
        "format": FORMAT,
        "codec": codec.name,
        "modality": codec.modality,
        "entry": entry,
        "files": files,
        "hash": codec_hash(codec),
    }
    if codec.parts.settings:
        manifest["settings"] = dict(codec.parts.settings)
    write_file(folder / MANIFEST, to_bytes(manifest, sort_keys=False))
    kept = {_file_name(part, str(digest)) for part, digest in files.items()}
    for pattern in ("tensors-*.safetensors", "vocabulary-*.json"):
        for stale in folder.glob(pattern):
            if stale.name not in kept:
                stale.unlink(missing_ok=True)


def load_codec(directory: Path | str) -> StoredCodec:
    """Read the codec that `save_codec` wrote.

    Raises:
        CodecError: if a file is missing, truncated, foreign or not what `codec.json` says, or if this version
            builds another codec from the entry than the one that was saved.
    """
    folder = Path(directory)
    where = str(folder / MANIFEST)
    manifest = from_bytes(read_file(folder / MANIFEST), where)
    if manifest.get("format") != FORMAT:
        raise CodecError(where, f"is no {FORMAT} file", got=f"format {manifest.get('format')!r}")
    name, modality, files = manifest.get("codec"), manifest.get("modality"), manifest.get("files")
    settings = manifest.get("settings", {})
    if not (
        isinstance(name, str)
        and isinstance(modality, str)
        and isinstance(files, dict)
        and isinstance(settings, dict)
    ):
        raise CodecError(
            where, "lacks its codec, modality or files", mend="it is damaged; save the codec again"
        )
    try:
        # JSON, so that lists become the tuples which strict models hold.
        entry = _ENTRY.validate_json(to_bytes(manifest.get("entry"), sort_keys=False))
    except ValidationError as fault:
        problem = fault.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise CodecError(where, f"its schema entry is not valid: {place} {problem['msg']}") from None
    vocabulary = None
    if "vocabulary" in files:
        path = folder / _file_name("vocabulary", files["vocabulary"], where)
        vocabulary = _vocabulary_from_bytes(_verified(path, files["vocabulary"]), str(path))
    path = folder / _file_name("tensors", files.get("tensors"), where)
    tensors = tensors_from_bytes(_verified(path, files.get("tensors")), str(path))
    codec = codec_of_entry(name, modality, entry, Parts(vocabulary, tensors, settings))
    if codec_hash(codec) != manifest.get("hash"):
        raise CodecError(
            where,
            "its entry gives another codec than the one that was saved",
            mend="a file was changed by hand, or this version differs; encode the modality again",
        )
    return codec


def save_vocabulary(vocabulary: WordVocabulary, path: Path | str) -> None:
    """Write a word vocabulary as one JSON file.

    Raises:
        CodecError: if the file cannot be written.
    """
    write_file(Path(path), _vocabulary_bytes(vocabulary))


def load_vocabulary(path: Path | str) -> WordVocabulary:
    """Read a word vocabulary that `save_vocabulary` wrote.

    Raises:
        CodecError: if the file is missing, damaged or foreign.
    """
    return _vocabulary_from_bytes(read_file(Path(path)), str(path))


def _file_name(part: str, digest: Json, where: str = "") -> str:
    # Only a digest of our own making may become part of a path.
    if not isinstance(digest, str) or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise CodecError(where, f"names no {part} file by its hash", got=repr(digest))
    return f"{part}-{digest[:16]}.{'safetensors' if part == 'tensors' else 'json'}"


def _verified(path: Path, digest: Json) -> bytes:
    content = read_file(path)
    if hashlib.sha256(content).hexdigest() != digest:
        raise CodecError(
            str(path),
            f"is not the file that {MANIFEST} names",
            got=f"{len(content)} bytes of another hash",
            mend="it is truncated or was replaced; save the codec again",
        )
    return content


def _exactly(kind: type[bool] | type[int] | type[str]) -> Callable[[object, object], object]:
    """A hook that takes a value of one type as it is: cattrs alone would read the text "3" as 3."""

    def structure(value: object, _: object) -> object:
        if type(value) is not kind:
            raise ValueError(f"{value!r} is no {kind.__name__}")
        return value

    return structure


_CONVERTER = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
for _kind in (bool, int, str):
    _CONVERTER.register_structure_hook(_kind, _exactly(_kind))


def _vocabulary_bytes(vocabulary: WordVocabulary, named: bool = True) -> bytes:
    content = _CONVERTER.unstructure(vocabulary)
    if not named:
        content["name"] = ""
    return to_bytes({"format": VOCABULARY_FORMAT, "vocabulary": content})


def _vocabulary_from_bytes(content: bytes, where: str) -> WordVocabulary:
    found = from_bytes(content, where)
    if found.get("format") != VOCABULARY_FORMAT:
        raise CodecError(where, f"is no {VOCABULARY_FORMAT} file", got=f"format {found.get('format')!r}")
    try:
        return _CONVERTER.structure(found.get("vocabulary"), WordVocabulary)
    except CodecError as fault:
        raise CodecError(where, f"holds no sound vocabulary: {fault}") from None
    # Hooks raise what the fields' types raise; whichever it is, the file is not ours.
    except (ValueError, TypeError, KeyError, AttributeError, cattrs.errors.ForbiddenExtraKeysError) as fault:
        raise CodecError(
            where, "holds no vocabulary", got=str(fault), mend="it is damaged; train or save it again"
        ) from None
