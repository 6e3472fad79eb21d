// TLS and an API key: TOKENWIRE_CA is a PEM file with whom to trust (default: the roots of the system), TOKENWIRE_API_KEY
// the key.

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include <tokenwire/client.h>

std::string ReadFile(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw std::runtime_error(std::string("cannot read ") + path);
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

int main(int argc, char** argv) try {
  tokenwire::ClientOptions options;
  options.tls.emplace();
  if (const char* path = std::getenv("TOKENWIRE_CA")) {
    options.tls->root_certificates = ReadFile(path);
  }
  if (const char* key = std::getenv("TOKENWIRE_API_KEY")) {
    options.api_key = key;
  }
  const tokenwire::Client client(argc > 1 ? argv[1] : "127.0.0.1:50051", options);

  tokenwire::v1::ChatCompletionRequest request;
  request.set_model("smollm2-135m-instruct");
  request.set_max_completion_tokens(16);
  *request.add_messages() = tokenwire::UserMessage("Say hello.");
  std::cout << client.Chat(request).choices(0).content() << '\n';
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
