//! What SQLite and sqlx say, as the store's errors: the one place that knows result codes. It never retries and never decides
//! what a caller does about an error.

use sqlx::migrate::MigrateError;

use crate::store::Error;

/// SQLite's primary result codes (<https://www.sqlite.org/rescode.html>); the low byte of what sqlx reports.
mod code {
    pub const ERROR: u32 = 1;
    pub const BUSY: u32 = 5;
    pub const LOCKED: u32 = 6;
    pub const READONLY: u32 = 8;
    pub const IOERR: u32 = 10;
    pub const CORRUPT: u32 = 11;
    pub const FULL: u32 = 13;
    pub const CANTOPEN: u32 = 14;
    pub const CONSTRAINT: u32 = 19;
    pub const NOTADB: u32 = 26;
}

/// What an error of a running store means.
pub(super) fn of(error: sqlx::Error) -> Error {
    match primary_code(&error) {
        Some(code::READONLY) => Error::ReadOnly(error.into()),
        Some(code::CORRUPT | code::NOTADB) => Error::Corrupt(error.into()),
        Some(code::FULL) => Error::Full(error.into()),
        // Besides locks: a failing disk or no file descriptors left. Both may pass, and nothing was written.
        Some(code::BUSY | code::LOCKED | code::IOERR | code::CANTOPEN) => Error::Unavailable(error.into()),
        Some(code::CONSTRAINT) => Error::broken("a row would contradict the schema", error),
        Some(_) => Error::broken("a statement was refused", error),
        None => match error {
            sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => Error::Unavailable(error.into()),
            other => Error::broken("a row could not be read", other),
        },
    }
}

/// What an error while opening means: a file that cannot be opened or created is one that cannot be written.
pub(super) fn of_open(error: sqlx::Error) -> Error {
    match primary_code(&error) {
        Some(code::CANTOPEN) => Error::ReadOnly(error.into()),
        _ => of(error),
    }
}

/// What an error of the migrations means; `known` is the newest migration of this program.
pub(super) fn of_migration(error: MigrateError, known: i64) -> Error {
    match error {
        MigrateError::VersionMissing(found) => Error::SchemaUnknown { found, known },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => of_open(error),
        other => Error::broken("a migration does not fit the database", other),
    }
}

/// Whether a row was refused because its id or key is taken.
pub(super) fn is_taken(error: &Error) -> bool {
    let Error::Broken { source, .. } = error else { return false };
    source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error).is_some_and(|error| error.is_unique_violation())
}

/// Whether a `ROLLBACK` failed because there was nothing to roll back, as after an error at which SQLite has done so itself.
pub(super) fn is_no_transaction(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(code::ERROR)
}

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}
