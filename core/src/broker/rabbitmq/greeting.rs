//! What the broker says first: its product, version and capabilities. It decides whether somebody speaks AMQP there at all, before lapin
//! is let in: lapin keeps a thread and a socket for a handshake that is never answered, one for each attempt, and it does not
//! hand out what the broker has said. It must never go further than the greeting: no password is sent here.

use futures::{AsyncReadExt, AsyncWriteExt};
use lapin::{
    tcp::{AMQPUriTcpExt, OwnedTLSConfig},
    types::{AMQPValue, FieldTable, parsing::parse_field_table},
    uri::AMQPUri,
};

/// What a client says first: AMQP 0-9-1.
const OPENING: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
/// Type, channel and size of a frame.
const FRAME_HEADER: usize = 7;
/// Class, method and protocol version, before the table of properties.
const METHOD_HEADER: usize = 6;
/// Largest greeting. RabbitMQ's has about 500 bytes.
const GREETING_BYTES_MAX: usize = 16 * 1024;

/// Why there was no greeting.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No connection, or one that ended.
    #[error("nobody answers")]
    Unreachable(#[from] std::io::Error),
    /// Something else than a broker.
    #[error("whoever answers does not speak AMQP 0-9-1")]
    Foreign,
}

/// The broker, as it introduces itself.
#[derive(Debug, PartialEq)]
pub(super) struct Greeting {
    pub(super) product: String,
    pub(super) version: String,
    /// Those that it has, by name.
    pub(super) capabilities: String,
}

/// Opens a connection, hears the greeting and closes. The broker logs that somebody has left early.
pub(super) async fn hear(uri: &AMQPUri) -> Result<Greeting, Error> {
    let runtime = lapin::runtime::default_runtime().map_err(std::io::Error::other)?;
    let tls = OwnedTLSConfig::default();
    let mut connection = uri.connect_with_config_async(tls.as_ref(), &runtime).await?;
    connection.write_all(OPENING).await?;
    connection.flush().await?;
    let mut header = [0; FRAME_HEADER];
    connection.read_exact(&mut header).await?;
    let [1, 0, 0, size @ ..] = header else { return Err(Error::Foreign) };
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if size > GREETING_BYTES_MAX {
        return Err(Error::Foreign);
    }
    let mut method = vec![0; size];
    connection.read_exact(&mut method).await?;
    read(&method)
}

fn read(method: &[u8]) -> Result<Greeting, Error> {
    let (_, properties) = method.get(METHOD_HEADER..).and_then(|table| parse_field_table(table).ok()).ok_or(Error::Foreign)?;
    let capabilities = match properties.inner().get("capabilities") {
        Some(AMQPValue::FieldTable(table)) => table.clone(),
        _ => FieldTable::default(),
    };
    let has = |(name, value): (&lapin::types::ShortString, &AMQPValue)| {
        matches!(value, AMQPValue::Boolean(true)).then(|| name.to_string())
    };
    let capabilities: Vec<String> = capabilities.inner().iter().filter_map(has).collect();
    Ok(Greeting {
        product: text(&properties, "product"),
        version: text(&properties, "version"),
        capabilities: capabilities.join(" "),
    })
}

fn text(properties: &FieldTable, name: &str) -> String {
    match properties.inner().get(name) {
        Some(AMQPValue::LongString(value)) => value.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_tells_product_version_and_capabilities() {
        let mut method = vec![0, 10, 0, 10, 0, 9];
        let capabilities = b"\x02okt\x01\x02not\x00";
        let mut table = Vec::new();
        table.extend(b"\x07productS\x00\x00\x00\x08RabbitMQ\x07versionS\x00\x00\x00\x063.10.8\x0ccapabilitiesF");
        table.extend(u32::try_from(capabilities.len()).expect("short").to_be_bytes());
        table.extend(capabilities);
        method.extend(u32::try_from(table.len()).expect("short").to_be_bytes());
        method.extend(table);
        let expected = Greeting { product: "RabbitMQ".into(), version: "3.10.8".into(), capabilities: "ok".into() };
        assert_eq!(read(&method).expect("a greeting"), expected);
        for cut in [0, METHOD_HEADER, method.len() - 1] {
            assert!(matches!(read(&method[..cut]), Err(Error::Foreign)), "{cut}");
        }
    }
}
