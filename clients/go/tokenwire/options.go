package tokenwire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/health" // Load balancing leaves out servers that say that they do not serve.
	"google.golang.org/grpc/keepalive"
)

const (
	defaultTimeout    = 10 * time.Minute
	maxMessageBytes   = 32 << 20
	keepaliveInterval = time.Minute
	keepaliveTimeout  = 20 * time.Second
)

// The server says UNAVAILABLE before any work; gRPC says it of a connection that cannot be made or breaks, and tries
// again only as long as nothing of the answer has come. A server that sends grpc-retry-pushback-ms chooses the delay.
// A request that comes twice has one completion, for every one has an id.
const retryPolicy = `[{"name": [{}], "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.2s", "maxBackoff": "5s",
	"backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]`

// A ClientOption changes how a client connects and calls.
type ClientOption func(*clientSettings)

type clientSettings struct {
	apiKey        string
	tls           *tls.Config
	timeout       time.Duration
	autoResume    bool
	noRetries     bool
	loadBalancing string
	dialOptions   []grpc.DialOption
}

func defaultSettings() clientSettings {
	return clientSettings{timeout: defaultTimeout, loadBalancing: "pick_first"}
}

// WithAPIKey sends the key with every call, as "authorization: Bearer …"; also over plain text, if there is no TLS.
func WithAPIKey(key string) ClientOption {
	return func(settings *clientSettings) { settings.apiKey = key }
}

// WithTLS encrypts the connection. A nil config trusts the roots of the system; TLSFromPEM makes one from PEM files.
func WithTLS(config *tls.Config) ClientOption {
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return func(settings *clientSettings) { settings.tls = config }
}

// WithTimeout bounds calls whose context has no deadline; all calls of a stream that resumes together. The default is
// ten minutes; 0 is no bound.
func WithTimeout(timeout time.Duration) ClientOption {
	return func(settings *clientSettings) { settings.timeout = timeout }
}

// WithAutoResume lets every stream resume by itself that does not say otherwise: see AutoResume.
func WithAutoResume() ClientOption {
	return func(settings *clientSettings) { settings.autoResume = true }
}

// WithoutRetries turns off that gRPC tries a call again that got UNAVAILABLE.
func WithoutRetries() ClientOption {
	return func(settings *clientSettings) { settings.noRetries = true }
}

// WithLoadBalancing names the policy of gRPC, such as "round_robin", by which calls are spread over the addresses of the
// target. It leaves out servers whose health service says that they do not serve. The default is "pick_first": one address.
func WithLoadBalancing(policy string) ClientOption {
	return func(settings *clientSettings) { settings.loadBalancing = policy }
}

// WithDialOptions has gRPC's own options, which go over those of this package: interceptors, sizes of messages
// (32 MiB), keepalive (a minute, and 20 seconds for the answer).
func WithDialOptions(options ...grpc.DialOption) ClientOption {
	return func(settings *clientSettings) { settings.dialOptions = append(settings.dialOptions, options...) }
}

// TLSFromPEM makes a configuration for WithTLS out of the contents of PEM files: ca has the certificates to trust
// (empty: the roots of the system); certificate and key are the caller's own, if the server asks for them (else empty).
func TLSFromPEM(ca, certificate, key []byte) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("tokenwire: no certificate in the PEM text of the authority")
		}
	}
	if len(certificate) > 0 || len(key) > 0 {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("tokenwire: the caller's certificate and key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// A StreamOption changes one stream.
type StreamOption func(*streamSettings)

type streamSettings struct {
	autoResume bool
}

// AutoResume says whether a stream goes on by itself when its connection is lost. The completion then detaches
// (ON_DISCONNECT_DETACH), and the reader sees one unbroken stream. To leave such a stream early, by Close, by the context
// or by an error, cancels the completion. It is given up when no server answers for a minute.
func AutoResume(on bool) StreamOption {
	return func(settings *streamSettings) { settings.autoResume = on }
}

func (s *clientSettings) allDialOptions() []grpc.DialOption {
	options := []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallSendMsgSize(maxMessageBytes),
			grpc.MaxCallRecvMsgSize(maxMessageBytes),
			// Without it a request over 256 KiB is never tried again.
			grpc.MaxRetryRPCBufferSize(maxMessageBytes),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: keepaliveTimeout}),
		// A server that comes back is found again in time for a stream to resume; gRPC's own bound is two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnectBackoff(), MinConnectTimeout: keepaliveTimeout}),
		grpc.WithDefaultServiceConfig(s.serviceConfig()),
		// Else a TXT record of the target's name would override that.
		grpc.WithDisableServiceConfig(),
	}
	if s.tls != nil {
		options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(s.tls)))
	} else {
		// credentials/insecure is not in the oldest gRPC that this package builds with.
		options = append(options, grpc.WithInsecure()) //nolint:staticcheck
	}
	if s.apiKey != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(s.apiKey)))
	}
	if s.noRetries {
		options = append(options, grpc.WithDisableRetry())
	}
	return append(options, s.dialOptions...)
}

func (s *clientSettings) serviceConfig() string {
	return fmt.Sprintf(
		`{"loadBalancingConfig": [{%q: {}}], "healthCheckConfig": {"serviceName": ""}, "methodConfig": %s}`,
		s.loadBalancing, retryPolicy,
	)
}

func reconnectBackoff() backoff.Config {
	config := backoff.DefaultConfig
	config.MaxDelay = maxResumeDelay
	return config
}

// bearer is an API key. It is the caller's choice to send it over plain text.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool {
	return false
}
