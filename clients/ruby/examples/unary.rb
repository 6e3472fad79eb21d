# frozen_string_literal: true

# The whole answer at once.

require "tokenwire"

Tokenwire::Client.open(ARGV.fetch(0, "127.0.0.1:50051")) do |client|
  completion = client.chat(
    model: "smollm2-135m-instruct",
    messages: [
      { role: :ROLE_SYSTEM, content: "Answer in one sentence." },
      { role: :ROLE_USER, content: "Why is the sky blue?" }
    ],
    temperature: 0.2,
    seed: 7,
    max_completion_tokens: 48
  )
  choice = completion.choices.first
  puts choice.content
  puts "#{choice.finish_reason}, #{completion.usage.total_tokens} tokens"
end
