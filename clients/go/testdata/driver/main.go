// The conformance driver of the Go client: commands on stdin, their results on stdout, each behind its length.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"tokenwire.dev/gen/tokenwire/conformance"
	"tokenwire.dev/tokenwire"
)

func main() {
	in := bufio.NewReader(os.Stdin)
	for {
		command := &conformance.Command{}
		if err := read(in, command); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		result := &conformance.Result{}
		if err := run(command, result); err != nil {
			result.Error = told(err)
		}
		if err := write(os.Stdout, result); err != nil {
			log.Fatal(err)
		}
	}
}

func read(in io.Reader, message proto.Message) error {
	var length uint32
	if err := binary.Read(in, binary.BigEndian, &length); err != nil {
		return err
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(in, data); err != nil {
		return err
	}
	return proto.Unmarshal(data, message)
}

func write(out io.Writer, message proto.Message) error {
	data, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	_, err = out.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

// run makes the call of a command with a client of its own.
func run(command *conformance.Command, result *conformance.Result) error {
	client, err := connect(command.GetConnection())
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if command.GetTimeout() != nil {
		ctx, cancel = context.WithTimeout(ctx, command.GetTimeout().AsDuration())
		defer cancel()
	}
	if command.GetCancelAfter() != nil {
		defer time.AfterFunc(command.GetCancelAfter().AsDuration(), cancel).Stop()
	}
	return call(ctx, client, command, result)
}

func connect(connection *conformance.Connection) (*tokenwire.Client, error) {
	options := []tokenwire.ClientOption{tokenwire.WithAPIKey(connection.GetApiKey())}
	if len(connection.GetCaPem()) > 0 {
		config, err := tokenwire.TLSFromPEM(connection.GetCaPem(), connection.GetCertPem(), connection.GetKeyPem())
		if err != nil {
			return nil, err
		}
		options = append(options, tokenwire.WithTLS(config))
	}
	return tokenwire.NewClient(connection.GetTarget(), options...)
}

func call(ctx context.Context, client *tokenwire.Client, command *conformance.Command, result *conformance.Result) (err error) {
	resumes := tokenwire.AutoResume(command.GetAutoResume())
	switch call := command.GetCall().(type) {
	case *conformance.Command_Create:
		result.Completion, err = client.Chat(ctx, call.Create)
	case *conformance.Command_Stream:
		err = follow(client.Stream(ctx, call.Stream, resumes), command, result)
	case *conformance.Command_Resume:
		err = follow(client.Resume(ctx, call.Resume, resumes), command, result)
	case *conformance.Command_Get:
		result.Stored, err = client.Completion(ctx, call.Get)
	case *conformance.Command_Cancel:
		result.Cancelled, err = client.Cancel(ctx, call.Cancel)
	case *conformance.Command_ListModels:
		result.Models, err = client.Models(ctx)
	}
	return err
}

func follow(stream *tokenwire.Stream, command *conformance.Command, result *conformance.Result) error {
	defer stream.Close()
	for stream.Next() {
		update := stream.Update()
		result.Events = append(result.Events, update.Event)
		result.Text += update.Text()
		result.Completion = update.Completion()
		if command.LeaveAfterEvents != nil && len(result.Events) >= int(command.GetLeaveAfterEvents()) {
			return nil
		}
	}
	return stream.Err()
}

// told is the error as the runner reads it.
func told(err error) *conformance.Error {
	var broken *tokenwire.BrokenStreamError
	if errors.As(err, &broken) {
		return &conformance.Error{IsBrokenStream: true, Message: broken.Message}
	}
	var failed *tokenwire.Error
	if !errors.As(err, &failed) {
		return &conformance.Error{Message: err.Error()} // before any call
	}
	result := &conformance.Error{
		Code:     int32(failed.Code),
		Reason:   string(failed.Reason),
		Message:  failed.Message,
		Metadata: failed.Metadata,
	}
	if failed.RetryAfter > 0 {
		result.RetryAfter = durationpb.New(failed.RetryAfter)
	}
	for _, violation := range failed.Violations {
		result.Violations = append(result.Violations, &conformance.Violation{Field: violation.Field, Description: violation.Description})
	}
	return result
}
