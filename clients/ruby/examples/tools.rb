# frozen_string_literal: true

# A whole round: the model calls a function, its result goes back, the model answers.

require "json"
require "tokenwire"

MODEL = "smollm2-135m-instruct"
GET_WEATHER = {
  name: "get_weather",
  description: "The weather in a city now",
  parameters: JSON.generate(
    type: "object",
    properties: { city: { type: "string", maxLength: 20 } },
    required: ["city"],
    additionalProperties: false
  )
}.freeze

def get_weather(city:)
  "#{city}: 21 °C, sunny"
end

Tokenwire::Client.open(ARGV.fetch(0, "127.0.0.1:50051")) do |client|
  conversation = [{ role: :ROLE_USER, content: "What is the weather in Paris?" }]
  choice = client.chat(
    model: MODEL,
    messages: conversation,
    tools: [{ function: GET_WEATHER }],
    tool_choice: { mode: :TOOL_CHOICE_MODE_REQUIRED },
    parallel_tool_calls: false,
    max_completion_tokens: 64
  ).choices.first

  conversation << { role: :ROLE_ASSISTANT, tool_calls: choice.tool_calls.to_a }
  choice.tool_calls.each do |call|
    puts "#{call.function.name}(#{call.function.arguments})"
    result = get_weather(**JSON.parse(call.function.arguments, symbolize_names: true))
    conversation << { role: :ROLE_TOOL, tool_call_id: call.id, content: result }
  end
  puts client.chat(model: MODEL, messages: conversation, max_completion_tokens: 48).choices.first.content
end
