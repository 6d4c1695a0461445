//! Users of IAM, from their making to their end.

use leasehold_sdk::{Credential, Ending, EngineError, Receipt, Revocable};
use leasehold_testkit::{IamSession, Verdict};
use serde_json::{Value, json};

use crate::bed::{ACCOUNT, Bed, CALLER, Made, allow};

async fn user_policy(bed: &Bed, made: &Made, name: &str) -> Value {
    let asked = json!({ "UserName": made.name(), "PolicyName": name });
    bed.moto.call("iam", "GetUserPolicy", asked).await.unwrap()["PolicyDocument"].take()
}

async fn is_there(bed: &Bed, made: &Made) -> bool {
    bed.moto.iam_users().await.contains_key(&made.name())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_all_its_rights_before_its_key_and_is_gone_with_them() {
    let bed = Bed::new().await;
    let boundary = json!({ "PolicyName": "bound", "PolicyDocument": allow("*").to_string() });
    let boundary = bed.moto.call("iam", "CreatePolicy", boundary).await.unwrap()["Policy"]["Arn"].take();
    let reads = json!({ "PolicyName": "reads", "PolicyDocument": allow("s3:ListBucket").to_string() });
    let reads = bed.moto.call("iam", "CreatePolicy", reads).await.unwrap()["Policy"]["Arn"].take();
    bed.moto.call("iam", "CreateGroup", json!({ "GroupName": "readers" })).await.unwrap();
    let role = bed.target.role(json!({
        "method": "iam_user",
        "user_policy": bed.target.file("user.json", &allow("s3:GetObject")),
        "policy_arns": [reads],
        "groups": ["readers"],
        "permissions_boundary": boundary,
        "tags": { "team": "billing" },
    }));
    let made = bed.target.mint(&role).await;
    assert_eq!((made.plan.revocable, made.plan.renewable, &made.key.token), (Revocable::Eventual, true, &None));
    let order: Vec<String> = bed.moto.calls().into_iter().map(|call| call.action).collect();
    let at = |action: &str| order.iter().rposition(|a| a == action).unwrap_or_else(|| panic!("no {action}: {order:?}"));
    for right in ["PutUserPolicy", "AttachUserPolicy", "AddUserToGroup"] {
        assert!(at(right) < at("CreateAccessKey"), "{order:?}");
    }
    let sent = bed.last("CreateUser");
    assert_eq!(sent["Path"], format!("/leasehold/{}/", bed.target.mark.cluster));
    assert_eq!(
        (sent["UserName"].as_str(), &sent["PermissionsBoundary"]),
        (made.name().as_str(), &boundary.as_str().unwrap().to_owned())
    );
    assert_eq!((sent["Tags.member.1.Value"].as_str(), sent["Tags.member.2.Value"].as_str()), ("billing", CALLER));
    assert_eq!(user_policy(&bed, &made, "leasehold-role").await, allow("s3:GetObject"));

    assert_eq!(bed.target.revoke(made.order()).await.unwrap(), Ending::Dead);
    assert!(!is_there(&bed, &made).await);
    let group = bed.moto.call("iam", "GetGroup", json!({ "GroupName": "readers" })).await.unwrap();
    assert_eq!(group["Users"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_end_is_aws_own_word_and_it_cannot_take_that_away() {
    let bed = Bed::new().await;
    let made = bed.target.mint(&bed.target.role(json!({ "method": "iam_user" }))).await;
    let neighbour = format!("arn:aws:iam::{ACCOUNT}:user/leasehold/x/lh_x");
    let own = format!("arn:aws:iam::{ACCOUNT}:user/leasehold/{}/{}", bed.target.mark.cluster, made.name());
    let policy = user_policy(&bed, &made, "leasehold-end").await;
    let end = policy["Statement"][0]["Condition"]["DateGreaterThan"]["aws:CurrentTime"].as_str().unwrap().to_owned();
    let user = |now: &str| {
        let session = IamSession::new(ACCOUNT, "stands-for-the-user", &made.name());
        session.policy(allow("*")).policy(policy.clone()).context("aws:CurrentTime", now)
    };
    let (before, on_time, after) = (user("2026-01-01T00:00:00Z"), user(&end), user("2099-01-01T00:00:00Z"));
    let bucket = "arn:aws:s3:::orders/1";
    let verdicts = IamSession::verdicts(&[
        (&before, "s3:GetObject", bucket),
        (&on_time, "s3:GetObject", bucket),
        (&after, "s3:GetObject", bucket),
        (&after, "iam:DeleteUserPolicy", own.as_str()),
        (&before, "iam:DeleteUserPolicy", own.as_str()),
        (&before, "iam:PutUserPolicy", own.as_str()),
        (&before, "iam:CreateAccessKey", own.as_str()),
        (&before, "iam:CreateLoginProfile", own.as_str()),
        (&before, "iam:UploadSigningCertificate", own.as_str()),
        (&before, "iam:UpdateUser", own.as_str()),
        (&before, "iam:DeleteUserPolicy", neighbour.as_str()),
        (&before, "iam:GetUser", own.as_str()),
        (&before, "iam:CreateAccessKey", "arn:aws:iam::123456789012:user/somebody"),
    ])
    .await;
    use Verdict::{Allowed, ExplicitlyDenied};
    let denied = [ExplicitlyDenied; 9];
    assert_eq!(verdicts[..2], [Allowed; 2]);
    assert_eq!(verdicts[2..11], denied);
    assert_eq!(verdicts[11..], [Allowed; 2]);

    // Renewed, it is the same with another moment.
    let moved = leasehold_sdk::RenewOrder {
        plan: made.plan.clone(),
        receipt: made.receipt.clone(),
        expires_at: "2098-01-02T03:04:05.678Z".parse().unwrap(),
    };
    bed.target.engine.renew(&[moved]).await.remove(0).unwrap();
    let policy = user_policy(&bed, &made, "leasehold-end").await.to_string();
    assert!(policy.contains("2098-01-02T03:04:05Z") && !policy.contains(&end), "{policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_made_itself_more_keys_ends_all_the_same() {
    let bed = Bed::new().await;
    let made = bed.target.mint(&bed.target.role(json!({ "method": "iam_user" }))).await;
    let name = made.name();
    let iam = async |operation: &str, more: Value| {
        let mut params = json!({ "UserName": name });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bed.moto.call("iam", operation, params).await.unwrap()
    };
    iam("CreateAccessKey", json!({})).await;
    iam("CreateLoginProfile", json!({ "Password": "an0ther Way in" })).await;
    iam("PutUserPolicy", json!({ "PolicyName": "mine", "PolicyDocument": allow("*").to_string() })).await;
    let all = json!({ "PolicyName": "all", "PolicyDocument": allow("*").to_string() });
    let all = bed.moto.call("iam", "CreatePolicy", all).await.unwrap()["Policy"]["Arn"].take();
    iam("AttachUserPolicy", json!({ "PolicyArn": all })).await;
    bed.moto.call("iam", "CreateGroup", json!({ "GroupName": "admins" })).await.unwrap();
    iam("AddUserToGroup", json!({ "GroupName": "admins" })).await;
    assert_eq!(bed.moto.iam_users().await[&name].len(), 2);
    assert_eq!(bed.target.revoke(made.order()).await.unwrap(), Ending::Dead);
    assert!(!is_there(&bed, &made).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_user_of_that_name_is_left_alone() {
    let bed = Bed::new().await;
    let made = bed.target.mint(&bed.target.role(json!({ "method": "iam_user" }))).await;
    let mut order = made.order();
    order.receipt = Some(Receipt(json!({ "user_id": "AIDASOMEBODYELSES" })));
    let error = bed.target.revoke(order).await.unwrap_err();
    assert!(matches!(&error, EngineError::Refused { why } if why.as_str().contains("AIDASOMEBODYELSES")), "{error}");
    assert_eq!(bed.moto.iam_users().await[&made.name()], [made.key.id.clone()]);
    assert_eq!(bed.target.revoke(made.order()).await.unwrap(), Ending::Dead);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_given_leaves_a_user_that_is_ended() {
    let bed = Bed::new().await;
    let role = bed.target.role(json!({ "method": "iam_user", "groups": ["nobody-made-it"] }));
    let plan = bed.target.plan(&role).await;
    let error = bed.target.mint_plan(&plan).await.unwrap_err();
    assert!(matches!(&error, EngineError::Unknown { why } if why.as_str().contains("NoSuchEntity")), "{error}");
    assert_eq!(bed.moto.calls_of("CreateAccessKey").len(), 1, "no key but the kit's own");
    let again = bed.target.mint_plan(&plan).await.unwrap_err();
    assert!(matches!(again, EngineError::Unknown { .. }), "{again}");
    let order = leasehold_sdk::RevokeOrder::now(plan, None, crate::bed::soon(30));
    assert_eq!(bed.target.revoke(order).await.unwrap(), Ending::Dead);
    assert!(bed.moto.iam_users().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_other_clusters_are_not_listed_and_not_ended() {
    let bed = Bed::new().await;
    let made = bed.target.mint(&bed.target.role(json!({ "method": "iam_user" }))).await;
    let other = json!({ "UserName": "lh_other_abcd_x", "Path": "/leasehold/other/" });
    bed.moto.call("iam", "CreateUser", other).await.unwrap();
    let listed = bed.target.engine.list(&bed.target.mark, None, 10).await.unwrap();
    let leasehold_sdk::Listing::Page { accounts, next: None } = listed else { panic!("{listed:?}") };
    assert_eq!(accounts.len(), 1);
    assert_eq!((&accounts[0].account, accounts[0].receipt.as_ref()), (&made.plan.account, Some(&made.receipt)));
    let there = bed.target.engine.as_cluster(&"other".parse().unwrap()).unwrap();
    let refused = there.revoke(&[made.order()]).await.remove(0);
    assert!(matches!(refused, Err(EngineError::Refused { .. })), "{refused:?}");
    assert!(is_there(&bed, &made).await);
    let Credential::Aws(_) = bed
        .target
        .mint_plan(&bed.target.plan(&bed.target.role(json!({ "method": "iam_user" }))).await)
        .await
        .unwrap()
        .credential
    else {
        panic!("a key");
    };
}
