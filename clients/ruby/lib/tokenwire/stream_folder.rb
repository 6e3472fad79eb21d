# frozen_string_literal: true

module Tokenwire
  # Folds a stream into the answer that the unary call gives; of the rest of a stream it makes what the rest has of the
  # answer. Texts are gathered outside the message, which would copy them anew with each piece.
  class StreamFolder
    def initialize
      @completion = V1::ChatCompletion.new
      @texts = []
      @is_current = true
    end

    # Takes the next event.
    def add(event)
      @is_current = false
      case event.event
      when :started then start(event.started)
      when :prompt_logprobs then @completion.prompt_logprobs.concat(event.prompt_logprobs.tokens.to_a)
      when :delta then append(event.delta)
      when :finished then finish(event.finished)
      when :completed
        @completion.usage = event.completed.usage
        @completion.timings = event.completed.timings
      end
    end

    # The answer so far. The message is the folder's own: it changes with the next event.
    def completion
      write_texts unless @is_current
      @is_current = true
      @completion
    end

    private

    def start(started)
      @completion.id = started.id
      @completion.created = started.created
      @completion.model = started.model
      @completion.system_fingerprint = started.system_fingerprint
      @completion.parameters = started.parameters
      @completion.service_tier = started.service_tier
      @completion.usage = V1::Usage.new(prompt_tokens: started.prompt_tokens)
      add_choices(started.parameters&.n.to_i)
    end

    # There are at least so many.
    def add_choices(count)
      (@texts.size...count).each do |index|
        @completion.choices << V1::Choice.new(index: index)
        @texts << Texts.new(String.new(encoding: Encoding::UTF_8), String.new(encoding: Encoding::UTF_8), [])
      end
    end

    def append(delta)
      add_choices(delta.index + 1)
      choice = @completion.choices[delta.index]
      texts = @texts[delta.index]
      texts.content << delta.content
      texts.reasoning << delta.reasoning
      choice.logprobs.concat(delta.logprobs.to_a) unless delta.logprobs.empty?
      delta.tool_calls.each { |part| append_call(choice, texts, part) }
    end

    def append_call(choice, texts, part)
      while choice.tool_calls.size <= part.index
        choice.tool_calls << V1::ToolCall.new(function: V1::FunctionCall.new)
        texts.arguments << String.new(encoding: Encoding::UTF_8)
      end
      unless part.id.empty?
        choice.tool_calls[part.index].id = part.id
        choice.tool_calls[part.index].function.name = part.name
      end
      texts.arguments[part.index] << part.arguments
    end

    def finish(finished)
      add_choices(finished.index + 1)
      choice = @completion.choices[finished.index]
      choice.finish_reason = finished.finish_reason
      choice.stop_match = finished.stop_match
    end

    def write_texts
      @completion.choices.zip(@texts) do |choice, texts|
        choice.content = texts.content
        choice.reasoning = texts.reasoning
        choice.tool_calls.zip(texts.arguments) { |call, arguments| call.function.arguments = arguments }
      end
    end

    # The texts of one choice.
    Texts = Struct.new(:content, :reasoning, :arguments)
    private_constant :Texts
  end
  private_constant :StreamFolder
end
