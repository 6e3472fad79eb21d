# frozen_string_literal: true

module Tokenwire
  # The grammar of a stream, checked event by event.
  #
  # started prompt_logprobs* (delta | finished)* completed: exactly one `finished` a choice, after its deltas; `sequence`
  # strictly increases. Heartbeats may stand anywhere after `started`, with the sequence of the event before them. In a
  # choice, reasoning comes before content, and one tool call after the other. An event of an unknown kind passes.
  class StreamChecker
    # With +after_sequence+ the stream is the rest of one, after this event; what came before is not known.
    def initialize(after_sequence: nil)
      @sequence = after_sequence
      @is_rest = !after_sequence.nil?
      @open_choices = @is_rest ? {} : nil # by index; nil before `started`
      @finished = {}
      @answering = false
      @completed = false
    end

    # Takes the next event. Raises BrokenStreamError where it may not stand.
    def check(event)
      kind = event.event
      broken("event '#{kind}' after `completed`") if @completed
      return check_heartbeat(event.sequence) if kind == :heartbeat

      broken("sequence #{event.sequence} after #{@sequence}") if @sequence && event.sequence <= @sequence
      @sequence = event.sequence
      case kind
      when :started then check_started(event.started)
      when :prompt_logprobs then check_prompt_logprobs
      when :delta then check_delta(event.delta)
      when :finished then check_finished(event.finished)
      when :completed then check_completed
      end
    end

    # The stream ended with status OK. Raises BrokenStreamError if it was not complete.
    def finish
      broken("the stream ended OK without `completed`") unless @completed
    end

    private

    def broken(message)
      raise BrokenStreamError, message
    end

    def check_heartbeat(sequence)
      broken("a heartbeat of sequence #{sequence} after #{@sequence.inspect}") if sequence != @sequence
    end

    def check_started(started)
      broken("a second `started`") if @open_choices
      num_choices = started.parameters&.n.to_i
      @open_choices = num_choices.times.to_h { |index| [index, OpenChoice.new(0)] }
    end

    def check_prompt_logprobs
      broken("'prompt_logprobs' before `started`") unless @open_choices
      broken("'prompt_logprobs' after an answer began") if @answering
    end

    def check_delta(delta)
      fault = open_choice(delta.index, :delta).fault(delta)
      broken(fault) if fault
      @answering = true
    end

    def check_finished(finished)
      open_choice(finished.index, :finished)
      broken("choice #{finished.index} finished without a reason") if finished.finish_reason == :FINISH_REASON_UNSPECIFIED
      @open_choices.delete(finished.index)
      @finished[finished.index] = true
      @answering = true
    end

    def check_completed
      broken("`completed` before `started`") unless @open_choices
      broken("`completed` while choices #{@open_choices.keys.sort} are open") unless @open_choices.empty?
      @completed = true
    end

    def open_choice(index, kind)
      broken("'#{kind}' before `started`") unless @open_choices
      @open_choices[index] ||= OpenChoice.new(nil) if @is_rest && !@finished[index]
      @open_choices[index] || broken("'#{kind}' for choice #{index}, which is finished or was never asked")
    end

    # What the deltas of one choice had so far.
    class OpenChoice
      # +num_calls+: tool calls that have begun; nil if that is not known.
      def initialize(num_calls)
        @num_calls = num_calls
        @has_content = false
      end

      # Takes the next delta. What is wrong with it; nil if nothing is.
      def fault(delta)
        return "reasoning after the content of choice #{delta.index}" if @has_content && !delta.reasoning.empty?

        @has_content ||= !delta.content.empty?
        delta.tool_calls.each do |part|
          fault = call_fault(part, delta.index)
          return fault if fault
        end
        nil
      end

      private

      def call_fault(part, choice)
        has_id = !part.id.empty?
        @num_calls ||= has_id ? part.index : part.index + 1
        is_first = part.index == @num_calls
        unless is_first || part.index == @num_calls - 1
          return "tool call #{part.index} of choice #{choice} is out of order"
        end
        unless has_id == is_first && part.name.empty? != is_first
          return "id and name of tool call #{part.index} belong in its first part only"
        end

        @num_calls += 1 if is_first
        nil
      end
    end
    private_constant :OpenChoice
  end
  private_constant :StreamChecker
end
