module tokenwire.dev

go 1.25.0

// The CI of Tokenwire builds with Debian's packages (gRPC 1.33, protobuf 1.28) instead.
require (
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1
	google.golang.org/grpc v1.83.1
	google.golang.org/protobuf v1.36.11
)
