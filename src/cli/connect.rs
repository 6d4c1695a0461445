//! How a command finds its broker and who it is.

use std::path::PathBuf;

use leasehold_client::{Client, ClientConfig, ClientError, Settings};

/// Where the broker is and who we are. What is not given here comes from the environment.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Broker")]
pub struct ConnectArgs {
    /// Where it is: https://HOST:PORT [env: LEASEHOLD_ADDR]
    #[arg(long, value_name = "URL")]
    addr: Option<String>,
    /// Your certificate, an X.509-SVID with its chain (PEM) [env: LEASEHOLD_CERT]
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The certificate's private key (PEM) [env: LEASEHOLD_KEY]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Your trust domain's bundle (PEM or SPIFFE JWKS) [env: LEASEHOLD_BUNDLE]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The SPIFFE ID that the broker must show [env: LEASEHOLD_BROKER_ID] [default: /leasehold in your trust domain]
    #[arg(long, value_name = "SPIFFE_ID")]
    broker_id: Option<String>,
}

impl ConnectArgs {
    /// Reads the environment and the files.
    ///
    /// # Errors
    /// [`ClientError`], naming what is missing or wrong.
    pub fn config(self) -> Result<ClientConfig, ClientError> {
        let env = Settings::from_env()?;
        let settings = Settings {
            addr: self.addr.or(env.addr),
            cert: self.cert.or(env.cert),
            key: self.key.or(env.key),
            bundle: self.bundle.or(env.bundle),
            broker_id: self.broker_id.or(env.broker_id),
            workload_api: env.workload_api,
        };
        settings.load()
    }

    /// Does something with a client, and says goodbye to the broker whatever came of it.
    ///
    /// # Errors
    /// Those of `deed`, and those of [`config`](Self::config).
    pub async fn with_client<T>(self, deed: impl AsyncFnOnce(&Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let client = Client::new(self.config()?)?;
        let done = deed(&client).await;
        client.close().await;
        done
    }
}
