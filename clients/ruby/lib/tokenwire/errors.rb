# frozen_string_literal: true

require "google/protobuf/well_known_types"
require "google/rpc/error_details_pb"
require "google/rpc/status_pb"

module Tokenwire
  # What a stub raises when a call fails, when an answer does not parse, and where gRPC itself loses the status: of a
  # stream that was over before its first event could be asked for. (That is no StandardError.)
  RAISED_BY_GRPC = [GRPC::BadStatus, Google::Protobuf::ParseError, GRPC::Core::CallError].freeze
  private_constant :RAISED_BY_GRPC

  # What breaks its rule (`field` is the path of a field), or which limit is used up.
  Violation = Struct.new(:field, :description)

  # A call that failed. Each gRPC status that means a failure has a subclass: UnavailableError for UNAVAILABLE. The
  # +cause+ is the GRPC::BadStatus.
  class Error < StandardError
    # The gRPC status, as in GRPC::Core::StatusCodes.
    attr_reader :code

    # Name of the `ErrorReason` of the contract without its prefix, such as "QUEUE_FULL"; empty if the server gave none.
    # A newer server may send one that the contract of this client does not have.
    attr_reader :reason

    # The Violation of each field that breaks its rule, or of each limit that is used up.
    attr_reader :violations

    # Seconds after which the server wants to be asked again; nil if it did not say.
    attr_reader :retry_after_s

    # The facts that belong to the reason, strings by name.
    attr_reader :metadata

    def initialize(message, code:, reason: "", violations: [], retry_after_s: nil, metadata: {})
      super(message)
      @code = code
      @reason = reason
      @violations = violations
      @retry_after_s = retry_after_s
      @metadata = metadata
    end

    # Runs the block: what it makes gRPC raise comes out as an Error. For calls of the generated stubs (see Client#stub).
    def self.wrap
      yield
    rescue *RAISED_BY_GRPC => e
      raise from(e)
    end

    # The error that an exception of gRPC stands for.
    def self.from(cause)
      case cause
      when GRPC::BadStatus
        message = cause.details.dup.force_encoding(Encoding::UTF_8).scrub # gRPC gives bytes
        BY_CODE.fetch(cause.code, Error).new(message, code: cause.code, **Details.read(cause))
      when Google::Protobuf::ParseError
        InternalError.new(cause.message, code: GRPC::Core::StatusCodes::INTERNAL)
      else
        UnknownError.new(cause.message, code: GRPC::Core::StatusCodes::UNKNOWN)
      end
    end
  end

  # The stream broke its grammar, or ended without `completed`: a defect of the server, or of something on the way.
  class BrokenStreamError < Error
    def initialize(message)
      super(message, code: GRPC::Core::StatusCodes::INTERNAL)
    end
  end

  class CancelledError < Error; end
  class UnknownError < Error; end
  class InvalidArgumentError < Error; end
  class DeadlineExceededError < Error; end
  class NotFoundError < Error; end
  class AlreadyExistsError < Error; end
  class PermissionDeniedError < Error; end
  class ResourceExhaustedError < Error; end
  class FailedPreconditionError < Error; end
  class AbortedError < Error; end
  class OutOfRangeError < Error; end
  class UnimplementedError < Error; end
  class InternalError < Error; end
  class UnavailableError < Error; end
  class DataLossError < Error; end
  class UnauthenticatedError < Error; end

  # At the number of its status.
  Error::BY_CODE = [
    Error, CancelledError, UnknownError, InvalidArgumentError, DeadlineExceededError, NotFoundError, AlreadyExistsError,
    PermissionDeniedError, ResourceExhaustedError, FailedPreconditionError, AbortedError, OutOfRangeError,
    UnimplementedError, InternalError, UnavailableError, DataLossError, UnauthenticatedError
  ].freeze
  Error.private_constant :BY_CODE

  # The rich details of a status.
  module Details
    # Those that parse, as keywords of Error: what a server sends must not hide its status.
    def self.read(bad_status)
      found = {}
      packed(bad_status).each { |any| found.merge!(unpack(any)) }
      found
    rescue Google::Protobuf::ParseError
      found
    end

    def self.packed(bad_status)
      bytes = bad_status.metadata["grpc-status-details-bin"]
      bytes.is_a?(String) ? Google::Rpc::Status.decode(bytes).details : []
    end

    def self.unpack(any)
      if (info = any.unpack(Google::Rpc::ErrorInfo))
        { reason: info.reason, metadata: info.metadata.to_h }
      elsif (retry_info = any.unpack(Google::Rpc::RetryInfo))
        { retry_after_s: retry_info.retry_delay&.to_f || 0.0 }
      elsif (bad_request = any.unpack(Google::Rpc::BadRequest))
        { violations: bad_request.field_violations.map { |one| Violation.new(one.field, one.description) } }
      elsif (quota = any.unpack(Google::Rpc::QuotaFailure))
        { violations: quota.violations.map { |one| Violation.new(one.subject, one.description) } }
      else
        {}
      end
    end

    private_class_method :packed, :unpack
  end
  private_constant :Details
end
