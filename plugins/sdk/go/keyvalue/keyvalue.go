// Package keyvalue is a small store shared by all instances of one policy: how a policy remembers, when each call is a fresh
// instance. A component that uses it must be granted it: `grants = ["key-value"]`. Keys of at most 256 bytes, values of at
// most 64 KiB, kept for at most 30 days.
package keyvalue

import (
	"errors"
	"time"

	"github.com/handfast/handfast/plugins/sdk/go/internal/abi"
)

var (
	// ErrTooLarge says that the key, the value or the store would exceed its bound.
	ErrTooLarge = errors.New("the key, the value or the store would be too large")
	// ErrNotANumber says that a value to increment is not an 8-byte little-endian integer.
	ErrNotANumber = errors.New("the value to increment is not a number")
)

// Get gives the value, unless it was never set or its time is over.
func Get(key string) ([]byte, bool) {
	get(key, abi.Area())
	if abi.Result().Byte(0) == 0 {
		return nil, false
	}
	return abi.Result().Bytes(4), true
}

// Set sets or replaces the value.
func Set(key string, value []byte, timeToLive time.Duration) error {
	set(key, string(value), uint64(timeToLive.Milliseconds()), abi.Area())
	return failure(1)
}

// Delete forgets the value.
func Delete(key string) {
	remove(key)
}

// Increment adds to an integer that starts at 0, and gives the sum. Its time counts from the first increment.
func Increment(key string, delta int64, timeToLive time.Duration) (int64, error) {
	increment(key, delta, uint64(timeToLive.Milliseconds()), abi.Area())
	return abi.Result().Long(8), failure(8)
}

// CompareAndSet replaces the value if it is still the expected one (nil: absent), and tells whether it did.
func CompareAndSet(key string, expected, value []byte, timeToLive time.Duration) (bool, error) {
	present := int32(0)
	if expected != nil {
		present = 1
	}
	compareAndSet(key, present, string(expected), string(value), uint64(timeToLive.Milliseconds()), abi.Area())
	if err := failure(1); err != nil {
		return false, err
	}
	return abi.Result().Byte(1) != 0, nil
}

// What a result says, whose payload lies at this offset.
func failure(offset uintptr) error {
	at := abi.Result()
	switch {
	case at.Byte(0) == 0:
		return nil
	case at.Byte(offset) == 0:
		return ErrTooLarge
	default:
		return ErrNotANumber
	}
}

//go:wasmimport handfast:policy/key-value@1.0.0 get
func get(key string, to *[4]uint64)

//go:wasmimport handfast:policy/key-value@1.0.0 set
func set(key, value string, timeToLive uint64, to *[4]uint64)

//go:wasmimport handfast:policy/key-value@1.0.0 delete
func remove(key string)

//go:wasmimport handfast:policy/key-value@1.0.0 increment
func increment(key string, delta int64, timeToLive uint64, to *[4]uint64)

//go:wasmimport handfast:policy/key-value@1.0.0 compare-and-set
func compareAndSet(key string, present int32, expected, value string, timeToLive uint64, to *[4]uint64)
