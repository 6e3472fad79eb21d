"""Step frames between the engine's process and the front end."""

import pickle

from tokenwire.engine.protocol import EngineLoad, FinishReason, SequenceOutput, StepFrame, TokenLogprobs


def test_a_frame_is_the_same_on_the_other_side() -> None:
    scores = (TokenLogprobs(-0.5, ((1, -0.5), (2, -1.0))),)
    outputs = (
        SequenceOutput("a", 0, (1,), (), None, 3, 0.5),
        SequenceOutput("b", 1, (2,), scores, FinishReason.STOP),
        SequenceOutput("c", 0, prompt_logprobs=scores),
    )
    frame = StepFrame(outputs, EngineLoad(step=7, running=3))
    received = pickle.loads(pickle.dumps(frame, protocol=pickle.HIGHEST_PROTOCOL))
    assert received == frame
    assert [type(output) for output in received.outputs] == [SequenceOutput] * 3


def test_a_frame_without_outputs_is_the_same_on_the_other_side() -> None:
    assert pickle.loads(pickle.dumps(StepFrame())) == StepFrame()
