// A unary call, as long as a `Cancellation` can reach it.
#pragma once

#include <memory>

#include <grpcpp/client_context.h>

#include "connection.h"
#include "tokenwire/cancellation.h"

namespace tokenwire {

class CancellableCall {
 public:
  explicit CancellableCall(const Cancellation& cancellation);
  ~CancellableCall();
  CancellableCall(const CancellableCall&) = delete;
  CancellableCall& operator=(const CancellableCall&) = delete;

  grpc::ClientContext& context() { return context_; }

 private:
  std::shared_ptr<Cancellation::State> cancellation_;
  grpc::ClientContext context_;
};

// Makes a unary call of a stub. Throws an `Error`.
template <typename Request, typename Response, typename Stub>
Response Call(const Connection& connection, Stub& stub,
              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), const Request& request,
              const CallOptions& options) {
  CancellableCall call(options.cancellation);
  connection.Prepare(call.context(), connection.Timeout(options.timeout));
  Response response;
  ThrowIfError((stub.*method)(&call.context(), request, &response));
  return response;
}

}  // namespace tokenwire
