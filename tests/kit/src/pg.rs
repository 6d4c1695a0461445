//! A database to test in, with the roles around it that a careful administrator would make.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use leasehold_playground::{Installation, PgOptions, PgServer};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::sync::{Mutex, OnceCell};

use crate::session::{self, Session};
use crate::unique;

/// A server that belongs to one test, or one that all tests of this program share.
#[derive(Clone)]
pub enum Server {
    /// Stopped when the last holder drops it.
    Own(Arc<PgServer>),
    /// Stopped when the program ends.
    Shared(&'static PgServer),
}

impl Deref for Server {
    type Target = PgServer;

    fn deref(&self) -> &PgServer {
        match self {
            Self::Own(server) => server,
            Self::Shared(server) => server,
        }
    }
}

/// A login that the broker works with.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Its role name.
    pub name: String,
    /// Its password: letters and digits.
    pub password: String,
    /// `postgres://name@127.0.0.1:port/database`, without the password, as the broker's config has it.
    pub url: String,
}

/// One database of its own on a server.
pub struct PgFixture {
    server: Server,
    database: String,
}

impl PgFixture {
    /// A new database on the server that this program's tests share; one server for each version.
    ///
    /// # Panics
    /// When the server does not start.
    pub async fn shared(installation: Installation) -> Self {
        Self::on(Server::Shared(shared_server(installation).await)).await
    }

    /// A new database on a server of its own: for tests that stop it, change its settings or count its roles.
    ///
    /// # Panics
    /// When the server does not start.
    pub async fn own(options: PgOptions) -> Self {
        let server = PgServer::start(options).await.unwrap_or_else(|error| panic!("{error:#}"));
        Self::on(Server::Own(Arc::new(server))).await
    }

    /// A new database on this server.
    ///
    /// # Panics
    /// When it cannot be created.
    pub async fn on(server: Server) -> Self {
        let database = unique("orders");
        let fixture = Self { server, database: "postgres".to_owned() };
        fixture.superuser().await.execute(&format!("CREATE DATABASE {database}")).await.expect("create the database");
        Self { database, ..fixture }
    }

    /// The same database, held once more.
    #[must_use]
    pub fn same(&self) -> Self {
        Self { server: self.server.clone(), database: self.database.clone() }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// `postgres://…` of the superuser `postgres` in this database, with its password.
    #[must_use]
    pub fn superuser_url(&self) -> String {
        self.server.superuser_url(&self.database)
    }

    /// A session of the superuser in this database, through the socket, so that no rule for TCP is in its way.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub async fn superuser(&self) -> Session {
        let options = self.options("postgres", self.server.superuser_password()).socket(self.server.socket_dir());
        Session::open(&options).await.unwrap_or_else(|error| panic!("the superuser cannot log in: {error}"))
    }

