"""A deadline: the answer so far in time, or an error."""

import sys

from tokenwire.v1.chat_pb2 import FinishReason
from tokenwire_client import Client, DeadlineExceededError, DeadlineUnattainableError

target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
with Client(target) as client:
    completion = client.chat(
        "Tell me a long story.",
        max_completion_tokens=1500,
        ignore_eos=True,
        timeout_s=1.5,
        execution_policy={"on_deadline": "return_partial"},
    )
    (choice,) = completion.choices
    print(FinishReason.Name(choice.finish_reason), "after:", choice.content)

    try:
        client.chat("Tell me a long story.", max_completion_tokens=1500, ignore_eos=True, timeout_s=0.5)
    except DeadlineExceededError:
        print("not done in time")
    except DeadlineUnattainableError:
        print("it would not have begun in time: another server may do it")
