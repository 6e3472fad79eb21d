#include "connection.h"

#include <stdexcept>

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

namespace tokenwire {
namespace {

// The server says UNAVAILABLE before any work; gRPC says it of a connection that cannot be made or breaks, and tries
// again only as long as nothing of the answer has come. A server that sends `grpc-retry-pushback-ms` chooses the delay.
// A request that comes twice has one completion, for every one has an id.
constexpr char kRetries[] = R"("methodConfig": [{
  "name": [{}],
  "retryPolicy": {
    "maxAttempts": 4,
    "initialBackoff": "0.2s",
    "maxBackoff": "5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"]
  }
}])";

std::string ServiceConfig(const ClientOptions& options) {
  std::string config = options.retries ? kRetries : "";
  if (!options.load_balancing_policy.empty()) {
    config += config.empty() ? "" : ",";
    config += R"("loadBalancingConfig": [{")" + options.load_balancing_policy + R"(": {}}],)";
    config += R"("healthCheckConfig": {"serviceName": ""})";
  }
  return "{" + config + "}";
}

grpc::ChannelArguments Arguments(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxSendMessageSize(options.max_message_bytes);
  arguments.SetMaxReceiveMessageSize(options.max_message_bytes);
  // Without it a request over 256 KiB is never tried again.
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, options.max_message_bytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(options.keepalive_interval.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(options.keepalive_timeout.count()));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, options.retries);
  arguments.SetServiceConfigJSON(ServiceConfig(options));
  return arguments;
}

std::shared_ptr<grpc::ChannelCredentials> Credentials(const std::optional<TlsOptions>& tls) {
  if (!tls) {
    return grpc::InsecureChannelCredentials();
  }
  if (tls->certificate_chain.empty() != tls->private_key.empty()) {
    throw std::invalid_argument("`certificate_chain` and `private_key` belong together");
  }
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = tls->root_certificates;
  options.pem_cert_chain = tls->certificate_chain;
  options.pem_private_key = tls->private_key;
  return grpc::SslCredentials(options);
}

}  // namespace

Connection::Connection(const std::string& target, const ClientOptions& options)
    : channel_(grpc::CreateCustomChannel(target, Credentials(options.tls), Arguments(options))),
      chat_(v1::ChatService::NewStub(channel_)),
      authorization_(options.api_key.empty() ? "" : "Bearer " + options.api_key),
      timeout_(options.timeout),
      resume_(options.resume) {}

void Connection::Prepare(grpc::ClientContext& context, std::chrono::milliseconds timeout) const {
  if (!authorization_.empty()) {
    context.AddMetadata("authorization", authorization_);
  }
  if (timeout != kNoTimeout) {
    context.set_deadline(std::chrono::system_clock::now() + timeout);
  }
}

}  // namespace tokenwire
