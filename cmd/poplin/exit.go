package main

import "errors"

// The exit codes, the same for every command.
const (
	exitDone        = 0
	exitDifferences = 1 // plan, status --check, allocate --check, lab bench --check; and only that
	exitUsage       = 2
	exitInvalid     = 3 // invalid documents; status --check: revision rejected
	exitRuntime     = 4 // kernel, daemon not reachable, time-out
	exitHeldBack    = 7 // held back by a guard
)

// exitError carries the exit code of a command. A nil cause exits silently:
// the command has said already what there was to say.
type exitError struct {
	code  int
	cause error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return ""
	}
	return e.cause.Error()
}

func (e *exitError) Unwrap() error { return e.cause }

// withCode gives an error an exit code; nil stays nil.
func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

// silently is an exit code that needs no line.
func silently(code int) error { return &exitError{code: code} }

// exitStatus maps what a command returned to an exit code and a line for
// standard error. An error without a code of its own comes from cobra (an
// unknown flag or command, a wrong number of arguments): usage.
func exitStatus(err error) (int, string) {
	if err == nil {
		return exitDone, ""
	}
	var coded *exitError
	if errors.As(err, &coded) {
		return coded.code, coded.Error()
	}
	return exitUsage, err.Error()
}
