// A deadline: the answer so far in time, or an error.

#include <chrono>
#include <iostream>

#include <tokenwire/client.h>

using namespace std::chrono_literals;

int main(int argc, char** argv) try {
  const tokenwire::Client client(argc > 1 ? argv[1] : "127.0.0.1:50051");
  tokenwire::v1::ChatCompletionRequest request;
  request.set_model("smollm2-135m-instruct");
  request.set_max_completion_tokens(1500);
  request.set_ignore_eos(true);
  *request.add_messages() = tokenwire::UserMessage("Tell me a long story.");
  tokenwire::CallOptions options;

  options.timeout = 1500ms;
  request.mutable_execution_policy()->set_on_deadline(tokenwire::v1::ON_DEADLINE_RETURN_PARTIAL);
  const tokenwire::v1::Choice choice = client.Chat(request, options).choices(0);
  std::cout << FinishReason_Name(choice.finish_reason()) << " after: " << choice.content() << '\n';

  options.timeout = 500ms;
  request.mutable_execution_policy()->set_on_deadline(tokenwire::v1::ON_DEADLINE_FAIL);
  try {
    client.Chat(request, options);
  } catch (const tokenwire::Error& error) {
    if (error.known_reason() == tokenwire::v1::ERROR_REASON_DEADLINE_UNATTAINABLE) {
      std::cout << "it would not have begun in time; another server may do it\n";
    } else if (error.code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      std::cout << "not done in time\n";
    } else {
      throw;
    }
  }
} catch (const tokenwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
