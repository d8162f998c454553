//! The schema: brought up to date by `migrate` alone, and only checked by whoever uses it. It never changes a database that a newer
//! version has written.

use sqlx::{
    ConnectOptions, Connection, PgConnection, Row,
    migrate::{Migrate, Migrator},
    query,
};

use super::{errors, open};
use crate::store::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

const IS_THERE: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";

const VERSION: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";

/// What a migration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The schema's version before; 0 for an empty database.
    pub from: i64,
    /// And after.
    pub to: i64,
}

/// Brings the schema of the database at `url` up to date, each version in a transaction of its own. Many may do so at once: one works, the
/// others wait for it, however long it takes, and find nothing left to do.
///
/// # Errors
/// `SchemaUnknown` when a newer version has written it, `Unavailable` when it cannot be reached, `Broken` when the url is none, the login
/// may not change the schema, or a migration does not fit what is there.
pub async fn migrate(url: &str) -> Result<Migrated, Error> {
    let mut connection = open::options(url)?.connect().await.map_err(errors::of)?;
    let of = |error| errors::of_migration(error, schema_version());
    // The migrator takes the same lock again; this one is held from before the first look on.
    connection.lock().await.map_err(of)?;
    let from = version(&mut connection).await.map_err(errors::of)?;
    MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(of)?;
    let to = version(&mut connection).await.map_err(errors::of)?;
    connection.unlock().await.map_err(of)?;
    connection.close().await.map_err(errors::of)?;
    Ok(Migrated { from, to })
}

/// Whether the schema is the one that this program knows.
pub(super) async fn check(connection: &mut PgConnection) -> Result<Result<(), Error>, sqlx::Error> {
    let (found, known) = (version(connection).await?, schema_version());
    Ok(match found {
        found if found < known => Err(Error::SchemaOld { found, needed: known }),
        found if found > known => Err(Error::SchemaUnknown { found, known }),
        _ => Ok(()),
    })
}

/// The schema version that this program works with: its newest migration, the same number in every dialect.
#[must_use]
pub fn schema_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The newest version that was applied; 0 when none was.
async fn version(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let is_there: bool = query(IS_THERE).fetch_one(&mut *connection).await?.try_get(0)?;
    if is_there { query(VERSION).fetch_one(connection).await?.try_get(0) } else { Ok(0) }
}
