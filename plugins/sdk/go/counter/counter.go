// Package counter adds to metrics of the gateway. A component that uses it must be granted it: `grants = ["counter"]`.
package counter

// Add adds to handfast_policy_counter_total{policy, name}. A policy has at most 64 names, of [a-z0-9_].
func Add(name string, delta uint64) {
	add(name, delta)
}

//go:wasmimport handfast:policy/counter@1.0.0 add
func add(name string, delta uint64)
