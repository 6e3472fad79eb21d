"""Reasoning models: what a prompt says of the answer, and the grammar of a thought before an answer."""

from pathlib import Path

import pytest
from tokenizers import AddedToken

from support.chat_templates import EXAMPLES
from support.fake_engine import make_info
from support.tiny import make_tokenizer
from support.whole_text import accepts
from tokenwire.chat.answer.reasoning import Reasoning, before, reasoning_of
from tokenwire.chat.constraint.rule import Rule
from tokenwire.chat.model import ServedModel
from tokenwire.engine.grammar.compiler import GrammarCompiler

QWEN = EXAMPLES["qwen"].source
DIGITS = Rule("answer: /[0-9]+/")


@pytest.mark.parametrize(
    ("prompt", "reasoning"),
    [
        ("<|im_start|>assistant\n", Reasoning.POSSIBLE),
        ("<|im_start|>assistant\n<think>\n", Reasoning.OPEN),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", Reasoning.NONE),
        ("<|im_start|>user\nWhat is <think>?<|im_end|>\n<|im_start|>assistant\n", Reasoning.POSSIBLE),
    ],
)
def test_the_end_of_the_prompt_says_whether_the_answer_begins_with_reasoning(prompt: str, reasoning: Reasoning) -> None:
    assert reasoning_of(prompt, QWEN) is reasoning


def test_a_model_whose_template_knows_no_thoughts_has_none() -> None:
    assert reasoning_of("<think>\n", EXAMPLES["smollm2"].source) is Reasoning.NONE


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> ServedModel:
    return ServedModel.load("tiny", make_info(tiny_folder))


@pytest.mark.parametrize(
    ("reasoning", "text", "is_allowed"),
    [
        (Reasoning.NONE, "12", True),
        (Reasoning.NONE, "<think>a</think>\n\n12", False),
        (Reasoning.OPEN, "a <b>\n</think>\n\n12", True),
        (Reasoning.OPEN, "</think>\n\n12", True),
        (Reasoning.OPEN, "a</think>12", False),
        (Reasoning.OPEN, "a</think>\n\n", False),
        (Reasoning.OPEN, "12", False),
        (Reasoning.POSSIBLE, "12", True),
        (Reasoning.POSSIBLE, "<think>12</think>\n\n12", True),
        (Reasoning.POSSIBLE, "<think>12</think>\n\n</think>", False),
        (Reasoning.POSSIBLE, "12</think>\n\n12", False),
    ],
)
def test_a_constrained_answer_comes_after_the_thought(
    model: ServedModel, reasoning: Reasoning, text: str, is_allowed: bool
) -> None:
    expression, definitions = before(reasoning, model.tokenizer)
    assert accepts(DIGITS.grammar(before=expression, definitions=definitions), text) is is_allowed


def test_tags_that_are_special_tokens_are_not_spelled(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    tokenizer.add_special_tokens([AddedToken(tag, special=True, normalized=False) for tag in ("<think>", "</think>")])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = ServedModel.load("tiny", make_info(tmp_path, vocabulary_size=512))
    think, end = map(int, model.tokenizer.special_pieces("<think></think>"))
    text = model.tokenizer.encode_text
    expression, definitions = before(Reasoning.POSSIBLE, model.tokenizer)
    grammar = GrammarCompiler(model.vocabulary(), width=512).compile(
        DIGITS.grammar(before=expression, definitions=definitions)
    )
    assert grammar.deep_copy().consume_tokens([think, *text("a"), end, *text("\n\n12")])
    assert not grammar.deep_copy().consume_tokens([think, *text("a</think>\n\n12")])
    assert not grammar.deep_copy().consume_tokens(text("<think>"))
