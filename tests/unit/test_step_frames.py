"""What an engine gave, from its process to the one who reads."""

import pickle

from tokenwire.engine.generation import LiveGeneration
from tokenwire.engine.protocol import (
    EngineLoad,
    FinishReason,
    GenerationRequest,
    SamplingParams,
    SequenceOutput,
    StepFrame,
    TokenLogprobs,
)
from tokenwire.engine.turns import Turns


def test_a_frame_is_the_same_on_the_other_side() -> None:
    scores = (TokenLogprobs(-0.5, ((1, -0.5), (2, -1.0))),)
    outputs = (
        SequenceOutput("a", 0, (1,), (), None, 3, 0.5),
        SequenceOutput("b", 1, (2,), scores, FinishReason.STOP),
        SequenceOutput("c", 0, prompt_logprobs=scores),
    )
    load = EngineLoad(step=7, running=3)
    received = pickle.loads(pickle.dumps(StepFrame(outputs, load), protocol=pickle.HIGHEST_PROTOCOL))
    assert (received.outputs, received.load) == (outputs, load)
    assert [type(output) for output in received.outputs] == [SequenceOutput] * 3


def test_a_frame_without_outputs_is_the_same_on_the_other_side() -> None:
    assert pickle.loads(pickle.dumps(StepFrame())).outputs == ()


def _generation() -> LiveGeneration:
    request = GenerationRequest("a", (1,), SamplingParams(seed=1, max_tokens=9), n=2)
    return LiveGeneration(request, send=lambda command: None, forget=lambda request_id: None, turns=Turns())


def _take(generation: LiveGeneration, *outputs: SequenceOutput) -> None:
    for output in outputs:
        if not generation.extend(output):
            generation.add(output)


async def test_tokens_of_several_steps_are_read_as_one_output() -> None:
    generation = _generation()
    _take(generation, *(SequenceOutput("a", 0, (token_id,), cached_tokens=3) for token_id in (5, 6, 7)))
    assert await generation.receive() == (SequenceOutput("a", 0, (5, 6, 7), cached_tokens=3),)
    _take(generation, SequenceOutput("a", 0, (8,), cached_tokens=3))
    assert await generation.receive() == (SequenceOutput("a", 0, (8,), cached_tokens=3),)


async def test_outputs_that_say_more_and_those_of_other_choices_stay_apart_and_in_order() -> None:
    generation = _generation()
    outputs = (
        SequenceOutput("a", 0, (1,)),
        SequenceOutput("a", 1, (2,)),
        SequenceOutput("a", 0, (3,)),
        SequenceOutput("a", 0, (4,), (TokenLogprobs(-0.5),)),
        SequenceOutput("a", 0, (5,)),
        SequenceOutput("a", 0, (6,), finish_reason=FinishReason.STOP),
        SequenceOutput("a", 1, (7,)),
    )
    _take(generation, *outputs)
    assert await generation.receive() == outputs


async def test_a_dropped_choice_gives_nothing_more_and_the_next_engine_is_told_of_the_other() -> None:
    generation = _generation()
    _take(generation, SequenceOutput("a", 0, (1,)), SequenceOutput("a", 1, (2,)), SequenceOutput("a", 1, (3,)))
    assert generation.abort(1) == 2
    _take(generation, SequenceOutput("a", 1, (4,)), SequenceOutput("a", 0, (5,)), SequenceOutput("a", 0, (6,)))
    resumption = generation.submission().resumption
    assert resumption is not None
    assert resumption.generated == ((0, (1, 5, 6)),)
    assert await generation.receive() == (SequenceOutput("a", 0, (1,)), SequenceOutput("a", 0, (5, 6)))
