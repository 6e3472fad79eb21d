"""The grammar of tool calls, asked of llguidance itself: what a model may write, and that it is read back as calls."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
from llguidance import LLMatcher
from tokenizers import AddedToken

from support.answers import Answer, read, written_calls
from support.fake_engine import make_info
from support.tiny import make_tokenizer
from tokenwire.chat.answer.detokenizer import Detokenizer
from tokenwire.chat.answer.reader import AnswerForm
from tokenwire.chat.answer.reasoning import Reasoning, before
from tokenwire.chat.constraint.tool_grammar import tool_rule
from tokenwire.chat.model import ServedModel
from tokenwire.chat.tool_syntax import SYNTAXES, ToolSyntax
from tokenwire.engine.grammar.compiler import GrammarCompiler
from tokenwire.v1.chat_pb2 import FunctionDefinition, Tool, ToolChoice, ToolChoiceMode

AUTO = ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_AUTO)
REQUIRED = ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED)
NAMED = ToolChoice(function_name="get")

SCHEMAS: Mapping[str, Mapping[str, object]] = {
    "get": {
        "type": "object",
        "properties": {"key": {"enum": ["</tool_call>", '"}]', "é"]}, "deep": {"type": "boolean"}},
        "required": ["key"],
        "additionalProperties": False,
    },
    "get_weather": {
        "type": "object",
        "properties": {"days": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 3}},
        "required": ["days"],
        "additionalProperties": False,
    },
    "now": {"type": "object", "properties": {}, "additionalProperties": False},
}
GET = ("get", '{"key": "é"}')
WEATHER = ("get_weather", '{"days": [1,2]}')
MARKS = ("[TOOL_CALLS]", "[ARGS]", "<tool_call>", "</tool_call>", "<think>", "</think>")
WIDTH = 512  # of the vocabulary, in tokens


@dataclass(frozen=True)
class Tokens:
    """A vocabulary, with llguidance's view of it."""

    model: ServedModel
    compiler: GrammarCompiler

    def matcher(self, choice: ToolChoice, syntax: ToolSyntax, form: AnswerForm, *, parallel: bool = True) -> LLMatcher:
        """llguidance at the beginning of an answer."""
        tools = [Tool(function=FunctionDefinition(name=name)) for name in SCHEMAS]
        rule = tool_rule(
            tools, choice, parallel=parallel, syntax=syntax, tokenizer=self.model.tokenizer, schemas=SCHEMAS
        )
        expression, definitions = before(form.reasoning, self.model.tokenizer)
        return self.compiler.compile(rule.grammar(before=expression, definitions=definitions)).deep_copy()

    def ids(self, text: str) -> list[int]:
        """Tokens of an answer, marks as special tokens where the vocabulary has these."""
        tokenizer = self.model.tokenizer
        pieces = tokenizer.special_pieces(text)
        return [i for piece in pieces for i in ([piece] if isinstance(piece, int) else tokenizer.encode_text(piece))]


def load(folder: Path, marks: Sequence[str]) -> Tokens:
    tokenizer = make_tokenizer(folder)
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    tokenizer.save(str(folder / "tokenizer.json"))
    model = ServedModel.load("tiny", make_info(folder, vocabulary_size=WIDTH))
    return Tokens(model, GrammarCompiler(model.vocabulary(), width=WIDTH))


