//! Connections that do not wait for ever: a caller who does not take the answer that waits for it is cut off, so that what the answer
//! holds is given back. It decides how slow a caller may be while something waits for it; an idle connection is not its matter.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use siding_core::limits;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How slow a caller may be.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// So long,
    pub window: Duration,
    /// in which it must take so many bytes of what waits for it, or all.
    pub bytes_min: usize,
}

impl Default for Patience {
    /// As `limits` says.
    fn default() -> Self {
        Self { window: Duration::from_secs(limits::WRITE_STALL_SECS_MAX), bytes_min: limits::WRITE_BYTES_MIN }
    }
}

/// A listener whose connections have this patience.
pub struct Patient<L> {
    /// Where connections come from.
    pub listener: L,
    /// How long they wait.
    pub patience: Patience,
}

impl<L: Listener> Listener for Patient<L> {
    type Io = PatientIo<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (io, address) = self.listener.accept().await;
        (PatientIo { io, patience: self.patience, stall: None }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection with patience.
pub struct PatientIo<I> {
    io: I,
    patience: Patience,
    /// Set while the connection takes less than there is to write.
    stall: Option<Stall>,
}

struct Stall {
    over: Pin<Box<Sleep>>,
    /// Bytes that were taken since it began.
    taken: usize,
}

impl<I> PatientIo<I> {
    /// What a write came to, once the caller's slowness is taken into account.
    fn judge(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => {
                if let Some(stall) = &mut self.stall {
                    stall.taken += bytes;
                    if stall.taken >= self.patience.bytes_min {
                        self.stall = None;
                    }
                }
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                let window = self.patience.window;
                let stall = self.stall.get_or_insert_with(|| Stall { over: Box::pin(sleep(window)), taken: 0 });
                match stall.over.as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => {
                        tracing::info!(taken_bytes = stall.taken, "a connection is cut: its caller does not take the answer");
                        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                    }
                }
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for PatientIo<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for PatientIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.judge(written, cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.judge(written, cx)
    }

    /// Without it, the server would copy what it writes, and what an answer holds would be given back too early.
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// The server asks for this when it has written all there is: nothing waits for the caller any more.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stall = None;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const PATIENCE: Patience = Patience { window: Duration::from_secs(30), bytes_min: 1000 };

    /// A connection whose other side holds 10 bytes that nobody has read.
    fn connection() -> (PatientIo<DuplexStream>, DuplexStream) {
        let (io, caller) = duplex(10);
        (PatientIo { io, patience: PATIENCE, stall: None }, caller)
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_takes_nothing_is_cut_off_and_one_that_is_slow_is_not() {
        // Bytes that the caller takes every second, and whether the answer of 20000 bytes is cut off.
        for (takes, cut) in [(0, true), (1, true), (30, true), (40, false), (1000, false)] {
            let (mut io, mut caller) = connection();
            let reading = async {
                let (mut seconds, mut taken) = (tokio::time::interval(Duration::from_secs(1)), vec![0; takes]);
                loop {
                    seconds.tick().await;
                    caller.read_exact(&mut taken).await.expect("the connection is open");
                }
            };
            let written = tokio::select! {
                written = io.write_all(&[7; 20_000]) => written,
                () = reading => unreachable!("it reads for ever"),
            };
            assert_eq!(written.is_err(), cut, "{takes} bytes a second: {written:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_for_which_nothing_waits_may_be_silent_for_ever() {
        let (mut io, mut caller) = connection();
        for _ in 0..3 {
            // More than the other side holds: the write waits for the reader.
            let (written, ()) = tokio::join!(
                async {
                    io.write_all(&[7; 15]).await?;
                    io.flush().await
                },
                async {
                    tokio::time::advance(Duration::from_secs(29)).await;
                    caller.read_exact(&mut [0; 15]).await.expect("read");
                }
            );
            written.expect("taken in time");
            tokio::time::advance(Duration::from_secs(3600)).await;
        }
    }
}
