"""Where a pydantic error stands in the file, and which names are legal there.

Pydantic locates an error by the path through its *validators*, which has a step more than the file for
each union (the name of the member it tried). Models are walked here to tell the two kinds of step apart.
"""

import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fourm_schema.yaml_tree import Path, child

Annotation = Any  # whatever may stand after a colon in a class body: typing has no narrower name for it


@attrs.frozen
class Place:
    """Where in the file a pydantic error belongs.

    Attributes:
        path: keys and indices of the file.
        at_key: the key itself is wrong, not its value.
        branches: (path of a union, member tried there) on the way.
        field: the declaration of the last key, where there is one.
        members: the types its value may have.
    """

    path: Path
    at_key: bool
    branches: tuple[tuple[Path, str], ...]
    field: FieldInfo | None
    members: tuple[Annotation, ...] = ()


def origin_of(annotation: Annotation) -> object:
    """`typing.get_origin`, typed as what it is: anything."""
    return get_origin(annotation)


def locate(model: type[BaseModel], location: tuple[str | int, ...]) -> Place:
    """Translate the location of a pydantic error to a path of the file."""
    path: Path = ()
    here: list[Annotation] = [model]
    branches: list[tuple[Path, str]] = []
    field: FieldInfo | None = None
    in_member = False
    for step in location:
        if step == "[key]":
            return Place(path, True, tuple(branches), None)
        if len(here) > 1 and not in_member:
            branches.append((path, str(step)))
            here = [member for member in here if _is_member(member, str(step))] or here
            in_member = True
            continue
        field = next((found for member in here if (found := _field(member, step))), None)
        here = [inner for member in here for inner in _inside(member, step)]
        path, in_member = (*path, step), False
    return Place(path, False, tuple(branches), field, tuple(here))


def keys_at(model: type[BaseModel], data: object, path: Path) -> list[str]:
    """Keys that the mapping at a path may have; empty where it is free or no mapping."""
    return [key for member in _types_at(model, data, path) if _is_model(member) for key in keys_of(member)]


def is_free(model: type[BaseModel], data: object, path: Path) -> bool:
    """Whether the mapping at a path may have keys of any name."""
    return any(origin_of(member) is dict for member in _types_at(model, data, path))


def _types_at(model: type[BaseModel], data: object, path: Path) -> list[Annotation]:
    here: list[Annotation] = [model]
    for step in path:
        here = [inner for member in _fitting(here, data) for inner in _inside(member, step)]
        data = child(data, step)
    return _fitting(here, data)


def keys_of(model: type[BaseModel]) -> list[str]:
    """Keys of a model as the file writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def members(annotation: Annotation) -> list[Annotation]:
    """The types an annotation allows, without `None` and the unions around them."""
    origin = origin_of(annotation)
    if origin is Annotated:
        return members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in members(part)]
    return [] if annotation is type(None) else [annotation]


def _is_model(annotation: Annotation) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _field(member: Annotation, step: str | int) -> FieldInfo | None:
    if not _is_model(member):
        return None
    found = (field for name, field in member.model_fields.items() if step == (field.alias or name))
    return next(found, None)


def _inside(member: Annotation, step: str | int) -> list[Annotation]:
    """What an annotation allows one step further in."""
    if _is_model(member):
        field = _field(member, step)
        return members(field.annotation) if field else []
    origin, inner = origin_of(member), get_args(member)
    if not inner or origin is Literal:
        return []
    if origin is dict:
        return members(inner[1])
    if origin is tuple and Ellipsis not in inner:
        return members(inner[step]) if isinstance(step, int) and step < len(inner) else []
    return members(inner[0])


def _tags(model: type[BaseModel]) -> dict[str, tuple[object, ...]]:
    """Keys whose value is fixed by the model: what tells the members of a union apart."""
    return {
        field.alias or name: get_args(field.annotation)
        for name, field in model.model_fields.items()
        if origin_of(field.annotation) is Literal and field.is_required()
    }


def tags_of(alternatives: Iterable[Annotation], key: str) -> list[object]:
    """Values of a tag key, one or more for each model of a union."""
    return [value for model in alternatives if _is_model(model) for value in _tags(model).get(key, ())]


def _fitting(here: list[Annotation], data: object) -> list[Annotation]:
    """Members of a union that the tags in the data leave over; all of them if none does."""
    if not isinstance(data, dict) or len(here) < 2:
        return here
    fitting = [
        member
        for member in here
        if _is_model(member)
        and all(data[key] in values for key, values in _tags(member).items() if key in data)
    ]
    return fitting or here


def _is_member(member: Annotation, name: str) -> bool:
    if _is_model(member):
        tags = [value for values in _tags(member).values() for value in values]
        return name == member.__name__ or name in tags
    kind = origin_of(member) or member
    return name.startswith(getattr(kind, "__name__", str(kind)))
