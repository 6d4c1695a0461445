//! The demo: each step does what it says, on real parts, and is held to it.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::task::JoinHandle;

use super::broker::DevBroker;
use super::parts::{BILLING, Parts, STRANGER};

/// The life of the story's credential: long enough to look at it, short enough to see it die.
const TTL: &str = "6s";

/// How long after its end a session may still be open before the story is not as told.
const DEAD_WITHIN: Duration = Duration::from_secs(5);

/// What was fetched.
struct Fetched {
    lease: String,
    username: String,
    url: String,
    at: tokio::time::Instant,
}

/// Tells the whole story.
pub(super) async fn tell() -> anyhow::Result<()> {
    println!("Leasehold: a workload gets a PostgreSQL login of its own, and it dies on time.");
    println!("Everything below is real and throwaway; nothing is left behind.\n");
    let mut told = Told::default();

    let parts = told.step("A PostgreSQL server with SCRAM passwords", start_database()).await?;
    told.step("A development CA, with an SVID for each workload", make_identities(&parts)).await?;
    let broker = told.step("A broker on SQLite, its admin login no superuser", start_broker(&parts)).await?;
    let fetched = told.step(&format!("{BILLING} fetches a credential for {TTL}"), fetch(&parts, &broker)).await?;
    told.step("It logs in with it and reads, through psql", query(&parts, &fetched)).await?;
    let session = open_session(&parts, &fetched);
    told.step(&format!("{STRANGER} has no grant and is refused"), refused(&parts, &broker)).await?;
    told.step("The operator sees the lease", see_lease(&parts, &broker, &fetched)).await?;
    told.step("Its time runs out: the open session dies", session_dies(session, &fetched)).await?;
    told.step("The next login fails", login_fails(&parts, &fetched)).await?;
    told.step("The lease is on record as revoked", lease_is_over(&parts, &broker, &fetched)).await?;
    told.step("No account is left in the database", nothing_left(&parts)).await?;
    told.step("The audit log's chain holds", audit_holds(&parts, &broker)).await?;
    told.step("The broker stops cleanly", stop(broker)).await?;
    println!("\nAll {} steps went as told.", told.count);
    Ok(())
}

/// Numbers the steps and says how each went and what it took.
#[derive(Default)]
struct Told {
    count: usize,
}

/// What a step has to say besides that it went well.
type Lines = Vec<String>;

impl Told {
    async fn step<T>(
        &mut self,
        title: &str,
        work: impl Future<Output = anyhow::Result<(T, Lines)>>,
    ) -> anyhow::Result<T> {
        self.count += 1;
        let started = tokio::time::Instant::now();
        match work.await {
            Ok((value, lines)) => {
                println!("{:>2}. {title:<64} {:>9}", self.count, took(started.elapsed()));
                lines.iter().for_each(|line| println!("      {line}"));
                Ok(value)
            }
            Err(e) => {
                println!("{:>2}. {title:<64} NOT AS TOLD", self.count);
                Err(e.context(format!("step {} of the demo, {title:?}", self.count)))
            }
        }
    }
}

fn took(d: Duration) -> String {
    if d < Duration::from_secs(1) { format!("{} ms", d.as_millis()) } else { format!("{:.1} s", d.as_secs_f64()) }
}

async fn start_database() -> anyhow::Result<(Parts, Lines)> {
    let parts = Parts::with_database().await?;
    let server = parts.server();
    let line = format!(
        "PostgreSQL {} on {}:{}, a table sales.orders, a group orders_reader",
        server.installation().version(),
        server.host(),
        server.port()
    );
    Ok((parts, vec![line]))
}

async fn make_identities(parts: &Parts) -> anyhow::Result<((), Lines)> {
    parts.make_identities()?;
    parts.write_config()?;
    Ok(((), vec![format!("{} and the others, in {}", BILLING, parts.dir().display())]))
}

async fn start_broker(parts: &Parts) -> anyhow::Result<(DevBroker, Lines)> {
    let broker = DevBroker::start(parts).await?;
    let addr = broker.environment(parts, "billing").remove(0).1;
    Ok((broker, vec![format!("mTLS only, on {addr}")]))
}

async fn fetch(parts: &Parts, broker: &DevBroker) -> anyhow::Result<(Fetched, Lines)> {
    let args = ["get", "orders-read", "--ttl", TTL, "--format", "json"];
    let out = said(broker.client(parts, "billing", &args)?).await?;
    let json: serde_json::Value = serde_json::from_str(&out).context("the credential is not JSON")?;
    let text =
        |key: &str| json[key].as_str().map(str::to_owned).with_context(|| format!("the credential has no {key}"));
    let fetched = Fetched {
        lease: text("lease_id")?,
        username: text("username")?,
        url: text("url")?,
        at: tokio::time::Instant::now(),
    };
    let lines = vec![
        format!("$ leasehold {}", args.join(" ")),
        format!("username {}, password (kept to itself)", fetched.username),
        format!("lease    {}, until {}", fetched.lease, text("expires_at")?),
    ];
    Ok((fetched, lines))
}

