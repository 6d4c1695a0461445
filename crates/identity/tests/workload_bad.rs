//! A Workload API that talks rubbish, refuses, or gives what cannot be used: the last good state serves.

use std::time::Duration;

use leasehold_identity::dev::DevCa;
use leasehold_identity::{Identity, IdentityError, WorkloadApi as Address};
use leasehold_testkit::wait_until;
use leasehold_testkit::workload_api::{Code, WorkloadApi, X509svid, X509svidResponse, svids, workload_svid};

use crate::kit::{BILLING, BROKER, DEADLINE, DOMAIN, HOUR, Home, domain, id, meet};
use crate::workload::{Node, PARTNER};

/// Long enough to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn bytes_that_are_no_message() {
    let node = Node::ready().await;
    // A frame is one byte of flags, four bytes of length, and a message.
    let rubbish: [&[u8]; 5] =
        [b"", b"nonsense", &[0, 0, 0, 0, 3, 255, 255, 255], &[0, 255, 255, 255, 255, 1], &[7; 4096]];
    for bytes in rubbish {
        let (calls, generation) = (node.agent.calls(), node.identity.generation());
        node.agent.talk_rubbish(bytes);
        wait_until(DEADLINE, "another call", || std::future::ready(node.agent.calls() > calls + 1)).await;
        node.status("trouble is told", |status| status.svid_last_error.is_some()).await;
        assert!(node.identity.status().svid_ok && node.identity.generation() == generation, "{bytes:?}");
        node.rotate().await;
        node.status("no trouble", |status| status.svid_last_error.is_none()).await;
    }
}

/// Each message breaks one rule; it is discarded, and says why.
#[tokio::test]
async fn messages_that_must_be_discarded() {
    let node = Node::ready().await;
    let other = DevCa::create(&domain(DOMAIN)).expect("an authority");
    let good = || workload_svid(&node.home.ca, BROKER, HOUR);
    let with = |change: &dyn Fn(&mut X509svid)| {
        let mut svid = good();
        change(&mut svid);
        svids([svid])
    };
    let cases: [(&str, X509svidResponse); 13] = [
        ("there is no SVID", svids([])),
        ("no spiffe_id", with(&|svid| svid.spiffe_id.clear())),
        ("no x509_svid", with(&|svid| svid.x509_svid.clear())),
        ("no x509_svid_key", with(&|svid| svid.x509_svid_key.clear())),
        ("no bundle", with(&|svid| svid.bundle.clear())),
        ("has no bundle", svids([good(), with(&|svid| svid.bundle.clear()).svids.remove(0)])),
        ("not an X.509 certificate", with(&|svid| svid.x509_svid = b"rubbish".to_vec())),
        ("not an X.509 certificate", with(&|svid| svid.x509_svid.extend_from_slice(b"rubbish"))),
        ("no usable private key", with(&|svid| svid.x509_svid_key = b"rubbish".to_vec())),
        ("does not belong", with(&|svid| svid.x509_svid_key = good().x509_svid_key)),
        ("the bundle of prod.example.org", with(&|svid| svid.bundle.truncate(100))),
        ("which is spiffe://prod.example.org/leasehold", with(&|svid| svid.spiffe_id = BILLING.into())),
        ("not a usable X.509-SVID", with(&|svid| svid.x509_svid = svid.bundle.clone())),
    ];
    let generation = node.identity.generation();
    for (why, message) in cases {
        node.agent.give(message);
        let told = |e: &str| e.contains("discarded") && e.contains(why);
        node.status(why, |status| status.svid_last_error.as_deref().is_some_and(told)).await;
        let error = node.identity.status().svid_last_error.expect("told");
        assert!(!error.contains("rubbish"), "what it sent is not repeated: {error}");
    }
    assert_eq!(node.identity.generation(), generation);
    assert_eq!(node.agent.calls(), 1, "the stream is kept");
    meet(&node.identity, &node.billing()).await.server.expect("the last good state serves");

    // An SVID that its own bundle does not verify is no rubbish: it is used and told, as one in files is.
    node.agent.give(svids([X509svid { bundle: leasehold_testkit::workload_api::bundle_ders(&other), ..good() }]));
    node.status("a problem", |status| !status.svid_ok && status.generation > generation).await;
}

