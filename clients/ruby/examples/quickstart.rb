require "tokenwire"

client = Tokenwire::Client.new(ARGV.fetch(0, "127.0.0.1:50051"))
request = Tokenwire::V1::ChatCompletionRequest.new(
  model: "smollm2-135m-instruct",
  messages: [{ role: :ROLE_USER, content: "Name three rivers." }],
  max_completion_tokens: 48
)
client.stream(request) { |update| print update.text } # as it comes
puts "", client.chat(request).choices.first.content # the whole answer
