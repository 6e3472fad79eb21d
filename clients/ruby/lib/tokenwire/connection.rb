# frozen_string_literal: true

require "json"
require "set"

module Tokenwire
  # A channel with what all its calls have in common, and the streams that are being read over it.
  class Connection
    # The server says UNAVAILABLE before any work; gRPC says it of a connection that cannot be made or breaks, and tries
    # again only as long as nothing of the answer has come. A server that sends `grpc-retry-pushback-ms` chooses the
    # delay. A request that comes twice has one completion, for every one has an id.
    RETRIES = {
      methodConfig: [{
        name: [{}],
        retryPolicy: {
          maxAttempts: 4,
          initialBackoff: "0.2s",
          maxBackoff: "5s",
          backoffMultiplier: 2,
          retryableStatusCodes: ["UNAVAILABLE"]
        }
      }]
    }.freeze
    MAX_MESSAGE_BYTES = 32 * 1024 * 1024
    CHANNEL_ARGS = {
      "grpc.max_send_message_length" => MAX_MESSAGE_BYTES,
      "grpc.max_receive_message_length" => MAX_MESSAGE_BYTES,
      # Without it a request over 256 KiB is never tried again.
      "grpc.per_rpc_retry_buffer_size" => MAX_MESSAGE_BYTES,
      "grpc.keepalive_time_ms" => 60_000,
      "grpc.keepalive_timeout_ms" => 20_000,
      "grpc.http2.max_pings_without_data" => 0
    }.freeze
    # Longest that somebody who leaves a stream waits for the server to be told.
    CANCEL_TIMEOUT_S = 2.0

    def initialize(target, tls:, api_key:, timeout_s:, retries:, channel_args:)
      args = {
        **CHANNEL_ARGS,
        "grpc.enable_retries" => retries ? 1 : 0,
        "grpc.service_config" => JSON.generate(retries ? RETRIES : {}),
        **channel_args
      }
      @target = target
      @timeout_s = timeout_s
      @channel = GRPC::ClientStub.setup_channel(nil, target, credentials(tls), args)
      @metadata = DefaultMetadata.new(api_key ? { "authorization" => "Bearer #{api_key}" } : {})
      @chat = stub(V1::ChatService)
      @models = stub(V1::ModelService)
      @live = Set.new
      @mutex = Mutex.new
    end

    # A stub of a generated service over the channel.
    def stub(service)
      stub = service::Stub.new(@target, nil, channel_override: @channel, timeout: @timeout_s)
      stub.extend(@metadata)
    end

    # Calls a method of ChatService and gives the answer. +timeout_s+ nil: no limit.
    def chat(method, request, timeout_s)
      Error.wrap { @chat.public_send(method, request, deadline: deadline(timeout_s)) }
    end

    # The served models.
    def models(timeout_s)
      Error.wrap { @models.list_models(V1::ListModelsRequest.new, deadline: deadline(timeout_s)) }.models.to_a
    end

    # A call that streams, to be executed: of a chat request, or of one that resumes.
    def stream(request, timeout_s)
      method = request.is_a?(V1::ChatCompletionRequest) ? :stream_chat_completion : :resume_chat_completion
      @chat.public_send(method, request, deadline: deadline(timeout_s), return_op: true)
    end

    # Tells the server that a completion is not wanted any more. Whatever fails, nobody is there to be told.
    def abandon(target)
      chat(:cancel_chat_completion, target, CANCEL_TIMEOUT_S)
    rescue Error
      nil
    end

    # Runs the block, in which the stream is read.
    def track(stream)
      @mutex.synchronize { @live << stream }
      yield
    ensure
      @mutex.synchronize { @live.delete(stream) }
    end

    # Cancels what is live and closes the channel.
    def close
      @mutex.synchronize { @live.to_a }.each(&:cancel)
      @channel.close
    end

    private

    def credentials(tls)
      return :this_channel_is_insecure unless tls

      tls_credentials(**(tls == true ? {} : tls))
    end

    def tls_credentials(ca: nil, cert: nil, key: nil)
      raise ArgumentError, "`cert` and `key` belong together" if cert.nil? != key.nil?

      GRPC::Core::ChannelCredentials.new(ca, key, cert)
    end

    def deadline(timeout_s)
      timeout_s ? Time.now + timeout_s : GRPC::Core::TimeConsts::INFINITE_FUTURE
    end

    # Extends a stub: every call has this metadata beside its own. gRPC's interceptors do not reach a call with
    # `return_op`.
    class DefaultMetadata < Module
      def initialize(defaults)
        super()
        %i[request_response client_streamer server_streamer bidi_streamer].each do |kind|
          define_method(kind) do |*args, metadata: {}, **options, &block|
            super(*args, metadata: { **defaults, **metadata }, **options, &block)
          end
        end
      end
    end
    private_constant :DefaultMetadata
  end
  private_constant :Connection
end
