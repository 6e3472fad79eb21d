# frozen_string_literal: true

# Two ways to leave a stream: both free its place on the server at once.

require "tokenwire"

REQUEST = {
  model: "smollm2-135m-instruct",
  messages: [{ role: :ROLE_USER, content: "Tell me a long story." }],
  max_completion_tokens: 64
}.freeze

Tokenwire::Client.open(ARGV.fetch(0, "127.0.0.1:50051")) do |client|
  client.stream(**REQUEST).each_with_index do |update, index|
    $stdout.write(update.text)
    break if index == 5
  end
  puts "\nleft after a few updates"

  stream = client.stream(**REQUEST) # without a block: to be read, or cancelled from another thread
  begin
    stream.each_with_index { |_, index| Thread.new { stream.cancel } if index == 5 }
  rescue Tokenwire::CancelledError
    puts "cancelled by another thread after: #{stream.completion.choices.first.content}"
  end
end
