//! Schemas of Postgres for tests: each test has its own, in the one database that all share (`servers::database_url`), because making a
//! schema is many times faster than making a database. It must never touch a schema that it has not made.

use siding_core::{id::JobId, store::postgres};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions, raw_sql};

use super::servers;

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

    /// Runs statements in it, as an operator with a shell would.
    ///
    /// # Panics
    /// When they are refused.
    pub async fn run(&self, statements: &str) {
        run(&format!("SET search_path = {}; {statements}", self.name)).await;
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

async fn run(statements: &str) {
    let options: PgConnectOptions = servers::database_url().parse().expect("a URL of Postgres");
    let mut connection: PgConnection = options.connect().await.expect("the server answers");
    raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.expect("the server does it");
}
