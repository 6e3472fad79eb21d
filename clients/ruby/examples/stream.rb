# frozen_string_literal: true

# The answer as it comes.

require "tokenwire"

Tokenwire::Client.open(ARGV.fetch(0, "127.0.0.1:50051")) do |client|
  completion = client.stream(
    model: "smollm2-135m-instruct",
    messages: [{ role: :ROLE_USER, content: "Tell me about the sea." }],
    max_completion_tokens: 64
  ) do |update|
    warn "in the queue at #{update.heartbeat.queue_position}" if update.heartbeat # nothing new for a while
    $stdout.write(update.text)
    $stdout.flush
  end
  puts "\n#{completion.usage.completion_tokens} tokens" # the whole answer, as `chat` gives it
end
