package tokenwire

// A Reason says why a call failed. Reasons are stable: a program may decide by them. A Reason is an error, so that
// errors.Is takes one.
type Reason string

// Error is the name of the reason.
func (r Reason) Error() string {
	return string(r)
}

// The reasons of the contract, with the status that each comes with; see ErrorReason there for their metadata.
const (
	// InvalidArgument: fields break their rules, see Error.Violations.
	FieldInvalid Reason = "FIELD_INVALID"
	// InvalidArgument: prompt and answer do not fit the context.
	ContextLengthExceeded Reason = "CONTEXT_LENGTH_EXCEEDED"
	// InvalidArgument: the bytes of the message do not parse.
	MalformedMessage Reason = "MALFORMED_MESSAGE"
	// InvalidArgument: a schema or grammar cannot be enforced, see Error.Violations.
	ConstraintInvalid Reason = "CONSTRAINT_INVALID"
	// FailedPrecondition: other parameters ban all that a constrained answer allows.
	ConstraintFailed Reason = "CONSTRAINT_FAILED"
	// NotFound: no such model is served.
	ModelNotFound Reason = "MODEL_NOT_FOUND"
	// NotFound: the completion is not stored, live or retained, or is another caller's.
	CompletionNotFound Reason = "COMPLETION_NOT_FOUND"
	// AlreadyExists: the request_id is in use for another request.
	RequestIDConflict Reason = "REQUEST_ID_CONFLICT"
	// OutOfRange: the events to resume with are not kept any more.
	ResumeWindowExpired Reason = "RESUME_WINDOW_EXPIRED"
	// Unauthenticated: no API key, or an unknown one.
	BadAPIKey Reason = "BAD_API_KEY"
	// PermissionDenied: the API key does not allow this model, or this call.
	ModelForbidden Reason = "MODEL_FORBIDDEN"
	// ResourceExhausted: the key's rate or concurrency is used up, see Error.Violations and Error.RetryAfter.
	RateLimited Reason = "RATE_LIMITED"
	// ResourceExhausted: the stream was read too slowly.
	SlowConsumer Reason = "SLOW_CONSUMER"
	// Unavailable: too many requests wait, see Error.RetryAfter.
	QueueFull Reason = "QUEUE_FULL"
	// Unavailable: max_queue_time was over before the generation began.
	QueueTimeout Reason = "QUEUE_TIMEOUT"
	// Unavailable: the generation cannot begin before the deadline; trying again at this server is of no use.
	DeadlineUnattainable Reason = "DEADLINE_UNATTAINABLE"
	// Unavailable: the model is still loading, see Error.RetryAfter.
	ModelLoading Reason = "MODEL_LOADING"
	// Unavailable: the server is shutting down.
	Draining Reason = "DRAINING"
	// DeadlineExceeded: the deadline was over before the answer was done. Where the client noticed first, Error.Reason is
	// empty; errors.Is knows both.
	DeadlineExceeded Reason = "DEADLINE_EXCEEDED"
	// Canceled: somebody has cancelled the completion.
	CompletionCancelled Reason = "COMPLETION_CANCELLED"
	// Internal: the engine failed while it worked on the completion.
	EngineFault Reason = "ENGINE_FAULT"
	// Internal: a defect of the server.
	Internal Reason = "INTERNAL"
)
