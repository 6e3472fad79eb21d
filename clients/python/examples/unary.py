"""The whole answer at once."""

import sys

from tokenwire.v1.chat_pb2 import FinishReason
from tokenwire_client import Client, TokenwireClientError, system, user

target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
conversation = [system("Answer in one sentence."), user("Why is the sky blue?")]

with Client(target) as client:
    try:
        completion = client.chat(
            conversation, model="smollm2-135m-instruct", temperature=0.2, seed=7, max_completion_tokens=48
        )
    except TokenwireClientError as error:
        sys.exit(f"{error.code.name} {error.reason}: {error}")
    (choice,) = completion.choices
    print(choice.content)
    print(FinishReason.Name(choice.finish_reason), completion.usage.total_tokens, "tokens")
