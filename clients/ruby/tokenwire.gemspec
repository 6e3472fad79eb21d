# frozen_string_literal: true

require_relative "lib/tokenwire/version"

Gem::Specification.new do |spec|
  spec.name = "tokenwire"
  spec.version = Tokenwire::VERSION
  spec.authors = ["The Tokenwire authors"]
  spec.summary = "Client of Tokenwire: LLM chat over gRPC, for teams that host their own model"
  spec.description = <<~TEXT
    Streams with the answer so far, typed errors with violations and retry delay, deadlines, cancellation, safe retries,
    and streams that survive a lost connection, over the generated gRPC stubs of the Tokenwire contract.
  TEXT
  spec.homepage = "https://tokenwire.dev"
  spec.license = "Apache-2.0"
  spec.required_ruby_version = ">= 3.1"
  spec.files = Dir["lib/**/*.rb", "examples/*.rb", "README.md", "LICENSE"]
  spec.metadata["rubygems_mfa_required"] = "true"

  # Current upstream versions. CI runs with Debian's packages (grpc 1.51, google-protobuf 3.21): nothing newer is needed.
  spec.add_dependency "google-protobuf", "~> 4.33"
  spec.add_dependency "googleapis-common-protos-types", "~> 1.22"
  spec.add_dependency "grpc", "~> 1.78"
end
