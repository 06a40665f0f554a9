"""The two things `fourm codec train` can train: a word vocabulary and a learned codec."""

from pathlib import Path

from fourm_codecs.build import build_codec
from fourm_codecs.fit import FIT, PICTURE, FitRecipe, fit
from fourm_codecs.store import save_codec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_runtime.cli.progress import bars, counted
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.layout import word_vocabulary
from fourm_schema.errors import CodecError, nearest
from fourm_schema.modality import Text
from fourm_schema.select import LEARNED_CODECS


def trainable(dataset: Dataset) -> dict[str, list[str]]:
    """What can be trained for a dataset: name -> modalities that need it.

    A vocabulary stands under its own name; a learned codec under its modality's, unless that names a
    vocabulary too.
    """
    found: dict[str, list[str]] = {}
    for name, entry in dataset.schema.modalities.items():
        if words := word_vocabulary(name, entry):
            found.setdefault(words, []).append(name)
    for stream in dataset.token_streams:
        if stream.codec in LEARNED_CODECS:
            found.setdefault(stream.modality, [stream.modality])
    return found


def train_vocabulary(dataset: Dataset, name: str, modalities: list[str], to: Path) -> str:
    """Learn a word vocabulary from the texts of its modalities; say what came of it."""
    schema = dataset.schema
    declared = next(item for item in dataset.plan.vocabularies if item.name == name)
    strings = (text for modality in modalities for text in dataset.texts(modality))
    vocabulary = WordVocabulary.train(
        counted(strings, "texts"), name, declared.size, declared.special, schema.vocabularies[name].lowercase
    )
    for modality in modalities:
        save_codec(build_codec(schema, modality, {name: vocabulary}), to / modality)
    used = vocabulary.special.size + len(vocabulary.pieces)
    return f"{to}: vocabulary {name}, {used} of {declared.size} ids used; codec of {', '.join(modalities)}"


def train_learned(dataset: Dataset, modality: str, to: Path, recipe: FitRecipe, resume: bool) -> str:
    """Fit a learned codec to a modality's values; say what it keeps of those held out."""
    folder = to / modality
    entry = dataset.schema.modalities[modality]
    with bars() as move:
        fitted = fit(modality, entry, lambda: dataset.values(modality), folder, recipe, resume, move)
    save_codec(fitted.codec, folder)
    kept = fitted.report.held_out
    shown = folder / FIT / PICTURE
    return "\n".join(
        [
            f"{folder}: {fitted.report.weights:,} weights, {recipe.steps:,} steps, "
            f"loss {fitted.report.loss:.3g}",
            f"{kept.values} values held out: {kept.describe()}; {fitted.codec.law.describe()}",
            f"{kept.used_ids:,} of {kept.ids:,} ids used, {kept.dead_ids:,} dead; "
            f"perplexity {kept.perplexity:,.1f}",
            *([f"originals over what came back: {shown}"] if shown.exists() else []),
        ]
    )


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
