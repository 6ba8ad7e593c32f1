// Package onvalidate exports the hook that judges a client's certificate, once the gateway has verified its chain.
// Importing it makes the component export the hook.
package onvalidate

import (
	"errors"
	"unsafe"

	"github.com/handfast/handfast/plugins/sdk/go"
	"github.com/handfast/handfast/plugins/sdk/go/internal/abi"
)

// Function gives attributes for the upstreams, at most 32, or a handfast.Rejection. Another error rejects with
// access_denied and the error's text as the reason.
type Function = func(handfast.Connection, handfast.ClientHello, handfast.PeerChain) ([]handfast.Attribute, error)

var (
	called Function
	answer abi.Answer
)

// Call makes the hook call a function for every client that presented a certificate, on resumed handshakes too.
func Call(function Function) {
	called = function
}

//go:wasmexport handfast:policy/validate@1.0.0#validate
func export(connection, hello, chain int32) uint32 {
	borrowed := handfast.Borrowed{Connection: connection, Hello: hello, Chain: chain}
	return handfast.Hook(&answer, borrowed, func() {
		connection, hello, chain, _ := borrowed.Resources()
		attributes, err := called(connection, hello, chain)
		if err == nil {
			accept(attributes)
			return
		}
		rejection := handfast.Rejection{Alert: handfast.AccessDenied, Reason: err.Error()}
		errors.As(err, &rejection)
		answer.Byte(0, 1)
		rejection.Write(&answer, 4)
	})
}

func accept(attributes []handfast.Attribute) {
	// Two strings each: address, length, address, length.
	list := make([][4]uint32, len(attributes))
	for index, attribute := range attributes {
		for part, text := range [2]string{attribute.Name, attribute.Value} {
			data := unsafe.Pointer(unsafe.StringData(text))
			answer.Keep(data)
			list[index][2*part] = abi.Address(data)
			list[index][2*part+1] = uint32(len(text))
		}
	}
	answer.Pair(4, unsafe.Pointer(unsafe.SliceData(list)), len(list))
}
