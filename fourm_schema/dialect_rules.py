"""Rules of sets that are written in the words of 4M: they are one of the forms that 4M has."""

from collections.abc import Iterator

from pydantic import ValidationError

from fourm_schema.errors import Fault
from fourm_schema.released_forms import (
    COORDINATES,
    FORMS,
    MOST_ITEMS,
    ORDERS,
    FormName,
    differences,
    field_of,
    form_of_fields,
    says,
)
from fourm_schema.sequence_rules import position_faults
from fourm_schema.value_rules import is_count, vocabulary_faults
from fourm_schema.yaml_tree import Path, Tree, shown


def dialect_faults(tree: Tree, path: Path) -> Iterator[Fault]:
    """Find what is wrong with a set in the words of 4M; nothing where a set has tokens of its own."""
    if not isinstance(tree.get(*path, "dialect"), dict):
        return
    yield from vocabulary_faults(tree, (*path, "dialect", "vocabulary"))
    yield from position_faults(tree, (*path, "dialect"), "max_tokens")
    fields = [str(name) for name in tree.mapping(*path, "fields")]
    form = form_of_fields(fields)
    if form is None:
        if fields:
            yield tree.fault(
                (*path, "fields"), "are no records that 4M writes", ", ".join(fields), _nearest(fields)
            )
        return
    for name in fields:
        yield from _field_faults(tree, (*path, "fields", name), form)
    order = tree.get(*path, "order")
    if isinstance(order, str) and order not in ORDERS[form]:
        what = f"4M writes {form} in no such order"
        yield tree.fault((*path, "order"), what, shown(order), f"legal: {', '.join(ORDERS[form])}")
    items, most = tree.get(*path, "max_items"), MOST_ITEMS.get(form)
    if is_count(items) and most is not None and items > most:
        count = "one record" if most == 1 else f"at most {most} records"
        yield tree.fault((*path, "max_items"), f"4M writes {count} of {form}", str(items), f"write {most}")


def _field_faults(tree: Tree, path: Path, form: FormName) -> Iterator[Fault]:
    name = str(path[-1])
    content = _tuples(tree.get(*path))
    try:
        field = says(content)
    except ValidationError:
        return  # told as a fault of the field itself
    wanted = field_of(form, name)
    for key in differences(form, name, field):
        what = f"{key} of {name} is fixed where {form} are written in 4M's words"
        got = getattr(field, key, None)
        mend = f"write {key}: {shown(_lists(getattr(wanted, key)))}, or leave the dialect out"
        where = (*path, key) if key in tree.mapping(*path) else path
        yield tree.fault(where, what, shown(_lists(got)), mend, at_key=where == path)
    bins = getattr(field, "bins", None)
    if form == "detections" and name == "box" and isinstance(bins, int) and bins > COORDINATES:
        yield tree.fault(
            (*path, "bins"), f"4M has words for {COORDINATES} coordinates", str(bins), f"write {COORDINATES}"
        )


def _nearest(fields: list[str]) -> str:
    """The form that shares most names with these fields."""

    def apart(form: FormName) -> tuple[int, int]:
        return -len(set(FORMS[form]) & set(fields)), len(set(FORMS[form]) ^ set(fields))

    best = min(FORMS, key=apart)
    known = "; ".join(
        f"{form}: {'some of its own, e.g. original_width' if form == 'metadata' else ', '.join(FORMS[form])}"
        for form in sorted(FORMS, key=lambda form: form != best)
    )
    return f"the forms and their fields are {known}"


def _tuples(content: object) -> object:
    if isinstance(content, dict):
        return {key: _tuples(value) for key, value in content.items()}
    return tuple(_tuples(item) for item in content) if isinstance(content, list) else content


def _lists(content: object) -> object:
    return [_lists(item) for item in content] if isinstance(content, list | tuple) else content
