//! What AWS, and whoever stands between, may answer: what the engine says of it, and how soon.

use std::time::Duration;

use leasehold_sdk::{EngineError, clock};
use serde_json::json;

use crate::bed::{OWN_ROLE, Target};
use crate::liar::{Liar, Lie};

const ROLE: &str = "arn:aws:iam::123456789012:role/invoices";

/// Longest that a mint may take, whatever AWS does.
const PATIENCE: Duration = Duration::from_secs(10);

fn garbage() -> String {
    "<html>\u{1b}[2J not AWS".repeat(1000)
}

/// What becomes of a session and of a user when AWS answers so.
async fn mints(lie: Lie) -> (EngineError, EngineError) {
    let session = async {
        let liar = Liar::start(&[("AssumeRoleWithWebIdentity", lie.clone())]).await;
        let target = Target::new(&liar.endpoint(), json!({}));
        one(&target, json!({ "role_arn": ROLE })).await
    };
    let user = async {
        let liar = Liar::start(&[("CreateUser", lie.clone())]).await;
        let target = Target::new(&liar.endpoint(), json!({ "role_arn": OWN_ROLE }));
        let error = one(&target, json!({ "method": "iam_user" })).await;
        assert_eq!(liar.asked().iter().filter(|action| *action == "CreateUser").count(), 1, "it is asked once");
        error
    };
    tokio::join!(session, user)
}

async fn one(target: &Target, role: serde_json::Value) -> EngineError {
    let plan = target.plan(&target.role(role)).await;
    let start = clock::boot();
    let error = target.mint_plan(&plan).await.unwrap_err();
    assert!(clock::boot() - start <= PATIENCE, "{:?}", clock::boot() - start);
    assert!(error.to_string().len() < 700 && !error.to_string().contains('\u{1b}'), "{error}");
    error
}

fn kind(error: &EngineError) -> &'static str {
    match error {
        EngineError::Retry { after: Some(_), .. } => "later",
        EngineError::Retry { .. } => "retry",
        EngineError::Refused { .. } => "refused",
        EngineError::Unknown { .. } => "unknown",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_says_becomes_what_may_be_true_there() {
    let cases = [
        (Lie::Error(400, "Throttling"), "later", "later", "fewer calls"),
        (Lie::Error(400, "RequestTimeTooSkewed"), "retry", "retry", "clock"),
        (Lie::Error(403, "SignatureDoesNotMatch"), "retry", "retry", "clock"),
        (Lie::Error(400, "ExpiredToken"), "retry", "retry", "broker's own login"),
        (Lie::Error(403, "AccessDenied"), "refused", "refused", "leasehold check"),
        (Lie::Error(400, "MalformedPolicyDocument"), "refused", "refused", "so it is"),
        (Lie::Error(500, "InternalFailure"), "retry", "unknown", "so it is"),
        (Lie::Error(503, "ANewWord"), "retry", "unknown", "so it is"),
        (Lie::Body(502, garbage()), "retry", "unknown", "AWS"),
        (Lie::Body(400, garbage()), "retry", "unknown", "AWS"),
        (Lie::Body(200, garbage()), "retry", "unknown", "AWS"),
        (Lie::Body(200, String::new()), "retry", "unknown", "AWS"),
    ];
    let all = cases.map(|(lie, session, user, word)| async move {
        let (of_session, of_user) = mints(lie.clone()).await;
        assert_eq!((kind(&of_session), kind(&of_user)), (session, user), "{lie:?}: {of_session} / {of_user}");
        assert!(of_session.to_string().contains(word) && of_user.to_string().contains(word), "{lie:?}: {of_session}");
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_answers_is_waited_for_in_seconds() {
    let (of_session, of_user) = mints(Lie::Hang).await;
    assert_eq!((kind(&of_session), kind(&of_user)), ("retry", "unknown"), "{of_session} / {of_user}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_makes_nothing_and_says_why() {
    let liar = Liar::start(&[("AssumeRoleWithWebIdentity", Lie::Error(400, "InvalidIdentityToken"))]).await;
    let target = Target::new(&liar.endpoint(), json!({ "role_arn": OWN_ROLE }));
    let plan = target.plan_in(&target.role(json!({ "method": "iam_user" })), &crate::bed::account());
    let error = target.mint_plan(&plan).await.unwrap_err();
    assert_eq!(kind(&error), "retry", "{error}");
    assert!(error.to_string().contains("InvalidIdentityToken"), "{error}");
    assert!(!liar.asked().contains(&"CreateUser".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_got_no_key_is_told_as_one_that_may_be_there() {
    let user = "<CreateUserResponse><CreateUserResult><User><Path>/</Path><UserName>a</UserName><UserId>AIDA</UserId><Arn>arn:aws:iam::123456789012:user/a</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate></User></CreateUserResult></CreateUserResponse>";
    let lies = [("CreateUser", Lie::Body(200, user.into())), ("PutUserPolicy", Lie::Error(403, "AccessDenied"))];
    let liar = Liar::start(&lies).await;
    let target = Target::new(&liar.endpoint(), json!({ "role_arn": OWN_ROLE }));
    let error = one(&target, json!({ "method": "iam_user" })).await;
    assert_eq!(kind(&error), "unknown", "{error}");
    assert!(error.to_string().contains("PutUserPolicy"), "{error}");
    assert!(!liar.asked().contains(&"CreateAccessKey".to_owned()), "no key without its end: {:?}", liar.asked());
}
