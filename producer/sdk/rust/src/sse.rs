//! Server-sent events, parsed as the HTML standard says (section 9.2), from bytes that may be cut anywhere. Bounded: a line or an
//! event longer than the limits is an error, never more memory. It decides nothing about what events mean.

use std::{mem, time::Duration};

/// Longest line, in bytes. Siding's longest is one event's JSON, whose output piece has at most 64 KiB.
const LINE_BYTES_MAX: usize = 512 * 1024;
/// Most bytes of data in one event.
const DATA_BYTES_MAX: usize = 1024 * 1024;

/// One event as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The `event` field; empty when there was none.
    pub event: String,
    /// The `data` fields, joined by line feeds.
    pub data: String,
    /// The newest `id` of the stream so far.
    pub id: String,
}

/// What a stream of bytes says, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// An event.
    Message(Message),
    /// How long to wait before reconnecting.
    Retry(Duration),
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("a line of the event stream is longer than {LINE_BYTES_MAX} bytes")]
    LongLine,
    #[error("an event is longer than {DATA_BYTES_MAX} bytes")]
    LongEvent,
    #[error("the event stream is not UTF-8")]
    NotUtf8,
}

/// The parser of one connection. A new connection needs a new parser.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_cr: bool,
    /// The first line has been read: a byte order mark may no longer come.
    begun: bool,
    event: String,
    data: Option<String>,
    id: String,
}

impl Parser {
    /// Reads `bytes` and appends what they say to `said`.
    ///
    /// # Errors
    /// `Error` when the stream is not what it should be; the parser is then of no more use.
    pub(crate) fn read(&mut self, bytes: &[u8], said: &mut Vec<Said>) -> Result<(), Error> {
        for &byte in bytes {
            match byte {
                b'\n' if mem::take(&mut self.after_cr) => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    let line = mem::take(&mut self.line);
                    self.read_line(&line, said)?;
                    // The allocation is kept for the next line.
                    self.line = line;
                    self.line.clear();
                }
                _ if self.line.len() == LINE_BYTES_MAX => return Err(Error::LongLine),
                _ => {
                    self.after_cr = false;
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    fn read_line(&mut self, line: &[u8], said: &mut Vec<Said>) -> Result<(), Error> {
        let line = match mem::replace(&mut self.begun, true) {
            true => line,
            false => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
        };
        let line = std::str::from_utf8(line).map_err(|_| Error::NotUtf8)?;
        if line.is_empty() {
            self.dispatch(said);
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event = value.to_owned(),
            "data" => self.push_data(value)?,
            "id" if !value.contains('\0') => self.id = value.to_owned(),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                // More digits than a u64 holds is no waiting time; the standard has no bound, so it is passed over.
                said.extend(value.parse().ok().map(|ms| Said::Retry(Duration::from_millis(ms))));
            }
            // A comment has an empty name; other names are passed over.
            _ => {}
        }
        Ok(())
    }

    fn push_data(&mut self, value: &str) -> Result<(), Error> {
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) if data.len() + value.len() >= DATA_BYTES_MAX => return Err(Error::LongEvent),
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, said: &mut Vec<Said>) {
        let event = mem::take(&mut self.event);
        match self.data.take() {
            // An event without data, or with empty data only, is not dispatched; its id counts.
            None => {}
            Some(data) if data.is_empty() => {}
            Some(data) => said.push(Said::Message(Message { event, data, id: self.id.clone() })),
        }
    }
}

#[cfg(test)]
mod tests;
