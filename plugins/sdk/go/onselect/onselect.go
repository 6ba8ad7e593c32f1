// Package onselect exports the hook that chooses the certificate a client gets, or refuses it. Importing it makes the
// component export the hook.
package onselect

import (
	"github.com/handfast/handfast/plugins/sdk/go"
	"github.com/handfast/handfast/plugins/sdk/go/internal/abi"
)

var (
	called func(handfast.Connection, handfast.ClientHello) handfast.Decision
	answer abi.Answer
)

// Call makes the hook call a function on every ClientHello, resumed handshakes included.
func Call(function func(handfast.Connection, handfast.ClientHello) handfast.Decision) {
	called = function
}

//go:wasmexport handfast:policy/select@1.0.0#select
func export(connection, hello int32) uint32 {
	borrowed := handfast.Borrowed{Connection: connection, Hello: hello}
	return handfast.Hook(&answer, borrowed, func() {
		connection, hello, _, _ := borrowed.Resources()
		called(connection, hello).Write(&answer)
	})
}
