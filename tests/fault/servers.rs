//! The private servers of the harness: that they can be killed, stopped and started again as the other fault tests assume.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use siding_tests::harness::{
    eventually,
    servers::{Kind, Private},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a server says to an opening of its protocol, within a moment; nothing when it does not answer.
fn greeting(server: &Private, opening: &[u8]) -> Option<u8> {
    let mut connection = TcpStream::connect(server.place()).ok()?;
    connection.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout above 0");
    connection.write_all(opening).ok()?;
    let mut first = [0];
    connection.read_exact(&mut first).ok().map(|()| first[0])
}

async fn check(kind: Kind, opening: &[u8]) {
    let mut server = Private::start(kind).await;
    let (url, pid) = (server.url().to_owned(), server.pid());
    assert!(greeting(&server, opening).is_some(), "{kind:?} answers when it has been started");

    server.pause();
    assert_eq!(greeting(&server, opening), None, "{kind:?}, stopped where it is");
    server.resume();
    eventually("it goes on", PATIENCE, || async { greeting(&server, opening).map(|_| ()).ok_or("no answer".into()) }).await;

    server.kill().await;
    assert_eq!(greeting(&server, opening), None, "{kind:?}, killed");
    server.restart().await;
    assert_eq!(server.url(), url, "{kind:?} is where it was");
    assert_ne!(server.pid(), pid, "{kind:?} is another process");
    assert!(greeting(&server, opening).is_some(), "{kind:?} answers when it has been started again");

    server.stop().await;
    assert_eq!(greeting(&server, opening), None, "{kind:?}, ended");
}

#[tokio::test]
async fn a_private_postgres_can_be_paused_killed_and_started_where_it_was() {
    // A request for TLS, which Postgres answers with one letter.
    check(Kind::Postgres, &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await;
}

#[tokio::test]
async fn a_private_redis_can_be_paused_killed_and_started_where_it_was() {
    check(Kind::Redis, b"PING\r\n").await;
}

#[tokio::test]
async fn a_private_rabbitmq_can_be_paused_killed_and_started_where_it_was() {
    check(Kind::RabbitMq, b"AMQP\x00\x00\x09\x01").await;
}
