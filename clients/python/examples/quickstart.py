import sys

from tokenwire_client import Client, system, user

target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
with Client(target) as client:
    completion = client.chat("Name three rivers.", temperature=0.2, max_completion_tokens=64)
    print(completion.choices[0].content, completion.usage.total_tokens)

    for update in client.stream([system("Be brief."), user("Why is the sky blue?")], max_completion_tokens=64):
        print(update.text, end="", flush=True)  # what is new
    print(update.completion.usage)  # the answer so far; here: the whole
