// Package abi is the canonical ABI of the component model, as far as handfast:policy needs it: how the gateway places what
// it returns, how that is read, and how a hook hands its answer over.
//
// There are no generated bindings. A getter of the interface is one imported function and one line that reads its result,
// and generated code would be three times as long and box every variant in an interface value. The encoder compares the
// type of every import and export with wit/v1, and the conformance cases in tests/conformance read every getter.
//
// Pointers of the gateway's are 32 bits wide, Go's are 64: layouts are read by offset, never by a Go struct.
//
// A WebAssembly instance has one thread, and hooks do not nest, so nothing here is locked.
package abi

import "unsafe"

// slab is where the gateway places what it returns: one result at a time, which is copied before the next import is called.
// The gateway passes at most 1 MiB a call; memory that nothing is placed in is never touched.
//
// It is not allocated on demand, because while the gateway places something a component may not call imports, and Go's
// allocator now and then asks for the time.
var (
	slab [(1<<20 + 64<<10) / 8]uint64
	used uint32
)

// realloc is called by the gateway to place what it returns. It never makes a block larger.
//
//go:wasmexport cabi_realloc
func realloc(old, oldSize, align, size uint32) uint32 {
	if size == 0 {
		return align
	}
	begin := (used + align - 1) &^ (align - 1)
	if end := uint64(begin) + uint64(size); end > uint64(unsafe.Sizeof(slab)) {
		panic("the gateway returned more than it may")
	} else {
		used = uint32(end)
	}
	return Address(unsafe.Pointer(&slab)) + begin
}

// Forget makes room for what the gateway places next.
func Forget() {
	used = 0
}

// Address is where a value lies. Go never moves what is on the heap.
func Address(pointer unsafe.Pointer) uint32 {
	return uint32(uintptr(pointer))
}

// Area is where an imported function leaves what does not fit into one number. It is read before the next import is called.
var area [4]uint64

// Area returns a place for a result of at most 32 bytes, and makes room for what the result refers to.
func Area() *[4]uint64 {
	Forget()
	return &area
}

// At is a place in memory to read from.
type At struct{ pointer unsafe.Pointer }

// Result is the place that Area gave.
func Result() At {
	return At{unsafe.Pointer(&area)}
}

func (at At) Byte(offset uintptr) uint8   { return *(*uint8)(unsafe.Add(at.pointer, offset)) }
func (at At) Short(offset uintptr) uint16 { return *(*uint16)(unsafe.Add(at.pointer, offset)) }
func (at At) Word(offset uintptr) uint32  { return *(*uint32)(unsafe.Add(at.pointer, offset)) }
func (at At) Long(offset uintptr) int64   { return *(*int64)(unsafe.Add(at.pointer, offset)) }

// String copies a string or a list of bytes.
func (at At) String(offset uintptr) string {
	return string(at.view(offset))
}

// Bytes copies a list of bytes.
func (at At) Bytes(offset uintptr) []byte {
	return append([]byte{}, at.view(offset)...)
}

func (at At) view(offset uintptr) []byte {
	return unsafe.Slice((*byte)(pointer(at.Word(offset))), at.Word(offset+4))
}

// List reads a list by its elements of a size in bytes.
func List[T any](at At, size uint32, element func(At) T) []T {
	first, length := at.Word(0), at.Word(4)
	list := make([]T, length)
	for index := range list {
		list[index] = element(At{pointer(first + uint32(index)*size)})
	}
	return list
}

func pointer(address uint32) unsafe.Pointer {
	return unsafe.Pointer(uintptr(address))
}

// Answer is what a hook returns to the gateway: memory that is written by offset and stays until the next answer.
type Answer struct {
	memory [3]uint64
	// What the memory points to.
	kept []unsafe.Pointer
}

// Clear makes all bytes zero, the case of `none`, `ok` and the first of a variant.
func (answer *Answer) Clear() {
	answer.memory = [3]uint64{}
	clear(answer.kept)
	answer.kept = answer.kept[:0]
}

func (answer *Answer) Byte(offset uintptr, value uint8) {
	*(*uint8)(unsafe.Add(unsafe.Pointer(&answer.memory), offset)) = value
}

func (answer *Answer) String(offset uintptr, value string) {
	answer.Pair(offset, unsafe.Pointer(unsafe.StringData(value)), len(value))
}

// Pair writes a list: where it is and how many elements it has.
func (answer *Answer) Pair(offset uintptr, first unsafe.Pointer, length int) {
	answer.kept = append(answer.kept, first)
	*(*uint32)(unsafe.Add(unsafe.Pointer(&answer.memory), offset)) = Address(first)
	*(*uint32)(unsafe.Add(unsafe.Pointer(&answer.memory), offset+4)) = uint32(length)
}

// Keep keeps what is pointed to from within a list.
func (answer *Answer) Keep(kept unsafe.Pointer) {
	answer.kept = append(answer.kept, kept)
}

// Address is what the hook returns.
func (answer *Answer) Address() uint32 {
	return Address(unsafe.Pointer(&answer.memory))
}