#[tokio::test]
async fn a_partners_rubbish_holds_up_nobody_else() {
    let node = Node::ready().await;
    let before = node.identity.status().generation;
    let mut message = node.message(BROKER);
    message.federated_bundles.insert(format!("spiffe://{PARTNER}"), b"rubbish".to_vec());
    message.federated_bundles.insert("not a trust domain".into(), b"rubbish".to_vec());
    node.agent.give(message);
    node.status("the next SVID", |status| status.svid_ok && status.generation > before).await;
    let status = node.identity.status();
    let partner = status.domains.iter().find(|d| d.trust_domain.as_str() == PARTNER).expect("the partner");
    assert_eq!(partner.authorities, 1, "its last good bundle serves");
    assert!(partner.last_error.as_deref().expect("told").contains("partner.example"));
    assert_eq!(status.svid_last_error, None);
    meet(&node.identity, &node.shop()).await.server.expect("taken");
}

#[tokio::test]
async fn an_svid_of_another_domain_is_not_taken() {
    let node = Node::ready().await;
    node.agent.give(svids([workload_svid(&node.partner, "spiffe://partner.example/leasehold", HOUR)]));
    let foreign = |e: &str| e.contains("which is not in the trust domain prod.example.org");
    node.status("the refusal", |status| status.svid_last_error.as_deref().is_some_and(foreign)).await;
    assert_eq!(node.identity.spiffe_id(), id(BROKER));
}

#[tokio::test]
async fn a_hopeless_answer_is_not_asked_for_again() {
    for code in [Code::InvalidArgument, Code::Unimplemented] {
        let node = Node::ready().await;
        node.agent.refuse(code);
        let hopeless = |e: &str| e.contains("not asked again");
        node.status("it is told", |status| status.svid_last_error.as_deref().is_some_and(hopeless)).await;
        let calls = node.agent.calls();
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(node.agent.calls(), calls);
        assert!(node.identity.status().svid_ok, "the last good SVID serves");
    }
}

#[tokio::test]
async fn the_first_is_the_default_and_a_hint_chooses() {
    let (home, dir) = (Home::new(), tempfile::tempdir().expect("a directory"));
    let agent = WorkloadApi::start(dir.path()).await;
    let svid = |path: &str, hint: &str| {
        let id = format!("spiffe://{DOMAIN}/{path}");
        X509svid { hint: hint.into(), ..workload_svid(&home.ca, &id, HOUR) }
    };
    agent.give(svids([svid("first", "external"), svid("second", "internal"), svid("third", "internal")]));
    let address = Address::parse(&agent.address()).expect("an address");
    let asked = async |address: Address| {
        let identity = Identity::from_workload_api(address, [], DEADLINE).await?;
        Ok::<_, IdentityError>(identity.spiffe_id().path().to_owned())
    };
    assert_eq!(asked(address.clone()).await.expect("an identity"), "/first");
    assert_eq!(asked(address.clone().with_hint("internal")).await.expect("an identity"), "/second");
    let missing = Identity::from_workload_api(address.with_hint("other"), [], A_WHILE).await.expect_err("refused");
    assert!(missing.to_string().contains("no SVID in it has the hint \"other\""), "{missing}");
}

#[tokio::test]
async fn a_client_gets_its_identity_over_tcp_or_hears_why_not() {
    let home = Home::new();
    let mut agent = WorkloadApi::start_tcp().await;
    let address = Address::parse(&agent.address()).expect("an address");
    let ask = |time| Identity::from_workload_api(address.clone(), [domain(PARTNER)], time);
    agent.give(svids([workload_svid(&home.ca, BILLING, HOUR)]));
    let identity = ask(DEADLINE).await.expect("an identity");
    assert_eq!(identity.spiffe_id(), id(BILLING));
    assert!(identity.status().svid_ok);

    agent.refuse(Code::PermissionDenied);
    let denied = ask(A_WHILE).await.expect_err("refused").to_string();
    assert!(denied.contains(&agent.address()) && denied.contains("no identity"), "{denied}");
    agent.refuse(Code::InvalidArgument);
    let hopeless = ask(DEADLINE).await.expect_err("refused").to_string();
    assert!(hopeless.contains("not asked again"), "{hopeless}");
    agent.go_away().await;
    let away = ask(A_WHILE).await.expect_err("refused").to_string();
    assert!(away.contains("cannot be reached"), "{away}");
}
