# frozen_string_literal: true

# Prints, as JSON, the descriptors that the stubs of the gem are made from, the methods of its services, and the names of
# all that there is.

require "google/protobuf"
require "json"

descriptors = []
Google::Protobuf::DescriptorPool.prepend(
  Module.new do
    define_method(:add_serialized_file) do |data|
      descriptors << data if data.include?("tokenwire.v1")
      super(data)
    end
  end
)

require "tokenwire"

def name_of(type)
  return "stream #{type.type.descriptor.name}" if type.is_a?(GRPC::RpcDesc::Stream)

  type.descriptor.name
end

services = %i[ChatService ModelService OperationsService TokenService].map { |name| Tokenwire::V1.const_get(name)::Service }
methods = services.flat_map do |service|
  service.rpc_descs.map { |name, rpc| ["#{service.service_name}/#{name}", name_of(rpc.input), name_of(rpc.output)] }
end
puts JSON.generate(
  descriptors: descriptors.map { |data| [data].pack("m0") },
  methods: methods,
  names: Tokenwire::V1.constants
)
