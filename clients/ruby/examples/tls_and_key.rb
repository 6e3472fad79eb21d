# frozen_string_literal: true

# TLS and an API key: TOKENWIRE_CA names a PEM file with whom to trust.

require "tokenwire"

ca = File.read(ENV.fetch("TOKENWIRE_CA"))
key = ENV.fetch("TOKENWIRE_API_KEY")

Tokenwire::Client.open(ARGV.fetch(0, "127.0.0.1:50051"), tls: { ca: ca }, api_key: key) do |client|
  completion = client.chat(
    model: "smollm2-135m-instruct",
    messages: [{ role: :ROLE_USER, content: "Name a river." }],
    max_completion_tokens: 32
  )
  puts completion.choices.first.content
end
