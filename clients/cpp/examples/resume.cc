// A stream that survives a lost connection.

#include <iostream>

#include <tokenwire/client.h>

int main(int argc, char** argv) try {
  const tokenwire::Client client(argc > 1 ? argv[1] : "127.0.0.1:50051");
  tokenwire::v1::ChatCompletionRequest request;
  request.set_model("smollm2-135m-instruct");
  request.set_max_completion_tokens(64);
  request.set_ignore_eos(true);
  *request.add_messages() = tokenwire::UserMessage("Tell me a story.");

  tokenwire::StreamOptions options;
  options.resume = true;  // Goes on where it was, until it is done, gone, or no server is reached for a minute.
  tokenwire::ChatStream stream = client.Stream(request, options);
  for (const tokenwire::Update& update : stream) {
    std::cout << update.text() << std::flush;
  }
  std::cout << '\n' << stream.completion().usage().completion_tokens() << " tokens\n";
} catch (const tokenwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