async fn query(parts: &Parts, fetched: &Fetched) -> anyhow::Result<((), Lines)> {
    let sql = "select current_user || ' reads ' || count(*) || ' orders worth ' || sum(total) from sales.orders";
    let answer = parts.server().psql_as(&fetched.url, sql).await?;
    ensure!(answer.contains(&fetched.username) && answer.contains("3 orders"), "unexpected answer: {answer}");
    Ok(((), vec![answer.trim().to_owned()]))
}

/// A session that stays open until somebody ends it.
fn open_session(parts: &Parts, fetched: &Fetched) -> JoinHandle<anyhow::Result<String>> {
    let (server, url) = (parts.server().clone(), fetched.url.clone());
    tokio::spawn(async move { server.psql_as(&url, "select pg_sleep(600)").await })
}

async fn refused(parts: &Parts, broker: &DevBroker) -> anyhow::Result<((), Lines)> {
    let out = broker.client(parts, "stranger", &["get", "orders-read"])?.output().await?;
    let why = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    ensure!(out.status.code() == Some(1), "it was not refused: {}", out.status);
    let decision = why
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .find(|word| word.starts_with("d-"))
        .with_context(|| format!("the refusal names no decision: {why}"))?;
    let log = std::fs::read_to_string(parts.dir().join("broker/audit.jsonl"))?;
    ensure!(log.contains(decision), "the audit log does not have the decision {decision}");
    Ok(((), vec![why.clone(), format!("the audit log has {decision} too")]))
}

async fn see_lease(parts: &Parts, broker: &DevBroker, fetched: &Fetched) -> anyhow::Result<((), Lines)> {
    let out = said(broker.client(parts, "operator", &["lease", "list"])?).await?;
    ensure!(out.contains(&fetched.lease), "the list does not show it: {out}");
    let mut lines = vec!["$ leasehold lease list".to_owned()];
    lines.extend(out.lines().map(str::to_owned));
    Ok(((), lines))
}

async fn session_dies(session: JoinHandle<anyhow::Result<String>>, fetched: &Fetched) -> anyhow::Result<((), Lines)> {
    let ttl = humantime::parse_duration(TTL)?;
    let died = tokio::time::timeout_at(fetched.at + ttl + DEAD_WITHIN, session)
        .await
        .context("the session is still open, seconds after its lease ended")??;
    let lived = fetched.at.elapsed();
    match died {
        Ok(answer) => bail!("the session ended by itself: {answer}"),
        Err(why) => {
            let why = why.to_string();
            let first = why.lines().find(|l| l.contains("FATAL") || l.contains("terminat")).unwrap_or(&why);
            Ok(((), vec![format!("it lived {:.2} s; psql heard: {}", lived.as_secs_f64(), first.trim())]))
        }
    }
}

async fn login_fails(parts: &Parts, fetched: &Fetched) -> anyhow::Result<((), Lines)> {
    match parts.server().psql_as(&fetched.url, "select 1").await {
        Ok(_) => bail!("the login still works"),
        Err(why) => {
            let why = why.to_string();
            let line = why.lines().find(|l| l.contains("FATAL")).unwrap_or(&why).trim().to_owned();
            ensure!(line.contains("authentication failed") || line.contains("not permitted"), "another error: {line}");
            Ok(((), vec![line]))
        }
    }
}

async fn lease_is_over(parts: &Parts, broker: &DevBroker, fetched: &Fetched) -> anyhow::Result<((), Lines)> {
    let deadline = tokio::time::Instant::now() + DEAD_WITHIN;
    loop {
        let args = ["lease", "show", &fetched.lease, "--output", "json"];
        let out = said(broker.client(parts, "operator", &args)?).await?;
        let json: serde_json::Value = serde_json::from_str(&out)?;
        let (state, by) = (json["lease"]["state"].as_str().unwrap_or(""), json["lease"]["ended_by"].as_str());
        if state == "revoked" {
            ensure!(by == Some("expiry"), "it was ended by {by:?}");
            return Ok(((), vec!["state revoked, ended by expiry".to_owned()]));
        }
        ensure!(tokio::time::Instant::now() < deadline, "its state is {state:?}: {out}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn nothing_left(parts: &Parts) -> anyhow::Result<((), Lines)> {
    let sql = "select count(*) from pg_roles where rolname like 'lh\\_dev\\_%' and rolcanlogin";
    let count = parts.server().psql_in("orders", sql).await?;
    ensure!(count.trim() == "0", "{} accounts are left", count.trim());
    Ok(((), vec!["0 accounts, counted in pg_roles".to_owned()]))
}

async fn audit_holds(parts: &Parts, broker: &DevBroker) -> anyhow::Result<((), Lines)> {
    let file = parts.dir().join("broker/audit.jsonl").display().to_string();
    let out = said(broker.client(parts, "operator", &["audit", "verify", &file])?).await?;
    Ok(((), out.trim().lines().map(str::to_owned).collect()))
}

async fn stop(broker: DevBroker) -> anyhow::Result<((), Lines)> {
    broker.stop().await.map(|()| ((), Vec::new()))
}

/// What a command printed; it must have gone well.
async fn said(mut command: tokio::process::Command) -> anyhow::Result<String> {
    let out = command.output().await?;
    ensure!(out.status.success(), "{}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
