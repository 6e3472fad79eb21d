# frozen_string_literal: true

require "grpc"
require "tokenwire/v1/chat_services_pb"
require "tokenwire/v1/errors_pb"
require "tokenwire/v1/models_services_pb"
require "tokenwire/v1/operations_services_pb"
require "tokenwire/v1/tokens_services_pb"
require_relative "tokenwire/version"
require_relative "tokenwire/errors"
require_relative "tokenwire/client"

# A client of Tokenwire servers. Begin with Tokenwire::Client; the messages of the contract are in Tokenwire::V1.
module Tokenwire
end
