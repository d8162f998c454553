//! What a worker and its model process say to each other, and its bytes. It decides the layout; it never waits and never acts. Reading trusts
//! nothing: a length is a promise that is kept byte by byte, and a frame that cannot be read is `Garbled`.
//!
//! A frame: length of what follows (u32, little-endian), kind (u8), fields. A number is a u64; a text is a length u32 and UTF-8; an
//! optional field is a byte 0, or 1 and the field. Both ends are the same program, so there is one version: the first frame carries it.

use std::io::{self, Read, Write};

use siding_core::{limits, tensor::Tensors};

use crate::runtime::{Progress, RunError, RunReport, State};

/// The version of everything below, said first.
pub(super) const VERSION: u64 = 1;

/// What a model process is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ask {
    /// First of all: load this.
    Load(Load),
    /// Begin a computation under this number.
    Begin { computation: u64, input: String, from: Option<State> },
    /// Make a step of it; `step` counts all steps of the process.
    Step { computation: u64, step: u64 },
    /// End this step soon. The only thing that is said while an answer is due, and it has none of its own.
    Stop { step: u64 },
    /// Say its state.
    Save { computation: u64 },
    /// Forget it. Has no answer.
    Forget { computation: u64 },
}

/// The model and what is to run it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Load {
    pub version: u64,
    /// As the setting `worker.onnxruntime`.
    pub library: String,
    /// The model's `model.toml`, whole: what the worker has checked is what the process loads.
    pub manifest: String,
    /// The model's folder.
    pub folder: String,
    /// Most bytes of its own that the process may have; 0 for no bound.
    pub memory_bytes_max: u64,
}

/// What a model process says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Loaded,
    NotLoaded(String),
    Begun,
    /// While a step runs; another answer follows.
    Report(RunReport),
    More(Progress),
    Done(String),
    Failed(RunError),
    Saved(Option<State>),
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// The other end is gone, or does not answer.
    #[error("the other end is gone")]
    Gone(#[from] io::Error),
    /// What came makes no sense.
    #[error("what came makes no sense")]
    Garbled,
}

/// Writes one frame.
pub(super) fn write(to: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    to.write_all(frame)?;
    to.flush()
}

/// Reads one frame, without its length.
pub(super) fn read(from: &mut impl Read) -> Result<Vec<u8>, Lost> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length == 0 || length > limits::MODEL_FRAME_BYTES_MAX {
        return Err(Lost::Garbled);
    }
    // Grows with what comes, not with what was promised.
    let mut frame = Vec::new();
    from.take(length as u64).read_to_end(&mut frame)?;
    if frame.len() == length { Ok(frame) } else { Err(Lost::Gone(io::ErrorKind::UnexpectedEof.into())) }
}

impl Ask {
    pub(super) fn to_frame(&self) -> Option<Vec<u8>> {
        match self {
            Self::Load(load) => Frame::new(b'L')
                .number(load.version)
                .text(&load.library)
                .text(&load.manifest)
                .text(&load.folder)
                .number(load.memory_bytes_max),
            Self::Begin { computation, input, from } => Frame::new(b'B').number(*computation).text(input).state(from.as_ref()),
            Self::Step { computation, step } => Frame::new(b'S').number(*computation).number(*step),
            Self::Stop { step } => Frame::new(b'X').number(*step),
            Self::Save { computation } => Frame::new(b'V').number(*computation),
            Self::Forget { computation } => Frame::new(b'F').number(*computation),
        }
        .finish()
    }

    pub(super) fn of_frame(frame: &[u8]) -> Result<Self, Lost> {
        let mut fields = Fields::of(frame)?;
        let ask = match fields.kind {
            b'L' => {
                let version = fields.number()?;
                if version != VERSION {
                    // The rest may be laid out otherwise.
                    return Ok(Self::Load(Load { version, ..Load::default() }));
                }
                Self::Load(Load {
                    version,
                    library: fields.text()?,
                    manifest: fields.text()?,
                    folder: fields.text()?,
                    memory_bytes_max: fields.number()?,
                })
            }
            b'B' => Self::Begin { computation: fields.number()?, input: fields.text()?, from: fields.state()? },
            b'S' => Self::Step { computation: fields.number()?, step: fields.number()? },
            b'X' => Self::Stop { step: fields.number()? },
            b'V' => Self::Save { computation: fields.number()? },
            b'F' => Self::Forget { computation: fields.number()? },
            _ => return Err(Lost::Garbled),
        };
        fields.end(ask)
    }
}

