// The answer as it comes, and the whole of it at the end.

#include <iostream>

#include <tokenwire/client.h>

int main(int argc, char** argv) try {
  const tokenwire::Client client(argc > 1 ? argv[1] : "127.0.0.1:50051");
  tokenwire::v1::ChatCompletionRequest request;
  request.set_model("smollm2-135m-instruct");
  request.set_max_completion_tokens(48);
  *request.add_messages() = tokenwire::UserMessage("Why is the sky blue?");

  tokenwire::ChatStream stream = client.Stream(request);
  for (const tokenwire::Update& update : stream) {
    if (const auto* heartbeat = update.heartbeat()) {  // Nothing new for a while.
      std::cerr << "in the queue at " << heartbeat->queue_position() << '\n';
    }
    std::cout << update.text() << std::flush;
  }
  const auto& usage = stream.completion().usage();
  std::cout << '\n' << usage.prompt_tokens() << " + " << usage.completion_tokens() << " tokens\n";
} catch (const tokenwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
