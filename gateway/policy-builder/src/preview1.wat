;; WASI preview 1, every function of it, on top of what every policy may import: real randomness and real time, no arguments,
;; no environment, no files, and output that becomes lines of the policy's log. `component.rs` links it into components whose
;; core module imports `wasi_snapshot_preview1`. Who prints imports `wasi:cli` and `wasi:io` 0.2 then, which the gateway stands
;; in for: it joins what is written to lines, counts them, and keeps those of standard error for the explanation of a trap.
;;
;; Only what a module imports is kept. Libraries link what they may call (a parser of certificates reads the system's roots, one
;; of addresses the names of interfaces), so all of it is here, and fails as it would where there is nothing: no file is
;; there, no descriptor is open but the first three, and nothing can be made. Errors are those of the preview 1 witx.
;;
;; Nothing is kept in the module's memory, where no byte is free for it: to grow it from here is what Go's runtime does not
;; expect. What the interface needs room for is written over bytes that are put back.
(module
    (import "handfast:policy/random@1.0.0" "unsigned" (func $unsigned (result i64)))
    (import "handfast:policy/clock@1.0.0" "monotonic" (func $monotonic (result i64)))
    (import "handfast:policy/clock@1.0.0" "now" (func $now (param i32)))
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $get_stdout (result i32)))
    (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $get_stderr (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
        (func $write (param i32 i32 i32 i32)))
    (import "env" "memory" (memory 0))

    ;; The streams' handles, which are never 0, once they were asked for.
    (global $stdout (mut i32) (i32.const 0))
    (global $stderr (mut i32) (i32.const 0))

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

    (func (export "clock_res_get") (param i32) (param $to i32) (result i32)
        (i64.store (local.get $to) (i64.const 1))
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

    ;; Output, in pieces of the 4,096 bytes that a stream takes at once by WASI 0.2.
    (func (export "fd_write") (param $file i32) (param $from i32) (param $count i32) (param $written i32) (result i32)
        (local $stream i32)
        (local $at i32)
        (local $left i32)
        (local $piece i32)
        (local $sum i32)
        (if (i32.or (i32.eqz (local.get $file)) (i32.eqz (call $is_standard (local.get $file))))
            (then (return (i32.const 8)))) ;; badf
        (local.set $stream (call $stream (local.get $file)))
        (block $done
            (loop $more
                (br_if $done (i32.eqz (local.get $count)))
                (local.set $at (i32.load (local.get $from)))
                (local.set $left (i32.load offset=4 (local.get $from)))
                (local.set $sum (i32.add (local.get $sum) (local.get $left)))
                (block $written
                    (loop $next
                        (br_if $written (i32.eqz (local.get $left)))
                        (local.set $piece
                            (select
                                (local.get $left)
                                (i32.const 4096)
                                (i32.lt_u (local.get $left) (i32.const 4096))))
                        (call $print (local.get $stream) (local.get $at) (local.get $piece))
                        (local.set $at (i32.add (local.get $at) (local.get $piece)))
                        (local.set $left (i32.sub (local.get $left) (local.get $piece)))
                        (br $next)))
                (local.set $from (i32.add (local.get $from) (i32.const 8)))
                (local.set $count (i32.sub (local.get $count) (i32.const 1)))
                (br $more)))
        (i32.store (local.get $written) (local.get $sum))
        (i32.const 0))
    (func $stream (param $file i32) (result i32)
        (if (i32.eq (local.get $file) (i32.const 1))
            (then
                (if (i32.eqz (global.get $stdout)) (then (global.set $stdout (call $get_stdout))))
                (return (global.get $stdout))))
        (if (i32.eqz (global.get $stderr)) (then (global.set $stderr (call $get_stderr))))
        (global.get $stderr))
    ;; `result<_, stream-error>` has 12 bytes. The first of the memory are always there, and put back; what is printed was
    ;; read before.
    (func $print (param $stream i32) (param $at i32) (param $length i32)
        (local $first i64)
        (local $second i64)
        (local.set $first (i64.load (i32.const 0)))
        (local.set $second (i64.load (i32.const 8)))
        (call $write (local.get $stream) (local.get $at) (local.get $length) (i32.const 0))
        (i64.store (i32.const 0) (local.get $first))
        (i64.store (i32.const 8) (local.get $second)))

    ;; Standard input is at its end.
    (func (export "fd_read") (param $file i32) (param i32 i32) (param $read i32) (result i32)
        (if (local.get $file) (then (return (i32.const 8))))
        (i32.store (local.get $read) (i32.const 0))
        (i32.const 0))

    ;; Terminals, so that a C library writes out each line where it ends: nothing would write out the rest when a call does.
    (func (export "fd_fdstat_get") (param $file i32) (param $to i32) (result i32)
        (if (i32.eqz (call $is_standard (local.get $file))) (then (return (i32.const 8))))
        (i64.store (local.get $to) (i64.const 2)) ;; character_device, no flags
        ;; fd_write, or fd_read; not fd_seek
        (i64.store offset=8 (local.get $to) (select (i64.const 64) (i64.const 2) (local.get $file)))
        (i64.store offset=16 (local.get $to) (i64.const 0))
        (i32.const 0))
    (func (export "fd_filestat_get") (param $file i32) (param $to i32) (result i32)
        (local $end i32)
        (if (i32.eqz (call $is_standard (local.get $file))) (then (return (i32.const 8))))
        (local.set $end (i32.add (local.get $to) (i32.const 64)))
        (loop $clear
            (local.set $end (i32.sub (local.get $end) (i32.const 8)))
            (i64.store (local.get $end) (i64.const 0))
            (br_if $clear (i32.gt_u (local.get $end) (local.get $to))))
        (i64.store offset=16 (local.get $to) (i64.const 2)) ;; character_device
        (i64.store offset=24 (local.get $to) (i64.const 1)) ;; a link
        (i32.const 0))
    (func $is_standard (param $file i32) (result i32)
        (i32.lt_u (local.get $file) (i32.const 3)))

    ;; No other descriptor is open: 8 is badf.
    (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
    (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
    (func (export "fd_close") (param i32) (result i32) (i32.const 8))
    (func (export "fd_datasync") (param i32) (result i32) (i32.const 8))
    (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 8))
    (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
    (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
    (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
    (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
    (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
    (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
    (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
    (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
    (func (export "fd_renumber") (param i32 i32) (result i32) (i32.const 8))
    (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
    (func (export "fd_sync") (param i32) (result i32) (i32.const 8))
    (func (export "fd_tell") (param i32 i32) (result i32) (i32.const 8))
    (func (export "sock_accept") (param i32 i32 i32) (result i32) (i32.const 8))
    (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
    (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
    (func (export "sock_shutdown") (param i32 i32) (result i32) (i32.const 8))

    ;; No file is there, whatever its name: 44 is noent. Go asks without a folder, and takes that for an answer.
    (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 44))
    (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 44))
    (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 44))
    (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 44))
    (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 44))
    (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 44))
    (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 44))
    ;; And none can be made: 76 is notcapable, the flag 1 is creat.
    (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 76))
    (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 76))
    (func (export "path_open")
        (param i32 i32 i32 i32) (param $how i32) (param i64 i64 i32 i32) (result i32)
        (select (i32.const 76) (i32.const 44) (i32.and (local.get $how) (i32.const 1))))

    (func (export "sched_yield") (result i32) (i32.const 0))
    ;; Nothing can be waited for: a policy that sleeps is one that hangs. But Go's runtime waits a millisecond for other threads
    ;; before it says of what it dies: one clock that asks for no more (tag 0, flags 0) has rung already.
    (func (export "poll_oneoff") (param $for i32) (param $to i32) (param $count i32) (param $rung i32) (result i32)
        (if (i32.ne (local.get $count) (i32.const 1)) (then (unreachable)))
        (if (i32.load8_u offset=8 (local.get $for)) (then (unreachable)))
        (if (i32.load16_u offset=40 (local.get $for)) (then (unreachable)))
        (if (i64.gt_u (i64.load offset=24 (local.get $for)) (i64.const 1000000)) (then (unreachable)))
        (i64.store (local.get $to) (i64.load (local.get $for))) ;; userdata
        (i64.store offset=8 (local.get $to) (i64.const 0)) ;; no error, of a clock
        (i64.store offset=16 (local.get $to) (i64.const 0))
        (i64.store offset=24 (local.get $to) (i64.const 0))
        (i32.store (local.get $rung) (i32.const 1))
        (i32.const 0))
    (func (export "proc_raise") (param i32) (result i32) (unreachable))
    (func (export "proc_exit") (param i32) (unreachable)))
