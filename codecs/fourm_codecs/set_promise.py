"""What every law of sets says of the records that come back, and how it compares them."""

from collections.abc import Mapping, Sequence

from fourm_codecs.set_values import Form


def said_order(order: str) -> str:
    """The order of a set, as the end of a sentence on its records.

    >>> said_order("area")
    ', sorted by area'
    """
    return {"given": "", "random": ", whatever their order"}.get(order, f", sorted by {order}")


def said_bounds(forms: Mapping[str, Form], lead: str) -> str:
    """How far the fields may be off, as the end of a sentence on records.

    Args:
        forms: field -> its form.
        lead: what comes before the bounds, where there are some.
    """
    bounds = [f"{name} {form.promise()}" for name, form in forms.items() if form.promise()]
    return f", {lead}: {', '.join(bounds)}" if bounds else " as they are"


def records_apart(
    forms: Mapping[str, Form], given: Sequence[Mapping[str, object]], back: Sequence[Mapping[str, object]]
) -> list[str]:
    """How records that came back break the promises of their fields.

    Args:
        forms: field -> its form.
        given: what was encoded; a field that a record lacks is to come back absent.
        back: what came back, in the same order.
    """
    if len(given) != len(back):
        return [f"{len(given)} records came back as {len(back)}"]
    return [
        f"item {number}, field {name!r}: {fault}"
        for number, (record, other) in enumerate(zip(given, back, strict=True))
        for name, form in forms.items()
        if (fault := _apart(form, record.get(name), other.get(name)))
    ]


def _apart(form: Form, value: object, back: object) -> str:
    if value is None or back is None:
        return "" if value is back else f"{value!r} came back as {back!r}"
    return form.apart(value, back)
