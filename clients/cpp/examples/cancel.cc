// A stream that is left after a few updates: the server stops generating.

#include <iostream>

#include <tokenwire/client.h>

int main(int argc, char** argv) try {
  const tokenwire::Client client(argc > 1 ? argv[1] : "127.0.0.1:50051");
  tokenwire::v1::ChatCompletionRequest request;
  request.set_model("smollm2-135m-instruct");
  request.set_max_completion_tokens(512);
  request.set_ignore_eos(true);
  *request.add_messages() = tokenwire::UserMessage("Tell me a long story.");

  int num_updates = 0;
  for (const tokenwire::Update& update : client.Stream(request)) {
    std::cout << update.text() << std::flush;
    if (++num_updates == 8) {
      break;  // The stream ends with the loop, and with it the call. From another thread: `ChatStream::Cancel`.
    }
  }
  std::cout << "\nleft after " << num_updates << " updates\n";
} catch (const tokenwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
