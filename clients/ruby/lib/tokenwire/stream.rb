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

      @course.resume_after_s(Error.from(e))
    ensure
      call&.cancel
    end

    def open_call
      @mutex.synchronize do
        raise CancelledError.new("the stream was cancelled", code: GRPC::Core::StatusCodes::CANCELLED) if @is_cancelled

        @call = @connection.stream(@course.request, @course.time_left_s)
      end
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
