// A completion as it comes.
#pragma once

#include <cstddef>
#include <iterator>
#include <memory>
#include <string>

#include "tokenwire/v1/chat.pb.h"

namespace tokenwire {

// One event of a stream, with the answer so far. It belongs to its stream, and changes with the stream's next event.
class Update {
 public:
  Update(const v1::ChatCompletionEvent& event, const v1::ChatCompletion& completion)
      : event_(&event), completion_(&completion) {}

  // What is new.
  const v1::ChatCompletionEvent& event() const { return *event_; }

  // The new text; empty for an event that has none. Where `n` > 1, `event().delta().index()` says whose it is.
  // Parts of tool calls are in `event().delta().tool_calls()`; the calls so far in `completion()`.
  const std::string& text() const { return event_->delta().content(); }

  // The new reasoning, which comes before any text; empty for an event that has none.
  const std::string& reasoning() const { return event_->delta().reasoning(); }

  // While nothing new comes: where the completion is, and its place in the queue; else null.
  const v1::Heartbeat* heartbeat() const { return event_->has_heartbeat() ? &event_->heartbeat() : nullptr; }

  // The answer so far; after the last update the whole answer, as the unary call gives it.
  const v1::ChatCompletion& completion() const { return *completion_; }

 private:
  const v1::ChatCompletionEvent* event_;
  const v1::ChatCompletion* completion_;
};

// The updates of one completion, for a range-based `for`. One thread reads it; any thread may cancel it. It may outlive
// its client.
//
// The call is made when the reading begins. Reading throws an `Error` for a call that failed, and a `BrokenStreamError`
// for a stream that broke its grammar; the stream has ended then.
//
// With `StreamOptions::resume` the completion detaches (ON_DISCONNECT_DETACH) and survives a lost connection: the stream
// goes on after the last event that came, until the completion is found to be gone, no server is reached for a minute, or
// the timeout is over. A stream that is left then tells the server to cancel the completion, which takes up to 2 s where
// the server does not answer.
class ChatStream {
 public:
  class Iterator;

  ChatStream(ChatStream&&) noexcept;
  ChatStream& operator=(ChatStream&&) noexcept;

  // Cancels what has not ended.
  ~ChatStream();

  // Reads the next update. A second loop goes on where the first one was left.
  Iterator begin();
  Iterator end();

  // The answer so far; after the last update the whole answer.
  const v1::ChatCompletion& completion() const;

  // Cancels the call, from any thread: the reader gets an `Error` with CANCELLED. Harmless if the stream has ended.
  void Cancel();

 private:
  friend class Client;
  class Impl;

  explicit ChatStream(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

// Goes through the updates once. Valid as long as its stream; moving the stream does not invalidate it.
class ChatStream::Iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = Update;
  using difference_type = std::ptrdiff_t;
  using pointer = const Update*;
  using reference = const Update&;

  Iterator() = default;

  reference operator*() const;
  pointer operator->() const { return &**this; }
  Iterator& operator++();
  void operator++(int) { ++*this; }

  friend bool operator==(const Iterator& left, const Iterator& right) { return left.impl_ == right.impl_; }
  friend bool operator!=(const Iterator& left, const Iterator& right) { return !(left == right); }

 private:
  friend class ChatStream;

  explicit Iterator(Impl* impl) : impl_(impl) { ++*this; }

  Impl* impl_ = nullptr;  // Null: the end.
};

}  // namespace tokenwire
