//! What stands in a role's policies when its sessions end, judged by somebody who knows nothing of us.

use leasehold_sdk::{Ending, EngineError, Place, Receipt, Revocable, RevokeOrder, Room, Standing, Timestamp};
use leasehold_testkit::{AwsRole, IamSession, Verdict};
use serde_json::{Value, json};

use crate::bed::{ACCOUNT, Bed, Made, ago, allow, soon};

/// A role whose sessions can be denied.
struct Deniable {
    bed: Bed,
    iam: AwsRole,
    known_by_name: bool,
}

impl Deniable {
    async fn new() -> Self {
        Self::known_by(true).await
    }

    async fn known_by(source_identity: bool) -> Self {
        let bed = Bed::new().await;
        let iam = bed.moto.create_role("invoices", &allow("*")).await;
        Self { bed, iam, known_by_name: !source_identity }
    }

    async fn mint(&self) -> Made {
        let source_identity = !self.known_by_name;
        let settings = json!({ "role_arn": self.iam.arn, "revocation": "deny", "source_identity": source_identity });
        self.bed.target.mint(&self.bed.target.role(settings)).await
    }

    /// What is denied, if anything is.
    async fn denied(&self) -> Option<Value> {
        let mark = &self.bed.target.mark;
        let by = if self.known_by_name { "_by_name" } else { "" };
        self.bed.moto.role_policy("invoices", &format!("lh_{}_{}{by}", mark.cluster, mark.tag)).await
    }

    /// What AWS would say to each session, of whose role this is a policy. Issued at this moment.
    async fn verdicts(&self, sessions: &[&Made], issued: &str) -> Vec<Verdict> {
        let denied = self.denied().await;
        let session = |made: &&Made| {
            let userid = format!("{}:{}", self.iam.id, made.lease());
            let session = IamSession::new(ACCOUNT, "invoices", &made.lease())
                .policy(allow("s3:*"))
                .context("aws:userid", userid)
                .context("aws:TokenIssueTime", issued);
            let session = match self.known_by_name {
                true => session,
                false => session.context("aws:SourceIdentity", made.lease()),
            };
            denied.iter().cloned().fold(session, IamSession::policy)
        };
        let sessions: Vec<IamSession> = sessions.iter().map(session).collect();
        let asked: Vec<_> = sessions.iter().map(|session| (session, "s3:GetObject", "arn:aws:s3:::orders/1")).collect();
        IamSession::verdicts(&asked).await
    }

    async fn end(&self, orders: &[RevokeOrder]) -> Vec<Ending> {
        let answers = self.bed.target.engine.revoke(orders).await;
        answers.into_iter().map(|answer| answer.unwrap_or_else(|e| panic!("{e}"))).collect()
    }
}

fn asked(made: &Made, standing: &[Standing]) -> RevokeOrder {
    let room = Room { place: Place::Free, standing: standing.to_vec(), cut: None };
    RevokeOrder { room, ..made.order() }
}

fn over(order: RevokeOrder) -> RevokeOrder {
    RevokeOrder { receipt: Some(Receipt(json!({ "ends_ms": ago(1).unix_ms() }))), ..order }
}

fn stands(made: &Made, until: Timestamp, cut: Option<Timestamp>) -> Standing {
    Standing { account: made.plan.account.clone(), until, cut }
}

fn placed(ending: &Ending) -> Option<bool> {
    match ending {
        Ending::Told { placed, .. } => Some(*placed),
        _ => None,
    }
}

const ISSUED: &str = "2026-01-01T00:00:00Z";

