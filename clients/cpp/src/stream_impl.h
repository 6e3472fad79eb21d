// The calls behind a `ChatStream`.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include <grpcpp/client_context.h>

#include "connection.h"
#include "course.h"
#include "stream_checker.h"
#include "stream_folder.h"
#include "tokenwire/stream.h"

namespace tokenwire {

class ChatStream::Impl {
 public:
  Impl(std::shared_ptr<const Connection> connection, StreamRequest request, const StreamOptions& options);
  ~Impl() { Cancel(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // Reads the next event, on the thread of the reader. False: there is none any more.
  bool Next();

  const Update& update() const { return update_; }
  const v1::ChatCompletion& completion() const { return folder_.completion(); }

  // Ends what is under way, from any thread, and tells the server to cancel a completion that detaches.
  void Cancel() noexcept;

 private:
  using Reader = grpc::ClientReader<v1::ChatCompletionEvent>;

  bool Read();
  void Open();
  grpc::Status Close();
  void Take();
  void ResumeAfter(const grpc::Status& status);

  const std::shared_ptr<const Connection> connection_;
  v1::ChatCompletionEvent event_;
  StreamChecker checker_;
  StreamFolder folder_;
  const Update update_{event_, folder_.completion()};
  bool has_ended_ = false;

  std::mutex mutex_;  // Guards what follows, which `Cancel` reaches from other threads.
  Course course_;
  std::unique_ptr<grpc::ClientContext> context_;
  bool cancelled_ = false;
  std::condition_variable cancelling_;

  std::unique_ptr<Reader> reader_;  // Last, for it must not outlive its context. Of the reader's thread only.
};

}  // namespace tokenwire
