// How a channel is opened and a call prepared: TLS, options, retries, metadata and deadlines.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "tokenwire/error.h"
#include "tokenwire/options.h"
#include "tokenwire/v1/chat.grpc.pb.h"

namespace tokenwire {

class Connection {
 public:
  Connection(const std::string& target, const ClientOptions& options);

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  v1::ChatService::Stub& chat() const { return *chat_; }

  // The time limit of a call that was given this one, or none.
  std::chrono::milliseconds Timeout(std::optional<std::chrono::milliseconds> timeout) const {
    return timeout.value_or(timeout_);
  }

  // Whether a stream resumes that was told so, or nothing.
  bool Resumes(std::optional<bool> resume) const { return resume.value_or(resume_); }

  void Prepare(grpc::ClientContext& context, std::chrono::milliseconds timeout) const;

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ChatService::Stub> chat_;
  std::string authorization_;
  std::chrono::milliseconds timeout_;
  bool resume_;
};

}  // namespace tokenwire
