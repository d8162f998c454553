//! A TCP proxy that breaks connections on purpose, to stand before any server. It decides what becomes of bytes and connections; it
//! must never look into them.

use std::{net::SocketAddr, time::Duration};

use siding_core::drain::Drain;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
    time::Instant,
};

/// Bytes on their way in one direction of one connection.
const CHUNK: usize = 16 * 1024;
/// Cuts that a connection may be late to hear of.
const CUTS_MAX: usize = 16;

/// How connections that are open now end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// With a reset, as when a process or a machine is gone.
    Reset,
    /// With an orderly end, as when a proxy is restarted.
    End,
    /// Without a word: both sides keep their connection, and nothing passes any more, as when a firewall forgets it.
    Silent,
}

/// What happens to connections and bytes from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// New connections are reset at once, as when nobody listens.
    pub refusing: bool,
    /// New connections are accepted and nothing passes, as when a load balancer has no server.
    pub swallowing: bool,
    /// Each piece of bytes waits so long.
    pub delay: Duration,
    /// At most so many bytes pass in a second, in each direction.
    pub bytes_per_sec: Option<u32>,
}

/// A proxy on a free port. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    place: SocketAddr,
    cuts: broadcast::Sender<Cut>,
    way: watch::Sender<Way>,
    /// Its connections now, and all that it has accepted.
    open: watch::Sender<(usize, usize)>,
    drain: Drain,
}

impl Proxy {
    /// A proxy before the server of this URL (`scheme://user:password@host:port/…`), and the URL that leads through it.
    ///
    /// # Panics
    /// When no port is free or the URL has no place.
    pub async fn before(url: &str) -> (Self, String) {
        let start = url.find('@').map_or_else(|| url.find("://").expect("a URL") + 3, |at| at + 1);
        let end = url[start..].find('/').map_or(url.len(), |at| start + at);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let place = listener.local_addr().expect("it is bound");
        let proxy = Self {
            place,
            cuts: broadcast::Sender::new(CUTS_MAX),
            way: watch::Sender::new(Way::default()),
            open: watch::Sender::new((0, 0)),
            drain: Drain::new(),
        };
        proxy.accept(listener, url[start..end].to_owned());
        let through = format!("{}{}{}", &url[..start], proxy.place, &url[end..]);
        (proxy, through)
    }

    /// Ends every connection that is open now; new ones pass. Returns how many those were.
    pub fn cut(&self, cut: Cut) -> usize {
        self.cuts.send(cut).unwrap_or_default()
    }

    /// From now on.
    pub fn go(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// How many connections it has now, silent ones included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.borrow().0
    }

    /// How many connections it has accepted in its life.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.open.borrow().1
    }

    fn accept(&self, listener: TcpListener, server: String) {
        let (drain, cuts, way, open) = (self.drain.clone(), self.cuts.clone(), self.way.subscribe(), self.open.clone());
        self.drain.spawn(async move {
            loop {
                let client = tokio::select! {
                    () = drain.stopping() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((client, _)) => client,
                        Err(_) => continue,
                    },
                };
                let (connection, stop) = (Connection { client, cuts: cuts.subscribe(), way: way.clone() }, drain.clone());
                let (server, open) = (server.clone(), open.clone());
                drain.spawn(async move {
                    open.send_modify(|(open, accepted)| (*open, *accepted) = (*open + 1, *accepted + 1));
                    tokio::select! {
                        () = stop.stopping() => {}
                        () = connection.run(&server) => {}
                    }
                    open.send_modify(|(open, _)| *open -= 1);
                });
            }
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.drain.stop();
    }
}

struct Connection {
    client: TcpStream,
    cuts: broadcast::Receiver<Cut>,
    way: watch::Receiver<Way>,
}

impl Connection {
    async fn run(mut self, server: &str) {
        let way = *self.way.borrow();
        if way.refusing {
            return reset(&self.client);
        }
        if way.swallowing {
            return swallow(&mut self.client).await;
        }
        let Ok(mut server) = TcpStream::connect(server).await else { return reset(&self.client) };
        let cut = {
            let (from_client, to_client) = self.client.split();
            let (from_server, to_server) = server.split();
            tokio::select! {
                cut = self.cuts.recv() => cut.unwrap_or(Cut::Reset),
                () = pass(from_client, to_server, &self.way) => Cut::End,
                () = pass(from_server, to_client, &self.way) => Cut::End,
            }
        };
        match cut {
            Cut::Reset => [&self.client, &server].into_iter().for_each(reset),
            // Closing says the end to both.
            Cut::End => {}
            // The server's side stays open, too, and is read by nobody.
            Cut::Silent => swallow(&mut self.client).await,
        }
    }
}

/// The next close says reset instead of end.
fn reset(connection: &TcpStream) {
    // It fails only when the connection is gone already.
    connection.set_zero_linger().unwrap_or_default();
}

/// Takes all and answers nothing, until the other side closes.
async fn swallow(connection: &mut TcpStream) {
    let mut chunk = vec![0; CHUNK];
    while connection.read(&mut chunk).await.is_ok_and(|read| read > 0) {}
}

/// Hands bytes on, as the way is at each moment, until one side ends.
async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, way: &watch::Receiver<Way>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let way = *way.borrow();
        let rated = way.bytes_per_sec.map_or(0.0, |rate| read as f64 / f64::from(rate.max(1)));
        let pause = way.delay + Duration::from_secs_f64(rated);
        if !pause.is_zero() {
            tokio::time::sleep_until(Instant::now() + pause).await;
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}
