#include <iostream>

#include <tokenwire/client.h>

int main(int argc, char** argv) try {
  const tokenwire::Client client(argc > 1 ? argv[1] : "127.0.0.1:50051");
  tokenwire::v1::ChatCompletionRequest request;
  request.set_model("smollm2-135m-instruct");
  request.set_max_completion_tokens(48);
  *request.add_messages() = tokenwire::UserMessage("Name three rivers.");

  for (const tokenwire::Update& update : client.Stream(request)) {
    std::cout << update.text() << std::flush;  // As it comes.
  }
  std::cout << '\n' << client.Chat(request).choices(0).content() << '\n';  // The whole answer.
} catch (const tokenwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
