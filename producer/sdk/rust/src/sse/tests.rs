//! The parser against the standard's own cases, cut at every byte.

use super::*;

fn message(event: &str, data: &str, id: &str) -> Said {
    Said::Message(Message { event: event.into(), data: data.into(), id: id.into() })
}

/// Reads `text` whole, byte by byte, and cut in two at every place: all must say the same.
fn check(text: &[u8], expected: &[Said]) {
    let read = |pieces: &[&[u8]]| {
        let (mut parser, mut said) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.read(piece, &mut said).expect("readable");
        }
        said
    };
    assert_eq!(read(&[text]), expected, "whole: {:?}", text.escape_ascii().to_string());
    assert_eq!(read(&text.chunks(1).collect::<Vec<_>>()), expected, "byte by byte");
    for cut in 0..text.len() {
        let (head, tail) = text.split_at(cut);
        assert_eq!(read(&[head, tail]), expected, "cut at {cut}");
    }
}

#[test]
fn a_stream_says_the_same_wherever_it_is_cut_and_however_lines_end() {
    let stream = "retry: 3000\n\n: hb\n\nid: 1\nevent: queued\ndata: {\"seq\":1,\"ä\":\"€\"}\n\nid: 2\ndata: a\ndata: b\n\n";
    let expected =
        [Said::Retry(Duration::from_secs(3)), message("queued", "{\"seq\":1,\"ä\":\"€\"}", "1"), message("", "a\nb", "2")];
    for line_end in ["\n", "\r", "\r\n"] {
        check(stream.replace('\n', line_end).as_bytes(), &expected);
        check(format!("\u{feff}{stream}").replace('\n', line_end).as_bytes(), &expected);
    }
}

#[test]
fn fields_are_read_as_the_standard_says() {
    let rows: [(&str, &[Said]); 14] = [
        ("data: x\n", &[]),
        ("data\n\n", &[]),
        ("data\ndata\n\n", &[message("", "\n", "")]),
        ("data:x\n\n", &[message("", "x", "")]),
        ("data:  x\n\n", &[message("", " x", "")]),
        ("data: a:b\n\n", &[message("", "a:b", "")]),
        ("event: e\n\ndata: x\n\n", &[message("", "x", "")]),
        ("id: 7\n\ndata: x\n\n", &[message("", "x", "7")]),
        ("id: 7\ndata: x\n\nid\ndata: y\n\n", &[message("", "x", "7"), message("", "y", "")]),
        ("id: 7\0\ndata: x\n\n", &[message("", "x", "")]),
        ("other: 1\n:\n: data: no\ndata: x\n\n", &[message("", "x", "")]),
        ("retry: 12x\nretry:\nretry: -1\nretry: 99999999999999999999999\n", &[]),
        ("Data: x\n data: y\n\n", &[]),
        ("\u{feff}data: x\n\n\u{feff}data: y\n\n", &[message("", "x", "")]),
    ];
    for (text, expected) in rows {
        check(text.as_bytes(), expected);
    }
}

#[test]
fn a_stream_that_would_fill_the_memory_is_refused() {
    let read = |text: &[u8]| Parser::default().read(text, &mut Vec::new());
    let line = |bytes: usize| [b"data: ".as_slice(), &vec![b'x'; bytes - 6], b"\n"].concat();
    let rows = [
        (line(LINE_BYTES_MAX), Ok(())),
        (line(LINE_BYTES_MAX + 1), Err(Error::LongLine)),
        (line(LINE_BYTES_MAX).repeat(3), Err(Error::LongEvent)),
        (b"data\n".repeat(DATA_BYTES_MAX + 2), Err(Error::LongEvent)),
        (b"data: \xff\n".to_vec(), Err(Error::NotUtf8)),
    ];
    for (text, expected) in rows {
        assert_eq!(read(&text), expected, "{} bytes", text.len());
    }
}
