"""What an agent asks of people: the `data` of an `approval.requested`, read and checked. Pure.

What is missing gets its default; what is wrong or can never be met is a fault, and the question is not put to anybody.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from planner.answering import schema_faults
from tracker.envelope import Text, dumps
from tracker.linking import storable

ASKED = "approval.requested"  # the type of the request
TEN_YEARS = 10 * 366 * 24 * 3600
Verb = Literal["approve", "reject", "edit", "respond"]
VERBS: tuple[Verb, ...] = ("approve", "reject", "edit", "respond")
Risk = Literal["low", "medium", "high"]
OnExpiry = Literal["reject", "approve", "escalate"]


class Wrong(ValueError):
    """The question cannot be put; the text names every fault."""

    def __init__(self, faults: list[dict[str, str]]) -> None:
        """`faults`: a pointer and a detail each."""
        super().__init__("; ".join(f"{fault['pointer'][1:] or 'data'}: {fault['detail']}" for fault in faults))
        self.faults = faults


def _names(value: Any) -> Any:
    """One name may stand for a list of one; `user:alice` is alice; nobody is named twice."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return value
    plain = (name.strip().removeprefix("user:") for name in value)
    return list(dict.fromkeys(plain))


def _distinct(verbs: list[Verb]) -> list[Verb]:
    return [verb for verb in VERBS if verb in verbs]  # in the order of the table


Prose = Annotated[str, AfterValidator(lambda text: storable(text, longest=len(text)))]
Name = Annotated[Text, Field(min_length=1)]
Names = Annotated[list[Name], BeforeValidator(_names), Field(max_length=100)]


class Question(BaseModel):
    """A question as it is put. `escalate_to`: who is asked next, in turn; `expires_in`: seconds, None for never."""

    model_config = ConfigDict(extra="ignore")

    title: Annotated[Prose, Field(max_length=1_000)] = ""
    description: Annotated[Prose, Field(max_length=100_000)] = ""
    action: Text = ""
    args: Any = None
    options: list[Any] | None = None
    response_schema: dict[str, Any] | None = None
    allow: Annotated[list[Verb], Field(min_length=1), AfterValidator(_distinct)] = list(VERBS)
    assignees: Names = []
    quorum: Annotated[int, Field(ge=1, le=100)] = 1
    reject_quorum: Annotated[int, Field(ge=1, le=100)] = 1
    reject_needs_comment: bool = False
    expires_in: Annotated[float, Field(gt=0, le=TEN_YEARS, allow_inf_nan=False)] | None = None
    on_expiry: OnExpiry = "reject"
    escalate_to: Names = []
    risk: Risk = "medium"
    blocks: Text = ""

    @model_validator(mode="after")
    def _can_be_met(self) -> "Question":
        """Who must agree is there to agree, and whoever is to be asked next has a name."""
        if self.assignees and max(self.quorum, self.reject_quorum) > len(self.assignees):
            raise ValueError(f"a quorum larger than the {len(self.assignees)} assignees can never be met")
        if self.on_expiry == "escalate" and not self.escalate_to:
            raise ValueError("to escalate, escalate_to must name somebody")
        if self.escalate_to and not self.assignees and max(self.quorum, self.reject_quorum) > 1:
            raise ValueError("a quorum of several with escalate_to needs assignees")
        self.title = self.title.strip() or self.action or "Approval requested"
        return self

    def columns(self) -> dict[str, Any]:
        """The question as a row keeps it: lists and free-form values as JSON text."""
        texts = ("args", "options", "response_schema", "allow", "assignees", "escalate_to")
        said = {name: getattr(self, name) for name in type(self).model_fields}
        return said | {name: dumps(said[name]) for name in texts}


def question(data: dict[str, Any]) -> Question:
    """The question that a request's data asks; raises Wrong. What is null counts as absent."""
    try:
        asked = Question.model_validate({name: value for name, value in data.items() if value is not None})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise Wrong([{"pointer": _pointer(fault["loc"]), "detail": _plain(fault["msg"])} for fault in found]) from None
    if asked.response_schema is not None and (why := schema_faults(asked.response_schema)):
        raise Wrong([{"pointer": "/response_schema", "detail": why}])
    return asked


def _pointer(loc: tuple[str | int, ...]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in loc)


def _plain(message: str) -> str:
    return storable(message.removeprefix("Value error, "), 500)
