"""TLS and an API key: TOKENWIRE_CA names a PEM file with whom to trust."""

import os
import sys

from tokenwire_client import Client, TokenwireClientError, tls

target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
credentials = tls(ca=os.environ["TOKENWIRE_CA"])

with Client(target, credentials=credentials, api_key=os.environ["TOKENWIRE_API_KEY"]) as client:
    try:
        print(client.chat("Name a river.", max_completion_tokens=32).choices[0].content)
    except TokenwireClientError as error:
        sys.exit(f"{error.code.name} {error.reason}: {error}")
