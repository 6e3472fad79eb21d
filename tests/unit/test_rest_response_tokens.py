"""The log-probabilities of a response's text: tokens of tags, reasoning and calls are left out."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tokenwire.rest.responses.content_tokens import ContentTokens
from tokenwire.v1.chat_pb2 import Delta, TokenLogprob, ToolCallDelta


def tokens(*texts: str) -> list[TokenLogprob]:
    return [TokenLogprob(token=text, bytes=text.encode()) for text in texts]


# As the chat service gives them: the text of a token comes once it is final, its log-probability with it or later.
DELTAS = (
    Delta(logprobs=tokens("<think>")),
    Delta(reasoning="Is ", logprobs=tokens("Is ")),
    Delta(reasoning="it?", logprobs=tokens("it?")),
    Delta(logprobs=tokens("</think>", "\n\n")),
    Delta(content="It ", logprobs=tokens("It ")),
    Delta(content="is 4 \N{DEGREE SIGN}."),
    Delta(logprobs=tokens("is 4 ")),
    Delta(logprobs=tokens("\N{DEGREE SIGN}.")),
    Delta(logprobs=tokens("\n", "<tool_call>")),
    Delta(tool_calls=[ToolCallDelta(id="c", name="f")], logprobs=tokens('{"name": "f"')),
    Delta(tool_calls=[ToolCallDelta(arguments="{}")], logprobs=tokens(", {}", "}")),
    Delta(logprobs=tokens("</tool_call>", "")),
)
CONTENT = ["It ", "is 4 ", "\N{DEGREE SIGN}."]


def found(deltas: list[Delta], *, has_calls: bool) -> list[str]:
    content = ContentTokens()
    released = [token for delta in deltas for token in content.push(delta)]
    return [token.token for token in (*released, *(() if has_calls else content.end()))]


def merged(deltas: tuple[Delta, ...], cuts: set[int]) -> list[Delta]:
    """Neighbours joined but at the cuts, as for a slow reader."""
    places = [0, *sorted(cut for cut in cuts if cut < len(deltas)), len(deltas)]
    joined = []
    for start, end in pairwise(places):
        delta = Delta()
        for each in deltas[start:end]:
            delta.content += each.content
            delta.reasoning += each.reasoning
            delta.logprobs.extend(each.logprobs)
            delta.tool_calls.extend(each.tool_calls)
        joined.append(delta)
    return joined


@given(st.sets(st.integers(1, len(DELTAS) - 1)))
def test_the_tokens_of_the_content_are_found_however_deltas_are_merged(cuts: set[int]) -> None:
    assert found(merged(DELTAS, cuts), has_calls=True) == CONTENT


@given(st.sets(st.integers(1, 5)))
def test_a_plain_answer_has_all_of_its_tokens_and_the_end_of_text(cuts: set[int]) -> None:
    deltas = (*(Delta(content=text, logprobs=tokens(text)) for text in CONTENT), Delta(logprobs=tokens("")))
    assert found(merged(deltas, cuts), has_calls=False) == [*CONTENT, ""]
