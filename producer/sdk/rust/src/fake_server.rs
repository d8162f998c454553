//! A server of scripted answers for tests: each connection gets the next answer, byte for byte, and is closed. It records what was
//! asked and must never answer by itself.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

pub(crate) struct FakeServer {
    pub(crate) url: String,
    requests: JoinHandle<Vec<String>>,
}

/// An answer with this status line, these further header lines, and this body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// The beginning of an event stream, cut off where `text` ends.
pub(crate) fn stream(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{text}")
}

impl FakeServer {
    /// Answers one connection with each of `answers`; an empty one closes the connection without a word.
    pub(crate) async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut connection, _) = listener.accept().await.expect("a caller");
                let mut bytes = Vec::new();
                while !is_whole(&bytes) {
                    let mut chunk = [0; 4096];
                    let read = connection.read(&mut chunk).await.expect("a request");
                    assert!(read > 0, "the caller hung up");
                    bytes.extend_from_slice(&chunk[..read]);
                }
                requests.push(String::from_utf8(bytes).expect("UTF-8"));
                connection.write_all(answer.as_bytes()).await.expect("written");
                connection.shutdown().await.expect("closed");
            }
            requests
        });
        Self { url, requests }
    }

    /// What was asked, once every answer was given.
    pub(crate) async fn requests(self) -> Vec<String> {
        self.requests.await.expect("no check of the server failed")
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap_or("0"));
    body.len() >= length.trim().parse().expect("a number")
}

/// The value of a header of a recorded request.
pub(crate) fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}
