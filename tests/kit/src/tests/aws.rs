//! What stands for AWS: it must refuse what AWS refuses, where tests rely on that, and say where it does not.

use std::time::Duration;

use serde_json::{Value, json};

use super::SOON;
use crate::{AwsKey, IamSession, Moto, Proxy, Verdict};

const ACCOUNT: &str = "123456789012";

fn policy(statements: Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Whoever the account trusts may take the role.
fn trust() -> Value {
    let actions = ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"];
    let principal = json!({ "AWS": format!("arn:aws:iam::{ACCOUNT}:root") });
    policy(json!([{ "Effect": "Allow", "Principal": principal, "Action": actions }]))
}

const WHO: (&str, &str) = ("sts", "GetCallerIdentity");

async fn who(moto: &Moto, key: &AwsKey) -> Result<String, String> {
    let said = moto.call_as(key, WHO.0, WHO.1, json!({})).await;
    said.map(|answer| answer["Arn"].as_str().expect("an ARN").to_owned()).map_err(|refusal| refusal.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_access_key_is_refused_once_it_authorizes() {
    let mut moto = Moto::start().await;
    let params = json!({ "UserName": "app", "Path": "/leasehold/" });
    moto.call("iam", "CreateUser", params).await.unwrap();
    let made = moto.call("iam", "CreateAccessKey", json!({ "UserName": "app" })).await.unwrap();
    let key = AwsKey::of(&made);
    assert_eq!(moto.iam_users().await.into_iter().collect::<Vec<_>>(), [("app".to_owned(), vec![key.id.clone()])]);
    assert_eq!(who(&moto, &key).await.unwrap(), format!("arn:aws:iam::{ACCOUNT}:user/leasehold/app"));

    moto.authorize().await;
    assert_eq!(who(&moto, &key).await.unwrap(), format!("arn:aws:iam::{ACCOUNT}:user/leasehold/app"));
    let forged = AwsKey { secret: "another".to_owned(), ..key.clone() };
    assert_eq!(who(&moto, &forged).await.unwrap_err(), "SignatureDoesNotMatch");
    let error = moto.call_as(&key, "iam", "ListUsers", json!({})).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.status), ("AccessDenied", 403));

    let delete = json!({ "UserName": "app", "AccessKeyId": key.id });
    moto.call("iam", "DeleteAccessKey", delete.clone()).await.unwrap();
    assert_eq!(who(&moto, &key).await.unwrap_err(), "InvalidClientTokenId");
    let error = moto.call("iam", "DeleteAccessKey", delete).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.status), ("NoSuchEntity", 404));
    assert_eq!(moto.iam_users().await["app"], [] as [String; 0]);

    let old = moto.administrator().clone();
    moto.reset().await;
    assert!(moto.iam_users().await.is_empty());
    assert_eq!(who(&moto, &old).await.unwrap_err(), "InvalidClientTokenId", "it authorizes as before");
    moto.believe_everyone().await;
    who(&moto, &old).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_role_has_its_id_and_the_record_what_moto_leaves_aside() {
    let moto = Moto::start().await;
    let role = moto.create_role("orders", &trust()).await;
    assert_eq!(role.arn, format!("arn:aws:iam::{ACCOUNT}:role/orders"));
    let ask = json!({ "RoleArn": role.arn, "RoleSessionName": "lease", "SourceIdentity": "ls-1", "DurationSeconds": 900,
        "Tags": [{ "Key": "lease", "Value": "ls-1" }] });
    let answer = moto.call("sts", "AssumeRole", ask).await.unwrap();
    assert_eq!(answer["AssumedRoleUser"]["AssumedRoleId"], format!("{}:lease", role.id));
    let key = AwsKey::of(&answer);
    assert!(key.token.is_some(), "{key:?}");
    assert_eq!(who(&moto, &key).await.unwrap(), format!("arn:aws:sts::{ACCOUNT}:assumed-role/orders/lease"));

    let calls = moto.calls_of("AssumeRole");
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!((call.service.as_str(), call.key.as_str()), ("sts", moto.administrator().id.as_str()));
    let sent = |name: &str| call.params.get(name).map(String::as_str);
    assert_eq!((sent("SourceIdentity"), sent("DurationSeconds")), (Some("ls-1"), Some("900")));
    assert_eq!((sent("Tags.member.1.Key"), sent("Tags.member.1.Value")), (Some("lease"), Some("ls-1")));
    let last = moto.calls().pop().unwrap();
    assert_eq!((last.action.as_str(), &last.key, last.with_token), (WHO.1, &key.id, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_stands_in_a_role_until_it_is_deleted() {
    let moto = Moto::start().await;
    moto.create_role("orders", &trust()).await;
    let deny = policy(json!([{ "Effect": "Deny", "Action": "*", "Resource": "*" }]));
    let put = |document: String| json!({ "RoleName": "orders", "PolicyName": "ended", "PolicyDocument": document });
    assert_eq!(moto.role_policy("orders", "ended").await, None);
    let error = moto.call("iam", "PutRolePolicy", put("{".to_owned())).await.unwrap_err();
    assert_eq!(error.code, "MalformedPolicyDocument");
    moto.call("iam", "PutRolePolicy", put(deny.to_string())).await.unwrap();
    assert_eq!(moto.role_policy("orders", "ended").await, Some(deny));
    let error = moto.call("iam", "DeleteRole", json!({ "RoleName": "orders" })).await.unwrap_err();
    assert_eq!(error.code, "DeleteConflict");
    moto.call("iam", "DeleteRolePolicy", json!({ "RoleName": "orders", "PolicyName": "ended" })).await.unwrap();
    assert_eq!(moto.role_policy("orders", "ended").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_have_their_key_and_nothing_else_from_around() {
    let mut moto = Moto::start().await;
    let reader = policy(json!([{ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }]));
    let key = moto.create_user("reader", &reader).await;
    moto.authorize().await;
    let output = moto.aws(&["s3", "mb", "s3://orders"], &key.env()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = moto.aws(&["iam", "list-users"], &key.env()).await;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("AccessDenied"));
    let script = "import os, jwt, boto3\n\
        print(boto3.client('s3').list_buckets()['Buckets'][0]['Name'])\n\
        print(sorted(name for name in os.environ if name.startswith('AWS_')))";
    let output = moto.python(script, &key.env()).await;
    let said = String::from_utf8_lossy(&output.stdout);
    let names = "['AWS_ACCESS_KEY_ID', 'AWS_CONFIG_FILE', 'AWS_DEFAULT_REGION', 'AWS_EC2_METADATA_DISABLED', \
        'AWS_ENDPOINT_URL', 'AWS_PAGER', 'AWS_REGION', 'AWS_SECRET_ACCESS_KEY', 'AWS_SHARED_CREDENTIALS_FILE']";
    assert_eq!(said, format!("orders\n{names}\n"), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_leaves_the_user_made() {
    let moto = Moto::start().await;
    let proxy = Proxy::start(moto.port()).await;
    proxy.cut_reply_to("Action=CreateUser");
    let through = format!("http://127.0.0.1:{}", proxy.port());
    let script = "import boto3\nfrom botocore.config import Config\n\
        boto3.client('iam', config=Config(retries={'total_max_attempts': 1})).create_user(UserName='lost')";
    let output = moto.python(script, &[("AWS_ENDPOINT_URL", &through)]).await;
    assert!(!output.status.success(), "its reply was lost");
    proxy.wait_caught(1, SOON).await;
    assert!(moto.iam_users().await.contains_key("lost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_gone_when_it_is_dropped() {
    let moto = Moto::start().await;
    let port = moto.port();
    drop(moto);
    let refused = || async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() };
    crate::wait_until(Duration::from_secs(5), "its end", refused).await;
}

const OBJECT: &str = "arn:aws:s3:::orders/1";

/// A session of a role that may do all with S3, and has this statement too.
fn session(name: &str, statement: Value) -> IamSession {
    let allow = policy(json!([{ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }]));
    IamSession::new(ACCOUNT, "orders", name).policy(allow).policy(policy(json!([statement])))
}

fn deny(condition: &str, key: &str, value: Value) -> Value {
    json!({ "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": { condition: { key: value } } })
}

async fn get(sessions: &[&IamSession]) -> Vec<Verdict> {
    let requests: Vec<_> = sessions.iter().map(|session| (*session, "s3:GetObject", OBJECT)).collect();
    IamSession::verdicts(&requests).await
}

#[tokio::test]
async fn a_deny_by_source_identity_is_for_those_that_it_lists() {
    use Verdict::{Allowed, ExplicitlyDenied, ImplicitlyDenied};
    let ended = deny("StringEquals", "aws:SourceIdentity", json!(["ls-1", "ls-2"]));
    let of = |name: &str| session(name, ended.clone()).context("aws:SourceIdentity", name);
    let without = session("ls-1", ended.clone());
    let said = get(&[&of("ls-1"), &of("ls-2"), &of("ls-3"), &of("ls-11"), &of("LS-1"), &without]).await;
    assert_eq!(said, [ExplicitlyDenied, ExplicitlyDenied, Allowed, Allowed, Allowed, Allowed]);
    assert_eq!(of("ls-3").verdict("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:q").await, ImplicitlyDenied);
    let ended = deny("StringEquals", "aws:userid", json!(["AROAEXAMPLE:ls-1"]));
    let of = |id: &str| session("ls", ended.clone()).context("aws:userid", id);
    assert_eq!(get(&[&of("AROAEXAMPLE:ls-1"), &of("AROAEXAMPLE:ls-3")]).await, [ExplicitlyDenied, Allowed]);
}

#[tokio::test]
async fn a_deny_by_time_of_issue_is_for_those_before() {
    let before = deny("DateLessThan", "aws:TokenIssueTime", json!("2026-03-01T12:00:00Z"));
    let at = |time: &str| session("ls-1", before.clone()).context("aws:TokenIssueTime", time);
    let said = get(&[&at("2026-03-01T11:59:59Z"), &at("2026-03-01T12:00:00Z"), &at("2026-03-01T12:00:01Z")]).await;
    assert_eq!(said, [Verdict::ExplicitlyDenied, Verdict::Allowed, Verdict::Allowed]);
    let none = session("ls-1", before);
    assert_eq!(get(&[&none]).await, [Verdict::Allowed], "a request without a time of issue is not of a session");
}

#[tokio::test]
async fn a_session_has_no_more_than_its_policy_and_the_boundary() {
    let wide = || session("ls-1", json!({ "Effect": "Allow", "Action": "sqs:*", "Resource": "*" }));
    let only = |action: &str| policy(json!([{ "Effect": "Allow", "Action": action, "Resource": "*" }]));
    let (within, beyond) = (wide().session_policy(only("s3:GetObject")), wide().session_policy(only("s3:PutObject")));
    let bounded = wide().boundary(only("sqs:*"));
    let said = get(&[&wide(), &within, &beyond, &bounded]).await;
    let none = Verdict::ImplicitlyDenied;
    assert_eq!(said, [Verdict::Allowed, Verdict::Allowed, none, none]);
}

#[tokio::test]
#[should_panic(expected = "identityPolicyErrors")]
async fn a_policy_that_is_none_has_no_verdict() {
    session("ls-1", json!({ "Effect": "Perhaps", "Action": "*", "Resource": "*" }))
        .verdict("s3:GetObject", OBJECT)
        .await;
}

#[tokio::test]
#[should_panic(expected = "do not belong to")]
async fn a_context_key_that_is_left_aside_has_no_verdict() {
    let all = session("ls-1", json!({ "Effect": "Allow", "Action": "sqs:*", "Resource": "*" }));
    all.context("ec2:InstanceType", "large").verdict("s3:GetObject", OBJECT).await;
}
