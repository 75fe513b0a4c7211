"""The tool seam: something that a policy asks for comes in, one result per input goes out.

A call that failed is data: a result with an `error` that the policy is told and the record keeps, never
an exception and never an empty list without a reason.

    >>> schema = ToolSchema("open", "Open a page.", (Argument("address", "Its address."),))
    >>> schema.parameters["required"]
    ['address']
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from innersearch.grammar import Action
from innersearch.search.base import SearchRequest, SearchResult
from innersearch.types import Call, Source


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a tool."""

    name: str
    description: str
    several: bool = False
    """Whether it is a list of texts."""


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """What a policy is told about a tool: in chat templates, over MCP and in the docs."""

    name: str
    description: str
    """One sentence."""
    arguments: tuple[Argument, ...] = ()
    """The first one holds the inputs."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Its arguments as JSON schema."""
        texts = {"type": "string"}
        return {
            "type": "object",
            "properties": {
                argument.name: {
                    **({"type": "array", "items": texts} if argument.several else texts),
                    "description": argument.description,
                }
                for argument in self.arguments
            },
            "required": [argument.name for argument in self.arguments[:1]],
        }

    @property
    def function(self) -> dict[str, Any]:
        """As chat templates and APIs take it."""
        told = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": told}


class Written(NamedTuple):
    """The content of a block that the policy closed."""

    text: str
    logprobs: Sequence[float] = ()
    """Of each token with a character in it; natural log."""
    entropies: Sequence[float] = ()
    """Of the sampling distributions of these tokens; nats."""
    tokens: int = 0
    """How many they are."""


NOTHING_WRITTEN = Written("")
"""The block of a request that no policy wrote."""


@dataclass(frozen=True, slots=True)
class ToolRequest(SearchRequest):
    """The first input of a call, with the trajectory that asks and the block it was written in."""

    written: Written = NOTHING_WRITTEN


class Draft(NamedTuple):
    """What a policy wrote to see what it knows; its text is None where it wrote no information."""

    text: str | None
    logprobs: Sequence[float]
    entropies: Sequence[float]
    tokens: int
    """All that were sampled for it."""


class Found(NamedTuple):
    """A document that a search of a trajectory returned."""

    address: str
    """Of the document, or its id where it has none."""
    query: str
    turn: int
    """How often the policy had written by then: results of one turn share it."""


class Pen(Protocol):
    """The policy itself, lent to a tool for as long as it is in use: it goes on from its own request."""

    async def write(self) -> Draft:
        """Let the policy write the information; it stays in the trajectory unless it is taken back."""

    async def samples(self, count: int) -> list[Draft]:
        """Further ways in which it would, drawn at temperature 1; they leave no trace."""

    def take_back(self) -> None:
        """Undo `write`."""


@dataclass
class State:
    """What belongs to one trajectory while it is made; created with it, and seen by its tools only."""

    identity: tuple[str | int, ...] = ()
    """Group and repetition: what random numbers depend on."""
    generations: int = 0
    """How often the policy was asked to write."""
    calls: int = 0
    """Inputs that were answered."""
    memory: dict[str, Any] = field(default_factory=dict)
    """What each tool keeps, by its name."""
    notes: dict[str, str | Sequence[str]] = field(default_factory=dict)
    """What tools want the policy to see in every prompt that is rendered anew, by its heading: a text,
    or the same in several degrees of detail, the fullest first."""
    chosen: Sequence[str] | None = None
    """The ids of the documents that were chosen, where choosing is the task; see `Trajectory`."""
    found: list[Found] = field(default_factory=list)
    """What searches returned, in order."""
    pen: Pen | None = None
    """None outside of episodes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an action: one result per input, in order, so that no batch can shift one against the
    other.
    """

    results: tuple[SearchResult | None, ...]
    """Documents or an error each; None where the policy writes the result itself."""
    calls: tuple[Call, ...]
    """The records, one per input; ids and turns are set by whoever keeps them."""
    ends: bool = False
    """Whether the trajectory ends with it."""
    notice: str = ""
    """What the policy is told instead of results, where there is nothing to show."""
    max_tokens: int | None = None
    """Tokens that each result may have; as many as that of a search where it says nothing."""


class Tool(Protocol):
    """Something that a policy can use."""

    @property
    def schema(self) -> ToolSchema:
        """What a policy is told about it."""

    async def use(self, action: Action, request: ToolRequest, state: State) -> Outcome:
        """Do what is asked for.

        Args:
            action: The inputs and options of the call.
            request: The first input with the trajectory that asks, and the block it was written in.
            state: What belongs to this trajectory.
        """

    async def close(self) -> None:
        """Let go of what it holds; it is not used again."""


@runtime_checkable
class ListeningTool(Tool, Protocol):
    """A tool that lets the policy go on by itself at times."""

    def listens(self, state: State) -> bool:
        """Whether the next call is to be answered by it."""


def is_free(tool: Tool | None) -> bool:
    """Whether a tool costs nothing but the tokens of its call, so that the last turn may use it."""
    return bool(getattr(tool, "free", False))


def failed(action: Action, error: str, notice: str = "") -> Outcome:
    """The outcome of an action that failed as a whole, an error for each of its inputs."""
    inputs = action.inputs
    result = SearchResult(error=error)
    calls = (Call(0, text, Source.FORCED, error=error, tool=action.tool) for text in inputs)
    return Outcome((result,) * len(inputs), tuple(calls), notice=notice)


def unknown(action: Action, tools: Collection[str]) -> Outcome:
    """The outcome of an action that no tool of that name can do, which the policy is told."""
    notice = f"There is no tool {action.tool}; there are: {', '.join(sorted(tools))}."
    return failed(action, "there is no tool of that name", notice)