@pytest.fixture(scope="module", params=["marks as text", "marks as special tokens"])
def tokens(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return load(tmp_path_factory.mktemp("tokens"), MARKS if request.param == "marks as special tokens" else ())


@pytest.fixture(scope="module", params=SYNTAXES)
def syntax(request: pytest.FixtureRequest) -> ToolSyntax:
    return SYNTAXES[request.param]


class Judge:
    """Says whether answers are complete by the grammar of one choice."""

    def __init__(self, tokens: Tokens, syntax: ToolSyntax, choice: ToolChoice, *, parallel: bool = True) -> None:
        self._tokens = tokens
        self._matcher = tokens.matcher(choice, syntax, AnswerForm(tools=syntax), parallel=parallel)

    def allows(self, text: str) -> bool:
        matcher = self._matcher.deep_copy()
        return matcher.consume_tokens(self._tokens.ids(text)) and matcher.is_accepting()


def test_auto_allows_text_and_calls_and_text_before_calls(tokens: Tokens, syntax: ToolSyntax) -> None:
    judge = Judge(tokens, syntax, AUTO)
    calls = written_calls(syntax, [GET, WEATHER])
    assert judge.allows("")
    assert judge.allows("Hello, <tool you>, {x} [TOOL]")
    assert judge.allows(calls)
    assert judge.allows(f"Well,\n{calls}")


def test_auto_allows_nothing_but_calls_after_the_trigger(tokens: Tokens, syntax: ToolSyntax) -> None:
    judge = Judge(tokens, syntax, AUTO)
    call = written_calls(syntax, [GET])
    assert not judge.allows(syntax.trigger)
    assert not judge.allows(f"{syntax.trigger} is how calls begin")
    assert not judge.allows(call[:-1])
    assert not judge.allows(f"{call} and more")


def test_required_allows_calls_and_nothing_else(tokens: Tokens, syntax: ToolSyntax) -> None:
    judge = Judge(tokens, syntax, REQUIRED)
    assert judge.allows(written_calls(syntax, [WEATHER]))
    assert judge.allows(written_calls(syntax, [WEATHER, ("now", "{}"), GET]))
    assert not judge.allows("")
    assert not judge.allows("Well,")
    assert not judge.allows(f"Well, {written_calls(syntax, [GET])}")


def test_a_named_choice_allows_one_call_of_that_function(tokens: Tokens, syntax: ToolSyntax) -> None:
    judge = Judge(tokens, syntax, NAMED)
    assert judge.allows(written_calls(syntax, [GET]))
    assert not judge.allows(written_calls(syntax, [WEATHER]))
    assert not judge.allows(written_calls(syntax, [GET, GET]))
    assert not judge.allows("")


@pytest.mark.parametrize("choice", [AUTO, REQUIRED], ids=["auto", "required"])
def test_without_parallel_calls_there_is_at_most_one(tokens: Tokens, syntax: ToolSyntax, choice: ToolChoice) -> None:
    judge = Judge(tokens, syntax, choice, parallel=False)
    assert judge.allows(written_calls(syntax, [GET]))
    assert not judge.allows(written_calls(syntax, [GET, WEATHER]))


def test_arguments_are_those_of_the_function(tokens: Tokens, syntax: ToolSyntax) -> None:
    judge = Judge(tokens, syntax, REQUIRED)
    assert not judge.allows(written_calls(syntax, [("get", WEATHER[1])]))
    assert not judge.allows(written_calls(syntax, [("get_weather", GET[1])]))
    assert not judge.allows(written_calls(syntax, [("get_", "{}")]))
    assert not judge.allows(written_calls(syntax, [("now", ' {"x": 1}')]))


def test_a_trigger_that_is_spelled_where_it_is_a_special_token_is_no_text(tmp_path: Path) -> None:
    tokens = load(tmp_path, MARKS)
    for syntax in SYNTAXES.values():
        spelled = tokens.model.tokenizer.encode_text(f"Hi {syntax.trigger} there")
        if not syntax.only_at_start:
            assert not tokens.matcher(AUTO, syntax, AnswerForm()).consume_tokens(spelled)


def test_calls_of_llama_begin_at_the_start_or_are_text(tokens: Tokens) -> None:
    judge = Judge(tokens, SYNTAXES["llama3"], AUTO)
    assert judge.allows('Like {"name": "get", or so')
    assert not judge.allows('\n{"name": "get", or so')


@pytest.mark.parametrize("reasoning", [Reasoning.OPEN, Reasoning.POSSIBLE])
def test_what_is_thought_of_calls_is_free(tokens: Tokens, syntax: ToolSyntax, reasoning: Reasoning) -> None:
    form = AnswerForm(reasoning, syntax)
    matcher = tokens.matcher(REQUIRED, syntax, form)
    call = written_calls(syntax, [GET])
    tag = "<think>" if reasoning is Reasoning.POSSIBLE else ""
    thought = tokens.model.tokenizer.encode_text(f"Shall I write {syntax.trigger}?")
    ids = [*tokens.ids(tag), *thought, *tokens.ids(f"</think>\n\n{call}")]
    assert matcher.consume_tokens(ids)
    assert matcher.is_accepting()


def test_reasoning_that_is_possible_may_be_left_out_and_text_does_not_begin_like_it(
    tokens: Tokens, syntax: ToolSyntax
) -> None:
    matcher = tokens.matcher(AUTO, syntax, AnswerForm(Reasoning.POSSIBLE, syntax))
    assert matcher.deep_copy().consume_tokens(tokens.ids("Hello <think"))
    assert not matcher.consume_tokens(tokens.ids(f"<think>a</think>{written_calls(syntax, [GET])}"))


@pytest.mark.parametrize("choice", [AUTO, REQUIRED, NAMED], ids=["auto", "required", "named"])
def test_whatever_a_model_writes_is_read_as_calls_with_valid_arguments(
    tokens: Tokens, syntax: ToolSyntax, choice: ToolChoice
) -> None:
    form = AnswerForm(tools=syntax, is_named=choice is NAMED)
    start = tokens.matcher(choice, syntax, form)
    for seed in range(5):
        answer = random_answer(tokens, start.deep_copy(), form, random.Random(seed))
        assert len(answer.calls) >= 1
        assert choice is not NAMED or len(answer.calls) == 1
        assert choice is AUTO or not answer.content
        for name, arguments in answer.calls:
            jsonschema.validate(json.loads(arguments), SCHEMAS[name])


def random_answer(tokens: Tokens, matcher: LLMatcher, form: AnswerForm, draw: random.Random) -> Answer:
    """What a model without any sense writes: some text where it may, then a trigger, then anything that is allowed."""
    assert form.tools is not None
    ids: list[int] = []
    if tokens.compiler.end in allowed(matcher):  # free text
        text = "" if form.tools.only_at_start else "".join(draw.choices("ab<[{ \n", k=8))
        ids += tokens.ids(text + form.tools.trigger)
        assert matcher.consume_tokens(ids)
    for _ in range(2000):
        token_id = draw.choice(allowed(matcher))
        if token_id == tokens.compiler.end:
            break
        assert matcher.consume_token(token_id)
        ids.append(token_id)
    assert matcher.is_accepting()
    detokenizer = Detokenizer(tokens.model.tokenizer, marks=form.marks)
    return read([*map(detokenizer.push, ids), detokenizer.flush()], form)


def allowed(matcher: LLMatcher) -> list[int]:
    """The tokens that may come next; the end of the text last."""
    mask = int.from_bytes(matcher.compute_bitmask(), "little")
    return [token_id for token_id in range(mask.bit_length()) if mask >> token_id & 1]
