//! Sessions of a cloud: through the broker, beside the same call made bare by the SDK, against the same server. That server is moto, which
//! is no AWS: the ratio tells what the broker adds to a call, not how many calls a second an account takes.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_sts::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sts::types::Tag;
use leasehold_client::Client;
use leasehold_client::wire::MintRequest;
use leasehold_testkit::{ConfigFile, Moto};
use serde_json::{Value, json};

use crate::bed::{Bed, Serving};
use crate::load::{Caller, Until, drive};
use crate::minting::median;
use crate::options::Options;

const ROLE: &str = "invoices-bucket";

/// Before the first measurement of a point.
const WARM_UP: Duration = Duration::from_millis(300);

/// The key that its assertions are signed with is published five seconds before it signs.
const FIRST_MAX: Duration = Duration::from_secs(20);

/// One line of the table.
pub struct Point {
    callers: usize,
    bare: f64,
    broker: f64,
}

/// Somebody with an identity and a kept connection.
struct Workload(Client);

impl Caller for Workload {
    async fn mint(&mut self) -> Result<()> {
        self.0.mint(ROLE, &MintRequest::default()).await?;
        Ok(())
    }
}

/// Somebody with a key of the account.
struct Bare {
    sts: aws_sdk_sts::Client,
    role_arn: String,
    number: u64,
}

impl Caller for Bare {
    async fn mint(&mut self) -> Result<()> {
        self.number += 1;
        let name = format!("{:026}", self.number);
        let tag = Tag::builder().key("leasehold:identity").value("spiffe://bench.local/callers/1").build()?;
        let call = self.sts.assume_role().role_arn(&self.role_arn).role_session_name(&name).source_identity(&name);
        let answer = call.duration_seconds(3600).tags(tag).transitive_tag_keys("leasehold:identity").send().await?;
        ensure!(answer.credentials.is_some(), "no session");
        Ok(())
    }
}

pub async fn measure(bed: &Bed, options: &Options) -> Result<Vec<Point>> {
    let moto = Moto::start().await;
    let trust = json!({ "Version": "2012-10-17", "Statement": [] });
    let (own, role) = (moto.create_role("leasehold", &trust).await, moto.create_role("invoices", &trust).await);
    let serving = bed.serve(|dir| config(dir, &moto.endpoint(), &own.arn, &role.arn)).await?;
    first_session(bed, &serving).await?;
    let mut points = Vec::new();
    for callers in &options.callers {
        let mut workloads = (0..*callers).map(|n| workload(bed, &serving, n)).collect::<Result<Vec<_>>>()?;
        let bare_one = |n| Bare { sts: sdk(&moto), role_arn: role.arn.clone(), number: n as u64 * 1_000_000 };
        let mut alone: Vec<Bare> = (0..*callers).map(bare_one).collect();
        drive(&mut workloads, *callers, Until::span(WARM_UP)).await?;
        drive(&mut alone, *callers, Until::span(WARM_UP)).await?;
        let (mut bare, mut broker) = (Vec::new(), Vec::new());
        for round in 0..options.rounds {
            for bare_now in [round % 2 == 0, round % 2 != 0] {
                let until = Until::span(options.span);
                if bare_now {
                    bare.push(drive(&mut alone, *callers, until).await?.per_second());
                } else {
                    broker.push(drive(&mut workloads, *callers, until).await?.per_second());
                }
            }
        }
        points.push(Point { callers: *callers, bare: median(bare), broker: median(broker) });
    }
    Ok(points)
}

fn workload(bed: &Bed, serving: &Serving, number: usize) -> Result<Workload> {
    Ok(Workload(bed.client(&serving.broker, &format!("/callers/{number}"))?))
}

async fn first_session(bed: &Bed, serving: &Serving) -> Result<()> {
    let mut caller = workload(bed, serving, 0)?;
    let first = async {
        while caller.mint().await.is_err() {
            tokio::time::sleep(WARM_UP).await;
        }
    };
    tokio::time::timeout(FIRST_MAX, first).await.context("the broker gives no session")
}

/// As the broker asks: a client for each caller, each with a connection of its own.
fn sdk(moto: &Moto) -> aws_sdk_sts::Client {
    let key = moto.administrator();
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(moto.endpoint())
        .credentials_provider(Credentials::new(&key.id, &key.secret, None, None, "bench"));
    aws_sdk_sts::Client::from_conf(config.build())
}

fn config(dir: &Path, endpoint: &str, own: &str, role: &str) -> ConfigFile {
    let seal = dir.join("seal.key").display().to_string();
    let target = format!(
        "plugin = \"aws\"\nregion = \"eu-central-1\"\nauth = \"web_identity\"\nrole_arn = {own:?}\nendpoint = {endpoint:?}"
    );
    ConfigFile::new(dir, "bench", "bench.local")
        .limit("mints_per_minute_per_identity_and_role", 1_000_000)
        .limit("live_leases_per_identity_and_role", 1_000_000)
        .table("[seal]", &format!("key = {{ file = {seal:?} }}"))
        .table("[token]", "issuer = \"https://issuer.bench.local\"\npublish_before = \"5s\"")
        .target("aws-bench", &target)
        .role(ROLE, &format!("target = \"aws-bench\"\nttl = \"1h\"\nrole_arn = {role:?}"))
        .grant("callers have sessions", &["spiffe://bench.local/callers/*"], &[ROLE], &["mint"])
}

/// The lines; nothing where nothing was measured.
pub fn text(points: &[Point]) -> String {
    if points.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\nsessions of AWS, the broker beside the SDK's own AssumeRole, both against one moto\ncallers |  bare/s | broker/s | ratio\n",
    );
    for Point { callers, bare, broker } in points {
        let _ = writeln!(text, "{callers:7} | {bare:7.0} | {broker:8.0} | {:5.2}", broker / bare);
    }
    text
}

pub fn json(points: &[Point]) -> Value {
    let point = |Point { callers, bare, broker }: &Point| json!({ "callers": callers, "bare_per_second": bare, "broker_per_second": broker });
    points.iter().map(point).collect()
}