impl Answer {
    /// `None` when it is larger than a frame may be.
    pub(super) fn to_frame(&self) -> Option<Vec<u8>> {
        match self {
            Self::Loaded => Frame::new(b'l'),
            Self::NotLoaded(why) => Frame::new(b'n').text(why),
            Self::Begun => Frame::new(b'b'),
            Self::Report(RunReport::Progress { done, total }) => Frame::new(b'p').number(*done).optional(*total),
            Self::Report(RunReport::Output(piece)) => Frame::new(b'o').text(piece),
            Self::More(Progress { done, total }) => Frame::new(b'm').number(*done).optional(*total),
            Self::Done(output) => Frame::new(b'd').text(output),
            Self::Saved(state) => Frame::new(b'v').state(state.as_ref()),
            Self::Failed(error) => match error {
                RunError::BadInput(why) => Frame::new(b'i').text(why),
                RunError::Failed(why) => Frame::new(b'f').text(why),
                RunError::BadCheckpoint(why) => Frame::new(b'c').text(why),
                RunError::OutputTooLarge { bytes, max } => Frame::new(b't').number(*bytes as u64).number(*max as u64),
                RunError::Stopped => Frame::new(b's'),
                // No process outlives its crash.
                RunError::Crashed(cause) => Frame::new(b'f').text(&cause.to_string()),
            },
        }
        .finish()
    }

    pub(super) fn of_frame(frame: &[u8]) -> Result<Self, Lost> {
        let mut fields = Fields::of(frame)?;
        let answer = match fields.kind {
            b'l' => Self::Loaded,
            b'n' => Self::NotLoaded(fields.text()?),
            b'b' => Self::Begun,
            b'p' => Self::Report(RunReport::Progress { done: fields.number()?, total: fields.optional()? }),
            b'o' => Self::Report(RunReport::Output(fields.text()?)),
            b'm' => Self::More(Progress { done: fields.number()?, total: fields.optional()? }),
            b'd' => Self::Done(fields.text()?),
            b'v' => Self::Saved(fields.state()?),
            b'i' => Self::Failed(RunError::BadInput(fields.text()?)),
            b'f' => Self::Failed(RunError::Failed(fields.text()?)),
            b'c' => Self::Failed(RunError::BadCheckpoint(fields.text()?)),
            b't' => Self::Failed(RunError::OutputTooLarge { bytes: fields.size()?, max: fields.size()? }),
            b's' => Self::Failed(RunError::Stopped),
            _ => return Err(Lost::Garbled),
        };
        fields.end(answer)
    }
}

/// A frame that is being written.
struct Frame(Vec<u8>);

impl Frame {
    fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        // A longer one makes the frame too long, which `finish` sees.
        self.0.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    fn optional(mut self, number: Option<u64>) -> Self {
        self.0.push(u8::from(number.is_some()));
        match number {
            Some(number) => self.number(number),
            None => self,
        }
    }

    fn state(mut self, state: Option<&State>) -> Self {
        self.0.push(u8::from(state.is_some()));
        match state {
            Some(state) => self.text(&state.note).bytes(&state.tensors.to_bytes()),
            None => self,
        }
    }

    /// `None` when it is larger than a frame may be.
    fn finish(mut self) -> Option<Vec<u8>> {
        let length = self.0.len() - 4;
        if length > limits::MODEL_FRAME_BYTES_MAX {
            return None;
        }
        self.0[..4].copy_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
        Some(self.0)
    }
}

/// A frame that is being read.
struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(frame: &'a [u8]) -> Result<Self, Lost> {
        let (&kind, rest) = frame.split_first().ok_or(Lost::Garbled)?;
        Ok(Self { kind, rest })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Lost> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Lost::Garbled)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, Lost> {
        self.take(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight were taken")))
    }

    fn size(&mut self) -> Result<usize, Lost> {
        usize::try_from(self.number()?).map_err(|_| Lost::Garbled)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Lost> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().expect("four were taken"));
        self.take(length as usize)
    }

    fn text(&mut self) -> Result<String, Lost> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Lost::Garbled)
    }

    fn is_there(&mut self) -> Result<bool, Lost> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Lost::Garbled),
        }
    }

    fn optional(&mut self) -> Result<Option<u64>, Lost> {
        if self.is_there()? { self.number().map(Some) } else { Ok(None) }
    }

    fn state(&mut self) -> Result<Option<State>, Lost> {
        if !self.is_there()? {
            return Ok(None);
        }
        let note = self.text()?;
        let tensors = Tensors::from_bytes(self.bytes()?).map_err(|_| Lost::Garbled)?;
        Ok(Some(State { tensors, note }))
    }

    /// `read`, when nothing is left.
    fn end<T>(self, read: T) -> Result<T, Lost> {
        if self.rest.is_empty() { Ok(read) } else { Err(Lost::Garbled) }
    }
}

#[cfg(test)]
mod tests;
