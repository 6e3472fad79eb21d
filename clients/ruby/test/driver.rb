# frozen_string_literal: true

# The conformance driver: runs the commands that come on stdin, see driver.proto.

require "timeout"
require "tokenwire"
require "tokenwire/conformance/driver_pb"

# Runs one command with a client of its own.
class Driver
  Conformance = Tokenwire::Conformance

  def initialize(command)
    @command = command
    @result = Conformance::Result.new
    @text = +""
  end

  # The result, also of a call that fails.
  def run
    Tokenwire::Client.open(@command.connection.target, **connection) { |client| interruptibly { call(client) } }
    @result
  rescue Tokenwire::Error => e
    @result.error = error(e)
    @result
  rescue Timeout::Error => e
    @result.error = Conformance::Error.new(code: GRPC::Core::StatusCodes::CANCELLED, message: e.message)
    @result
  ensure
    @result.text = @text
    @result.completion = @stream.completion if @stream
  end

  private

  def connection
    given = @command.connection
    pems = { ca: given.ca_pem, cert: given.cert_pem, key: given.key_pem }.reject { |_, pem| pem.empty? }
    { api_key: given.api_key.empty? ? nil : given.api_key, tls: pems.empty? ? nil : pems }
  end

  # A stream is cancelled from another thread; the thread of any other call is interrupted.
  def interruptibly(&block)
    after_s = @command.cancel_after&.to_f
    return block.call unless after_s
    return Timeout.timeout(after_s, &block) unless %i[stream resume].include?(@command.call)

    canceller = Thread.new do
      sleep after_s
      @stream.cancel
    end
    block.call
  ensure
    canceller&.kill
  end

  def call(client)
    request = @command.public_send(@command.call)
    case @command.call
    when :create then @result.completion = client.chat(request, **limit)
    when :stream then read(client.stream(request, resume: @command.auto_resume, **limit))
    when :resume then read(client.resume(request.completion_id, **after(request), resume: @command.auto_resume, **limit))
    when :get then @result.stored = client.completion(request.completion_id, **limit)
    when :cancel then @result.cancelled = cancel(client, request)
    when :list_models then @result.models.concat(client.models(**limit))
    end
  end

  def limit
    @command.timeout ? { timeout_s: @command.timeout.to_f } : {}
  end

  def after(request)
    request.has_after_sequence? ? { after_sequence: request.after_sequence } : {}
  end

  def cancel(client, request)
    return client.cancel(request_id: request.request_id, **limit) if request.target == :request_id

    client.cancel(request.completion_id, **limit)
  end

  def read(stream)
    @stream = stream
    stream.each do |update|
      @result.events << update.event
      @text << update.text
      break if @command.has_leave_after_events? && @result.events.size == @command.leave_after_events
    end
  end

  def error(error)
    Conformance::Error.new(
      is_broken_stream: error.is_a?(Tokenwire::BrokenStreamError),
      code: error.code,
      reason: error.reason,
      message: error.message,
      violations: error.violations.map { |one| Conformance::Violation.new(field: one.field, description: one.description) },
      retry_after: duration(error.retry_after_s),
      metadata: error.metadata
    )
  end

  def duration(time_s)
    time_s && Google::Protobuf::Duration.new(seconds: time_s.floor, nanos: ((time_s % 1) * 1e9).round)
  end
end

$stdin.binmode
$stdout.binmode
while (head = $stdin.read(4))
  command = Driver::Conformance::Command.decode($stdin.read(head.unpack1("N")))
  result = Driver::Conformance::Result.encode(Driver.new(command).run)
  $stdout.write([result.bytesize].pack("N"), result)
  $stdout.flush
end
