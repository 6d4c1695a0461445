//! Who fetches tokens by OAuth 2.0 alone: the programs called `billing` in `examples/tokens`.

use tokio::process::Command;
use tokio::time::timeout;

use super::receivers::{Running, command, environment, version};
use super::world::{TENANT, World};
use crate::ground::SOON;

/// One of them.
pub struct Client {
    pub name: &'static str,
    /// Where its version stands, and behind what.
    version: (&'static str, &'static str),
    command: &'static [&'static str],
    /// In words.
    pub does: &'static str,
    /// What it prints beside token and payment.
    also: &'static [&'static str],
}

const ALL: &str = "discovery, mtls_endpoint_aliases, client_credentials by certificate, introspection, revocation";
const LOOKS_AND_ENDS: &[&str] = &["introspection: active", "after revocation: not active"];

pub const CLIENTS: &[Client] = &[
    Client {
        name: "openid-client",
        version: ("node/package.json", r#""openid-client": "([^"]+)""#),
        command: &["node", "BUILT/tokens-node/billing.mjs"],
        does: ALL,
        also: LOOKS_AND_ENDS,
    },
    Client {
        name: "Authlib",
        version: ("python/requirements.txt", r"Authlib==(\S+)"),
        command: &["BUILT/tokens-python/bin/python", "examples/tokens/python/billing.py"],
        does: ALL,
        also: LOOKS_AND_ENDS,
    },
    Client {
        name: "x/oauth2",
        version: ("go/go.mod", r"golang.org/x/oauth2 v(\S+)"),
        command: &["BUILT/tokens-go-client"],
        does: "client_credentials by certificate; discovery by hand",
        also: &[],
    },
];

impl Client {
    pub fn version(&self) -> String {
        version(self.version)
    }

    fn command(&self, world: &World, receiver: &Running) -> Command {
        let mut command = command(self.command);
        environment(&mut command, world, &world.billing);
        command.env("BROKER_ID", "spiffe://dev.local/leasehold").env("PAYMENTS_ID", &world.payments.id);
        command.env("PAYMENTS", format!("https://{}", receiver.addr)).env("TENANT", TENANT);
        command
    }

    /// It pays at this receiver.
    pub async fn pays(&self, world: &World, receiver: &Running) {
        let run = self.command(world, receiver).output();
        let done = timeout(SOON, run).await.expect("it ends").unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{} at {}: {done:?}", self.name, receiver.name());
        let mut lines = said.lines();
        let token = lines.next().unwrap_or_default();
        assert!(token.starts_with("token: payments:write for 59") || token.contains(" for 600 s"), "{said}");
        let mut wanted = vec![format!("payments: 200 {} pays for tenant {TENANT}", world.billing.id)];
        wanted.extend(self.also.iter().map(|line| (*line).to_owned()));
        assert_eq!(lines.collect::<Vec<_>>(), wanted, "{} at {}", self.name, receiver.name());
    }

    /// Another SVID of the same authority cannot play the broker.
    pub async fn knows_the_broker(&self, world: &World, receiver: &Running) {
        let mut command = self.command(world, receiver);
        command.env("BROKER_ID", &world.batch.id);
        let done = timeout(SOON, command.output()).await.expect("it ends").expect("it starts");
        assert!(!done.status.success() && done.stdout.is_empty(), "{}: {done:?}", self.name);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(said.contains("spiffe://dev.local/leasehold"), "{}: {said}", self.name);
    }
}
