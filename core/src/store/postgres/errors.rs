//! What Postgres and sqlx say, as the store's errors: the one place that knows SQLSTATEs. It never retries and never decides what
//! a caller does about an error.

use sqlx::migrate::MigrateError;

use crate::store::Error;

/// SQLSTATEs (<https://www.postgresql.org/docs/current/errcodes-appendix.html>) that mean something of their own.
mod state {
    pub const DISK_FULL: &str = "53100";
    pub const DATA_CORRUPTED: &str = "XX001";
    pub const INDEX_CORRUPTED: &str = "XX002";
    pub const UNIQUE: &str = "23505";
    pub const NO_SUCH_DATABASE: &str = "3D000";
}

/// What an error means.
pub(super) fn of(error: sqlx::Error) -> Error {
    let Some(code) = sqlstate(&error) else {
        return match error {
            // A statement that was cut off in the middle may read what belongs to another: that is the connection's fault too.
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                Error::Unavailable(error.into())
            }
            other => Error::broken("a row could not be read", other),
        };
    };
    match code.as_str() {
        state::DISK_FULL => Error::Full(error.into()),
        state::DATA_CORRUPTED | state::INDEX_CORRUPTED => Error::Corrupt(error.into()),
        state::NO_SUCH_DATABASE => Error::Unavailable(error.into()),
        code if code.starts_with("23") => Error::broken("a row would contradict the schema", error),
        code if may_pass(code) => Error::Unavailable(error.into()),
        _ => Error::broken("a statement was refused", error),
    }
}

/// Whether errors of this class come from the server's condition, not from our statement: a lost connection (08), a transaction
/// that waited too long in the middle (25), a login that is refused (28, until somebody mends it), a deadlock or
/// conflict (40), no room for another connection (53), a lock that was not to be had (55), a shutdown, a start or a timeout (57),
/// a failing disk (58).
fn may_pass(code: &str) -> bool {
    ["08", "25", "28", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))
}

/// What an error of the migrations means; `known` is the newest migration of this program.
pub(super) fn of_migration(error: MigrateError, known: i64) -> Error {
    match error {
        MigrateError::VersionMissing(found) => Error::SchemaUnknown { found, known },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => of(error),
        other => Error::broken("a migration does not fit the database", other),
    }
}

/// Whether a row was refused because its id or key is taken.
pub(super) fn is_taken(error: &Error) -> bool {
    let Error::Broken { source, .. } = error else { return false };
    source.downcast_ref::<sqlx::Error>().and_then(sqlstate).as_deref() == Some(state::UNIQUE)
}

/// Whether an error says nothing about the process's other connections: the server has answered, and does not shut down.
pub(super) fn leaves_others_alone(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| !code.starts_with("08") && !code.starts_with("57P"))
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}
