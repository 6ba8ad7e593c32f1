;; WASI preview 1 as far as language runtimes insist on it, on top of what every policy may import: real randomness and real
;; time, no arguments, no environment, no files, and output that goes nowhere. `component.rs` links it into components whose
;; core module imports `wasi_snapshot_preview1`, so that the component itself imports no WASI.
;;
;; Only what a module imports is kept; what is not here cannot be imported. Errors are those of the preview 1 witx: 8 is
;; `badf`.
(module
    (import "handfast:policy/random@1.0.0" "unsigned" (func $unsigned (result i64)))
    (import "handfast:policy/clock@1.0.0" "monotonic" (func $monotonic (result i64)))
    (import "handfast:policy/clock@1.0.0" "now" (func $now (param i32)))
    (import "env" "memory" (memory 0))

    (func (export "random_get") (param $to i32) (param $length i32) (result i32)
        (local $end i32)
        (local $bits i64)
        (local.set $end (i32.add (local.get $to) (local.get $length)))
        (block $done
            (loop $byte
                (br_if $done (i32.eq (local.get $to) (local.get $end)))
                ;; Every eight bytes a new word; eight bytes at once would write behind the end.
                (if (i32.eqz (i32.and (i32.sub (local.get $end) (local.get $to)) (i32.const 7)))
                    (then (local.set $bits (call $unsigned)))
                    (else
                        (if (i32.eq (i32.sub (local.get $end) (local.get $to)) (local.get $length))
                            (then (local.set $bits (call $unsigned))))))
                (i64.store8 (local.get $to) (local.get $bits))
                (local.set $bits (i64.shr_u (local.get $bits) (i64.const 8)))
                (local.set $to (i32.add (local.get $to) (i32.const 1)))
                (br $byte)))
        (i32.const 0))

    (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $to i32) (result i32)
        (local $behind i64)
        (if (i32.ne (local.get $clock) (i32.const 0))
            (then
                (i64.store (local.get $to) (call $monotonic))
                (return (i32.const 0))))
        ;; `now` leaves 16 bytes where there is room for 8: what lies behind is put back.
        (local.set $behind (i64.load offset=8 (local.get $to)))
        (call $now (local.get $to))
        (i64.store
            (local.get $to)
            (i64.add
                (i64.mul (i64.load (local.get $to)) (i64.const 1000000000))
                (i64.load32_u offset=8 (local.get $to))))
        (i64.store offset=8 (local.get $to) (local.get $behind))
        (i32.const 0))

    (func (export "args_sizes_get") (param $count i32) (param $bytes i32) (result i32)
        (call $nothing (local.get $count) (local.get $bytes)))
    (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
    (func (export "environ_sizes_get") (param $count i32) (param $bytes i32) (result i32)
        (call $nothing (local.get $count) (local.get $bytes)))
    (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))
    (func $nothing (param $count i32) (param $bytes i32) (result i32)
        (i32.store (local.get $count) (i32.const 0))
        (i32.store (local.get $bytes) (i32.const 0))
        (i32.const 0))

    ;; Everything is written at once, to nowhere.
    (func (export "fd_write") (param $file i32) (param $from i32) (param $count i32) (param $written i32) (result i32)
        (local $sum i32)
        (block $done
            (loop $more
                (br_if $done (i32.eqz (local.get $count)))
                (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $from))))
                (local.set $from (i32.add (local.get $from) (i32.const 8)))
                (local.set $count (i32.sub (local.get $count) (i32.const 1)))
                (br $more)))
        (i32.store (local.get $written) (local.get $sum))
        (i32.const 0))
    (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
    (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
    (func (export "fd_close") (param i32) (result i32) (i32.const 8))
    (func (export "fd_fdstat_get") (param i32 i32) (result i32) (i32.const 8))
    (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 8))
    (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
    (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))

    (func (export "sched_yield") (result i32) (i32.const 0))
    ;; Nothing can be waited for: a policy that sleeps is one that hangs.
    (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) (unreachable))
    (func (export "proc_exit") (param i32) (unreachable)))
