//! The Workload API as a source: what it gives is used, changes, goes away and comes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_identity::dev::DevCa;
use leasehold_identity::{
    BundleSource, Connector, Identity, IdentityConfig, IdentityStatus, SvidSource, TrustDomain, WorkloadApi as Address,
};
use leasehold_testkit::wait_until;
use leasehold_testkit::workload_api::{Code, WorkloadApi, X509svidResponse, bundle_ders, svids, workload_svid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::kit::{BILLING, BROKER, DEADLINE, DOMAIN, HOUR, Home, domain, id, meet};

pub const PARTNER: &str = "partner.example";

/// An agent, the authorities behind it, and an identity that follows it.
pub struct Node {
    pub home: Home,
    pub partner: DevCa,
    pub agent: WorkloadApi,
    pub identity: Arc<Identity>,
    watching: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

pub fn config(agent: &WorkloadApi, domains: &[&str]) -> IdentityConfig {
    let address = Address::parse(&agent.address()).expect("an address");
    let bundles: BTreeMap<TrustDomain, _> = domains.iter().map(|d| (domain(d), BundleSource::WorkloadApi)).collect();
    IdentityConfig { trust_domain: domain(DOMAIN), svid: SvidSource::WorkloadApi(address), bundles }
}

impl Node {
    /// With an identity that has asked and got nothing so far.
    pub async fn silent() -> Self {
        let (home, partner) = (Home::new(), DevCa::create(&domain(PARTNER)).expect("an authority"));
        let agent = WorkloadApi::start(home.dir.path()).await;
        let identity = Identity::load(config(&agent, &[DOMAIN, PARTNER])).expect("an identity that waits");
        let watching = identity.spawn_watch();
        Self { home, partner, agent, identity, watching }
    }

    /// With one that is the broker and federates with the partner.
    pub async fn ready() -> Self {
        let node = Self::silent().await;
        node.agent.give(node.message(BROKER));
        node.status("an SVID", |status| status.svid_ok).await;
        node
    }

    /// A fresh SVID and both bundles.
    pub fn message(&self, who: &str) -> X509svidResponse {
        let mut message = svids([workload_svid(&self.home.ca, who, HOUR)]);
        message.federated_bundles.insert(format!("spiffe://{PARTNER}"), bundle_ders(&self.partner));
        message
    }

    /// Waits until the status is so.
    #[track_caller]
    pub fn status(&self, what: &str, mut is_so: impl FnMut(&IdentityStatus) -> bool) -> impl Future<Output = ()> {
        wait_until(DEADLINE, what, move || std::future::ready(is_so(&self.identity.status())))
    }

    /// Gives a fresh SVID and waits until it is in use.
    pub async fn rotate(&self) {
        let before = self.identity.generation();
        self.agent.give(self.message(BROKER));
        wait_until(DEADLINE, "the next SVID", || std::future::ready(self.identity.generation() > before)).await;
    }

    pub fn partner_authorities(status: &IdentityStatus) -> usize {
        let found = status.domains.iter().find(|d| d.trust_domain.as_str() == PARTNER);
        found.map_or(0, |d| d.authorities)
    }

    /// Somebody of the own domain, with an identity in files.
    pub fn billing(&self) -> Connector {
        Connector::new(self.home.identity("billing", BILLING), id(BROKER))
    }

    /// Somebody of the partner's domain.
    pub fn shop(&self) -> Connector {
        let svid = self.partner.issue(&id("spiffe://partner.example/shop"), HOUR).expect("an SVID");
        let (cert, key) = svid.write_to(self.home.dir.path(), "shop").expect("written");
        let own = self.home.path("partner.pem");
        std::fs::write(&own, self.partner.bundle_pem()).expect("written");
        let bundles = BTreeMap::from([
            (domain(PARTNER), BundleSource::File(own)),
            (domain(DOMAIN), BundleSource::File(self.home.path("bundle.pem"))),
        ]);
        let svid = SvidSource::Files { cert, key };
        let identity = Identity::load(IdentityConfig { trust_domain: domain(PARTNER), svid, bundles });
        Connector::new(identity.expect("an identity"), id(BROKER))
    }
}

#[tokio::test]
async fn what_it_gives_is_used_federated_bundles_too() {
    let node = Node::silent().await;
    let before = node.identity.status();
    assert!(!before.svid_ok && before.svid_problem.is_some());
    assert_eq!(before.domains.len(), 2, "a domain without its bundle is a domain");
    let refused = meet(&node.identity, &node.billing()).await;
    assert_eq!(refused.server.expect_err("nobody is let in yet").reason(), "tls");

    node.agent.give(node.message(BROKER));
    node.status("an SVID", |status| status.svid_ok).await;
    let status = node.identity.status();
    assert_eq!((status.spiffe_id, status.svid_last_error), (id(BROKER), None));
    assert!(status.domains.iter().all(|d| d.authorities == 1 && d.last_error.is_none()), "{:?}", status.domains);

    let met = meet(&node.identity, &node.billing()).await;
    assert_eq!(met.server.expect("taken").1.spiffe_id, id(BILLING));
    met.client.expect("greeted");
    let met = meet(&node.identity, &node.shop()).await;
    assert_eq!(met.server.expect("taken").1.spiffe_id, id("spiffe://partner.example/shop"));
}

#[tokio::test]
async fn rotation_drops_no_connection() {
    let node = Node::ready().await;
    let billing = node.billing();
    let met = meet(&node.identity, &billing).await;
    let (mut ours, peer) = met.server.expect("taken");
    let mut theirs = met.client.expect("greeted");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        node.rotate().await;
        let met = meet(&node.identity, &billing).await;
        met.server.expect("taken by the next one");
        let shown = met.client.expect("greeted by the next one");
        seen.insert(shown.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec());

        theirs.write_all(b"ping").await.expect("sent");
        theirs.flush().await.expect("sent");
        let mut read = [0; 4];
        ours.read_exact(&mut read).await.expect("read");
        assert_eq!(node.identity.recheck(&peer, peer.not_after_unix_ms - 1), Ok(()));
    }
    assert_eq!(seen.len(), 5, "each was another certificate");
    assert_eq!(node.agent.calls(), 1, "all over one stream");
}

#[tokio::test]
async fn an_authority_that_is_not_given_any_more_ends_its_peers() {
    let node = Node::ready().await;
    let shop = node.shop();
    let (_open, peer) = meet(&node.identity, &shop).await.server.expect("taken");
    let now = peer.not_after_unix_ms - 1;

    // The stream carries the full state: what is absent was taken back.
    node.agent.give(svids([workload_svid(&node.home.ca, BROKER, HOUR)]));
    node.status("the partner's end", |status| Node::partner_authorities(status) == 0).await;
    assert_eq!(node.identity.recheck(&peer, now).expect_err("refused").reason(), "untrusted_chain");
    assert_eq!(meet(&node.identity, &shop).await.server.expect_err("refused").reason(), "untrusted_chain");
    let status = node.identity.status();
    assert!(status.svid_ok, "the own one stays");
    let why = status.domains.iter().find_map(|d| d.last_error.clone()).expect("a reason");
    assert!(why.contains("gives no bundle of partner.example"), "{why}");

    node.agent.give(node.message(BROKER));
    node.status("the partner again", |status| Node::partner_authorities(status) == 1).await;
    assert_eq!(node.identity.recheck(&peer, now), Ok(()));
}

#[tokio::test]
async fn it_goes_away_and_comes_back() {
    let mut node = Node::ready().await;
    let billing = node.billing();
    let before = node.identity.status();
    node.agent.go_away().await;
    node.status("trouble is told", |status| status.svid_last_error.is_some()).await;
    meet(&node.identity, &billing).await.server.expect("the last good SVID serves");
    let status = node.identity.status();
    assert!(status.svid_ok && status.generation == before.generation, "{status:?}");
    assert!(status.svid_last_error.expect("told").contains("agent.sock"));

    node.agent.give(node.message(BROKER));
    node.agent.come_back().await;
    node.status("the next SVID", |status| status.generation > before.generation).await;
    node.status("no trouble", |status| status.svid_last_error.is_none()).await;
    meet(&node.identity, &billing).await.client.expect("greeted by the next one");
}

#[tokio::test]
async fn a_refusal_after_success_withdraws_everything() {
    let node = Node::ready().await;
    let (_open, peer) = meet(&node.identity, &node.billing()).await.server.expect("taken");
    node.agent.refuse(Code::PermissionDenied);
    node.status("the end of the SVID", |status| !status.svid_ok).await;
    let status = node.identity.status();
    assert!(status.svid_last_error.expect("told").contains("withdrew"), "{:?}", status.svid_problem);
    assert!(status.domains.iter().all(|d| d.authorities == 0));
    assert!(node.identity.recheck(&peer, peer.not_after_unix_ms - 1).is_err());
    meet(&node.identity, &node.billing()).await.server.expect_err("nobody is let in");

    // It is asked on, because it may be registered again.
    node.agent.give(node.message(BROKER));
    node.status("an SVID again", |status| status.svid_ok).await;
    assert_eq!(node.identity.recheck(&peer, peer.not_after_unix_ms - 1), Ok(()));
}

#[tokio::test]
async fn a_refusal_at_first_is_waited_out() {
    let node = Node::silent().await;
    node.agent.refuse(Code::PermissionDenied);
    let refused =
        |status: &IdentityStatus| status.svid_last_error.as_deref().is_some_and(|e| e.contains("no identity"));
    node.status("the refusal is told", refused).await;
    node.agent.give(node.message(BROKER));
    node.status("an SVID", |status| status.svid_ok).await;
}

#[tokio::test]
async fn an_identity_moves_from_files_to_a_workload_api_and_back() {
    let home = Home::new();
    home.issue("broker", BROKER, HOUR);
    let in_files = home.config("broker", &[]);
    let identity = Identity::load(in_files.clone()).expect("an identity");
    let watching = identity.spawn_watch();
    let agent = WorkloadApi::start(home.dir.path()).await;
    identity.reconfigure(config(&agent, &[DOMAIN])).expect("a good configuration");
    assert!(identity.status().svid_ok, "what is in use serves until the next has come");

    let before = identity.generation();
    agent.give(svids([workload_svid(&home.ca, BROKER, 2 * HOUR)]));
    wait_until(DEADLINE, "the SVID of the agent", || std::future::ready(identity.generation() > before)).await;
    let client = Connector::new(home.identity("billing", BILLING), id(BROKER));
    meet(&identity, &client).await.client.expect("greeted");

    identity.reconfigure(in_files).expect("a good configuration");
    agent.refuse(Code::PermissionDenied);
    wait_until(DEADLINE, "the stream's end", || std::future::ready(agent.is_alone())).await;
    assert!(identity.status().svid_ok, "who is not asked has nothing to withdraw");
    watching.abort();
}
