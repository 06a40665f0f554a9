"""The schema of a released model: one entry per modality, one word vocabulary that each text has rows of."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import ValidationError

from fourm_runtime.released.modalities import (
    MODALITIES,
    SEQUENCE_POSITIONS,
    Found,
    base_name,
    entry,
    is_known,
    native_names,
    nearest_known,
)
from fourm_schema.errors import CheckpointError, PlanError
from fourm_schema.schema import Schema
from fourm_schema.special import special_ids

WORDS = "words"


def schema_of(found: Sequence[Found], sentinels: int, text_codec: str, where: str) -> Schema:
    """Declare the modalities of a released model.

    Args:
        found: its modalities, in the order of its encoder.
        sentinels: of its text tokenizer.
        text_codec: how texts become ids: `tokenizer`, or `ids` where it is not at hand.
        where: the file, for errors.

    Raises:
        CheckpointError: if the sizes of its tensors make no schema.
    """
    names = native_names(one.domain for one in found)
    sizes = list(dict.fromkeys(one.vocab_size for one in found if one.known.kind == "text"))
    words = {size: WORDS if number == 0 else f"{WORDS}_{size}" for number, size in enumerate(sizes)}
    least = special_ids(sentinels).size
    small = [one.domain for one in found if one.known.kind == "text" and one.vocab_size <= least]
    grids = [one for one in found if one.known.kind in ("pixels", "tokens") and one.side**2 != one.positions]
    if small or grids:
        faults = [f"{name} has no ids beside its {least} special ones" for name in small]
        faults += [f"{one.domain} has {one.positions} positions, which make no square" for one in grids]
        raise CheckpointError(where, "its sizes make no 4M model", got="; ".join(faults))
    content = {
        "version": 1,
        "vocabularies": {
            name: {"kind": "wordpiece", "size": size, "rows": "own", "sentinels": sentinels}
            for size, name in words.items()
        },
        "modalities": {
            names[one.domain]: entry(names[one.domain], one, words.get(one.vocab_size, ""), text_codec)
            for one in found
        },
    }
    try:
        return Schema.model_validate(content)
    except ValidationError as error:
        reasons = "; ".join(problem["msg"] for problem in error.errors())
        raise CheckpointError(where, "its sizes make no 4M model", got=reasons) from None


def released_schema(
    domains_in: Iterable[str], domains_out: Iterable[str], sentinels: int = 200, text_codec: str = "ids"
) -> Schema:
    """The schema of a 4M model as the released code would build it: its own vocabulary sizes and lengths.

    Args:
        domains_in, domains_out: 4M's names of what it is shown and of what it predicts.
        sentinels: of its text tokenizer.
        text_codec: as in `schema_of`.

    Raises:
        PlanError: if 4M has no modality of that name.

    >>> schema = released_schema(["rgb@224", "tok_depth@224"], ["tok_depth@224"])
    >>> schema.modality("tok_depth@224").vocab_size
    8192
    """
    inside, outside = list(domains_in), list(domains_out)
    for domain in (*inside, *outside):
        if not is_known(domain):
            raise PlanError(domain, "is no modality of 4M", mend=nearest_known(domain))
    found = [_usual(domain, inside, outside) for domain in dict.fromkeys((*inside, *outside))]
    return schema_of(found, sentinels, text_codec, "the released modalities")


def _usual(domain: str, inside: Sequence[str], outside: Sequence[str]) -> Found:
    known = MODALITIES[base_name(domain)]
    size = int(domain.partition("@")[2] or 224)
    positions = known.length
    if known.kind in ("text", "vectors"):
        positions = SEQUENCE_POSITIONS
    elif known.kind != "vector":
        positions = round((known.length**0.5) * size / 224) ** 2
    role: Literal["input", "target", "both"] = "target"
    if domain in inside:
        role = "both" if domain in outside else "input"
    numbers = 16 * 16 * 3 if known.kind == "pixels" else known.dim if known.kind == "vectors" else 0
    return Found(domain, role, known.vocab_size, positions, numbers)
