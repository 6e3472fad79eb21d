# frozen_string_literal: true

module Tokenwire
  # One event of a stream, with the answer so far.
  class Update
    # What is new: a V1::ChatCompletionEvent. Where `n` > 1, `event.delta.index` says whose it is; parts of tool calls are
    # in `event.delta.tool_calls`. `event.event` is nil for a kind that is newer than this client.
    attr_reader :event

    def initialize(event, folder)
      @event = event
      @folder = folder
    end

    # The new text; empty for an event that has none.
    def text
      event.delta&.content || ""
    end

    # The new reasoning, which comes before any text; empty for an event that has none.
    def reasoning
      event.delta&.reasoning || ""
    end

    # While nothing new comes: where the completion is, a V1::Heartbeat; else nil.
    def heartbeat
      event.heartbeat
    end

    # The answer so far, a V1::ChatCompletion; after the last update, the whole answer. It is live: it grows with the
    # stream. Each look copies the texts so far: look at the end, or now and then.
    def completion
      @folder.completion
    end
  end
end
