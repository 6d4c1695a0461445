//! The suite of all stores, and what only several brokers on one database can show.

mod indexes;
mod moving;
mod several;

use std::time::Duration;

use leasehold_sdk::SecretSource;
use leasehold_testkit::playground::{Installation, PgOptions, PgServer};
use leasehold_testkit::{Session, each_version, unique};
use sqlx::postgres::PgConnectOptions;

use super::super::conformance::{self, AtOpen};
use super::*;

each_version! { it_conforms }

async fn it_conforms(postgres: Installation) {
    let ground = Ground::start(postgres).await;
    let open = async |name: &str| ground.open(name, "b1").await;
    conformance::run(open, AtOpen::Kept).await;
}

/// The superuser's password lies there.
const PASSWORD: &str = "superuser-password";

/// A server on which each name is a store of its own.
struct Ground {
    server: PgServer,
}

impl Ground {
    async fn start(installation: Installation) -> Self {
        // A power cut is no part of these tests.
        let options = PgOptions { fsync: false, max_connections: 300, ..PgOptions::on(installation) };
        let server = PgServer::start(options).await.unwrap();
        std::fs::write(server.data_dir().join(PASSWORD), server.superuser_password()).unwrap();
        Self { server }
    }

    fn link(&self, name: &str) -> Link {
        let options = PgConnectOptions::new_without_pgpass()
            .host(self.server.host())
            .port(self.server.port())
            .username("postgres")
            .database("postgres")
            .options([("search_path", name)]);
        let password = SecretSource::File(self.server.data_dir().join(PASSWORD));
        Link { place: options, password: Some(password), patience: Duration::from_secs(10) }
    }

    async fn session(&self) -> Session {
        let place = self.link("public").place.password(self.server.superuser_password());
        Session::open(&place).await.unwrap()
    }

    /// A place for a new store.
    async fn make(&self, name: &str) {
        self.session().await.execute(&format!("CREATE SCHEMA IF NOT EXISTS \"{name}\"")).await.unwrap();
    }

    async fn open(&self, name: &str, broker: &str) -> Postgres {
        self.make(name).await;
        self.try_open(name, broker).await.unwrap()
    }

    async fn try_open(&self, name: &str, broker: &str) -> Result<Postgres, StoreError> {
        let opener = Opener { cluster: "test".parse().unwrap(), broker: broker.to_owned() };
        Postgres::open(self.link(name), &opener, &Limits::default(), Default::default()).await
    }
}
