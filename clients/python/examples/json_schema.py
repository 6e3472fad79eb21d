"""An answer that is JSON of a schema."""

import json
import sys

from tokenwire_client import Client, json_schema

target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 99999999}},
    "required": ["city", "people"],
    "additionalProperties": False,
}

with Client(target) as client:
    completion = client.chat("Tell me about Paris.", response_format=json_schema(SCHEMA), max_completion_tokens=64)
facts = json.loads(completion.choices[0].content)
print(f"{facts['city']} has {facts['people']} people")
