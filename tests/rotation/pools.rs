//! The pools of `examples/pools`: how each service is started, and how it is supplied.

use std::path::{Path, PathBuf};

use crate::ground::PROGRAM;

/// One pool.
pub struct Pool {
    /// Its folder or file in `examples/pools`.
    pub key: &'static str,
    /// Its name and language.
    pub name: &'static str,
    /// How its service comes to its credential.
    pub supply: Supply,
    /// What starts the service, from the repository's folder; BUILT is where `scripts/examples` has put what it built.
    command: &'static [&'static str],
    /// Seconds that no connection gets older than.
    pub max_lifetime: u64,
}

/// How a service comes to its credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// By itself: it embeds the client.
    Own,
    /// From a file of the agent's, of this format and name, whose path this variable holds.
    File { format: &'static str, name: &'static str, variable: &'static str },
    /// It asks the agent's socket.
    Socket,
    /// It knows a PgBouncer, which is supplied from a file of the agent's and told by a hook.
    PgBouncer,
}

const JSON: Supply = Supply::File { format: "json", name: "db.json", variable: "CREDENTIAL_FILE" };
const SERVICE_FILE: Supply = Supply::File { format: "pgservice", name: "pg_service.conf", variable: "PGSERVICEFILE" };
const PROPERTIES: Supply = Supply::File { format: "jdbc", name: "db.properties", variable: "CREDENTIAL_FILE" };

/// How long a connection lives where the pool lets us choose.
const SHORT: u64 = 2;

/// HikariCP takes no shorter one.
const HIKARI: u64 = 30;

pub const POOLS: &[Pool] = &[
    Pool::new("sqlx", "sqlx (Rust)", Supply::Own, &["EXAMPLES/pool-sqlx"]),
    Pool::new("pgbouncer", "sqlx through PgBouncer", Supply::PgBouncer, &["EXAMPLES/pool-sqlx"]),
    Pool::new(
        "sqlalchemy",
        "SQLAlchemy (Python)",
        JSON,
        &["BUILT/python/bin/python", "examples/pools/sqlalchemy/service.py"],
    ),
    Pool::new(
        "psycopg",
        "psycopg_pool (Python)",
        SERVICE_FILE,
        &["BUILT/python/bin/python", "examples/pools/psycopg/service.py"],
    ),
    Pool::new("pgx", "pgx (Go)", JSON, &["BUILT/pgx"]),
    Pool::new("databasesql", "database/sql (Go)", Supply::Socket, &["BUILT/databasesql"]),
    Pool::new("node-postgres", "node-postgres (Node)", Supply::Socket, &["node", "BUILT/node-postgres/service.mjs"]),
    Pool {
        max_lifetime: HIKARI,
        ..Pool::new("hikaricp", "HikariCP (Java)", PROPERTIES, &["java", "-jar", "BUILT/hikaricp/service.jar"])
    },
];

impl Pool {
    const fn new(key: &'static str, name: &'static str, supply: Supply, command: &'static [&'static str]) -> Self {
        Self { key, name, supply, command, max_lifetime: SHORT }
    }

    /// Whether its credentials must live long.
    pub fn is_slow(&self) -> bool {
        self.max_lifetime > SHORT
    }

    /// How long a credential lives, and how much longer than its successor's beginning: longer than a connection, a transaction
    /// and the change together, and that also when the broker cannot be reached at the very moment of the change.
    pub fn life(&self) -> (&'static str, &'static str) {
        if self.is_slow() { ("105s", "35s") } else { ("20s", "6600ms") }
    }

    /// The program and its arguments.
    pub fn command(&self) -> Vec<String> {
        let debug = Path::new(PROGRAM).parent().expect("the folder of the program");
        let (examples, built) = (debug.join("examples"), built());
        let place = |word: &&str| {
            word.replace("EXAMPLES", &examples.display().to_string()).replace("BUILT", &built.display().to_string())
        };
        let command: Vec<String> = self.command.iter().map(place).collect();
        let program = Path::new(&command[0]);
        // One without a folder is looked up when it is started.
        if program.is_absolute() && !program.is_file() {
            let build = if self.command[0].starts_with("EXAMPLES") {
                "cargo build --examples"
            } else {
                "scripts/examples pools"
            };
            panic!("{} is not built: run `{build}`", program.display());
        }
        command
    }
}

fn built() -> PathBuf {
    Path::new(PROGRAM).ancestors().nth(2).expect("the folder of what is built").join("services")
}
