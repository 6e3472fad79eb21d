# frozen_string_literal: true

module Tokenwire
  # A streamed completion: an Enumerable of Update that can be read once. The call begins when the reading does.
  #
  # Leaving the block of #each early (`break`, an exception, Timeout, Thread#raise) frees the call at once, and ends the
  # completion. An external enumerator (`each.next`) cannot tell that it is left: call #cancel then.
  class Stream
    include Enumerable

    def initialize(connection, course)
      @connection = connection
      @course = course
      @mutex = Mutex.new
      @changed = ConditionVariable.new
      @has_begun = false
      @is_cancelled = false
    end

    # Yields each Update as it comes. Raises Error; BrokenStreamError where the stream breaks its grammar.
    def each(&block)
      return enum_for(:each) unless block

      begin_reading
      @connection.track(self) do
        while (delay_s = read_call(&block))
          pause(delay_s)
        end
      ensure
        leave
      end
      self
    end

    # Ends the call, from any thread: its reader gets a CancelledError.
    def cancel
      @mutex.synchronize do
        @is_cancelled = true
        @call&.cancel
        @changed.broadcast
      end
      leave
    end

    # The answer so far, a V1::ChatCompletion: see Update#completion.
    def completion
      @course.completion
    end

    private

    def begin_reading
      @mutex.synchronize do
        raise IOError, "a stream can be read only once" if @has_begun

        @has_begun = true
      end
    end

    # Reads one call to its end: nil, or the seconds after which to ask for the rest. What the block raises is its own.
    def read_call
      call = open_call
      is_reading = true
      call.execute.each do |event|
        update = @course.take(event)
        is_reading = false
        yield update
        is_reading = true
      end
      @course.finish
      nil
    rescue *RAISED_BY_GRPC => e
      raise unless is_reading

      @course.resume_after_s(error_of(e))
    ensure
      call&.cancel
    end

    def open_call
      @mutex.synchronize do
        raise cancelled if @is_cancelled

        @call = @connection.stream(@course.request, @course.time_left_s)
      end
    end

    # Of a call that was over before its first event, gRPC does not tell why.
    def error_of(cause)
      return Error.from(cause) unless cause.is_a?(GRPC::Core::CallError)
      return cancelled if @is_cancelled
      return Error.from(cause) unless @course.time_left_s&.zero?

      DeadlineExceededError.new("the deadline is over", code: GRPC::Core::StatusCodes::DEADLINE_EXCEEDED)
    end

    def cancelled
      CancelledError.new("the stream was cancelled", code: GRPC::Core::StatusCodes::CANCELLED)
    end

    def pause(delay_s)
      @mutex.synchronize { @changed.wait(@mutex, delay_s) unless @is_cancelled }
    end

    def leave
      target = @mutex.synchronize { @course.leave if @has_begun }
      @connection.abandon(target) if target
    end
  end
end
