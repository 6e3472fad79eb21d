"""A whole round: the model calls a function, its result goes back, the model answers."""

import json
import sys

from tokenwire_client import Client, assistant, function, tool, user

target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
GET_WEATHER = function("get_weather", PARAMETERS, description="The weather in a city now")


def get_weather(city: str) -> str:
    return f"{city}: 21 °C, sunny"


with Client(target) as client:
    conversation = [user("What is the weather in Paris?")]
    answer = client.chat(
        conversation, tools=[GET_WEATHER], tool_choice="required", parallel_tool_calls=False, max_completion_tokens=64
    )
    choice = answer.choices[0]
    conversation.append(assistant(choice))
    for call in choice.tool_calls:
        print(f"{call.function.name}({call.function.arguments})")
        conversation.append(tool(get_weather(**json.loads(call.function.arguments)), call.id))
    print(client.chat(conversation, max_completion_tokens=48).choices[0].content)
