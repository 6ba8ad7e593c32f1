// Package onconfigure exports the hook that takes the policy's configuration. Importing it makes the component export the
// hook.
package onconfigure

import (
	"bytes"
	"encoding/json"
	"unsafe"

	"github.com/handfast/handfast/plugins/sdk/go"
	"github.com/handfast/handfast/plugins/sdk/go/internal/abi"
)

var (
	called func(config string) error
	answer abi.Answer
)

// Call makes the hook call a function before any other hook of an instance. The config is the policy's `config` table as
// JSON, `{}` where there is none. An error refuses the policy, or its replacement, with that text.
func Call(function func(config string) error) {
	called = function
}

// Strictly decodes a configuration into a struct: a member that the struct does not have is an error, so that a mistyped
// setting is not one that is silently ignored.
func Strictly(config string, into any) error {
	decoder := json.NewDecoder(bytes.NewReader([]byte(config)))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

//go:wasmexport handfast:policy/configure@1.0.0#configure
func export(config unsafe.Pointer, length uint32) uint32 {
	// A copy: the memory is used again for what the gateway returns next.
	text := string(unsafe.Slice((*byte)(config), length))
	return handfast.Hook(&answer, handfast.Borrowed{}, func() {
		if err := called(text); err != nil {
			answer.Byte(0, 1)
			answer.String(4, err.Error())
		}
	})
}
