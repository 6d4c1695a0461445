//! The database alone: what the broker is held against.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lc_rs::{digest, hmac, pbkdf2};
use data_encoding::BASE64;
use leasehold_sdk::{clock, random};
use leasehold_testkit::Session;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::bed::{BARE_MARK, Bed};
use crate::load::Caller;

/// Prefix of every account that is made here.
const PREFIX: &str = "bare_";
/// Accounts in one DROP when what a measurement left is cleared away.
const CLEAR_BATCH: usize = 1000;

/// One connection that makes accounts by the statement that the engine sends for them.
pub struct Bare {
    session: Session,
    number: usize,
    made: u64,
    iterations: NonZeroU32,
    groups: String,
}

impl Bare {
    pub async fn some(bed: &Bed, n: usize, iterations: u32) -> Result<Vec<Self>> {
        let iterations = NonZeroU32::new(iterations).context("no iterations")?;
        let groups = format!("\"{BARE_MARK}\", \"{}\"", bed.group);
        let mut callers = Vec::new();
        for number in 0..n {
            let session = bed.session().await;
            callers.push(Self { session, number, made: 0, iterations, groups: groups.clone() });
        }
        Ok(callers)
    }
}

impl Caller for Bare {
    async fn mint(&mut self) -> Result<()> {
        self.made += 1;
        let (number, made, iterations) = (self.number, self.made, self.iterations);
        // As long as a name of the broker's.
        let name = format!("{PREFIX}{iterations:04}_{number:03}_{made:027}");
        let verifier = verifier(&random::password(), iterations);
        let until = clock::wall().plus(Duration::from_secs(3600));
        let sql = format!(
            "CREATE ROLE \"{name}\" LOGIN PASSWORD '{verifier}' VALID UNTIL '{until}' CONNECTION LIMIT 20 IN ROLE {};",
            self.groups
        );
        Ok(self.session.execute(&sql).await?)
    }
}

/// Drops all that [`Bare`] made.
pub async fn clear(session: &mut Session) -> Result<()> {
    for batch in names(session).await?.chunks(CLEAR_BATCH) {
        session.execute(&drop_sql(batch)).await?;
    }
    Ok(())
}

/// Ends all that [`Bare`] made by the statements that a revocation cannot do without, in batches of this size: no new
/// logins, committed, then the drop.
pub async fn revoke(session: &mut Session, batch: usize) -> Result<Duration> {
    Ok(revoke_each(session, batch).await?.last().copied().unwrap_or_default())
}

/// The same, and how long after the beginning each was gone.
pub async fn revoke_each(session: &mut Session, batch: usize) -> Result<Vec<Duration>> {
    let names = names(session).await?;
    let (begun, mut gone) = (Instant::now(), Vec::new());
    for batch in names.chunks(batch) {
        let fence: String = batch.iter().map(|name| format!("ALTER ROLE \"{name}\" NOLOGIN;")).collect();
        session.execute(&fence).await?;
        session.execute(&drop_sql(batch)).await?;
        gone.resize(gone.len() + batch.len(), begun.elapsed());
    }
    Ok(gone)
}

fn drop_sql(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!("DROP ROLE {};", names.join(", "))
}

async fn names(session: &mut Session) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT string_agg(rolname::text, ' ') FROM pg_catalog.pg_authid WHERE starts_with(rolname, '{PREFIX}')"
    );
    Ok(session.text(&sql).await?.unwrap_or_default().split_whitespace().map(str::to_owned).collect())
}

/// A SCRAM-SHA-256 verifier (RFC 5802 section 3) with a salt of its own, by the same library as the broker's.
fn verifier(password: &SecretString, iterations: NonZeroU32) -> String {
    let salt = random::bytes::<16>();
    let mut salted = [0u8; 32];
    let password = password.expose_secret().as_bytes();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let stored_key = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    let (salt, stored, server) =
        (BASE64.encode(&salt), BASE64.encode(stored_key.as_ref()), BASE64.encode(server_key.as_ref()));
    format!("SCRAM-SHA-256${iterations}:{salt}${stored}:{server}")
}
