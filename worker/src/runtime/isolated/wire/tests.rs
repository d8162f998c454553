//! Frames come back as they went, and whatever else comes is refused without a panic.

use siding_core::tensor::{Tensor, TensorData};

use super::*;

fn state() -> State {
    let mut tensors = Tensors::new();
    let tensor = Tensor::new(vec![2], TensorData::Fp32(vec![0.5, -0.0])).expect("fits");
    tensors.push("h", tensor).expect("unique");
    State { tensors, note: r#"{"done":3}"#.into() }
}

fn asks() -> Vec<Ask> {
    let load = Load {
        version: VERSION,
        library: "/lib.so".into(),
        manifest: "name = \"é\"".into(),
        folder: "/m/1".into(),
        memory_bytes_max: 7,
    };
    vec![
        Ask::Load(load),
        Ask::Begin { computation: 1, input: "{}".into(), from: None },
        Ask::Begin { computation: 2, input: String::new(), from: Some(state()) },
        Ask::Step { computation: 1, step: u64::MAX },
        Ask::Stop { step: 3 },
        Ask::Save { computation: 1 },
        Ask::Forget { computation: 1 },
    ]
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::Loaded,
        Answer::NotLoaded("why".into()),
        Answer::Begun,
        Answer::Report(RunReport::Progress { done: 1, total: None }),
        Answer::Report(RunReport::Progress { done: 1, total: Some(2) }),
        Answer::Report(RunReport::Output("[1]".into())),
        Answer::More(Progress { done: 1, total: Some(4) }),
        Answer::Done("null".into()),
        Answer::Failed(RunError::BadInput("a".into())),
        Answer::Failed(RunError::Failed("b".into())),
        Answer::Failed(RunError::BadCheckpoint("c".into())),
        Answer::Failed(RunError::OutputTooLarge { bytes: 2, max: 1 }),
        Answer::Failed(RunError::Stopped),
        Answer::Saved(None),
        Answer::Saved(Some(state())),
    ]
}

/// The frame without its length.
fn body(frame: Option<Vec<u8>>) -> Vec<u8> {
    read(&mut frame.expect("small").as_slice()).expect("a frame")
}

#[test]
fn what_is_said_is_what_is_heard() {
    for ask in asks() {
        assert_eq!(Ask::of_frame(&body(ask.to_frame())).expect("ours"), ask);
    }
    for answer in answers() {
        assert_eq!(Answer::of_frame(&body(answer.to_frame())).expect("ours"), answer);
    }
}

#[test]
fn whatever_else_comes_is_garbled_and_never_a_panic() {
    let asks = asks().into_iter().map(|ask| body(ask.to_frame()));
    for frame in asks.chain(answers().into_iter().map(|answer| body(answer.to_frame()))) {
        for end in 0..frame.len() {
            assert!(Ask::of_frame(&frame[..end]).is_err() && Answer::of_frame(&frame[..end]).is_err(), "cut at {end}: {frame:?}");
        }
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut changed = frame.clone();
                changed[at] ^= 1 << bit;
                drop((Ask::of_frame(&changed), Answer::of_frame(&changed)));
            }
        }
    }
    let too_long = u32::try_from(limits::MODEL_FRAME_BYTES_MAX + 1).expect("it fits").to_le_bytes();
    for bytes in [&too_long[..], &[0; 4]] {
        assert!(matches!(read(&mut &bytes[..]), Err(Lost::Garbled)), "{bytes:?}");
    }
    assert!(matches!(read(&mut &[9, 0, 0, 0, 1][..]), Err(Lost::Gone(_))), "promised more than came");
}

#[test]
fn another_version_is_told_apart_whatever_follows() {
    let frame = Frame::new(b'L').number(VERSION + 1).text("what nobody knows yet");
    let ask = Ask::of_frame(&body(frame.finish())).expect("the version is always first");
    assert_eq!(ask, Ask::Load(Load { version: VERSION + 1, ..Load::default() }));
}

#[test]
fn a_frame_that_is_too_large_is_not_made() {
    let answer = Answer::Done("x".repeat(limits::MODEL_FRAME_BYTES_MAX));
    assert_eq!(answer.to_frame(), None);
}
