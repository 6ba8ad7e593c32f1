//! Standard input, which is at its end; standard output and standard error, which are the policy's log.
//!
//! A line is a message: at most as many of a call reach the log as by the interface `log`, and as much of each. Standard
//! error is where runtimes explain why they give up, so it goes into the explanation of a trap.

use std::time::Instant;

use wasmtime::Result;
use wasmtime::component::{ComponentType, LinkerInstance, Lower, Resource};

use super::super::State;
use super::{Pollable, stub};
use crate::bindings::handfast::policy::log::Level;
use crate::limits::LOG_LINE_BYTES;
use crate::text::printable;

pub(super) struct InputStream;
pub(super) struct OutputStream;
/// Never made: no stream fails.
pub(super) struct IoError;

#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[expect(dead_code, reason = "a case of the interface's type")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
/// Bytes that a guest may write at once.
const ROOM: u64 = 64 << 10;
/// Bytes of standard error that explain a trap.
const SAID_BYTES: usize = 512;

/// Links a function of these interfaces; false for one that is not known here.
pub(super) fn link(linked: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    match name {
        "get-stdin" => stub(linked, name, |_, (): ()| Ok((Resource::<InputStream>::new_own(STDIN),))),
        "get-stdout" => stub(linked, name, |_, (): ()| Ok((Resource::<OutputStream>::new_own(STDOUT),))),
        "get-stderr" => stub(linked, name, |_, (): ()| Ok((Resource::<OutputStream>::new_own(STDERR),))),
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            stub(linked, name, |_, (_, _): (Resource<InputStream>, u64)| {
                Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
            })
        }
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => {
            stub(linked, name, |_, (_, _): (Resource<InputStream>, u64)| {
                Ok((Err::<u64, _>(StreamError::Closed),))
            })
        }
        "[method]input-stream.subscribe" => {
            stub(linked, name, |state, (_,): (Resource<InputStream>,)| Ok((ready(state),)))
        }
        "[method]output-stream.subscribe" => {
            stub(linked, name, |state, (_,): (Resource<OutputStream>,)| Ok((ready(state),)))
        }
        "[method]output-stream.check-write" => {
            stub(linked, name, |_, (_,): (Resource<OutputStream>,)| Ok((Ok::<_, StreamError>(ROOM),)))
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            stub(linked, name, |state, (stream, bytes): (Resource<OutputStream>, Vec<u8>)| {
                state.write(stream.rep(), &bytes);
                Ok((Ok::<(), StreamError>(()),))
            })
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            stub(linked, name, |_, (_,): (Resource<OutputStream>,)| Ok((Ok::<(), StreamError>(()),)))
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}

/// What was written of lines that have not ended.
#[derive(Default)]
pub(crate) struct Lines {
    output: Vec<u8>,
    error: Vec<u8>,
}

impl State {
    /// Logs what was written of a line without an end. To be called when a call has ended.
    pub(crate) fn end_lines(&mut self) {
        for stream in [STDOUT, STDERR] {
            self.end_line(stream);
        }
    }

    fn write(&mut self, stream: u32, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let line = self.line(stream);
            let room = LOG_LINE_BYTES.saturating_sub(line.len());
            line.extend(text.iter().take(room));
            if ended {
                self.end_line(stream);
            }
        }
    }

    fn end_line(&mut self, stream: u32) {
        let line = std::mem::take(self.line(stream));
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        if stream == STDERR {
            let said = match self.said.take() {
                Some(before) => format!("{before}; {text}"),
                None => text.to_owned(),
            };
            self.said = Some(printable(&said, SAID_BYTES));
        }
        self.message(if stream == STDERR { Level::Warn } else { Level::Info }, text);
    }

    fn line(&mut self, stream: u32) -> &mut Vec<u8> {
        if stream == STDERR { &mut self.wasi.lines.error } else { &mut self.wasi.lines.output }
    }
}

fn ready(state: &mut State) -> Resource<Pollable> {
    state.pollable(Instant::now())
}
