//! What lapin's errors mean for us: which are worth another attempt and which want a human. It must never be asked for more: whatever
//! the error, the supervisor drops both connections and opens new ones.

use lapin::ErrorKind;

use crate::broker::Error;

/// AMQP's reply codes for a refusal of the user, the virtual host or the permissions.
const MISCONFIGURED: [u16; 2] = [403, 530];

/// AMQP's reply code for a queue or exchange that does not exist.
pub(super) const NOT_FOUND: u16 = 404;

/// Whether the broker itself has answered with one of these reply codes.
pub(super) fn is_reply(error: &lapin::Error, codes: &[u16]) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(reply) if codes.contains(&reply.get_id()))
}

/// Why no connection was opened.
pub(super) fn of_opening(error: lapin::Error) -> Error {
    match is_reply(&error, &MISCONFIGURED) {
        true => Error::Misconfigured(error.into()),
        false => unavailable(error),
    }
}

/// Why a call on an open connection failed.
pub(super) fn unavailable(error: lapin::Error) -> Error {
    Error::Unavailable(Some(error.into()))
}
