// The driver of the conformance tests: commands on stdin, results on stdout (see driver.proto).

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <iostream>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <tokenwire/client.h>

#include "tokenwire/conformance/driver.pb.h"

namespace {

namespace conformance = tokenwire::conformance;
using std::chrono::milliseconds;

// Does something once after a time, unless it is destroyed before.
class Timer {
 public:
  Timer(milliseconds delay, std::function<void()> action)
      : thread_([this, delay, action = std::move(action)] {
          std::unique_lock lock(mutex_);
          if (!stopping_.wait_for(lock, delay, [this] { return stopped_; })) {
            lock.unlock();
            action();
          }
        }) {}

  ~Timer() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    stopping_.notify_one();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable stopping_;
  bool stopped_ = false;
  std::thread thread_;  // Last, for it uses the others.
};

std::optional<milliseconds> Milliseconds(bool is_given, const google::protobuf::Duration& duration) {
  if (!is_given) {
    return std::nullopt;
  }
  return std::chrono::seconds(duration.seconds()) + milliseconds(duration.nanos() / 1'000'000);
}

tokenwire::Client Connect(const conformance::Connection& connection) {
  tokenwire::ClientOptions options;
  options.api_key = connection.api_key();
  if (!connection.ca_pem().empty()) {
    options.tls = {connection.ca_pem(), connection.cert_pem(), connection.key_pem()};
  }
  return tokenwire::Client(connection.target(), options);
}

void Tell(const tokenwire::Error& error, conformance::Error& told) {
  told.set_is_broken_stream(dynamic_cast<const tokenwire::BrokenStreamError*>(&error) != nullptr);
  told.set_code(error.code());
  told.set_reason(error.reason());
  told.set_message(error.what());
  for (const tokenwire::Violation& violation : error.violations()) {
    auto& added = *told.add_violations();
    added.set_field(violation.field);
    added.set_description(violation.description);
  }
  if (const auto delay = error.retry_after()) {
    told.mutable_retry_after()->set_seconds(delay->count() / 1000);
    told.mutable_retry_after()->set_nanos(static_cast<int>(delay->count() % 1000) * 1'000'000);
  }
  told.mutable_metadata()->insert(error.metadata().begin(), error.metadata().end());
}

// Gives the updates to the result. The stream is left when this returns.
void Follow(tokenwire::ChatStream stream, const conformance::Command& command, conformance::Result& result) {
  std::optional<Timer> timer;
  if (const auto delay = Milliseconds(command.has_cancel_after(), command.cancel_after())) {
    timer.emplace(*delay, [&stream] { stream.Cancel(); });
  }
  try {
    for (const tokenwire::Update& update : stream) {
      *result.add_events() = update.event();
      result.mutable_text()->append(update.text());
      if (command.has_leave_after_events() && result.events_size() == command.leave_after_events()) {
        break;
      }
    }
  } catch (const tokenwire::Error& error) {
    Tell(error, *result.mutable_error());
  }
  *result.mutable_completion() = stream.completion();
}

void CallOnce(const tokenwire::Client& client, const conformance::Command& command, conformance::Result& result) {
  tokenwire::CallOptions options;
  options.timeout = Milliseconds(command.has_timeout(), command.timeout());
  std::optional<Timer> timer;
  if (const auto delay = Milliseconds(command.has_cancel_after(), command.cancel_after())) {
    timer.emplace(*delay, [cancellation = options.cancellation] { cancellation.Cancel(); });
  }
  switch (command.call_case()) {
    case conformance::Command::kCreate:
      *result.mutable_completion() = client.Chat(command.create(), options);
      break;
    case conformance::Command::kGet:
      *result.mutable_stored() = client.GetCompletion(command.get(), options);
      break;
    case conformance::Command::kCancel:
      *result.mutable_cancelled() = client.CancelCompletion(command.cancel(), options);
      break;
    case conformance::Command::kListModels:
      *result.mutable_models() = client.ListModels(options).models();
      break;
    default:
      throw std::logic_error("a call that the driver does not know");
  }
}

conformance::Result Run(const conformance::Command& command) {
  conformance::Result result;
  tokenwire::StreamOptions options;
  options.timeout = Milliseconds(command.has_timeout(), command.timeout());
  options.resume = command.auto_resume();
  try {
    const tokenwire::Client client = Connect(command.connection());
    if (command.has_stream()) {
      Follow(client.Stream(command.stream(), options), command, result);
    } else if (command.has_resume()) {
      Follow(client.Resume(command.resume(), options), command, result);
    } else {
      CallOnce(client, command, result);
    }
  } catch (const tokenwire::Error& error) {
    Tell(error, *result.mutable_error());
  }
  return result;
}

bool ReadFrame(std::string& frame) {
  unsigned char length[4];
  if (!std::cin.read(reinterpret_cast<char*>(length), sizeof length)) {
    return false;
  }
  frame.resize(std::uint32_t{length[0]} << 24 | length[1] << 16 | length[2] << 8 | length[3]);
  return static_cast<bool>(std::cin.read(frame.data(), static_cast<std::streamsize>(frame.size())));
}

void WriteFrame(const std::string& frame) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    std::cout.put(static_cast<char>(frame.size() >> shift));
  }
  std::cout << frame << std::flush;
}

}  // namespace

int main() {
  std::string frame;
  while (ReadFrame(frame)) {
    conformance::Command command;
    if (!command.ParseFromString(frame)) {
      std::cerr << "a command that does not parse\n";
      return 1;
    }
    WriteFrame(Run(command).SerializeAsString());
  }
}
