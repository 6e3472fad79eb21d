// Tokenwire's C++ client: LLM chat over gRPC.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "tokenwire/error.h"
#include "tokenwire/messages.h"
#include "tokenwire/options.h"
#include "tokenwire/stream.h"
#include "tokenwire/v1/chat.pb.h"
#include "tokenwire/v1/models.pb.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace tokenwire {

class Connection;

// Calls a Tokenwire server. May be shared by threads; copies share one channel, which lives as long as the last of them
// and of their streams. Every call throws an `Error` when it fails.
class Client {
 public:
  // Connects when the first call is made. `target` is any name that gRPC resolves. Throws `std::invalid_argument` for a
  // certificate without its key, or a key without its certificate.
  explicit Client(const std::string& target = "127.0.0.1:50051", const ClientOptions& options = {});

  // The whole answer. A request without a `request_id` gets a random one, so that trying again is safe; in `Stream`, too.
  v1::ChatCompletion Chat(v1::ChatCompletionRequest request, const CallOptions& options = {}) const;

  // The answer as it comes.
  [[nodiscard]] ChatStream Stream(v1::ChatCompletionRequest request, const StreamOptions& options = {}) const;

  // The events of a live or retained completion after one of them, or from its start. With `after_sequence` the answer
  // of the stream is what these events have of it.
  [[nodiscard]] ChatStream Resume(v1::ResumeChatCompletionRequest request, const StreamOptions& options = {}) const;

  // A completion that was generated with `store`, or is live or retained, as far as it has come.
  v1::StoredChatCompletion GetCompletion(const v1::GetChatCompletionRequest& request,
                                         const CallOptions& options = {}) const;

  // Ends a completion. Harmless if it has ended.
  v1::CancelChatCompletionResponse CancelCompletion(const v1::CancelChatCompletionRequest& request,
                                                    const CallOptions& options = {}) const;

  // The served models; none while the model is loading.
  v1::ListModelsResponse ListModels(const CallOptions& options = {}) const;

  // For stubs of all services: see `Prepare` and `ThrowIfError`.
  std::shared_ptr<grpc::Channel> channel() const;

  // Gives the context of a call of a stub the client's key, and its timeout if there is no other.
  void Prepare(grpc::ClientContext& context, std::optional<std::chrono::milliseconds> timeout = std::nullopt) const;

 private:
  std::shared_ptr<Connection> connection_;
};

}  // namespace tokenwire