use Verdict::{Allowed, ExplicitlyDenied};

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_denied_and_its_neighbour_is_not() {
    for source_identity in [true, false] {
        let role = Deniable::known_by(source_identity).await;
        let (ended, neighbour) = (role.mint().await, role.mint().await);
        assert_eq!(ended.plan.revocable, Revocable::Eventual);
        assert_eq!(role.denied().await, None);
        let told = role.end(&[asked(&ended, &[])]).await.remove(0);
        let Ending::Told { notice, placed: true, look_again } = told else { panic!("{told:?}") };
        assert!(
            notice.as_str().contains("is denied by a policy of arn:aws:iam::123456789012:role/invoices"),
            "{notice}"
        );
        assert!(look_again < soon(61), "another broker's write may have crossed it");
        assert_eq!(role.verdicts(&[&ended, &neighbour], ISSUED).await, [ExplicitlyDenied, Allowed]);

        // What stands stays when the next is added, and nothing is written when nothing changes.
        let standing = [stands(&ended, soon(3600), None)];
        role.end(&[asked(&neighbour, &standing)]).await;
        assert_eq!(role.verdicts(&[&ended, &neighbour], ISSUED).await, [ExplicitlyDenied; 2]);
        let standing = [stands(&ended, soon(3600), None), stands(&neighbour, soon(3600), None)];
        role.end(&[asked(&neighbour, &standing)]).await;
        assert_eq!(role.bed.moto.calls_of("PutRolePolicy").len(), 3, "one of the bed, two of ours");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_by_itself_leaves_the_policy_and_the_last_takes_it_away() {
    let role = Deniable::new().await;
    let (a, b) = (role.mint().await, role.mint().await);
    let standing = [stands(&a, soon(3600), None), stands(&b, soon(3600), None)];
    role.end(&[asked(&a, &[]), asked(&b, &[])]).await;
    assert_eq!(role.verdicts(&[&a, &b], ISSUED).await, [ExplicitlyDenied; 2]);

    let later = [stands(&a, ago(1), None), standing[1].clone()];
    assert_eq!(role.end(&[over(asked(&a, &later))]).await, [Ending::Expired]);
    assert_eq!(role.verdicts(&[&a, &b], ISSUED).await, [Allowed, ExplicitlyDenied]);

    let later = [stands(&b, ago(1), None)];
    assert_eq!(role.end(&[over(asked(&b, &later))]).await, [Ending::Expired]);
    assert_eq!(role.denied().await, None);
    assert_eq!(role.end(&[over(asked(&b, &[]))]).await, [Ending::Expired], "and again");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_a_place_that_is_not_given() {
    let role = Deniable::new().await;
    let (due, poor, rich) = (role.mint().await, role.mint().await, role.mint().await);
    let with = |made: &Made, place| RevokeOrder { room: Room { place, ..Room::default() }, ..made.order() };
    let orders = [with(&due, Place::NotAsked), with(&poor, Place::ShareUsed(24)), with(&rich, Place::Free)];
    let told = role.end(&orders).await;
    assert_eq!(told.iter().map(placed).collect::<Vec<_>>(), [Some(false), Some(false), Some(true)]);
    let Ending::Told { notice, look_again, .. } = &told[1] else { unreachable!() };
    assert!(notice.as_str().contains("24 of your sessions") && notice.as_str().contains("works until"), "{notice}");
    assert!(*look_again > soon(3500), "there is nothing to look at before its end");
    assert_eq!(role.verdicts(&[&due, &poor, &rich], ISSUED).await, [Allowed, Allowed, ExplicitlyDenied]);

    // Who has a place keeps it, whatever is said of its share later.
    let standing = vec![stands(&rich, soon(3600), None)];
    let again = |place| RevokeOrder { room: Room { place, standing: standing.clone(), cut: None }, ..rich.order() };
    for place in [Place::NotAsked, Place::ShareUsed(24)] {
        assert_eq!(placed(&role.end(&[again(place)]).await[0]), Some(true));
        assert_eq!(role.verdicts(&[&rich], ISSUED).await, [ExplicitlyDenied]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_policy_says_so_and_a_cut_needs_no_place() {
    let role = Deniable::new().await;
    let standing: Vec<Standing> = {
        let made = role.mint().await;
        let like = |_| {
            let (cluster, tag) = (made.plan.account.cluster().clone(), made.plan.account.tag().clone());
            let account = leasehold_sdk::AccountName::new(cluster, tag, leasehold_sdk::LeaseId::new());
            Standing { account, until: soon(3600), cut: None }
        };
        (0..240).map(like).collect()
    };
    let late = role.mint().await;
    let told = role.end(&[asked(&late, &standing)]).await.remove(0);
    let Ending::Told { notice, placed: false, .. } = told else { panic!("{told:?}") };
    assert!(notice.as_str().contains("no space left"), "{notice}");
    let document = role.denied().await.unwrap();
    assert_eq!(
        document["Statement"][0]["Condition"]["StringEquals"]["aws:SourceIdentity"].as_array().unwrap().len(),
        240
    );
    assert!(document.to_string().len() < 10_240);

    let cut: Timestamp = "2026-01-01T12:00:00.500Z".parse().unwrap();
    let room = Room { place: Place::Free, standing, cut: Some(cut) };
    let told = role.end(&[RevokeOrder { room, ..late.order() }]).await;
    assert_eq!(placed(&told[0]), Some(true));
    assert!(role.denied().await.unwrap().to_string().len() < 10_240);
    assert_eq!(role.verdicts(&[&late], "2026-01-01T12:00:00Z").await, [ExplicitlyDenied]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_ends_all_of_before_and_none_of_after() {
    for source_identity in [true, false] {
        let role = Deniable::known_by(source_identity).await;
        let made = role.mint().await;
        let cut: Timestamp = "2026-01-01T12:00:00.500Z".parse().unwrap();
        let room = Room { place: Place::ShareUsed(1), standing: Vec::new(), cut: Some(cut) };
        let told = role.end(&[RevokeOrder { room, ..made.order() }]).await;
        assert_eq!(placed(&told[0]), Some(true), "an operator's cut asks for nobody's share");
        let stranger = role.mint().await;
        for (issued, verdict) in [
            ("2026-01-01T11:59:59Z", ExplicitlyDenied),
            ("2026-01-01T12:00:00Z", ExplicitlyDenied),
            ("2026-01-01T12:00:01Z", Allowed),
        ] {
            assert_eq!(role.verdicts(&[&made, &stranger], issued).await, [verdict; 2], "{issued}");
        }
        // It stands as long as anything that it ends could live, and takes no place of its own.
        let standing = vec![stands(&made, soon(3600), Some(cut))];
        role.end(&[asked(&stranger, &standing), asked(&made, &standing)]).await;
        let text = role.denied().await.unwrap().to_string();
        assert!(text.contains("LeaseholdCut") && text.contains(&stranger.lease()) && !text.contains(&made.lease()));
        assert_eq!(role.verdicts(&[&stranger], "2026-01-01T13:00:00Z").await, [ExplicitlyDenied]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_written_keeps_no_ended_session() {
    let mut role = Deniable::new().await;
    let (a, b) = (role.mint().await, role.mint().await);
    role.bed.moto.authorize().await;
    let all = json!({ "RoleName": "leasehold", "PolicyName": "all", "PolicyDocument": allow("sts:*").to_string() });
    role.bed.moto.call("iam", "PutRolePolicy", all).await.unwrap();
    let not_asked = RevokeOrder { room: Room::default(), ..b.order() };
    let standing = [stands(&a, ago(1), None)];
    let orders = [asked(&a, &[]), over(asked(&a, &standing)), not_asked];
    let told = role.bed.target.engine.revoke(&orders).await;
    assert!(matches!(&told[0], Err(EngineError::Refused { why }) if why.as_str().contains("AccessDenied")), "{told:?}");
    assert_eq!(told[1], Ok(Ending::Expired));
    assert!(matches!(told[2], Ok(Ending::Told { placed: false, .. })), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_changed_by_another_hand_writes_nothing() {
    let role = Deniable::new().await;
    let made = role.mint().await;
    let mut order = asked(&made, &[]);
    order.plan.room = Some("arn:aws:iam::123456789012:role/other".into());
    assert!(matches!(role.bed.target.revoke(order).await, Err(EngineError::Refused { .. })));
    let mut order = asked(&made, &[]);
    order.plan.fingerprint.0 = "aws:999999999999".into();
    assert!(matches!(role.bed.target.revoke(order).await, Err(EngineError::Refused { .. })));
    assert_eq!(role.denied().await, None);
}
