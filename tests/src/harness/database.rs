//! Databases as tests see them: an own schema of Postgres for each test, in the one database that all share (`servers::database_url`),
//! because making a schema is several times faster than making a database; and a shell, as an operator has one. It must never touch a schema that it
//! has not made.

use std::path::PathBuf;

use siding_core::{id::JobId, store::postgres};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions, raw_sql, sqlite::SqliteConnectOptions};

use super::servers;

/// A shell at the database of one test.
pub enum Shell {
    /// At the file of SQLite.
    Sqlite(PathBuf),
    /// At the URL of Postgres.
    Postgres(String),
}

impl Shell {
    /// Runs statements on a connection of its own; the refusal as text.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Panics
    /// When it cannot be reached.
    pub async fn run(&self, statements: &str) -> Result<(), String> {
        let statements = raw_sql(AssertSqlSafe(statements.to_owned()));
        match self {
            Self::Sqlite(path) => {
                let mut connection = SqliteConnectOptions::new().filename(path).connect().await.expect("the file is there");
                statements.execute(&mut connection).await.map(drop)
            }
            Self::Postgres(url) => {
                let options: PgConnectOptions = url.parse().expect("a URL of Postgres");
                let mut connection = options.connect().await.expect("the server answers");
                statements.execute(&mut connection).await.map(drop)
            }
        }
        .map_err(|error| error.to_string())
    }
}

/// A transaction that somebody has left open, with what it has locked. Rolled back when it is dropped.
pub struct Open(PgConnection);

impl Open {
    /// Begins one at the URL of Postgres and runs statements in it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn begin(url: &str, statements: &str) -> Self {
        let options: PgConnectOptions = url.parse().expect("a URL of Postgres");
        let mut connection = options.connect().await.expect("the server answers");
        let begun = format!("BEGIN; {statements}");
        raw_sql(AssertSqlSafe(begun)).execute(&mut connection).await.expect("the server does it");
        Self(connection)
    }

    /// Ends it, and returns when its locks are free.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn end(mut self) {
        raw_sql("COMMIT").execute(&mut self.0).await.expect("it was open");
    }
}

/// A schema of its own, with the tables of this version. Gone when it is dropped.
pub struct Schema {
    name: String,
    url: String,
}

impl Schema {
    /// Makes one.
    ///
    /// # Panics
    /// When there is no server, or it refuses.
    pub async fn new() -> Self {
        let schema = Self::empty().await;
        postgres::migrate(&schema.url).await.expect("an empty schema can be migrated");
        schema
    }

    /// Makes one without tables.
    ///
    /// # Panics
    /// As `new`.
    pub async fn empty() -> Self {
        let name = format!("test_{}", JobId::generate().as_uuid().simple());
        run(&format!("CREATE SCHEMA {name}")).await;
        let shared = servers::database_url();
        let separator = if shared.contains('?') { '&' } else { '?' };
        Self { url: format!("{shared}{separator}options[search_path]={name}"), name }
    }

    /// Where it is: whoever connects to this URL sees this schema alone.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let statement = format!("DROP SCHEMA {} CASCADE", self.name);
        // On a thread with a runtime of its own: a test's runtime may be at its end.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(&statement));
        });
        if dropped.join().is_err() {
            eprintln!("the schema {} is left behind", self.name);
        }
    }
}

async fn run(statement: &str) {
    Shell::Postgres(servers::database_url()).run(statement).await.expect("the server does it");
}
