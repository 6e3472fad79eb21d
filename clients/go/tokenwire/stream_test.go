package tokenwire

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
)

const wait = 10 * time.Second // No wait of a test takes longer.

// scripted sends its events to everybody who asks for a stream, and fails with err or, without, stands still.
type scripted struct {
	tokenwirev1.UnimplementedChatServiceServer
	events    events
	err       error
	left      chan struct{} // A caller went away.
	cancelled chan *tokenwirev1.CancelChatCompletionRequest
	keys      chan []string
	health    *health.Server // nil: the server has no such service
}

func (s *scripted) StreamChatCompletion(_ *tokenwirev1.ChatCompletionRequest, call tokenwirev1.ChatService_StreamChatCompletionServer) error {
	for _, event := range s.events {
		if call.Send(event) != nil {
			break // The caller went away.
		}
	}
	if s.err != nil {
		return s.err
	}
	<-call.Context().Done()
	s.left <- struct{}{}
	return status.FromContextError(call.Context().Err()).Err()
}

func (s *scripted) CancelChatCompletion(ctx context.Context, request *tokenwirev1.CancelChatCompletionRequest) (*tokenwirev1.CancelChatCompletionResponse, error) {
	incoming, _ := metadata.FromIncomingContext(ctx)
	s.keys <- incoming.Get("authorization")
	s.cancelled <- request
	return &tokenwirev1.CancelChatCompletionResponse{}, nil
}

// serve starts a server, and a client of it.
func serve(t *testing.T, server *scripted, options ...ClientOption) *Client {
	t.Helper()
	server.left = make(chan struct{}, 1)
	server.cancelled = make(chan *tokenwirev1.CancelChatCompletionRequest, 1)
	server.keys = make(chan []string, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	tokenwirev1.RegisterChatServiceServer(grpcServer, server)
	if server.health != nil {
		healthpb.RegisterHealthServer(grpcServer, server.health)
	}
	go grpcServer.Serve(listener)
	t.Cleanup(grpcServer.Stop)
	client, err := NewClient(listener.Addr().String(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func answering() *scripted {
	return &scripted{events: numbered(0, events{started(1), text("Hel"), text("lo")})}
}

func (s *scripted) expectLeft(t *testing.T) {
	t.Helper()
	select {
	case <-s.left:
	case <-time.After(wait):
		t.Error("the call goes on")
	}
}

func TestClosingAStreamEndsItsCall(t *testing.T) {
	server := answering()
	stream := serve(t, server).Stream(context.Background(), &tokenwirev1.ChatCompletionRequest{})
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	stream.Close()
	server.expectLeft(t)
	if stream.Next() || stream.Err() != nil {
		t.Errorf("a closed stream goes on, or has the error %v", stream.Err())
	}
}

func TestEndingTheContextEndsAStream(t *testing.T) {
	server := answering()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream := serve(t, server).Stream(ctx, &tokenwirev1.ChatCompletionRequest{})
	for stream.Next() {
		if stream.Completion().Choices[0].Content == "Hello" {
			cancel()
		}
	}
	server.expectLeft(t)
	if !errors.Is(stream.Err(), context.Canceled) {
		t.Errorf("got %v, want that the context was cancelled", stream.Err())
	}
}

func TestAContextWithoutDeadlineHasTheTimeoutOfTheClient(t *testing.T) {
	server := answering()
	client := serve(t, server, WithTimeout(50*time.Millisecond))
	stream := client.Stream(context.Background(), &tokenwirev1.ChatCompletionRequest{})
	for stream.Next() {
	}
	if !errors.Is(stream.Err(), context.DeadlineExceeded) {
		t.Errorf("got %v, want that the deadline was missed", stream.Err())
	}
}

func TestLeavingAStreamThatResumesCancelsTheCompletionWithTheMetadataOfItsContext(t *testing.T) {
	server := answering()
	client := serve(t, server, WithAutoResume())
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer mine"))
	stream := client.Stream(ctx, &tokenwirev1.ChatCompletionRequest{})
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	cancel()
	stream.Close()
	if id := (<-server.cancelled).GetCompletionId(); id != "chatcmpl-1" {
		t.Errorf("%q was cancelled", id)
	}
	if keys := <-server.keys; len(keys) != 1 || keys[0] != "Bearer mine" {
		t.Errorf("the keys were %v", keys)
	}
}

func TestRawStubsSendTheKeyAndTheirErrorsCanBeTurned(t *testing.T) {
	server := answering()
	client := serve(t, server, WithAPIKey("secret"))
	chat := tokenwirev1.NewChatServiceClient(client.Conn())
	if _, err := chat.CancelChatCompletion(context.Background(), &tokenwirev1.CancelChatCompletionRequest{}); err != nil {
		t.Fatal(err)
	}
	if keys := <-server.keys; len(keys) != 1 || keys[0] != "Bearer secret" {
		t.Errorf("the keys were %v", keys)
	}
	_, err := chat.GetChatCompletion(context.Background(), &tokenwirev1.GetChatCompletionRequest{})
	var found *Error
	if !errors.As(AsError(err), &found) || found.Code != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

func TestARequestIsLeftAsItIs(t *testing.T) {
	server := &scripted{err: status.Error(codes.NotFound, "not here")}
	client := serve(t, server, WithAutoResume())
	request := &tokenwirev1.ChatCompletionRequest{Model: "m"}
	stream := client.Stream(context.Background(), request)
	if stream.Next() || status.Code(stream.Err()) != codes.NotFound {
		t.Errorf("got %v", stream.Err())
	}
	if request.RequestId != "" || request.ExecutionPolicy != nil {
		t.Errorf("the request is %v", request)
	}
}

func TestBalancedCallsLeaveOutServersThatDoNotServe(t *testing.T) {
	server := &scripted{health: health.NewServer(), err: status.Error(codes.NotFound, "not here")}
	server.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	client := serve(t, server, WithLoadBalancing("round_robin"), WithoutRetries())
	ask := func() codes.Code {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		stream := client.Stream(ctx, &tokenwirev1.ChatCompletionRequest{})
		for stream.Next() {
		}
		return status.Code(stream.Err())
	}
	if code := ask(); code != codes.Unavailable {
		t.Errorf("a server that does not serve was asked: %v", code)
	}
	server.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	for until := time.Now().Add(wait); ask() != codes.NotFound; {
		if time.Now().After(until) {
			t.Fatal("a server that serves again is not asked")
		}
	}
}
