# frozen_string_literal: true

require "minitest/autorun"
require "timeout"
require "tokenwire"
require_relative "server"

# What is Ruby's own; tests/clients/test_conformance.py has what all clients do.
class ClientTest < Minitest::Test
  V1 = Tokenwire::V1
  REQUEST = V1::ChatCompletionRequest.new(model: "m", messages: [{ role: :ROLE_USER, content: "hi" }])
  WHOLE = lambda do |events|
    events << Server.started << Server.delta(1, "a") << Server.delta(2, "b")
    Server.ending(3).each { |event| events << event }
  end

  def setup
    @endless = lambda do |events|
      events << Server.started << Server.delta(1, "a")
      sleep # the call ends it
    end
  end

  def test_a_stream_is_enumerable_and_its_block_form_gives_the_answer
    with_client(WHOLE) do |client|
      assert_equal %w[a b], client.stream(REQUEST).map(&:text).reject(&:empty?)
      assert_equal "ab", client.stream(REQUEST) { |_| nil }.choices.first.content
    end
  end

  def test_a_stream_can_be_read_only_once
    with_client(WHOLE) do |client|
      stream = client.stream(REQUEST)
      stream.each { |_| nil }
      assert_raises(IOError) { stream.first }
    end
  end

  def test_taking_the_first_updates_leaves_an_endless_stream
    with_client(@endless) { |client| assert_equal 2, client.stream(REQUEST).first(2).size }
  end

  def test_what_the_block_raises_comes_out_as_it_is_and_is_not_resumed
    with_client(@endless, resume: true) do |client, server|
      error = assert_raises(GRPC::Unavailable) { client.stream(REQUEST) { |_| raise GRPC::Unavailable, "the block's own" } }
      assert_equal "the block's own", error.details
      assert_equal %w[ChatCompletionRequest CancelChatCompletionRequest], names(server.requests, 2)
    end
  end

  def test_cancelling_wakes_the_reader_and_tells_the_server
    with_client(@endless, resume: true) do |client, server|
      stream = client.stream(REQUEST)
      assert_raises(Tokenwire::CancelledError) do
        stream.each { |update| Thread.new { stream.cancel } if update.text == "a" }
      end
      assert_equal %w[ChatCompletionRequest CancelChatCompletionRequest], names(server.requests, 2)
    end
  end

  def test_an_interrupted_reader_leaves_the_stream
    with_client(@endless, resume: true) do |client, server|
      seen = Queue.new
      reader = Thread.new { client.stream(REQUEST) { |update| seen << update } }
      reader.report_on_exception = false
      2.times { seen.pop }
      reader.raise(Interrupt)
      assert_raises(Interrupt) { reader.join }
      assert_equal %w[ChatCompletionRequest CancelChatCompletionRequest], names(server.requests, 2)
    end
  end

  def test_closing_the_client_ends_its_streams
    with_client(@endless) do |client|
      assert_raises(Tokenwire::CancelledError) do
        client.stream(REQUEST) { |update| Thread.new { client.close } if update.text == "a" }
      end
    end
  end

  def test_the_callers_request_is_not_changed
    with_client(WHOLE) do |client, server|
      client.stream(REQUEST, resume: true) { |_| nil }
      assert_equal :ON_DISCONNECT_DETACH, server.requests.pop.execution_policy.on_disconnect
    end
    assert_equal ["", nil], [REQUEST.request_id, REQUEST.execution_policy]
  end

  def test_stubs_have_the_key_and_their_errors_can_be_wrapped
    with_client(WHOLE, api_key: "k") do |client, server|
      tokens = client.stub(V1::TokenService)
      error = assert_raises(Tokenwire::NotFoundError) { Tokenwire::Error.wrap { tokens.count_tokens(REQUEST) } }
      assert_equal "no such model", error.message
      assert_kind_of GRPC::NotFound, error.cause
      assert_equal "Bearer k", server.keys.pop
    end
  end

  def test_misuse_is_told_at_once
    assert_raises(ArgumentError) { Tokenwire::Client.new(tls: { cert: "PEM" }) }
    assert_raises(ArgumentError) { Tokenwire::Client.new.chat(REQUEST, seed: 1) }
    assert_raises(ArgumentError) { Tokenwire::Client.new.cancel }
  end

  private

  def with_client(script, **options, &block)
    Server.run(script) do |server|
      Tokenwire::Client.open(server.target, **options) { |client| Timeout.timeout(30) { block.call(client, server) } }
    end
  end

  # The kinds of the next requests.
  def names(requests, count)
    Array.new(count) { requests.pop.class.descriptor.name.split(".").last }
  end
end
