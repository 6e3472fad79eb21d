# frozen_string_literal: true

# A stream that outlives a lost connection: the client goes on where it was.

require "tokenwire"

Tokenwire::Client.open(ARGV.fetch(0, "127.0.0.1:50051"), resume: true) do |client|
  completion = client.stream(
    model: "smollm2-135m-instruct",
    messages: [{ role: :ROLE_USER, content: "Tell me about the sea." }],
    max_completion_tokens: 64
  ) do |update|
    $stdout.write(update.text)
    $stdout.flush
  end
  puts "\n#{completion.usage.completion_tokens} tokens"
end
