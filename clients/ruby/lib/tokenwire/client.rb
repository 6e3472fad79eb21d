# frozen_string_literal: true

require "securerandom"
require_relative "connection"
require_relative "course"
require_relative "stream"
require_relative "stream_checker"
require_relative "stream_folder"
require_relative "update"

module Tokenwire
  # Calls a Tokenwire server. May be shared by threads. Every call raises Error.
  #
  # A call that is interrupted (Timeout, Thread#raise, Thread#kill, Ctrl-C) frees its place on the server at once.
  class Client
    DEFAULT_TARGET = "127.0.0.1:50051"

    # Gives a new client to the block, and closes it afterwards. Arguments as for ::new.
    def self.open(...)
      client = new(...)
      begin
        yield client
      ensure
        client.close
      end
    end

    # [target] any name that gRPC resolves
    # [api_key] sent as `authorization: Bearer …`
    # [tls] nil: plain text; true: TLS with the usual roots; or a hash of PEM texts: `ca` has whom to trust, `cert` and
    #       `key` are the caller's own certificate
    # [timeout_s] limit of calls that give none; nil: no limit
    # [resume] whether streams that do not say outlive a lost connection: see #stream
    # [retries] whether gRPC tries a call again that got UNAVAILABLE: up to four attempts, with exponential backoff
    # [channel_args] more arguments of the gRPC channel, such as `"grpc.lb_policy_name" => "round_robin"`
    def initialize(target = DEFAULT_TARGET, api_key: nil, tls: nil, timeout_s: 600, resume: false, retries: true,
                   channel_args: {})
      @timeout_s = timeout_s
      @resume = resume
      @connection = Connection.new(target, tls: tls, api_key: api_key, timeout_s: timeout_s, retries: retries,
                                           channel_args: channel_args)
    end

    # The whole answer, a V1::ChatCompletion. Give a V1::ChatCompletionRequest or its fields as keywords. A request
    # without a `request_id` gets a random one, so that it is safe to send again.
    def chat(request = nil, timeout_s: @timeout_s, **fields)
      @connection.chat(:create_chat_completion, chat_request(request, fields), timeout_s)
    end

    # The answer as it comes: yields each Update and gives the whole V1::ChatCompletion; without a block, a Stream to
    # read. The request is given as for #chat.
    #
    # With +resume+ the completion outlives a lost connection: the stream goes on where it was, until the completion is
    # found to be gone, the server is not reached for a minute, or +timeout_s+, which bounds all of it, is over. Leaving
    # the block then sends a CancelChatCompletion.
    def stream(request = nil, timeout_s: @timeout_s, resume: @resume, **fields, &block)
      follow(chat_request(request, fields), timeout_s, resume, &block)
    end

    # The events of a live or retained completion after one of them, or from its start; else as #stream. With
    # +after_sequence+ the answer is what these events have of it.
    def resume(completion_id, after_sequence: nil, timeout_s: @timeout_s, resume: @resume, &block)
      request = V1::ResumeChatCompletionRequest.new(completion_id: completion_id, after_sequence: after_sequence)
      follow(request, timeout_s, resume, &block)
    end

    # Ends a completion, named by its id or by that of its request: a V1::CancelChatCompletionResponse. Harmless if it
    # has ended.
    def cancel(completion_id = nil, request_id: nil, timeout_s: @timeout_s)
      raise ArgumentError, "give `completion_id` or `request_id`" if completion_id.nil? == request_id.nil?

      target = completion_id ? { completion_id: completion_id } : { request_id: request_id }
      @connection.chat(:cancel_chat_completion, V1::CancelChatCompletionRequest.new(**target), timeout_s)
    end

    # A completion that was generated with `store`, or is live or retained, as far as it has come: a
    # V1::StoredChatCompletion.
    def completion(completion_id, timeout_s: @timeout_s)
      request = V1::GetChatCompletionRequest.new(completion_id: completion_id)
      @connection.chat(:get_chat_completion, request, timeout_s)
    end

    # The served models, an array of V1::Model; empty while the model is loading.
    def models(timeout_s: @timeout_s)
      @connection.models(timeout_s)
    end

    # A stub of any generated service (`V1::TokenService`) over the same connection, with its key and time limit. Calls
    # inside of Error.wrap raise Error.
    def stub(service)
      @connection.stub(service)
    end

    # Closes the connection. Streams that are being read are cancelled.
    def close
      @connection.close
    end

    private

    def follow(request, timeout_s, resume, &block)
      stream = Stream.new(@connection, Course.new(request, timeout_s: timeout_s, resumes: resume))
      return stream unless block

      stream.each(&block)
      stream.completion
    end

    # A new request: what the caller has is not changed.
    def chat_request(request, fields)
      raise ArgumentError, "give a request or its fields, not both" if request && !fields.empty?

      made = request ? Google::Protobuf.deep_copy(request) : V1::ChatCompletionRequest.new(**fields)
      made.request_id = SecureRandom.uuid if made.request_id.empty?
      made
    end
  end
end
