"""Class maps and captions of real photos, with the codecs that a schema selects."""

import re
from pathlib import Path

import numpy as np

from fourm_codecs.build import build_codec
from fourm_codecs.fit import FitRecipe, fit
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.resolve import resolve
from tests.codecs.coco_samples import samples, schema


def test_coco_class_maps_come_back_exactly(coco: Path) -> None:
    """A token per place loses nothing, whatever of the 134 classes a photo shows."""
    maps = [sample["classes"] for sample in samples(coco) if sample["classes"] is not None]
    codec = build_codec(schema(), "classes")

    decoded = codec.decode(codec.encode(maps))

    assert len(maps) == 33 and len(np.unique(maps)) > 60
    assert np.array_equal(np.asarray(decoded), np.asarray(maps))


def test_coco_a_few_steps_of_a_learned_codec_tell_classes_apart(coco: Path, tmp_path: Path) -> None:
    """16 ids for 256 places: more of these come back right than if all were of the commonest class."""
    maps = [sample["semantics"] for sample in samples(coco) if sample["semantics"] is not None]
    recipe = FitRecipe(steps=100, batch_size=16, lr=5e-3)
    codec = fit("semantics", schema().modalities["semantics"], maps, tmp_path, recipe).codec

    tokens = codec.encode(maps)
    known = np.asarray(maps) > 0
    right = (np.asarray(codec.decode(tokens)) == np.asarray(maps))[known].mean()
    commonest = np.bincount(np.asarray(maps)[known]).max() / known.sum()

    assert set(tokens.lengths.tolist()) == {16}
    assert right > commonest + 0.05


def test_coco_captions_come_back_word_for_word(coco: Path) -> None:
    """In lower case, by pieces learned from them: fewer than there are words, and no word unknown."""
    captions = [text for sample in samples(coco) for text in sample["caption"] or ()]
    declared = schema()
    words = next(one for one in resolve(declared).vocabularies if one.name == "words")
    vocabulary = WordVocabulary.train(captions, words.name, words.size, words.special)
    codec = build_codec(declared, "caption", {words.name: vocabulary})

    tokens = codec.encode(captions)

    seen = {word for caption in captions for word in words_of(caption.lower())}
    assert len(captions) == 170 and len(seen) > words.size and int(tokens.lengths.max()) <= 96
    for caption, back in zip(captions, codec.decode(tokens), strict=True):
        assert isinstance(back, str)
        assert words_of(back) == words_of(caption.lower())


def words_of(text: str) -> list[str]:
    """Words and signs: what is between them is not kept."""
    return re.findall(r"\w+|[^\w\s]", text)
