"""/tokenize and /detokenize, in the server and through the gateway."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from support.rest_api import CHAT, MODEL, Api, Json, error_of

TEXT = "naïve <|im_end|> 🙂"


async def post(api: Api, path: str, **body: object) -> Json:
    answered = await api.http.post(path, json={"model": MODEL, **body})
    assert answered.status_code == 200, answered.text
    answer: Json = answered.json()
    return answer


async def test_a_text_goes_to_tokens_and_back(api: Api) -> None:
    tokenized = await post(api, "/tokenize", prompt=TEXT, return_token_strs=True)
    assert tokenized["count"] == len(tokenized["tokens"]) == len(tokenized["token_strs"])
    assert tokenized["max_model_len"] == 2048
    assert (await post(api, "/detokenize", tokens=tokenized["tokens"]))["prompt"] == TEXT


async def test_the_tokens_are_those_of_the_tokenizer(api: Api, tiny_folder: Path) -> None:
    reference = AutoTokenizer.from_pretrained(tiny_folder)
    for special in (True, False):
        tokenized = await post(api, "/tokenize", prompt="hello there", add_special_tokens=special)
        assert tokenized["tokens"] == reference("hello there", add_special_tokens=special)["input_ids"]
        assert tokenized["token_strs"] is None


async def test_a_conversation_has_the_tokens_that_its_completion_is_charged(api: Api) -> None:
    tokenized = await post(api, "/tokenize", messages=CHAT["messages"])
    usage = (await api.chat())["usage"]
    assert tokenized["count"] == len(tokenized["tokens"]) == usage["prompt_tokens"]
    assert tuple(tokenized["tokens"]) == api.engine.requests[0].prompt_token_ids


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("/tokenize", {}, "prompt", "missing_required_parameter"),
        ("/tokenize", {"prompt": 3}, "prompt", "invalid_type"),
        ("/tokenize", {"prompt": "a", "model": None}, "model", "missing_required_parameter"),
        ("/tokenize", {"messages": []}, "messages", "empty_array"),
        ("/tokenize", {**CHAT, "add_generation_prompt": False}, "add_generation_prompt", "unsupported_parameter"),
        ("/detokenize", {}, "tokens", "missing_required_parameter"),
        ("/detokenize", {"tokens": "a"}, "tokens", "invalid_type"),
        ("/detokenize", {"tokens": [1, 500]}, "tokens[1]", "invalid_value"),
    ],
)
async def test_what_is_wrong_is_told_by_its_path(api: Api, path: str, body: Json, param: str, code: str) -> None:
    answered = await api.http.post(path, json={"model": MODEL, **body})
    error = error_of(answered)
    assert (answered.status_code, error["param"], error["code"]) == (400, param, code)
    assert f"`{param}`" in error["message"]


async def test_another_model_is_not_found(api: Api) -> None:
    for path, body in (("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [1]})):
        answered = await api.http.post(path, json={**body, "model": "other"})
        assert (answered.status_code, error_of(answered)["code"]) == (404, "model_not_found")


async def test_fields_that_nobody_knows_are_named(api: Api) -> None:
    answered = await api.http.post("/tokenize", json={"model": MODEL, "prompt": "a", "color": "red"})
    assert answered.headers["x-tokenwire-ignored-fields"] == "color"
