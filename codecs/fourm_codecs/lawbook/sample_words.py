"""Word vocabularies and tokenizers for what nobody has trained yet: small, and always the same."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.modality import Modality, Set
from fourm_schema.plan import Plan
from fourm_schema.schema import Schema
from fourm_schema.set_fields import CategoryField

SAMPLE_TEXTS = (
    "A red cat, asleep on a chair near the window.",
    "two dogs & a café; it's half past three!",
    "the harbour at dawn: 17 boats (nine of them blue) and no wind",
    "what is this? a page of notes, 1234567890 words - or fewer",
    "she said 'yes'; he wrote [no] on the wall / floor",
    "maps of the coast, 40% water, 60% sand = 100 km",
    "jumping quickly over the lazy fox by the quiet pond, a zebra waits",
)
"""What a sample vocabulary is learned from: each Latin letter, digits, and most marks of a keyboard."""

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS_OF_FORMS = ("human", "none", "pose", "global", "camera", "shape", "point", "polygon")


def sample_vocabularies(schema: Schema, plan: Plan) -> dict[str, WordVocabulary]:
    """A vocabulary for each that the plan names, of the declared size, learned from `SAMPLE_TEXTS`."""
    found = {}
    for declared in plan.vocabularies:
        if declared.kind == "wordpiece" and declared.name in schema.vocabularies:
            lowercase = schema.vocabularies[declared.name].lowercase
            found[declared.name] = WordVocabulary.train(
                SAMPLE_TEXTS, declared.name, declared.size, declared.special, lowercase
            )
    return found


def sample_tokenizer(entry: Modality) -> Mapping[str, np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    """The tensors of a codec that needs a tokenizer file: a small one with the special tokens of 4M."""
    label = entry.fields.get("label") if isinstance(entry, Set) else None
    classes = label.names if isinstance(label, CategoryField) else ()
    known = tuple(
        name for name in classes if name and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789 ")
    )
    return {"tokenizer": np.frombuffer(small_tokenizer(known), np.uint8)}


@lru_cache(maxsize=8)
def small_tokenizer(classes: Sequence[str] = (), left_out: Sequence[str] = ()) -> bytes:
    """A tokenizer with 4M's special tokens and coordinates; other words are spelled by their letters.

    Args:
        classes: names that are tokens of their own.
        left_out: special tokens that it lacks.

    Returns:
        The content of a `tokenizer.json`.
    """
    named = ["[PAD]", "[UNK]", "[SOS]", "[EOS]", *(f"[S_{k}]" for k in range(200))]
    coordinates = [f"v{axis}={k}" for axis in range(4) for k in range(1000)]
    special = [token for token in (*named, *coordinates) if token not in left_out]
    pieces = [*LETTERS, "=", "-", *WORDS_OF_FORMS, *(f"##{letter}" for letter in LETTERS)]
    listed = list(dict.fromkeys([*special, *classes, *pieces]))
    tokenizer = Tokenizer(models.WordPiece({token: k for k, token in enumerate(listed)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    whole = [AddedToken(token, single_word=True, special=True) for token in (*special, *classes)]
    tokenizer.add_special_tokens(whole)
    content: str = tokenizer.to_str()
    return content.encode()
