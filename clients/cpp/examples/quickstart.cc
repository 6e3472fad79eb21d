#include <iostream>

#include <tokenwire/client.h>

int main(int argc, char** argv) try {
  const tokenwire::Client client(argc > 1 ? argv[1] : "127.0.0.1:50051");
  tokenwire::v1::ChatCompletionRequest request;
  request.set_model("smollm2-135m-instruct");
  request.set_max_completion_tokens(32);
  auto& message = *request.add_messages();
  message.set_role(tokenwire::v1::ROLE_USER);
  message.set_content("Name three rivers.");

  for (const tokenwire::Update& update : client.Stream(request)) {
    std::cout << update.text() << std::flush;  // What is new.
  }
  std::cout << '\n';
} catch (const tokenwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
