# frozen_string_literal: true

require "tokenwire"

# A gRPC server on a free port of the loopback whose streams are scripted by a block, which gets an Enumerator::Yielder.
class Server
  V1 = Tokenwire::V1

  attr_reader :target, :requests, :keys

  def self.run(script)
    server = new(script)
    yield server
  ensure
    server&.stop
  end

  # `started`, of a completion that can be resumed.
  def self.started
    started = V1::Started.new(id: "chatcmpl-1", resumable: true, parameters: V1::EffectiveParameters.new(n: 1))
    V1::ChatCompletionEvent.new(sequence: 0, started: started)
  end

  def self.delta(sequence, text)
    V1::ChatCompletionEvent.new(sequence: sequence, delta: V1::Delta.new(content: text))
  end

  # Ends a choice and the stream.
  def self.ending(sequence)
    finished = V1::Finished.new(finish_reason: :FINISH_REASON_STOP)
    [
      V1::ChatCompletionEvent.new(sequence: sequence, finished: finished),
      V1::ChatCompletionEvent.new(sequence: sequence + 1, completed: V1::Completed.new(usage: V1::Usage.new))
    ]
  end

  def initialize(script)
    @requests = Queue.new
    @keys = Queue.new
    @server = GRPC::RpcServer.new(poll_period: 0.1)
    @target = "127.0.0.1:#{@server.add_http2_port("127.0.0.1:0", :this_port_is_insecure)}"
    @server.handle(Chat.new(@requests, script))
    @server.handle(Tokens.new(@keys))
    @thread = Thread.new { @server.run }
    @server.wait_till_running(10)
  end

  def stop
    @server.stop
    @thread.join(10)
  end

  # Streams the script.
  class Chat < V1::ChatService::Service
    def initialize(requests, script)
      super()
      @requests = requests
      @script = script
    end

    def stream_chat_completion(request, _call)
      @requests << request
      Enumerator.new(&@script)
    end

    def resume_chat_completion(request, _call)
      @requests << request
      Server.ending(request.after_sequence + 1).each
    end

    def cancel_chat_completion(request, _call)
      @requests << request
      V1::CancelChatCompletionResponse.new(completion_id: request.completion_id)
    end
  end

  # Notes the key of each call, and finds no model.
  class Tokens < V1::TokenService::Service
    def initialize(keys)
      super()
      @keys = keys
    end

    def count_tokens(_request, call)
      @keys << call.metadata["authorization"]
      raise GRPC::NotFound, "no such model"
    end
  end
end
