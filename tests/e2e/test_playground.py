"""The playground, driven in a real Chromium."""

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.keys import Keys

from e2e.conftest import Serving
from support.browser import CHROMIUM, DRIVER, Page, chromium
from support.fake_engine import FakeEngine, answer, make_info, output
from support.in_thread import in_thread
from support.server import TIMEOUT_S
from support.serving import serving
from support.tiny import CHAT_TEMPLATE, make_tokenizer
from tokenwire.chat.tokenizer import ChatTokenizer, load_hf_tokenizer
from tokenwire.config import GatewayConfig, SecurityConfig
from tokenwire.errors import EngineFaultError
from tokenwire.gateway.gateway import Gateway
from tokenwire.security.key_file import add_key

pytestmark = pytest.mark.skipif(None in (CHROMIUM, DRIVER), reason="there is no Chromium with its driver")

TOOLS = [{"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
END = 2


@dataclass(frozen=True, slots=True)
class Playground:
    """A server with a scripted engine, a gateway in front of it, and the page of either."""

    page: Page
    engine: FakeEngine
    tokenizer: ChatTokenizer
    target: str
    """Of gRPC."""
    gateway_url: str

    def says(self, text: str) -> None:
        """The model will answer every request with it."""
        self.engine.script = answer([*self.tokenizer.encode_text(text, add_special_tokens=False), END])

    def prompt(self) -> str:
        """What the model saw last."""
        return self.tokenizer.decode(self.engine.requests[-1].prompt_token_ids, skip_special_tokens=False)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def thinking_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny tokenizer whose template has reasoning."""
    folder = tmp_path_factory.mktemp("thinking")
    make_tokenizer(folder, chat_template=CHAT_TEMPLATE + "{# <think> #}")
    return folder


@asynccontextmanager
async def server_and_gateway(engine: FakeEngine) -> AsyncIterator[tuple[str, str, str]]:
    """The address of gRPC; the URLs of both."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(engine))
        target = f"127.0.0.1:{server.port}"
        gateway = Gateway(GatewayConfig(target=target, http_port=0, drain_grace_s=1))
        stack.push_async_callback(gateway.stop)
        await gateway.start()
        yield target, f"http://127.0.0.1:{server.http_port}", f"http://127.0.0.1:{gateway.port}"


@pytest.fixture(scope="module")
def served(browser: Chrome, thinking_folder: Path) -> Iterator[Playground]:
    engine = FakeEngine(info=make_info(thinking_folder, context_length=4096))
    tokenizer = ChatTokenizer(load_hf_tokenizer(thinking_folder), vocabulary_size=500, chat_template=CHAT_TEMPLATE)
    with in_thread(partial(server_and_gateway, engine)) as (target, url, gateway_url):
        yield Playground(Page(browser, url), engine, tokenizer, target, gateway_url)


@pytest.fixture
def at(served: Playground) -> Iterator[Playground]:
    """A fresh page; nothing may go wrong in its console."""
    served.says("It is Paris.")
    served.engine.aborts.clear()
    served.page.open()
    yield served
    errors = served.page.console()
    served.page.browser.execute_script("localStorage.clear(); sessionStorage.clear()")
    assert errors == []


def sent_body(at: Playground) -> dict[str, object]:
    """The JSON that the page shows in its curl command."""
    words = shlex.split(command(at, "curl"))
    body: dict[str, object] = json.loads(words[words.index("-d") + 1])
    return body


def command(at: Playground, language: str) -> str:
    """What there is to copy."""
    at.page.one("#show-code").click()
    at.page.one("#languages").find_element("xpath", f".//label[.='{language}']").click()
    shown = at.page.one("#code").get_attribute("textContent")
    at.page.one("#hide-code").click()
    assert shown
    return shown


@pytest.mark.parametrize("through", ["server", "gateway"])
def test_an_answer_streams_in_and_says_what_it_took(at: Playground, through: str) -> None:
    page = at.page if through == "server" else Page(at.page.browser, at.gateway_url).open()
    page.set(seed="7")
    page.send("What is the capital?")
    assert page.texts(".turn .text") == ["What is the capital?", "It is Paris."]
    figures = page.figures()
    assert (figures["end"], figures["seed"]) == ("stop", "7")
    assert figures["generated"] == str(len(at.tokenizer.encode_text("It is Paris.", add_special_tokens=False)) + 1)
    assert figures["first token"].endswith(" ms")
    assert figures["request"].startswith("req_")


def test_what_the_model_writes_is_text_and_never_markup(at: Playground) -> None:
    markup = "<b onclick='alert(1)'>no</b><script>document.title = 'x'</script>"
    at.says(markup)
    at.page.set(logprobs="true")
    at.page.send(markup)
    assert at.page.texts(".turn.user .text") == [markup]
    assert at.page.one(".turn.assistant .heat").get_attribute("textContent") == markup
    assert at.page.all(".turn b, .turn script") == []


def test_the_model_sees_all_turns_and_the_system_prompt(at: Playground) -> None:
    said = ("Be short.", "Hello", "It is Paris.", "And now?")
    at.page.set(system="Be short.")
    at.page.send("Hello")
    at.page.send("And now?")
    places = [at.prompt().index(text) for text in said]
    assert places == sorted(places)


def test_a_message_is_edited_and_run_again_and_deleted(at: Playground) -> None:
    at.page.send("Hello")
    at.page.send("Second")
    at.page.click("Edit", inside=".turn.user")
    at.page.one(".turn.user textarea").send_keys(" there")
    at.page.click("Save and run")
    at.page.wait_for_answer()
    assert at.page.texts(".turn .text") == ["Hello there", "It is Paris."]
    assert "Second" not in at.prompt()
    at.page.click("Delete", inside=".turn.assistant")
    assert at.page.texts(".turn .text") == ["Hello there"]


def test_escape_stops_an_answer_and_another_one_can_be_had(at: Playground) -> None:
    first = at.tokenizer.encode_text("It", add_special_tokens=False)
    at.engine.script = lambda request: [[output(*first)], asyncio.Event()]
    at.page.one("#prompt").send_keys("Hello", Keys.ENTER)
    at.page.until(lambda: at.page.texts(".turn.assistant .text") == ["It"])
    at.page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    at.page.wait_for_answer()
    at.page.until(lambda: len(at.engine.aborts) == 1)
    assert (at.page.texts(".turn.assistant .text"), at.page.figures()["end"]) == (["It"], "stopped")
    at.says("Another one.")
    at.page.click("Regenerate")
    at.page.wait_for_answer()
    assert at.page.texts(".turn .text") == ["Hello", "Another one."]


def test_every_control_goes_into_the_request_and_is_accepted(at: Playground) -> None:
    numbers = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "frequency_penalty": -0.5,
        "presence_penalty": 0.25,
        "repetition_penalty": 1.1,
        "seed": 2**52 - 1,
        "n": 2,
        "max_completion_tokens": 20,
        "min_tokens": 2,
        "top_logprobs": 3,
        "prompt_logprobs": 1,
        "priority": -7,
    }
    at.page.set(**{name: str(value) for name, value in numbers.items()})
    at.page.set(logit_bias="17: -100\n18: 2.5", bad_words="fox\ndog", stop="END\n\\n\\n", stop_token_ids="300, 301")
    at.page.set(ignore_eos="true", logprobs="true", store="true", service_tier="flex", user="someone")
    at.page.set(metadata='{"team": "blue"}')
    at.page.one("#prompt").send_keys("hi")
    assert sent_body(at) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
        **numbers,
        "logit_bias": {"17": -100, "18": 2.5},
        "bad_words": ["fox", "dog"],
        "stop": ["END", "\n\n"],
        "stop_token_ids": [300, 301],
        "ignore_eos": True,
        "logprobs": True,
        "store": True,
        "service_tier": "flex",
        "user": "someone",
        "metadata": {"team": "blue"},
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    at.page.send("")
    assert at.page.one("#failure").text == ""
    assert at.page.texts(".tabs span") == ["Choice 1", "Choice 2"]
    assert at.engine.requests[-1].sampling.top_k == 40


@pytest.mark.parametrize(
    ("kind", "text", "form"),
    [
        ("json_schema", '{"type": "object"}', {"name": "answer", "schema": {"type": "object"}, "strict": True}),
        ("regex", "[a-z]+", "[a-z]+"),
        ("choice", "yes\nno", ["yes", "no"]),
        ("lark", "start: /[a-z]+/", "start: /[a-z]+/"),
    ],
)
def test_an_answer_has_the_form_that_is_asked(at: Playground, kind: str, text: str, form: object) -> None:
    at.page.set(response_format=kind)
    at.page.set(form=text)
    at.page.send("hi")
    assert at.page.one("#failure").text == ""
    assert sent_body(at)["response_format"] == {"type": kind, kind: form}
    assert at.engine.requests[-1].sampling.grammar is not None


def test_a_call_is_shown_and_its_result_sent(at: Playground) -> None:
    at.says(CALL)
    at.page.set(tools=json.dumps(TOOLS))
    at.page.set(tool_choice="get_weather")
    at.page.send("Weather?")
    assert at.page.texts(".call pre") == ['{\n  "city": "Paris"\n}']
    at.says("It is sunny.")
    at.page.one(".call textarea").send_keys("21 degrees", Keys.ENTER)
    at.page.wait_for_answer()
    assert at.page.texts(".turn > .body .text") == ["Weather?", "21 degrees", "It is sunny."]
    assert "21 degrees" in at.prompt()


def test_reasoning_stands_apart(at: Playground) -> None:
    at.says("<think>2 and 2</think>It is 4.")
    at.page.send("2 + 2?")
    assert at.page.texts(".turn.assistant > .body .text") == ["2 and 2", "It is 4."]
    assert at.page.one(".reasoning .text").text == "2 and 2"


def test_tokens_are_a_heat_map_with_alternatives_for_mouse_and_keyboard(at: Playground) -> None:
    at.page.set(logprobs="true", top_logprobs="2")
    at.page.send("hi")
    tokens = at.page.all(".turn.assistant .heat span")
    assert len(tokens) == len(at.tokenizer.encode_text("It is Paris.", add_special_tokens=False)) + 1
    ActionChains(at.page.browser).move_to_element(tokens[0]).perform()
    rows = at.page.texts("#alternatives > div span:nth-of-type(2)")
    assert rows == ["60.7 %", "22.3 %"]  # e^-0.5 and e^-1.5
    at.page.browser.execute_script("arguments[0].focus()", tokens[0])
    at.page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert at.page.browser.switch_to.active_element == tokens[1]
    at.page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not at.page.one("#alternatives").is_displayed()


def test_what_is_wrong_is_said_beside_its_control(at: Playground) -> None:
    at.page.set(temperature="3", top_p="7")
    at.page.send("hi")
    assert at.page.one("#failure .facts").text.startswith("HTTP 400 · decimal_above_max_value · temperature · req_")
    for name in ("temperature", "top_p"):
        assert name in at.page.one(f"#parameter-{name}-problem").text
        assert at.page.one(f"#parameter-{name}").get_attribute("aria-invalid") == "true"
    at.page.set(temperature="1", top_p="1")
    assert at.page.texts("#parameter-temperature-problem") == []
    at.page.click("Try again")
    at.page.wait_for_answer()
    assert at.page.texts(".turn .text") == ["hi", "It is Paris."]


def test_a_stream_that_fails_keeps_what_it_gave_and_says_why(at: Playground) -> None:
    first = at.tokenizer.encode_text("It", add_special_tokens=False)
    at.engine.script = lambda request: [[output(*first)], EngineFaultError("broken")]
    at.page.send("hi")
    assert at.page.texts(".turn .text") == ["hi", "It"]
    facts = at.page.one("#failure .facts").text
    assert facts.endswith(at.page.figures()["request"])
    assert "HTTP" not in facts


def test_what_the_page_cannot_read_is_said_before_it_asks(at: Playground) -> None:
    asked = len(at.engine.requests)
    at.page.set(tools="[{")
    at.page.send("hi")
    assert "is not JSON" in at.page.one("#parameter-tools-problem").text
    assert len(at.engine.requests) == asked


@pytest.mark.parametrize(
    ("language", "printed"), [("curl", "data: [DONE]"), ("grpcurl", '"completed"'), ("Python", "It is Paris.")]
)
def test_the_commands_to_copy_ask_for_the_same_answer(at: Playground, language: str, printed: str) -> None:
    at.says(CALL)
    at.page.set(system='It\'s "quoted" $HOME `id` \\n é🙂', tools=json.dumps(TOOLS), top_k="5", temperature="0")
    at.page.set(tool_choice="get_weather", service_tier="flex")
    at.page.send("Weather?")
    at.says("It is Paris.")
    at.page.one(".call textarea").send_keys("21", Keys.ENTER)
    at.page.wait_for_answer()
    asked = at.engine.requests[-1]
    shown = command(at, language)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = [sys.executable, "-c", shown] if language == "Python" else ["sh", "-c", shown]
    done = subprocess.run(
        run, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
    again = at.engine.requests[-1]
    assert again is not asked
    assert again.prompt_token_ids == asked.prompt_token_ids
    assert (again.sampling.top_k, again.sampling.temperature, again.priority) == (5, 0, -10)


def test_a_key_is_asked_for_and_kept_in_the_tab_only(browser: Chrome, tmp_path: Path, tiny_folder: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.touch()
    key = add_key(file, "alice", {})
    engine = FakeEngine(answer([300, END]), info=make_info(tiny_folder))
    with in_thread(partial(serving, engine, SecurityConfig(api_keys=file))) as server:
        page = Page(browser, f"http://127.0.0.1:{server.http_port}")
        browser.get(page.url)
        page.until(lambda: page.one("#key-dialog").get_attribute("open"))
        page.one("#key").send_keys("wrong", Keys.ENTER)
        page.until(lambda: "key" in page.one("#key-problem").text and page.one("#key").is_displayed())
        page.one("#key").clear()
        page.one("#key").send_keys(key, Keys.ENTER)
        page.until(lambda: page.one("#model").text)
        page.send("hi")
        assert page.figures()["end"] == "stop"
        assert key in browser.execute_script("return JSON.stringify(sessionStorage)")
        assert key not in browser.execute_script("return JSON.stringify(localStorage)")
        page.one("#show-code").click()
        assert "$TOKENWIRE_API_KEY" in page.one("#code").text
        assert key not in page.one("#code").text
        assert page.console() == []


def test_settings_are_remembered_and_a_link_carries_them(at: Playground) -> None:
    at.page.set(temperature="0.25", system="Söhne")
    at.page.open()
    assert at.page.one("#parameter-temperature").get_attribute("value") == "0.25"
    at.page.one("#share").click()
    link = at.page.browser.current_url
    at.page.browser.execute_script("localStorage.clear()")
    at.page.open(f"#{link.partition('#')[2]}")
    assert at.page.one("#parameter-system").get_attribute("value") == "Söhne"


def test_the_keyboard_alone_is_enough(at: Playground) -> None:
    page = at.page
    assert page.browser.switch_to.active_element == page.one("#prompt")
    page.one("#prompt").send_keys("one", Keys.SHIFT, Keys.ENTER, Keys.NULL, "two")
    assert page.one("#prompt").get_attribute("value") == "one\ntwo"
    page.send("")
    assert page.texts(".turn .text") == ["one\ntwo", "It is Paris."]
    assert page.browser.switch_to.active_element == page.one("#prompt")
    assert page.one("#announcement").get_attribute("textContent") == "Model: It is Paris."
    unnamed = """return [...document.querySelectorAll('input, select, textarea, button')]
        .filter((each) => each.id !== 'key' && !each.labels?.length && !each.ariaLabel && !each.textContent.trim())
        .map((each) => each.outerHTML)"""
    assert page.browser.execute_script(unnamed) == []


def test_a_phone_shows_all_of_it(at: Playground) -> None:
    at.page.set(logprobs="true")
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    at.page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        at.page.send("word" * 200)
        scrolls = "return [document.documentElement, document.getElementById('conversation')].map((e) => e.scrollWidth)"
        assert max(at.page.browser.execute_script(scrolls)) <= 360
        assert not at.page.one("#settings").is_displayed()
        at.page.one("#show-settings").click()
        assert at.page.one("#parameter-temperature").is_displayed()
        at.page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        assert not at.page.one("#settings").is_displayed()
    finally:
        at.page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_colours_are_those_of_the_system_until_chosen(at: Playground) -> None:
    def background() -> object:
        return at.page.browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor")

    def system(scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        at.page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    system("light")
    light = background()
    system("dark")
    dark = background()
    assert light != dark
    at.page.one("#theme").click()
    assert background() == light
    at.page.one("#theme").click()
    system("light")
    assert background() == dark


@pytest.mark.smollm2
@pytest.mark.asyncio(loop_scope="session")
async def test_the_real_model_answers_by_a_schema(smollm2_server: Serving, browser: Chrome) -> None:
    def drive() -> tuple[str, dict[str, str]]:
        page = Page(browser, smollm2_server.url).open()
        page.click("JSON by a schema")
        page.wait_for_answer()
        return page.texts(".turn.assistant .text")[0], page.figures()

    text, figures = await asyncio.to_thread(drive)
    assert set(json.loads(text)) == {"name", "country", "inhabitants"}
    assert figures["end"] == "stop"
    assert float(figures["speed"].split()[0]) > 0
