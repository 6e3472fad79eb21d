// The folding of a stream into the answer that the unary call gives.
#pragma once

#include "tokenwire/v1/chat.pb.h"

namespace tokenwire {

// Takes events that `StreamChecker` has let pass. Of the rest of a stream it makes what the rest has of the answer.
class StreamFolder {
 public:
  void Add(const v1::ChatCompletionEvent& event);

  // The answer so far.
  const v1::ChatCompletion& completion() const { return completion_; }

 private:
  void Start(const v1::Started& started);
  void Append(const v1::Delta& delta);
  v1::Choice& Choice(int index);

  v1::ChatCompletion completion_;
};

}  // namespace tokenwire
