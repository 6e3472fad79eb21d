# frozen_string_literal: true

module Tokenwire
  # The course of one streamed completion over one call or, where it resumes, over several; without any I/O.
  class Course
    FIRST_DELAY_S = 0.1
    MAX_DELAY_S = 5.0
    # A server that is not reached for so long is given up: by default it keeps no completion for longer.
    MAX_OUTAGE_S = 60.0
    CONNECTION_LOST = [GRPC::Core::StatusCodes::UNAVAILABLE, GRPC::Core::StatusCodes::CANCELLED].freeze
    # Reasons of the server that end a stream of a completion that detaches, and not the completion.
    MAY_GO_ON = %w[SLOW_CONSUMER DEADLINE_EXCEEDED].freeze

    # What to ask next: a V1::ChatCompletionRequest or a V1::ResumeChatCompletionRequest.
    attr_reader :request

    # +timeout_s+ (nil: no limit) bounds all calls together. A chat request that +resumes+ is changed: it detaches.
    def initialize(request, timeout_s:, resumes:)
      @request = request
      @resumes = resumes
      @is_over = !resumes # it is not resumed, and the server need not be told that it is left
      @timeout_s = timeout_s
      @num_losses = 0
      @folder = StreamFolder.new
      request.is_a?(V1::ChatCompletionRequest) ? begin_completion : begin_rest
    end

    # For the next call; nil: no limit. The time begins with the first call.
    def time_left_s
      return unless @timeout_s

      @deadline_s ||= now_s + @timeout_s
      [@deadline_s - now_s, 0.0].max
    end

    # Takes the next event and gives the Update. Raises BrokenStreamError where it may not stand.
    def take(event)
      note(event) if @resumes
      @checker.check(event)
      @folder.add(event)
      Update.new(event, @folder)
    end

    # The call ended with status OK. Raises BrokenStreamError where something is missing.
    def finish
      @checker.finish
      @is_over = true
    end

    # The answer so far.
    def completion
      @folder.completion
    end

    # The call failed: seconds after which to ask again. Raises the error where that is of no use.
    def resume_after_s(error)
      raise error if @is_over

      has_ended = !error.reason.empty? && !MAY_GO_ON.include?(error.reason)
      @is_over = true if !@can_resume || has_ended
      @lost_s ||= now_s
      raise error if @is_over || !error.reason.empty? || !CONNECTION_LOST.include?(error.code)
      raise error if now_s - @lost_s > MAX_OUTAGE_S

      delay_s = [FIRST_DELAY_S * (2**@num_losses), MAX_DELAY_S].min * Random.rand(0.5..1.0)
      @num_losses += 1
      [delay_s, time_left_s].compact.min
    end

    # The stream is left: the V1::CancelChatCompletionRequest to tell the server, or nil where it knows.
    def leave
      return if @is_over

      @is_over = true
      @target
    end

    private

    def begin_completion
      @can_resume = false
      @target = V1::CancelChatCompletionRequest.new(request_id: request.request_id)
      @checker = StreamChecker.new
      return unless @resumes

      request.execution_policy ||= V1::ExecutionPolicy.new
      request.execution_policy.on_disconnect = :ON_DISCONNECT_DETACH
    end

    def begin_rest
      @can_resume = @resumes
      @target = V1::CancelChatCompletionRequest.new(completion_id: request.completion_id)
      @checker = StreamChecker.new(after_sequence: request.has_after_sequence? ? request.after_sequence : nil)
    end

    def note(event)
      @num_losses = 0
      @lost_s = nil
      if (started = event.started)
        @can_resume = started.resumable
        @target = V1::CancelChatCompletionRequest.new(completion_id: started.id)
        @request = V1::ResumeChatCompletionRequest.new(completion_id: started.id)
      end
      @request.after_sequence = event.sequence if @request.is_a?(V1::ResumeChatCompletionRequest)
    end

    def now_s
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
  private_constant :Course
end
