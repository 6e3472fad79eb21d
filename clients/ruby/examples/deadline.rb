# frozen_string_literal: true

# A deadline: the answer so far in time, or an error.

require "tokenwire"

REQUEST = {
  model: "smollm2-135m-instruct",
  messages: [{ role: :ROLE_USER, content: "Tell me a long story." }],
  max_completion_tokens: 1500,
  ignore_eos: true
}.freeze

Tokenwire::Client.open(ARGV.fetch(0, "127.0.0.1:50051")) do |client|
  partial = { execution_policy: { on_deadline: :ON_DEADLINE_RETURN_PARTIAL } }
  choice = client.chat(**REQUEST, **partial, timeout_s: 1.5).choices.first
  puts "#{choice.finish_reason} after: #{choice.content}"

  begin
    client.chat(**REQUEST, timeout_s: 0.5)
  rescue Tokenwire::DeadlineExceededError
    puts "not done in time"
  rescue Tokenwire::UnavailableError => e
    raise unless e.reason == "DEADLINE_UNATTAINABLE"

    puts "would not have begun in time: another server may do it"
  end
end
