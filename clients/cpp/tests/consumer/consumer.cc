// What the conformance driver has no command for: `consumer NAME TARGET` prints what came of it.

#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <grpcpp/grpcpp.h>
#include <tokenwire/client.h>
#include <tokenwire/v1/chat.grpc.pb.h>

namespace {

tokenwire::v1::ChatCompletionRequest Ask(const std::string& model) {
  tokenwire::v1::ChatCompletionRequest request;
  request.set_model(model);
  *request.add_messages() = tokenwire::UserMessage("hi");
  return request;
}

// A raw stub, over the channel of the client and with its key.
void Stub(const std::string& target) {
  tokenwire::ClientOptions options;
  options.api_key = "tw-secret";
  const tokenwire::Client client(target, options);
  grpc::ClientContext context;
  client.Prepare(context);
  tokenwire::v1::ChatCompletion completion;
  const auto stub = tokenwire::v1::ChatService::NewStub(client.channel());
  tokenwire::ThrowIfError(stub->CreateChatCompletion(&context, Ask("scripted"), &completion));
  std::cout << completion.choices(0).content();
}

// A stream that outlives its client, is moved, and is left and read on.
void ReadOn(const std::string& target) {
  std::optional<tokenwire::Client> client(target);
  tokenwire::ChatStream first = client->Stream(Ask("scripted"));
  client.reset();
  for (const tokenwire::Update& update : first) {
    if (!update.text().empty()) {
      std::cout << update.text() << '|';
      break;
    }
  }
  tokenwire::ChatStream moved = std::move(first);
  for (const tokenwire::Update& update : moved) {
    std::cout << update.text();
  }
  std::cout << '|' << moved.completion().choices(0).content() << '|' << (moved.begin() == moved.end());
}

// A handle that was used before the call.
void CancelBefore(const std::string& target) {
  tokenwire::CallOptions options;
  options.cancellation.Cancel();
  tokenwire::Client(target).Chat(Ask("scripted"), options);
}

// A stream that would resume, and is cancelled before it is read.
void CancelUnread(const std::string& target) {
  tokenwire::StreamOptions options;
  options.resume = true;
  tokenwire::ChatStream stream = tokenwire::Client(target).Stream(Ask("scripted"), options);
  stream.Cancel();
  for (const tokenwire::Update& update : stream) {
    std::cout << update.text();
  }
}

// A client whose streams resume, and a stream that does not.
void ResumeByDefault(const std::string& target) {
  tokenwire::ClientOptions of_client;
  of_client.resume = true;
  const tokenwire::Client client(target, of_client);
  tokenwire::StreamOptions of_stream;
  of_stream.resume = false;
  for (const tokenwire::StreamOptions& options : {tokenwire::StreamOptions(), of_stream}) {
    for (const tokenwire::Update& update : client.Stream(Ask("scripted"), options)) {
      std::cout << update.text();
    }
  }
}

// A certificate without its key.
void HalfCertificate(const std::string& target) {
  tokenwire::ClientOptions options;
  options.tls.emplace().certificate_chain = "a certificate";
  tokenwire::Client client(target, options);
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, std::function<void(const std::string&)>> parts{
      {"stub", Stub},
      {"read_on", ReadOn},
      {"cancel_before", CancelBefore},
      {"cancel_unread", CancelUnread},
      {"resume_by_default", ResumeByDefault},
      {"half_certificate", HalfCertificate}};
  if (argc != 3) {
    return 2;
  }
  try {
    parts.at(argv[1])(argv[2]);
  } catch (const tokenwire::Error& error) {
    std::cout << "error " << error.code() << ' ' << error.reason();
  } catch (const std::invalid_argument& error) {
    std::cout << error.what();
  }
}
