// Package onadmit exports the hook that judges a certificate of the gateway before any client gets it. Importing it makes
// the component export the hook.
package onadmit

import (
	"github.com/handfast/handfast/plugins/sdk/go"
	"github.com/handfast/handfast/plugins/sdk/go/internal/abi"
)

var (
	called func(handfast.Certificate) error
	answer abi.Answer
)

// Call makes the hook call a function at the first load of a certificate and at each replacement. Its error refuses the
// certificate; the text is logged, at most 256 bytes of it.
func Call(function func(handfast.Certificate) error) {
	called = function
}

//go:wasmexport handfast:policy/admit@1.0.0#admit
func export(certificate int32) uint32 {
	borrowed := handfast.Borrowed{Certificate: certificate}
	return handfast.Hook(&answer, borrowed, func() {
		_, _, _, certificate := borrowed.Resources()
		if err := called(certificate); err != nil {
			answer.Byte(0, 1)
			answer.String(4, err.Error())
		}
	})
}
