"""Rules that bind several keys of a schema, checked on the raw file.

They read the tree, not the models: a typo in one entry must not hide what is wrong in another, or in the
same. So each rule looks only at values of the right type and leaves the others to the models' own checks.
"""

import functools
from collections.abc import Iterator

from pydantic import TypeAdapter, ValidationError

from fourm_schema.codebooks import LEARNED, codebook_fault
from fourm_schema.errors import Fault, nearest
from fourm_schema.modality import Modality
from fourm_schema.select import PLUGIN, SEVERAL_IDS, override_faults, select
from fourm_schema.sequence_rules import position_faults, vector_sequence_faults
from fourm_schema.set_rules import set_faults
from fourm_schema.special import FIRST_SENTINEL, sentinels_needed
from fourm_schema.value_rules import (
    class_faults,
    declared_classes,
    duplicate_faults,
    is_count,
    is_number,
    meant,
    pair_of_counts,
    range_faults,
    strings,
    vocabulary_faults,
)
from fourm_schema.yaml_tree import Path, Tree, shown


def schema_faults(tree: Tree) -> Iterator[Fault]:
    """Find every broken rule of a schema file."""
    for name in tree.mapping("modalities"):
        path: Path = ("modalities", name)
        yield from _common_faults(tree, path)
        match meant(tree.get(*path, "kind"), ("image", "vector", "set", "text")):
            case "image":
                yield from _image_faults(tree, path)
            case "vector":
                yield from _vector_faults(tree, path)
            case "text":
                yield from vocabulary_faults(tree, (*path, "vocabulary"))
                yield from position_faults(tree, path, "max_tokens")
            case "set":
                yield from set_faults(tree, path)
        yield from _choice_faults(tree, path)
    yield from _vocabulary_faults(tree)
    yield from _alias_faults(tree)
    yield from _cycle_faults(tree)


def _common_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    entry, others = tree.mapping(*path), [name for name in tree.mapping("modalities") if name != path[1]]
    yield from duplicate_faults(tree, (*path, "shown"), "is shown twice")
    ways, role = strings(entry.get("shown")), entry.get("role")
    dense = [way for way in ways if way in ("pixels", "values")]
    if dense and (role == "target" or (role == "both" and "tokens" not in ways)):
        what = f"must be input while {dense[0]} are shown: what is predicted are tokens"
        mend = (
            "write role: input, or add tokens to shown" if role == "both" else f"remove {dense[0]} from shown"
        )
        yield tree.fault((*path, "role"), what, shown(role), mend)
    for key in ("derive", "label"):
        origin, here = tree.get(*path, key, "from"), (*path, key, "from")
        if isinstance(origin, str) and origin not in others:
            what = "must be another modality" if origin == path[1] else "is no modality of this file"
            mend = nearest(origin, others) if others else "declare the one it comes from"
            yield tree.fault(here, what, shown(origin), mend)
    if isinstance(entry.get("derive"), dict) and isinstance(entry.get("label"), dict):
        yield tree.fault(
            (*path, "label"), "cannot stand beside derive", mend="keep one of the two", at_key=True
        )
    source = entry.get("source")
    if isinstance(source, dict) and ("file" in source) == ("field" in source):
        got = "both" if "file" in source else "neither"
        yield tree.fault((*path, "source"), "needs either file or field", got, at_key=True)


