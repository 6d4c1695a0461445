//! Tokens: what the broker signs for its callers beside bare signing with the same library and a key of the same kind, and how fast
//! the client library verifies.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use leasehold_client::Client;
use leasehold_client::token::{KeySource, Presented, Verifier, VerifierConfig, Wanted};
use leasehold_client::wire::MintRequest;
use leasehold_testkit::ConfigFile;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::bed::{Bed, Serving};
use crate::load::{Caller, Until, drive};
use crate::minting::median;
use crate::options::Options;

const AUDIENCE: &str = "https://payments.bench.local";
const ISSUER: &str = "https://issuer.bench.local";

/// The algorithms that are measured, with what roles call them.
const ALGORITHMS: [(&str, Algorithm); 2] = [("ES256", Algorithm::ES256), ("EdDSA", Algorithm::EdDSA)];

/// With and without a lease.
const KINDS: [(&str, bool); 2] = [("lease", true), ("none", false)];

/// Before the first measurement of a point.
const WARM_UP: Duration = Duration::from_millis(300);

/// One line of the table.
pub struct Point {
    algorithm: &'static str,
    leased: bool,
    callers: usize,
    bare: f64,
    broker: f64,
}

/// What was measured.
pub struct Tokens {
    points: Vec<Point>,
    /// Algorithm and tokens verified in a second, on all cores.
    verified: Vec<(&'static str, f64)>,
}

/// Somebody with an identity and a kept connection.
struct Workload {
    client: Client,
    role: String,
}

impl Caller for Workload {
    async fn mint(&mut self) -> Result<()> {
        self.client.mint(&self.role, &MintRequest::default()).await?;
        Ok(())
    }
}

pub async fn measure(bed: &Bed, options: &Options) -> Result<Tokens> {
    let serving = bed.serve(config).await?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut points = Vec::new();
    for (name, algorithm) in ALGORITHMS {
        let key = Key::new(algorithm)?;
        for (kind, leased) in KINDS {
            for callers in &options.callers {
                let role = format!("{name}-{kind}");
                let mut workloads = workloads(bed, &serving, *callers, &role)?;
                drive(&mut workloads, *callers, Until::span(WARM_UP)).await?;
                let (mut bare, mut broker) = (Vec::new(), Vec::new());
                for round in 0..options.rounds {
                    for bare_now in [round % 2 == 0, round % 2 != 0] {
                        if bare_now {
                            bare.push(key.sign_on(threads, options.span)?);
                        } else {
                            let sample = drive(&mut workloads, *callers, Until::span(options.span)).await?;
                            broker.push(sample.per_second());
                        }
                    }
                }
                points.push(Point {
                    algorithm: name,
                    leased,
                    callers: *callers,
                    bare: median(bare),
                    broker: median(broker),
                });
            }
        }
    }
    let mut verified = Vec::new();
    for (name, algorithm) in ALGORITHMS {
        verified.push((name, Key::new(algorithm)?.verify_on(threads, options.span).await?));
    }
    Ok(Tokens { points, verified })
}

fn workloads(bed: &Bed, serving: &Serving, n: usize, role: &str) -> Result<Vec<Workload>> {
    let one = |number| {
        let client = bed.client(&serving.broker, &format!("/callers/{number}"))?;
        Ok(Workload { client, role: role.to_owned() })
    };
    (0..n).map(one).collect()
}

/// An issuer with a role for each algorithm and kind; all callers may have all.
fn config(dir: &Path) -> ConfigFile {
    let seal = dir.join("seal.key").display().to_string();
    let mut config = ConfigFile::new(dir, "bench", "bench.local")
        .limit("mints_per_minute_per_identity_and_role", 1_000_000)
        .limit("live_leases_per_identity_and_role", 1_000_000)
        .table("[seal]", &format!("key = {{ file = {seal:?} }}"))
        .table("[token]", &format!("issuer = {ISSUER:?}"))
        .target("payments", &format!("plugin = \"token\"\naudience = {AUDIENCE:?}"));
    let mut roles = Vec::new();
    for (name, _) in ALGORITHMS {
        for (kind, leased) in KINDS {
            let role = format!("{name}-{kind}");
            let lines = format!(
                "target = \"payments\"\nttl = \"10m\"\nscopes = [\"payments:write\"]\nalgorithm = {name:?}\nlease = {leased}"
            );
            config = config.role(&role, &lines);
            roles.push(role);
        }
    }
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    config.grant("callers have tokens", &["spiffe://bench.local/callers/*"], &roles, &["mint"])
}

/// A key of the kind that the broker makes.
struct Key {
    algorithm: Algorithm,
    signer: EncodingKey,
    jwk: Jwk,
}

impl Key {
    fn new(algorithm: Algorithm) -> Result<Self> {
        let signer = match algorithm {
            Algorithm::EdDSA => {
                let key = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).ok().context("no key")?;
                EncodingKey::from_ed_der(key.as_ref())
            }
            _ => {
                let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
                EncodingKey::from_ec_der(key.ok().context("no key")?.as_ref())
            }
        };
        let mut jwk = Jwk::from_encoding_key(&signer, algorithm)?;
        jwk.common.key_id = Some("bench".to_owned());
        Ok(Self { algorithm, signer, jwk })
    }

