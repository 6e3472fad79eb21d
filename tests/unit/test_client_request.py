"""What callers pass becomes the contract's request."""

from typing import Any

import pytest

from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ContentPart, ContentParts, Message, Role
from tokenwire.v1.models_pb2 import ListModelsResponse, Model
from tokenwire_client import InvalidRequestError, UnavailableError, assistant, system, user
from tokenwire_client._request import chat_request, only_model


def test_a_string_is_what_the_user_says() -> None:
    assert list(chat_request("hi", {}).messages) == [Message(role=Role.ROLE_USER, content="hi")]


def test_messages_and_dicts_may_be_mixed() -> None:
    request = chat_request([system("be brief"), {"role": "user", "content": "hi", "name": "ann"}, assistant("yes")], {})
    assert list(request.messages) == [
        Message(role=Role.ROLE_SYSTEM, content="be brief"),
        Message(role=Role.ROLE_USER, content="hi", name="ann"),
        Message(role=Role.ROLE_ASSISTANT, content="yes"),
    ]


def test_content_parts_are_taken() -> None:
    request = chat_request(
        [
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}],
            }
        ],
        {},
    )
    parts = ContentParts(parts=[ContentPart(text="a"), ContentPart(refusal="no")])
    assert request.messages[0] == Message(role=Role.ROLE_ASSISTANT, content_parts=parts)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"role": "robot", "content": "hi"}, "'robot'"),
        ({"content": "hi"}, "None"),
        ({"role": "user", "contents": "hi"}, "contents"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "image_url"),
    ],
)
def test_a_dict_that_is_no_message_is_refused_by_what_is_wrong(message: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        chat_request([message], {})


def test_zero_is_set_and_none_is_not() -> None:
    request = chat_request("hi", {"temperature": 0.0, "top_p": None, "seed": 0})
    assert request.HasField("temperature")
    assert request.HasField("seed")
    assert not request.HasField("top_p")


def test_one_stop_string_is_one_and_not_its_letters() -> None:
    assert chat_request("hi", {"stop": "END"}).stop == ["END"]


def test_parameters_win_over_those_of_a_whole_request_and_leave_it_alone() -> None:
    given = ChatCompletionRequest(messages=[user("hi")], stop=["a"], temperature=1.5, ignore_eos=True, top_k=4)
    request = chat_request(given, {"stop": ["b"], "temperature": 0.0, "ignore_eos": False})
    assert list(request.stop) == ["b"]
    assert (request.temperature, request.ignore_eos, request.top_k) == (0.0, False, 4)
    assert list(request.messages) == [user("hi")]
    assert given.stop == ["a"]


def test_the_only_model_is_the_default() -> None:
    assert only_model(ListModelsResponse(models=[Model(id="m")])) == "m"


def test_several_models_ask_for_a_choice_and_name_them() -> None:
    with pytest.raises(InvalidRequestError, match="a, b") as caught:
        only_model(ListModelsResponse(models=[Model(id="b"), Model(id="a")]))
    assert caught.value.violations[0].field == "model"


def test_no_model_yet_is_unavailable() -> None:
    with pytest.raises(UnavailableError) as caught:
        only_model(ListModelsResponse())
    assert caught.value.reason == "MODEL_LOADING"
