// The grammar of a completion stream.
//
// started prompt_logprobs* (delta | finished)* completed: exactly one `finished` a choice, after its deltas; `sequence`
// strictly increases. Heartbeats may stand anywhere after `started`, with the sequence of the event before them. In a
// choice, reasoning comes before content, and one tool call after the other.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "tokenwire/v1/chat.pb.h"

namespace tokenwire {

// Checks one stream, event by event. An event of a kind that it does not know passes.
class StreamChecker {
 public:
  // `after_sequence`: the stream is the rest of one, after this event; what came before it is not known.
  explicit StreamChecker(std::optional<std::int64_t> after_sequence);

  // Takes the next event. Throws a `BrokenStreamError` where it may not stand.
  void Check(const v1::ChatCompletionEvent& event);

  // The stream ended with status OK. Throws a `BrokenStreamError` if it was not complete.
  void End() const;

 private:
  // What the deltas of one choice had so far.
  struct OpenChoice {
    bool has_content = false;
    std::optional<int> num_calls;  // Absent: not known.
  };

  void CheckSequence(const v1::ChatCompletionEvent& event);
  void CheckStarted(const v1::Started& started);
  void CheckPromptLogprobs() const;
  void CheckDelta(const v1::Delta& delta);
  void CheckFinished(const v1::Finished& finished);
  void CheckCompleted();

  OpenChoice& Open(int index, const std::string& kind);
  void RequireStarted(const std::string& kind) const;

  std::optional<std::int64_t> sequence_;
  const bool is_rest_;
  bool started_;
  bool answering_ = false;
  bool completed_ = false;
  std::map<int, OpenChoice> open_choices_;
  std::set<int> finished_;
};

}  // namespace tokenwire
