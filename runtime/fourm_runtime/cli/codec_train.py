"""What `fourm codec train` can train: a word vocabulary, a learned codec, the learned fields of a set."""

from pathlib import Path

from fourm_codecs.base import Parts
from fourm_codecs.build import build_codec
from fourm_codecs.fit import FIT, PICTURE, FitRecipe, fit
from fourm_codecs.perceptual import PerceptualLoss
from fourm_codecs.set_fit import fit_set
from fourm_codecs.sets import SetCodec
from fourm_codecs.store import save_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.cli.codec_folder import stored_codecs
from fourm_runtime.cli.progress import bars, counted
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.layout import word_vocabulary
from fourm_schema.errors import CodecError, nearest
from fourm_schema.modality import Set, Text
from fourm_schema.select import CODES_GRAMMAR, LEARNED_CODECS


def trainable(dataset: Dataset) -> dict[str, list[str]]:
    """What can be trained for a dataset: name -> modalities that need it.

    A vocabulary stands under its own name; a learned codec, or that of a set with learned fields, under its
    modality's, unless that names a vocabulary too.
    """
    found: dict[str, list[str]] = {}
    for name, entry in dataset.schema.modalities.items():
        if words := word_vocabulary(name, entry):
            found.setdefault(words, []).append(name)
    for stream in dataset.token_streams:
        if stream.codec in (*LEARNED_CODECS, CODES_GRAMMAR):
            found.setdefault(stream.modality, [stream.modality])
    return found


def train_vocabulary(dataset: Dataset, name: str, modalities: list[str], to: Path) -> str:
    """Learn a word vocabulary from the texts of its modalities; say what came of it.

    A set with learned fields gets the vocabulary if these are fitted already; otherwise when they are.
    """
    schema = dataset.schema
    declared = next(item for item in dataset.plan.vocabularies if item.name == name)
    vocabulary = _learned_words(dataset, name, modalities)
    fitted = stored_codecs(schema, to) if to.is_dir() else {}
    later = []
    for modality in modalities:
        codec = fitted.get(modality)
        if dataset.plan.stream(modality).codec != CODES_GRAMMAR:
            save_codec(build_codec(schema, modality, {name: vocabulary}), to / modality)
        elif codec is not None:
            parts = Parts(vocabulary, codec.parts.tensors, codec.parts.settings)
            save_codec(SetCodec.from_entry(modality, schema.modalities[modality], parts), to / modality)
        else:
            later.append(modality)
    used = vocabulary.special.size + len(vocabulary.pieces)
    written = [modality for modality in modalities if modality not in later]
    lines = [f"{to}: vocabulary {name}, {used} of {declared.size} ids used; codec of {', '.join(written)}"]
    lines = lines if written else []
    lines += [
        f"{modality} has learned fields: train them, and the words with them, by fourm codec train {modality}"
        for modality in later
    ]
    return "\n".join(lines)


def _learned_words(dataset: Dataset, name: str, modalities: list[str]) -> WordVocabulary:
    declared = next(item for item in dataset.plan.vocabularies if item.name == name)
    strings = (text for modality in modalities for text in dataset.texts(modality))
    lowercase = dataset.schema.vocabularies[name].lowercase
    return WordVocabulary.train(counted(strings, "texts"), name, declared.size, declared.special, lowercase)


def train_set(dataset: Dataset, modality: str, to: Path, recipe: FitRecipe, resume: bool) -> str:
    """Fit the learned fields of a set; say what they keep of the values held out.

    The vocabulary of its texts is that of the codecs in the folder, or learned on the way.
    """
    folder, entry = to / modality, dataset.schema.modalities[modality]
    assert isinstance(entry, Set), "its codec says so"
    words = word_vocabulary(modality, entry)
    vocabulary = None
    if words is not None:
        fitted = stored_codecs(dataset.schema, to) if to.is_dir() else {}
        there = [codec.parts.vocabulary for codec in fitted.values()]
        known = {found.name: found for found in there if found is not None}
        vocabulary = known.get(words) or _learned_words(dataset, words, trainable(dataset)[words])
    with bars() as move:
        fit = fit_set(
            modality, entry, lambda: dataset.values(modality), folder, recipe, resume, move, vocabulary
        )
    save_codec(fit.codec, folder)
    lines = [f"{folder}: {fit.codec.law.describe()}"]
    for name, found in fit.fields.items():
        kept = found.report.held_out
        overlap = "" if found.overlap is None else f", masks overlap by {found.overlap:.1%} (IoU)"
        lines += [
            f"{name}: {found.report.weights:,} weights, {recipe.steps:,} steps, loss {found.report.loss:.3g}",
            f"{name}: {kept.values} values held out: {kept.describe()}{overlap}; {kept.health()}",
            f"{name}: originals over what came back: {folder / name / FIT / PICTURE}",
        ]
    return "\n".join(lines)


def train_learned(
    dataset: Dataset,
    modality: str,
    to: Path,
    recipe: FitRecipe,
    resume: bool,
    perceptual: PerceptualLoss | None = None,
) -> str:
    """Fit a learned codec to a modality's values; say what it keeps of those held out."""
    folder = to / modality
    entry = dataset.schema.modalities[modality]
    with bars() as move:
        fitted = fit(
            modality, entry, lambda: dataset.values(modality), folder, recipe, resume, move, perceptual
        )
    save_codec(fitted.codec, folder)
    kept = fitted.report.held_out
    return "\n".join(
        [
            f"{folder}: {fitted.report.weights:,} weights, {recipe.steps:,} steps, "
            f"loss {fitted.report.loss:.3g}",
            f"{kept.values} values held out: {kept.describe()}; {fitted.codec.law.describe()}",
            kept.health(),
            f"originals over what came back: {folder / FIT / PICTURE}",
        ]
    )


def sizes_of(text: str | None) -> tuple[tuple[int, int], ...]:
    """Sizes of images as they are typed: sides, or heights and widths.

    Raises:
        CodecError: if one is neither.

    >>> sizes_of("64,96x128")
    ((64, 64), (96, 128))
    """
    found = []
    for size in (text or "").replace(" ", "").split(","):
        sides = size.split("x")
        if not size:
            continue
        if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
            raise CodecError("fit.sizes", "is a side, or HEIGHTxWIDTH", size, "write 64,96 or 64x96,128x96")
        found.append((int(sides[0]), int(sides[-1])))
    return tuple(found)


def unknown(dataset: Dataset, name: str, known: dict[str, list[str]]) -> CodecError:
    """Refuse a name that nothing can be trained for; say why, where the name is a modality's."""
    if name in dataset.schema.modalities:
        entry = dataset.schema.modalities[name]
        if isinstance(entry, Text):
            mend = f"train its vocabulary: fourm codec train {entry.vocabulary}"
            return CodecError(name, "is a text; what is trained is its vocabulary", mend=mend)
        codecs = [stream.codec for stream in dataset.token_streams if stream.modality == name]
        got = f"codec {codecs[0]!r}" if codecs else "no token stream"
        return CodecError(
            name, "has no codec that this version can train", got=got, mend=nearest(name, list(known))
        )
    return CodecError(
        name, "is no vocabulary or learned modality of this dataset", mend=nearest(name, list(known))
    )
