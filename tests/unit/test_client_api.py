"""What the client package shows to its users."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import tokenwire_client
from tokenwire.v1.chat_pb2 import ChatCompletionRequest
from tokenwire_client import AsyncClient, ChatParameters, Client, ExecutionPolicyDict

README = (Path(__file__).parents[2] / "clients/python/README.md").read_text(encoding="utf-8")


def test_all_is_sorted_constants_first_and_every_name_exists() -> None:
    assert tokenwire_client.__all__ == sorted(tokenwire_client.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(tokenwire_client, name) for name in tokenwire_client.__all__)


def test_every_public_name_is_in_all() -> None:
    public = {name for name, value in vars(tokenwire_client).items() if not name.startswith("_") and callable(value)}
    assert public <= set(tokenwire_client.__all__)


def test_chat_parameters_are_the_fields_of_the_request() -> None:
    fields = {field.name for field in ChatCompletionRequest.DESCRIPTOR.fields}
    assert set(get_type_hints(ChatParameters)) == fields - {"messages", "raw_prompt"}


def test_the_sync_and_the_async_client_have_the_same_methods() -> None:
    def methods(client: type) -> set[str]:
        return {name for name in vars(client) if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)


def test_the_readme_has_every_error_and_parameter_and_every_name_of_a_policy() -> None:
    rows = set(re.findall(r"^\| (?:– )?`(\w+)`", README, re.MULTILINE))
    errors = {name for name in tokenwire_client.__all__ if name.endswith("Error") and name != "TokenwireClientError"}
    parameters = set(inspect.signature(Client).parameters)
    assert rows == errors | parameters | set(get_type_hints(ExecutionPolicyDict))


def test_the_readme_names_every_call() -> None:
    calls = {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    listed = re.search(r"\*\*Calls\*\*: (.*?);", README, re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"`(\w+)`", listed[1])) == calls


def test_importing_the_client_imports_neither_torch_nor_the_server() -> None:
    heavy = ("torch", "transformers", "tokenwire.engine", "tokenwire.chat", "tokenwire.rpc", "tokenwire.rest")
    code = f"import sys, tokenwire_client; sys.exit(str(sorted(set({heavy}) & set(sys.modules)) or ''))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr.strip() == ""