def _image_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    entry, ways, cell = tree.mapping(*path), strings(tree.get(*path, "shown")), (*path, "cell")
    size = pair_of_counts(entry.get("size"))
    for key in ("patch", "pixel_patch"):
        patch = pair_of_counts(entry.get(key))
        if size and patch and (size[0] % patch[0] or size[1] % patch[1]):
            what = f"must divide the size, {size[0]} x {size[1]}"
            yield tree.fault((*path, key), what, shown(entry[key]), _near_patch(size, patch))
    if "pixel_patch" in entry and "shown" not in entry:
        mend = "write shown: [pixels, tokens], or remove it"
        yield tree.fault(
            (*path, "pixel_patch"), "does nothing where no pixels are shown", mend=mend, at_key=True
        )
    yield from range_faults(tree, (*cell, "range"))
    yield from _scale_faults(tree, path, tree.get(*cell, "channels"), "channels")
    if (
        meant(tree.get(*cell, "type"), ("continuous", "direction", "categorical", "features"))
        != "categorical"
    ):
        return
    yield from class_faults(tree, (*cell, "classes"))
    if "pixels" in ways:
        where: Path = (*path, "shown", ways.index("pixels"))
        yield tree.fault(where, "a class map has no pixels to show", mend="write shown: [tokens]")
    ignore, names = tree.get(*cell, "ignore"), declared_classes(tree, (*cell, "classes"))
    is_class = ignore in range(len(names)) if isinstance(ignore, int) else ignore in names
    if ignore is not None and names and not is_class:
        yield tree.fault(
            (*cell, "ignore"), "is none of the classes", shown(ignore), nearest(str(ignore), names)
        )


def _near_patch(size: tuple[int, int], patch: tuple[int, int]) -> str:
    def best(side: int, wanted: int) -> int:
        fitting = [number for number in range(1, min(side, 65_536) + 1) if side % number == 0]
        return min(fitting, key=lambda number: abs(number - wanted))

    height, width = best(size[0], patch[0]), best(size[1], patch[1])
    return (
        f"the nearest that does is {height}"
        if height == width
        else f"the nearest that does is [{height}, {width}]"
    )


def _vector_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    entry, dim = tree.mapping(*path), tree.get(*path, "dim")
    for key in ("ranges", "names", "units"):
        given = entry.get(key)
        if not isinstance(given, list) or (key == "ranges" and any(is_number(item) for item in given)):
            continue
        if is_count(dim) and len(given) != dim and (len(given) != 1 or key in ("names", "units")):
            allowed = f"one for each of the {dim} numbers"
            one = "" if key in ("names", "units") else ", or one for all"
            yield tree.fault((*path, key), f"must be {allowed}{one}", str(len(given)))
    yield from range_faults(tree, (*path, "ranges"))
    for index, _ in enumerate(tree.items(*path, "ranges")):
        yield from range_faults(tree, (*path, "ranges", index))
    yield from duplicate_faults(tree, (*path, "names"), "is a name twice")
    yield from _scale_faults(tree, path, dim, "numbers")
    yield from vector_sequence_faults(tree, path)
    if "bins" in entry and "ranges" not in entry:
        mend = "give ranges: [lo, hi], or remove bins"
        yield tree.fault((*path, "bins"), "does nothing without ranges to cut", mend=mend, at_key=True)


def _scale_faults(tree: Tree, path: Path, count: object, what: str) -> Iterator[Fault]:
    """Means and deviations are one for all or one for each, and deviations are above 0."""
    entry, needed = tree.mapping(*path), 1 if count is None else count
    for key in ("mean", "std"):
        given = entry.get(key)
        if isinstance(given, list) and is_count(needed) and len(given) not in (1, needed):
            allowed = f"must be one for each of the {needed} {what}, or one for all"
            yield tree.fault((*path, key), allowed, str(len(given)))
    deviations = tree.items(*path, "std") or [entry.get("std")]
    if any(is_number(item) and item <= 0 for item in deviations):
        yield tree.fault((*path, "std"), "must be above 0", shown(entry["std"]))


def _choice_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    """Overrides name what exists; `vocab_size` is given where, and only where, it decides."""
    try:
        entry = _entry_type().validate_python(tree.get(*path))
    except ValidationError:
        return
    illegal = override_faults(entry)
    for key, (what, mend) in illegal.items():
        yield tree.fault((*path, key), what, mend=mend)
    if entry.kind not in ("image", "vector") or illegal or "tokens" not in entry.shown:
        return
    codec, given = select(entry, "tokens").codec, tree.get(*path, "vocab_size")
    if "tokens" in tree.mapping(*path) and codec not in SEVERAL_IDS:
        what = f"does nothing: the codec {codec!r} has one token per number"
        yield tree.fault((*path, "tokens"), what, mend="remove it", at_key=True)
    if codec == "ids" and len(entry.shown) > 1:
        what = f"cannot show {entry.shown[0]} beside ids: a value is one or the other"
        yield tree.fault((*path, "shown"), what, mend="declare them as two modalities")
    if (codec.startswith(PLUGIN) or codec in ("ids", "vq-4m")) and given is None:
        what = f"must say how many token ids {codec!r} has"
        yield tree.fault((*path, "vocab_size"), what, mend="write vocab_size: N")
    elif codec in ("levels", "bins") and given is not None:
        what = f"does nothing: the codec {codec!r} has as many ids as the values need"
        yield tree.fault((*path, "vocab_size"), what, mend="remove it", at_key=True)
    elif codec in LEARNED and is_count(given) and (fault := codebook_fault(codec, given)):
        yield tree.fault((*path, "vocab_size"), fault[0], str(given), fault[1])


