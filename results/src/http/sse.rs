//! The bytes of an event stream (WHATWG HTML, Server-sent events). Pure: what a page, a heartbeat and an end look like.

use bytes::Bytes;
use siding_core::{api::EventView, job::Event};

/// The first bytes: how long a client waits before it reconnects.
#[must_use]
pub fn opening(retry_ms: u64) -> Bytes {
    format!("retry: {retry_ms}\n\n").into()
}

/// The last bytes of a stream that ends before its job does.
#[must_use]
pub fn stopping(retry_ms: u64) -> Bytes {
    format!("retry: {retry_ms}\n: the service is stopping; go on from the last id\n\n").into()
}

/// A sign of life.
#[must_use]
pub fn heartbeat() -> Bytes {
    Bytes::from_static(b": hb\n\n")
}

/// A page of events.
///
/// # Errors
/// When an event cannot be written as JSON, which its types rule out.
pub fn page(events: Vec<Event>) -> Result<Bytes, serde_json::Error> {
    let mut text = String::with_capacity(events.iter().map(|event| event.data.get().len() + 160).sum());
    for event in events {
        let (seq, kind) = (event.seq, event.kind);
        text.push_str(&format!("id: {seq}\nevent: {kind}\ndata: "));
        // A line end would end the field. In JSON text it can only be white space between tokens: inside a string it is escaped.
        let data = serde_json::to_string(&EventView::from(event))?;
        text.extend(data.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }));
        text.push_str("\n\n");
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use siding_core::{
        clock::Timestamp,
        id::{Attempt, EventSeq, JobId},
        job::EventKind,
    };

    use super::*;

    #[test]
    fn a_page_looks_like_this_for_ever() {
        let event = |seq, kind, data: &str| Event {
            job: JobId::generate(),
            seq: EventSeq(seq),
            kind,
            at: Timestamp(1000),
            attempt: Attempt(1),
            data: RawValue::from_string(data.into()).expect("json"),
        };
        let events = vec![event(3, EventKind::Output, "{\r\n\"text\":\n\"a\\nb\"}"), event(4, EventKind::Succeeded, "{}")];
        let expected = concat!(
            "id: 3\nevent: output\ndata: {\"seq\":3,\"kind\":\"output\",\"at_ms\":1000,\"attempt\":1,\"data\":{  \"text\": \"a\\nb\"}}\n\n",
            "id: 4\nevent: succeeded\ndata: {\"seq\":4,\"kind\":\"succeeded\",\"at_ms\":1000,\"attempt\":1,\"data\":{}}\n\n",
        );
        assert_eq!(page(events).expect("json"), expected);
    }
}
