"""A raw value of any modality, drawn by what the schema says of it; nothing else need be known.

image    its cells as a picture (see `images`)
vector   a bar for each number (see `vectors`)
set      boxes and points on a picture, records as a table (see `sets`)
text     itself
ids      their shape and the first of them, where a value is given as token ids
None     absent
"""

from collections.abc import Mapping

from fourm_runtime.pictures.ids import describe_ids, views_of
from fourm_runtime.pictures.images import draw_image, picture_of
from fourm_runtime.pictures.page import Block, Png, Stack, Text
from fourm_runtime.pictures.sets import draw_set
from fourm_runtime.pictures.vectors import draw_vector
from fourm_schema.errors import CodecError
from fourm_schema.modality import Continuous, Image, Modality, Set, Vector
from fourm_schema.schema import Schema


def draw_value(entry: Modality, value: object, name: str = "", backdrop: Png | None = None) -> Block:
    """Draw one value.

    Args:
        entry: what the schema says of the modality.
        value: as users have it: an array, a PIL picture, nested lists, records, a text or several
            alternative ones; None where it is absent.
        name: the modality's; errors and descriptions of pictures name it.
        backdrop: a picture of the same sample, on which the boxes and points of a set are drawn; see
            `backdrop_of`.

    Returns:
        a block for a page: it also fits into a cell of a table or a tile of a gallery.

    Raises:
        CodecError: if the modality cannot hold the value.
    """
    if value is None:
        return Text("absent", "muted")
    if entry.codec == "ids":
        given = [value] if isinstance(entry, Image | Vector) else views_of(value)
        return Stack([Text(describe_ids(ids), "muted") for ids in given])
    if isinstance(entry, Image):
        return draw_image(entry, value, name)
    if isinstance(entry, Vector):
        return draw_vector(entry, value, name)
    if isinstance(entry, Set):
        return draw_set(entry, value, name, backdrop)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise CodecError(name or "text", "a value is a string, or several", got=type(value).__name__)
    return Stack([Text(text or "(empty)", "quote" if text else "muted") for text in texts])


def backdrop_of(schema: Schema, row: Mapping[str, object]) -> Png | None:
    """The picture among a sample's values that boxes are best drawn on: the largest in colour, else in grey.

    Args:
        schema: what the sample's modalities are.
        row: modality -> value, or None where it is absent.

    Returns:
        the picture; None where the sample has none.
    """
    candidates = [
        (entry.channels == 3, entry.cell_count, name, entry)
        for name, entry in schema.modalities.items()
        if isinstance(entry, Image)
        and isinstance(entry.cell, Continuous)
        and row.get(name) is not None
        and entry.codec != "ids"
    ]
    if not candidates:
        return None
    *_, name, entry = max(candidates, key=lambda candidate: candidate[:2])
    return picture_of(entry, row[name], name)


__all__ = ["backdrop_of", "draw_value", "picture_of"]