@functools.cache
def _entry_type() -> TypeAdapter[Modality]:
    return TypeAdapter(Modality)


def _vocabulary_faults(tree: Tree) -> Iterator[Fault]:
    declared, needs = tree.mapping("vocabularies"), dict[str, int]()
    for name in tree.mapping("modalities"):
        entry = tree.mapping("modalities", name)
        if meant(entry.get("kind"), ("image", "vector", "set", "text")) == "set":
            fields = tree.mapping("modalities", name, "fields")
            needs |= {word: needs.get(word, 0) for word in map(_vocabulary_named, fields.values()) if word}
        for written in (entry, entry.get("dialect")):
            if isinstance(written, dict) and (word := _vocabulary_named(written)):
                longest = written.get("max_tokens")
                needs[word] = max(needs.get(word, 0), longest if is_count(longest) else 0)
    for name in declared:
        path: Path = ("vocabularies", name)
        if name not in needs:
            if any(word not in declared and meant(word, [name]) for word in needs):
                continue  # a text that names it with a slip is told so
            yield tree.fault(
                path, "is used by no modality", mend="remove it, or name it in a text", at_key=True
            )
            continue
        wanted, given, size = (
            sentinels_needed(needs[name]),
            tree.get(*path, "sentinels"),
            tree.get(*path, "size"),
        )
        if is_count(given) and given < wanted:
            what = f"must be {wanted} or more: the longest text has {needs[name]} tokens"
            yield tree.fault((*path, "sentinels"), what, str(given), "leave it out to have as many as needed")
        special = FIRST_SENTINEL + (given if is_count(given) else wanted)
        if is_count(size) and size <= special:
            what = f"leaves no word: {special} ids are special tokens and sentinels"
            yield tree.fault((*path, "size"), what, str(size), f"make it larger than {special}")


def _vocabulary_named(entry: object) -> str | None:
    name = entry.get("vocabulary") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else None


def _alias_faults(tree: Tree) -> Iterator[Fault]:
    taken = {name: name for name in tree.mapping("modalities")}
    for name in tree.mapping("modalities"):
        for index, alias in enumerate(tree.items("modalities", name, "aliases")):
            if isinstance(alias, str) and alias in taken:
                where: Path = ("modalities", name, "aliases", index)
                yield tree.fault(
                    where, f"{alias!r} already names {taken[alias]}", mend="choose another, or remove it"
                )
            elif isinstance(alias, str):
                taken[alias] = name


def _cycle_faults(tree: Tree) -> Iterator[Fault]:
    """Following `derive` and `label` back from a modality never leads to it again."""
    origin: dict[str, str] = {}
    for name in tree.mapping("modalities"):
        for key in ("derive", "label"):
            found = tree.get("modalities", name, key, "from")
            if isinstance(found, str) and found != name:
                origin.setdefault(name, found)
    reported: set[str] = set()
    for name in origin:
        chain = [name]
        while chain[-1] in origin and origin[chain[-1]] not in chain:
            chain.append(origin[chain[-1]])
        if origin.get(chain[-1]) == name and name not in reported:
            reported.update(chain)
            key = "derive" if isinstance(tree.get("modalities", name, "derive", "from"), str) else "label"
            what = f"comes round to itself: {' <- '.join([*chain, name])}"
            yield tree.fault(
                ("modalities", name, key, "from"), what, mend="give one of them a source of its own"
            )
