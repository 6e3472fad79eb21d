#include "tokenwire/client.h"

#include <utility>

#include "cancellable_call.h"
#include "connection.h"
#include "request_id.h"
#include "stream_impl.h"
#include "tokenwire/v1/models.grpc.pb.h"

namespace tokenwire {
namespace {

void Identify(v1::ChatCompletionRequest& request) {
  if (request.request_id().empty()) {
    request.set_request_id(NewRequestId());
  }
}

}  // namespace

Client::Client(const std::string& target, const ClientOptions& options)
    : connection_(std::make_shared<Connection>(target, options)) {}

v1::ChatCompletion Client::Chat(v1::ChatCompletionRequest request, const CallOptions& options) const {
  Identify(request);
  return Call(*connection_, connection_->chat(), &v1::ChatService::Stub::CreateChatCompletion, request, options);
}

ChatStream Client::Stream(v1::ChatCompletionRequest request, const StreamOptions& options) const {
  Identify(request);
  return ChatStream(std::make_unique<ChatStream::Impl>(connection_, std::move(request), options));
}

ChatStream Client::Resume(v1::ResumeChatCompletionRequest request, const StreamOptions& options) const {
  return ChatStream(std::make_unique<ChatStream::Impl>(connection_, std::move(request), options));
}

v1::StoredChatCompletion Client::GetCompletion(const v1::GetChatCompletionRequest& request,
                                               const CallOptions& options) const {
  return Call(*connection_, connection_->chat(), &v1::ChatService::Stub::GetChatCompletion, request, options);
}

v1::CancelChatCompletionResponse Client::CancelCompletion(const v1::CancelChatCompletionRequest& request,
                                                          const CallOptions& options) const {
  return Call(*connection_, connection_->chat(), &v1::ChatService::Stub::CancelChatCompletion, request, options);
}

v1::ListModelsResponse Client::ListModels(const CallOptions& options) const {
  const auto models = v1::ModelService::NewStub(connection_->channel());
  return Call(*connection_, *models, &v1::ModelService::Stub::ListModels, v1::ListModelsRequest(), options);
}

std::shared_ptr<grpc::Channel> Client::channel() const { return connection_->channel(); }

void Client::Prepare(grpc::ClientContext& context, std::optional<std::chrono::milliseconds> timeout) const {
  connection_->Prepare(context, connection_->Timeout(timeout));
}

}  // namespace tokenwire