    fn token(&self, number: u64) -> Result<String> {
        let header = Header { typ: Some("at+jwt".into()), kid: Some("bench".into()), ..Header::new(self.algorithm) };
        let seconds = leasehold_sdk::clock::wall().unix_ms() / 1000;
        // As long as what the broker signs.
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "spiffe://bench.local/callers/1", "client_id": "spiffe://bench.local/callers/1",
            "scope": "payments:write", "jti": format!("lh_bench_abcd_{number:026}"), "iat": seconds, "exp": seconds + 600,
            "cnf": {"x5t#S256": "A".repeat(43)},
            "status": {"status_list": {"idx": number, "uri": format!("{ISSUER}/oauth2/status/{}", "0".repeat(32))}},
        });
        Ok(encode(&header, &claims, &self.signer)?)
    }

    /// Tokens signed in a second by so many threads.
    fn sign_on(&self, threads: usize, span: Duration) -> Result<f64> {
        let begun = Instant::now();
        let one = || -> Result<u64> {
            let mut count = 0;
            while begun.elapsed() < span {
                self.token(count)?;
                count += 1;
            }
            Ok(count)
        };
        let counts = thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            running.into_iter().map(|thread| thread.join().ok().context("a thread panicked")?).sum::<Result<u64>>()
        })?;
        Ok(counts as f64 / begun.elapsed().as_secs_f64())
    }

    /// Tokens verified in a second by so many tasks, with the keys at hand.
    async fn verify_on(&self, tasks: usize, span: Duration) -> Result<f64> {
        let folder = tempfile::tempdir().context("cannot make a directory")?;
        std::fs::create_dir_all(folder.path().join(".well-known"))?;
        std::fs::create_dir_all(folder.path().join("oauth2"))?;
        let discovery = json!({ "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/oauth2/jwks") });
        std::fs::write(folder.path().join(".well-known/openid-configuration"), discovery.to_string())?;
        let keys = JwkSet { keys: vec![self.jwk.clone()] };
        std::fs::write(folder.path().join("oauth2/jwks"), serde_json::to_string(&keys)?)?;
        let source = KeySource::Folder(folder.path().to_owned());
        let status = leasehold_client::token::StatusPolicy::Ignore;
        let config = VerifierConfig::new(ISSUER, AUDIENCE, source).accept_unbound().status(status);
        let verifier = Arc::new(Verifier::new(config)?);
        let certificate = [0_u8; 700];
        let header = Header { typ: Some("at+jwt".into()), kid: Some("bench".into()), ..Header::new(self.algorithm) };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
        let bound = data_encoding::BASE64URL_NOPAD.encode(digest.as_ref());
        let seconds = leasehold_sdk::clock::wall().unix_ms() / 1000;
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "spiffe://bench.local/callers/1", "client_id": "spiffe://bench.local/callers/1",
            "scope": "payments:write", "jti": "lh_bench_abcd_1", "iat": seconds, "exp": seconds + 600, "cnf": {"x5t#S256": bound},
        });
        let token: Arc<str> = encode(&header, &claims, &self.signer)?.into();
        let begun = Instant::now();
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let (verifier, token) = (Arc::clone(&verifier), Arc::clone(&token));
                tokio::spawn(async move {
                    let mut count = 0_u64;
                    while begun.elapsed() < span {
                        let shown = Presented { token: &token, certificate: Some(&certificate) };
                        let wanted = Wanted { scopes: &["payments:write"], claims: &[] };
                        verifier.verify(&shown, &wanted).await.map_err(|e| anyhow::anyhow!("{e}"))?;
                        count += 1;
                    }
                    anyhow::Ok(count)
                })
            })
            .collect();
        let mut all = 0;
        for task in running {
            all += task.await??;
        }
        ensure!(all > 0, "nothing was verified");
        Ok(all as f64 / begun.elapsed().as_secs_f64())
    }
}

/// The lines; nothing where nothing was measured.
pub fn text(found: Option<&Tokens>) -> String {
    let Some(Tokens { points, verified }) = found else { return String::new() };
    let mut text = String::from(
        "\ntokens, the broker beside bare signing on as many threads as there are cores\n\
         alg    lease callers |  bare/s | broker/s | ratio\n",
    );
    for Point { algorithm, leased, callers, bare, broker } in points {
        let lease = if *leased { "yes" } else { "no" };
        let _ =
            writeln!(text, "{algorithm:5} {lease:>6} {callers:7} | {bare:7.0} | {broker:8.0} | {:5.2}", broker / bare);
    }
    for (algorithm, per_second) in verified {
        let _ = writeln!(text, "{algorithm:5} verified by the library: {per_second:.0}/s");
    }
    text
}

pub fn json(found: &Tokens) -> Value {
    let point = |p: &Point| {
        json!({"algorithm": p.algorithm, "lease": p.leased, "callers": p.callers, "bare_per_second": p.bare,
               "broker_per_second": p.broker, "ratio": p.broker / p.bare})
    };
    let verified = |(algorithm, per_second): &(&str, f64)| json!({"algorithm": algorithm, "per_second": per_second});
    json!({"points": found.points.iter().map(point).collect::<Vec<_>>(),
           "verified": found.verified.iter().map(verified).collect::<Vec<_>>()})
}
