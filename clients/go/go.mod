module tokenwire.dev

go 1.25.0

// The CI of Tokenwire has no module proxy: it builds with Debian's Go 1.19, gRPC 1.33 and protobuf 1.28 on a GOPATH.
require (
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260526163538-3dc84a4a5aaa
	google.golang.org/grpc v1.83.1
	google.golang.org/protobuf v1.36.11
)

require (
	golang.org/x/net v0.55.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
	golang.org/x/text v0.37.0 // indirect
)
