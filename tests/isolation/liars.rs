//! A broker among servers that lie: none gets anything, none costs memory or time that another would miss, and what they
//! say reaches the log cut and escaped.

use std::time::Duration;

use leasehold_client::wire::MintRequest;
use leasehold_testkit::{Broker, Liar, Lie, PgFixture};

use crate::stage::{BILLING, ROLE, Rights, Stage, end, mint, mint_of};

/// Time for one mint in a target that lies: connecting takes a second at most, and a message one and two more.
const IN_TIME: Duration = Duration::from_secs(30);
/// Time for the reconciler to read a million accounts twice, with a program that is not optimised.
const PASS_MAX: Duration = Duration::from_secs(240);
/// What all lies together may cost in memory that stays, in KiB.
const MEMORY_MAX: u64 = 128 << 10;

fn resident_kib(broker: &Broker) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", broker.pid().expect("it runs"))).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A target for each lie, with a role of the same name that `/billing` may mint.
async fn among_liars(mut stage: Stage, lies: Vec<(Lie, bool)>) -> (Stage, Vec<(String, Liar)>) {
    let mut liars = Vec::new();
    for (number, (lie, password)) in lies.into_iter().enumerate() {
        let (name, liar) = (format!("liar-{number}"), Liar::start(lie).await);
        let more = "connect_timeout = \"1s\"\nstatement_timeout = \"1s\"\n";
        let url = format!("postgres://admin@127.0.0.1:{}/orders", liar.port());
        let config = if password {
            stage.config.postgres(&name, &url, "a-password-of-ours", more)
        } else {
            stage.config.target(&name, &format!("plugin = \"postgres\"\nurl = \"{url}\"\n{more}"))
        };
        let role = format!("target = \"{name}\"\nmember_of = [\"readers\"]\nttl = \"10m\"");
        stage.config = config.role(&name, &role).grant(&name, &["spiffe://dev.local/billing"], &[&name], &["mint"]);
        liars.push((name, liar));
    }
    (stage, liars)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn liars_get_nothing_and_slow_nobody() {
    let healthy = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(healthy, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    // Its accounts tell the mark that a liar has to use.
    let mut broker = stage.broker().await;
    let first = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint").lease.account;
    let lies = vec![
        (Lie::ClearPassword, true),
        (Lie::Md5Password, true),
        (Lie::Iterations(2_147_483_648), true),
        (Lie::Unasked, true),
        (Lie::LongMessage, true),
        (Lie::Notices, true),
        (Lie::Settings, true),
        (Lie::Silent, true),
        (Lie::Accounts(first), false),
        (Lie::Errors, false),
        (Lie::LongError, false),
        (Lie::Rows, false),
        (Lie::NoticesLater, false),
        (Lie::Fingerprints, false),
        (Lie::Fits, false),
    ];
    let (stage, liars) = among_liars(stage, lies).await;
    stage.config.write();
    broker.kill().await.expect("kill the broker");
    broker.restart().await.expect("it starts among liars");
    let client = stage.client(&broker, BILLING);
    mint(&client, "10m").await.expect("the healthy target mints");
    let before = resident_kib(&broker);

    for round in 0..2 {
        let client = &client;
        let asked = liars.iter().map(|(role, _)| async move {
            let ask = MintRequest::default();
            let answer = tokio::time::timeout(IN_TIME, mint_of(client, role, &ask)).await.expect("an answer in time");
            assert!(answer.is_err(), "{role} was believed");
        });
        let asked = futures_util::future::join_all(asked);
        // The healthy one mints and revokes meanwhile.
        let others = async {
            for _ in 0..3 {
                let held = mint_of(client, ROLE, &crate::ground::for_ttl("2s")).await.expect("a mint");
                assert_eq!(end(&stage.over(&broker, &held.lease.id).await), ("revoked", Some("expiry")), "{round}");
            }
        };
        tokio::join!(asked, others);
    }
    let after = resident_kib(&broker);
    assert!(after < before + MEMORY_MAX, "from {before} KiB to {after} KiB");

    for (name, liar) in &liars {
        assert!(!liar.has_heard("a-password-of-ours") && !liar.has_heard("md5"), "{name} was told too much");
    }
    // A million accounts that nobody made are taken up bit by bit.
    let passes = "leasehold_reconcile_passes_total{target=\"liar-8\",result=\"ok\"}";
    leasehold_testkit::wait_until(PASS_MAX, "a pass over a million accounts", || async {
        broker.metric(passes).await.is_ok_and(|n| n >= 1.0)
    })
    .await;
    let after = resident_kib(&broker);
    assert!(after < before + MEMORY_MAX, "from {before} KiB to {after} KiB");
    for line in broker.logs().lines().filter(|line| !line.trim().is_empty()) {
        assert!(!line.contains(char::is_control), "not escaped: {line:?}");
        assert!(!line.starts_with("FAKE LINE"), "a target wrote a line of its own");
        assert!(line.len() < 4096, "not cut: {} bytes", line.len());
    }
}