    /// A NOLOGIN group with a unique name that may read the table `orders` of this database, which has three rows.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn reader_group(&self) -> String {
        let group = unique("orders_reader");
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS public.orders (id int PRIMARY KEY, item text); \
             INSERT INTO public.orders VALUES (1, 'tea'), (2, 'rice'), (3, 'salt') ON CONFLICT DO NOTHING; \
             CREATE ROLE {group} NOLOGIN; GRANT SELECT ON public.orders TO {group}; GRANT USAGE ON SCHEMA public TO {group}"
        );
        self.superuser().await.execute(&sql).await.expect("create the reader group");
        group
    }

    /// A NOLOGIN group with a unique name that may create objects in this database.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn writer_group(&self) -> String {
        let group = unique("orders_writer");
        let sql = format!(
            "CREATE ROLE {group} NOLOGIN; GRANT CREATE, TEMPORARY ON DATABASE {} TO {group}; \
             GRANT USAGE, CREATE ON SCHEMA public TO {group}",
            self.database
        );
        self.superuser().await.execute(&sql).await.expect("create the writer group");
        group
    }

    /// An admin that is no superuser: CREATEROLE, ADMIN on these groups, and `pg_signal_backend`.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn admin(&self, groups: &[&str]) -> Admin {
        let admin = self.login("lh_admin", "NOSUPERUSER CREATEROLE").await;
        let mut sql = format!("GRANT pg_signal_backend TO {};", admin.name);
        for group in groups {
            sql.push_str(&format!("GRANT {group} TO {} WITH ADMIN OPTION;", admin.name));
        }
        self.superuser().await.execute(&sql).await.expect("grant the admin its rights");
        admin
    }

    /// An admin that is a superuser.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn superuser_admin(&self) -> Admin {
        self.login("lh_super", "SUPERUSER").await
    }

    /// A login without any attribute that owns this database: what a store needs.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn owner(&self) -> Admin {
        let owner = self.login("lh_owner", "NOSUPERUSER").await;
        let sql = format!("ALTER DATABASE {} OWNER TO {}", self.database, owner.name);
        self.superuser().await.execute(&sql).await.expect("give the database away");
        owner
    }

    /// A login with a unique name and these attributes of `CREATE ROLE`.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn login(&self, prefix: &str, attributes: &str) -> Admin {
        let name = unique(prefix);
        // Random enough for a server of a few minutes: it is derived from the superuser's password, which is random.
        let password = format!("{name}{}", &self.server.superuser_password()[..24]).replace('_', "");
        let sql = format!("CREATE ROLE {name} LOGIN {attributes} PASSWORD '{password}'");
        self.superuser().await.execute(&sql).await.expect("create the login");
        let url = format!("postgres://{name}@{}:{}/{}", self.server.host(), self.server.port(), self.database);
        Admin { name, password, url }
    }

    /// Where and as whom to connect in this database; TLS when the server has it. For logging in through a [`crate::Proxy`],
    /// set another port on it.
    #[must_use]
    pub fn options(&self, user: &str, password: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host(self.server.host())
            .port(self.server.port())
            .username(user)
            .password(password)
            .database(&self.database)
            .ssl_mode(PgSslMode::Prefer)
            .application_name("leasehold-testkit")
    }

    /// Logs in to this database.
    ///
    /// # Errors
    /// sqlx's own: a refusal, or a server that cannot be reached.
    pub async fn try_login(&self, user: &str, password: &str) -> Result<Session, sqlx::Error> {
        Session::open(&self.options(user, password)).await
    }

    /// Logs in to this database.
    ///
    /// # Panics
    /// When the login fails.
    pub async fn session(&self, user: &str, password: &str) -> Session {
        self.try_login(user, password).await.unwrap_or_else(|error| panic!("{user} cannot log in: {error}"))
    }

    /// Demands that this login is refused for its user or password, and for nothing else.
    ///
    /// # Panics
    /// When the login succeeds, or fails for another reason.
    pub async fn assert_refused(&self, user: &str, password: &str) {
        match self.try_login(user, password).await {
            Ok(_) => panic!("{user} can still log in"),
            Err(error) => assert!(session::is_refused(Some(error)), "{user} fails to log in, but not by a refusal"),
        }
    }

    /// Waits until this login is refused for its user or password.
    ///
    /// # Panics
    /// When it is not after `timeout`.
    pub async fn wait_until_refused(&self, user: &str, password: &str, timeout: Duration) {
        session::wait_until_refused(&self.options(user, password), timeout).await;
    }

    /// The names of the server's roles that begin with `prefix`, in order.
    ///
    /// # Panics
    /// When the server cannot be asked.
    pub async fn roles_with_prefix(&self, prefix: &str) -> Vec<String> {
        let mut session = self.superuser().await;
        sqlx::query_scalar("SELECT rolname::text FROM pg_catalog.pg_roles WHERE starts_with(rolname, $1) ORDER BY 1")
            .bind(prefix)
            .fetch_all(session.connection())
            .await
            .expect("list the roles")
    }
}

/// The server of this version that all tests of this program share. It is never dropped: its guardian stops it when the
/// program ends.
async fn shared_server(installation: Installation) -> &'static PgServer {
    static SERVERS: OnceCell<Mutex<HashMap<String, &'static PgServer>>> = OnceCell::const_new();
    let servers = SERVERS.get_or_init(|| async { Mutex::new(HashMap::new()) }).await;
    let mut servers = servers.lock().await;
    let key = installation.bin_dir().display().to_string();
    if let Some(server) = servers.get(&key) {
        return server;
    }
    let options =
        PgOptions::on(installation).without_fsync().max_connections(300).conf("max_prepared_transactions = 20");
    let server = PgServer::start(options).await.unwrap_or_else(|error| panic!("{error:#}"));
    let server: &'static PgServer = Box::leak(Box::new(server));
    servers.insert(key, server);
    server
}
