"""The whole file: vocabularies and modalities."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from fourm_schema.errors import PlanError, nearest
from fourm_schema.modality import Modality, Name
from fourm_schema.rules import schema_faults
from fourm_schema.set_fields import Frozen
from fourm_schema.yaml_tree import Tree


class Wordpiece(Frozen):
    """A word vocabulary that text modalities share."""

    kind: Literal["wordpiece"] = Field(description="how words are cut into pieces")
    size: Annotated[int, Field(ge=16, le=2**20)] = Field(
        description="token ids, those of special tokens and sentinels included"
    )
    lowercase: bool = Field(True, description="letters are lowercased first")
    rows: Literal["shared", "own"] = Field(
        "shared", description="its texts share their rows of the model's tables, or each has rows of its own"
    )
    sentinels: Annotated[int, Field(ge=2, le=2**16)] | None = Field(
        None, description="sentinels that mark masked spans; left out: as many as the longest text can need"
    )


class Schema(Frozen):
    """What the data is. Built by `fourm_schema.load_schema` from a file, or from Python values.

    Raises:
        pydantic.ValidationError: if built from Python and a rule of `fourm_schema.rules` does not hold.
    """

    version: Literal[1] = Field(description="version of this file format")
    vocabularies: dict[Name, Wordpiece] = Field(
        default_factory=dict, description="word vocabularies, by name"
    )
    modalities: dict[Name, Modality] = Field(
        min_length=1, description="modalities, by name; their order is the order of the streams"
    )

    @model_validator(mode="after")
    def _rules_hold(self, info: ValidationInfo) -> Self:
        # The loader has already run the rules over the raw file, where they see more and know the lines.
        if info.context is None or "rules_checked" not in info.context:
            faults = list(
                schema_faults(Tree(self.model_dump(mode="json", by_alias=True, exclude_unset=True)))
            )
            if faults:
                raise ValueError("\n".join(map(str, faults)))
        return self

    def modality(self, name: str) -> Modality:
        """Find a modality by its name or one of its aliases.

        Raises:
            PlanError: if nothing has that name; the message lists what has.
        """
        if name in self.modalities:
            return self.modalities[name]
        for entry in self.modalities.values():
            if name in entry.aliases:
                return entry
        raise PlanError(name, "is no modality of this schema", mend=nearest(name, list(self.modalities)))
