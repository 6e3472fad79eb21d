#include "tokenwire/stream.h"

#include <utility>

#include "cancellable_call.h"
#include "stream_impl.h"

namespace tokenwire {
namespace {

// Longest that somebody who leaves a stream waits for the server to be told.
constexpr std::chrono::seconds kCancelTimeout{2};

std::optional<std::int64_t> AfterSequence(const StreamRequest& request) {
  const auto* resume = std::get_if<v1::ResumeChatCompletionRequest>(&request);
  return resume && resume->has_after_sequence() ? std::optional(resume->after_sequence()) : std::nullopt;
}

}  // namespace

ChatStream::Impl::Impl(std::shared_ptr<const Connection> connection, StreamRequest request,
                       const StreamOptions& options)
    : connection_(std::move(connection)),
      checker_(AfterSequence(request)),
      course_(std::move(request), connection_->Timeout(options.timeout),
              connection_->Resumes(options.resume)) {}

bool ChatStream::Impl::Next() {
  if (has_ended_) {
    return false;
  }
  has_ended_ = true;  // Unless there is another event.
  try {
    has_ended_ = !Read();
  } catch (...) {
    Cancel();
    throw;
  }
  return !has_ended_;
}

void ChatStream::Impl::Cancel() noexcept {
  std::optional<v1::CancelChatCompletionRequest> target;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    if (context_) {
      context_->TryCancel();
    }
    target = course_.Leave();
  }
  cancelling_.notify_all();
  if (target) {
    try {
      Call(*connection_, connection_->chat(), &v1::ChatService::Stub::CancelChatCompletion, *target,
           {kCancelTimeout, {}});
    } catch (const Error&) {
      // Whatever it is, nobody is there to be told.
    }
  }
}

bool ChatStream::Impl::Read() {
  while (true) {
    if (!reader_) {
      Open();
    }
    if (reader_->Read(&event_)) {
      Take();
      return true;
    }
    const grpc::Status status = Close();
    if (status.ok()) {
      checker_.End();
      const std::lock_guard lock(mutex_);
      course_.End();
      return false;
    }
    ResumeAfter(status);
  }
}

void ChatStream::Impl::Open() {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) {
      throw Error(grpc::StatusCode::CANCELLED, "the stream was cancelled");
    }
    course_.Begin();
    context_ = std::make_unique<grpc::ClientContext>();
    connection_->Prepare(*context_, course_.TimeLeft());
  }
  // Not under the lock, for it may wait for a connection. Only this thread changes the request and the context.
  const StreamRequest& request = course_.request();
  if (const auto* chat = std::get_if<v1::ChatCompletionRequest>(&request)) {
    reader_ = connection_->chat().StreamChatCompletion(context_.get(), *chat);
  } else {
    reader_ = connection_->chat().ResumeChatCompletion(context_.get(),
                                                       std::get<v1::ResumeChatCompletionRequest>(request));
  }
}

grpc::Status ChatStream::Impl::Close() {
  grpc::Status status = reader_->Finish();
  reader_.reset();
  const std::lock_guard lock(mutex_);
  context_.reset();
  return status;
}

void ChatStream::Impl::Take() {
  {
    const std::lock_guard lock(mutex_);
    course_.Note(event_);
  }
  checker_.Check(event_);
  folder_.Add(event_);
}

void ChatStream::Impl::ResumeAfter(const grpc::Status& status) {
  std::unique_lock lock(mutex_);
  const std::chrono::milliseconds delay = course_.ResumeAfter(status);
  cancelling_.wait_for(lock, delay, [this] { return cancelled_; });
}

ChatStream::ChatStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatStream::ChatStream(ChatStream&&) noexcept = default;
ChatStream& ChatStream::operator=(ChatStream&&) noexcept = default;
ChatStream::~ChatStream() = default;

ChatStream::Iterator ChatStream::begin() { return Iterator(impl_.get()); }
ChatStream::Iterator ChatStream::end() { return {}; }
const v1::ChatCompletion& ChatStream::completion() const { return impl_->completion(); }
void ChatStream::Cancel() { impl_->Cancel(); }

const Update& ChatStream::Iterator::operator*() const { return impl_->update(); }

ChatStream::Iterator& ChatStream::Iterator::operator++() {
  if (!impl_->Next()) {
    impl_ = nullptr;
  }
  return *this;
}

}  // namespace tokenwire
