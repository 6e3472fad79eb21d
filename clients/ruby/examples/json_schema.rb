# frozen_string_literal: true

# An answer that is JSON of a schema.

require "json"
require "tokenwire"

SCHEMA = {
  type: "object",
  properties: { city: { type: "string", maxLength: 20 }, people: { type: "integer", maximum: 99_999_999 } },
  required: %w[city people],
  additionalProperties: false
}.freeze

Tokenwire::Client.open(ARGV.fetch(0, "127.0.0.1:50051")) do |client|
  completion = client.chat(
    model: "smollm2-135m-instruct",
    messages: [{ role: :ROLE_USER, content: "Tell me about Paris." }],
    response_format: { json_schema: { name: "city", schema: JSON.generate(SCHEMA) } },
    max_completion_tokens: 64
  )
  city = JSON.parse(completion.choices.first.content)
  puts "#{city.fetch("city")} has #{city.fetch("people")} people"
end
