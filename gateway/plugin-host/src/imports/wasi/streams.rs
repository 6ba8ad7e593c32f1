//! Standard input, which is at its end; standard output and standard error, which are the policy's log; and the bodies of
//! HTTP, which are there completely or not at all, so that no stream ever has to be waited for.
//!
//! A line is a message: at most as many of a call reach the log as by the interface `log`, and as much of each. Standard
//! error is where runtimes explain why they give up, so it goes into the explanation of a trap.
//!
//! A write is one host call however many lines are in it, and no tick of the clock interrupts one. So a write has a
//! bound, and a line that nobody will see costs next to nothing.

use wasmtime::Result;
use wasmtime::component::{ComponentType, LinkerInstance, Lower, Resource};

use super::super::State;
use super::super::http::lock;
use super::stub;
use crate::bindings::handfast::policy::log::Level;
use crate::error::Stop;
use crate::limits::LOG_LINE_BYTES;
use crate::text::printable;

pub(in crate::imports) struct InputStream;
pub(in crate::imports) struct OutputStream;
/// Of the body of a request that became too large: no other stream fails.
pub(in crate::imports) struct IoError;

impl InputStream {
    /// The stream of a response's body.
    pub(in crate::imports) fn handle(reader: u32) -> Resource<Self> {
        Resource::new_own(reader.saturating_add(BODIES))
    }
}

impl OutputStream {
    /// The stream of a request's body.
    pub(in crate::imports) fn handle(body: u32) -> Resource<Self> {
        Resource::new_own(body.saturating_add(BODIES))
    }
}

#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
/// Streams of this number and above are those of HTTP.
const BODIES: u32 = 3;
/// Bytes that a guest may write at once. `check-write` says so, and who writes more all the same is ended.
pub(in crate::imports) const ROOM: usize = 64 << 10;
/// Bytes of standard error that explain a trap.
const SAID_BYTES: usize = 512;
/// With less room than an escaped character takes (`\u{e0001}`), nothing more may fit.
const ESCAPED_BYTES: usize = 9;

/// Links a function of these interfaces; false for one that is not known here.
pub(super) fn link(linked: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    match name {
        "get-stdin" => stub(linked, name, |_, (): ()| Ok((Resource::<InputStream>::new_own(STDIN),))),
        "get-stdout" => stub(linked, name, |_, (): ()| Ok((Resource::<OutputStream>::new_own(STDOUT),))),
        "get-stderr" => stub(linked, name, |_, (): ()| Ok((Resource::<OutputStream>::new_own(STDERR),))),
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            stub(linked, name, |state, (stream, length): (Resource<InputStream>, u64)| {
                let read = state.read(stream.rep(), length).map(<[u8]>::to_vec);
                Ok((read.ok_or(StreamError::Closed),))
            })
        }
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => {
            stub(linked, name, |state, (stream, length): (Resource<InputStream>, u64)| {
                let skipped = state.read(stream.rep(), length).map(|skipped| skipped.len() as u64);
                Ok((skipped.ok_or(StreamError::Closed),))
            })
        }
        "[method]input-stream.subscribe" => {
            stub(linked, name, |state, (_,): (Resource<InputStream>,)| Ok((state.ready_now(),)))
        }
        "[method]output-stream.subscribe" => {
            stub(linked, name, |state, (_,): (Resource<OutputStream>,)| Ok((state.ready_now(),)))
        }
        "[method]output-stream.check-write" => {
            stub(linked, name, |state, (stream,): (Resource<OutputStream>,)| {
                Ok((Ok::<_, StreamError>(state.room(stream.rep()) as u64),))
            })
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            stub(linked, name, |state, (stream, bytes): (Resource<OutputStream>, Vec<u8>)| {
                let written = state.write(stream.rep(), &bytes)?;
                Ok((written.ok_or_else(|| StreamError::LastOperationFailed(Resource::new_own(0))),))
            })
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            stub(linked, name, |_, (_,): (Resource<OutputStream>,)| Ok((Ok::<(), StreamError>(()),)))
        }
        "[method]error.to-debug-string" => stub(linked, name, |_, (_,): (Resource<IoError>,)| {
            Ok(("the request's body is larger than its bound".to_owned(),))
        }),
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

    pub(super) fn drop_input(&mut self, stream: u32) {
        if let Some(reader) = stream.checked_sub(BODIES) {
            self.http.drop_reader(reader);
        }
    }

    pub(super) fn drop_output(&mut self, stream: u32) {
        if let Some(body) = stream.checked_sub(BODIES) {
            self.http.drop_writer(body);
        }
    }

    fn read(&mut self, stream: u32, length: u64) -> Option<&[u8]> {
        self.http.read(stream.checked_sub(BODIES)?, length)
    }

    fn room(&self, stream: u32) -> usize {
        let Some(body) = stream.checked_sub(BODIES) else { return ROOM };
        // A body that is full has room for one byte more, and fails with it: a guest that waits for room, which never
        // comes, would never end.
        self.http.body(body).map_or(1, |body| lock(body).room().clamp(1, ROOM))
    }

    /// `None` where a body becomes too large.
    fn write(&mut self, stream: u32, bytes: &[u8]) -> Result<Option<()>, Stop> {
        if bytes.len() > ROOM {
            return Err(Stop::Misuse("at most 65,536 bytes may be written to a stream at once"));
        }
        if let Some(body) = stream.checked_sub(BODIES) {
            let body = self.http.body(body).ok_or(Stop::Handle("output stream"))?;
            return Ok(lock(body).write(bytes)?.then_some(()));
        }
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
        Ok(Some(()))
    }

    fn end_line(&mut self, stream: u32) {
        let line = std::mem::take(self.line(stream));
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        if stream == STDERR {
            self.say(text);
        }
        self.message(if stream == STDERR { Level::Warn } else { Level::Info }, text);
    }

    /// Adds a line to the explanation of a trap, while it fits.
    fn say(&mut self, text: &str) {
        let said = match self.said.take() {
            Some(before) if before.len() + ESCAPED_BYTES > SAID_BYTES => before,
            Some(before) => printable(&format!("{before}; {text}"), SAID_BYTES),
            None => printable(text, SAID_BYTES),
        };
        self.said = Some(said);
    }

    fn line(&mut self, stream: u32) -> &mut Vec<u8> {
        if stream == STDERR { &mut self.wasi.lines.error } else { &mut self.wasi.lines.output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::Registry;
    use crate::limits::{LOG_LINES, Limits};

    #[test]
    fn a_write_is_bounded_and_lines_beyond_those_that_are_shown_are_only_counted() {
        let ledger = Registry::new(usize::MAX).ledger("under-test");
        let mut state = State::new(Limits::default(), ledger.clone(), None, None);
        state.begin();
        let lines = b"x\n".repeat(ROOM / 2);
        state.write(STDERR, &lines).unwrap();
        assert_eq!(ledger.dropped_messages(), ROOM as u64 / 2 - u64::from(LOG_LINES));
        let said = state.said.clone().unwrap();
        assert!(said.starts_with("x; x; ") && said.len() <= SAID_BYTES, "{said}");
        state.write(STDERR, b"and more\n").unwrap();
        assert_eq!(state.said, Some(said));
        assert!(matches!(state.write(STDOUT, &vec![b'\n'; ROOM + 1]), Err(Stop::Misuse(_))));
    }
}
