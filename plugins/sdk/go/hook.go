package handfast

import (
	"fmt"
	"os"
	"runtime"

	"github.com/handfast/handfast/plugins/sdk/go/internal/abi"
)

// What was looked up in this call and is to be given back.
var owned []struct {
	handle int32
	drop   func(int32)
}

func own(handle int32, drop func(int32)) int32 {
	owned = append(owned, struct {
		handle int32
		drop   func(int32)
	}{handle, drop})
	return handle
}

// Borrowed are the resources that a hook was given, for the packages of the hooks.
type Borrowed struct{ Connection, Hello, Chain, Certificate int32 }

// Resources makes them usable.
func (borrowed Borrowed) Resources() (Connection, ClientHello, PeerChain, Certificate) {
	return Connection{borrowed.Connection}, ClientHello{borrowed.Hello}, PeerChain{borrowed.Chain},
		Certificate{borrowed.Certificate}
}

// Hook runs a hook for the packages of the hooks: a panic is logged with its place before it ends the call, and everything
// borrowed is given back, which the component model demands of a callee.
func Hook(answer *abi.Answer, borrowed Borrowed, hook func()) uint32 {
	defer func() {
		if panicked := recover(); panicked != nil {
			Log(Error, fmt.Sprint("panic: ", panicked, place()))
			// To panic again would print the stacks of all goroutines, which are lines of the log, too.
			os.Exit(2)
		}
	}()
	answer.Clear()
	hook()
	for _, resource := range owned {
		resource.drop(resource.handle)
	}
	owned = owned[:0]
	// Handles are never 0.
	if borrowed.Connection != 0 {
		dropConnection(borrowed.Connection)
	}
	if borrowed.Hello != 0 {
		dropClientHello(borrowed.Hello)
	}
	if borrowed.Chain != 0 {
		dropPeerChain(borrowed.Chain)
	}
	if borrowed.Certificate != 0 {
		dropCertificate(borrowed.Certificate)
	}
	abi.Forget()
	return answer.Address()
}

// The function that panicked, and its line. The gateway's own backtrace of a trap is full of Go's runtime, which panics in a
// dozen steps.
func place() string {
	var callers [16]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers[:])])
	for {
		frame, more := frames.Next()
		isRuntimes := len(frame.Function) >= 8 && frame.Function[:8] == "runtime."
		if frame.Function != "" && !isRuntimes {
			return fmt.Sprintf(" in %s (%s:%d)", frame.Function, frame.File, frame.Line)
		}
		if !more {
			return ""
		}
	}
}
