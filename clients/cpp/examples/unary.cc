// The whole answer at once.

#include <iostream>

#include <tokenwire/client.h>

int main(int argc, char** argv) try {
  const tokenwire::Client client(argc > 1 ? argv[1] : "127.0.0.1:50051");
  tokenwire::v1::ChatCompletionRequest request;
  request.set_model("smollm2-135m-instruct");
  request.set_temperature(0.2);
  request.set_max_completion_tokens(48);
  *request.add_messages() = tokenwire::SystemMessage("Be brief.");
  *request.add_messages() = tokenwire::UserMessage("Why is the sky blue?");

  const tokenwire::v1::ChatCompletion completion = client.Chat(request);
  std::cout << completion.choices(0).content() << '\n' << completion.usage().total_tokens() << " tokens\n";
} catch (const tokenwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
