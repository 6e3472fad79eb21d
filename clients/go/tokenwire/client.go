package tokenwire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
)

// A Client calls one Tokenwire server, or several behind one name. It is safe for concurrent use.
//
// The deadline of a call is that of its context. Where the context has none, it is the client's timeout. Every error is
// an *Error or, of a stream, a *BrokenStreamError.
type Client struct {
	conn       *grpc.ClientConn
	chat       tokenwirev1.ChatServiceClient
	models     tokenwirev1.ModelServiceClient
	timeout    time.Duration
	autoResume bool
}

// NewClient makes a client of the server at target, in any form that gRPC resolves: "host:port", "dns:///host:port",
// "unix:path". It connects in the background, over plain text unless WithTLS is among the options. It fails where the
// options or the target cannot be understood.
func NewClient(target string, options ...ClientOption) (*Client, error) {
	settings := defaultSettings()
	for _, option := range options {
		option(&settings)
	}
	// grpc.NewClient is not in the oldest gRPC that this package builds with; Dial does not wait for the connection either.
	conn, err := grpc.Dial(target, settings.allDialOptions()...) //nolint:staticcheck
	if err != nil {
		return nil, err
	}
	return &Client{
		conn:       conn,
		chat:       tokenwirev1.NewChatServiceClient(conn),
		models:     tokenwirev1.NewModelServiceClient(conn),
		timeout:    settings.timeout,
		autoResume: settings.autoResume,
	}, nil
}

// Close ends the connection and all calls that are open. Close streams that resume before it: afterwards the server
// cannot be told that nobody reads them.
func (c *Client) Close() error {
	return c.conn.Close()
}

// Conn is the connection, for the generated stubs of all services: tokenwirev1.NewTokenServiceClient(client.Conn()).
// They send the same API key. AsError turns their errors into this package's. Their only deadline is the context's.
func (c *Client) Conn() grpc.ClientConnInterface {
	return c.conn
}

// Chat generates a completion and returns it whole. A request without a request_id is sent with a random one, so that it
// is generated once, however often gRPC sends it.
func (c *Client) Chat(ctx context.Context, request *tokenwirev1.ChatCompletionRequest) (*tokenwirev1.ChatCompletion, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	completion, err := c.chat.CreateChatCompletion(ctx, identified(request))
	return completion, AsError(err)
}

// Stream generates a completion and streams it. A request without a request_id is sent with a random one. Errors are
// the stream's: see Stream.Err. Close a stream that is not read to its end.
func (c *Client) Stream(ctx context.Context, request *tokenwirev1.ChatCompletionRequest, options ...StreamOption) *Stream {
	settings := c.streamSettings(options)
	return c.open(ctx, newCourse(identified(request), settings.autoResume))
}

// Resume goes on with the stream of a completion that is live or retained. After an after_sequence the answer is what
// the rest of the stream has of it.
func (c *Client) Resume(ctx context.Context, request *tokenwirev1.ResumeChatCompletionRequest, options ...StreamOption) *Stream {
	settings := c.streamSettings(options)
	return c.open(ctx, resumedCourse(proto.Clone(request).(*tokenwirev1.ResumeChatCompletionRequest), settings.autoResume))
}

// Completion reads a completion that is stored, live or retained.
func (c *Client) Completion(ctx context.Context, request *tokenwirev1.GetChatCompletionRequest) (*tokenwirev1.StoredChatCompletion, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	stored, err := c.chat.GetChatCompletion(ctx, request)
	return stored, AsError(err)
}

// Cancel ends a live completion for all its readers, who get CompletionCancelled.
func (c *Client) Cancel(ctx context.Context, request *tokenwirev1.CancelChatCompletionRequest) (*tokenwirev1.CancelChatCompletionResponse, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	response, err := c.chat.CancelChatCompletion(ctx, request)
	return response, AsError(err)
}

// Models lists the served models: none while the server is loading.
func (c *Client) Models(ctx context.Context) ([]*tokenwirev1.Model, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	response, err := c.models.ListModels(ctx, &tokenwirev1.ListModelsRequest{})
	return response.GetModels(), AsError(err)
}

// bounded has the client's timeout where ctx has no deadline.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, hasDeadline := ctx.Deadline(); hasDeadline || c.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.timeout)
}

func (c *Client) streamSettings(options []StreamOption) streamSettings {
	settings := streamSettings{autoResume: c.autoResume}
	for _, option := range options {
		option(&settings)
	}
	return settings
}

// identified is a copy of the request that has a request_id.
func identified(request *tokenwirev1.ChatCompletionRequest) *tokenwirev1.ChatCompletionRequest {
	request = proto.Clone(request).(*tokenwirev1.ChatCompletionRequest)
	if request.RequestId == "" {
		request.RequestId = newRequestID()
	}
	return request
}

// newRequestID is a random UUID (RFC 9562, version 4).
func newRequestID() string {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		panic("tokenwire: the system has no random numbers: " + err.Error())
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
