//! The SDK's clients of one target: which region and endpoint, how long a call may take, how often it is tried.

use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sts::operation::assume_role_with_web_identity::builders::AssumeRoleWithWebIdentityFluentBuilder;
use leasehold_sdk::AwsCredential;
use secrecy::{ExposeSecret, SecretString};

use crate::target::TargetConfig;

/// For a connection to be made.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(3);
/// For one try.
const TRY_MAX: Duration = Duration::from_secs(5);
/// For a call with all its tries: less than a mint may take.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(9);

/// The clients.
pub(crate) struct Clients {
    /// Sessions. What it makes ends by itself, so that a lost answer costs nothing and a call is tried twice.
    pub(crate) sts: aws_sdk_sts::Client,
    /// The same without a login: an assertion is all that it shows.
    pub(crate) open_sts: aws_sdk_sts::Client,
    /// Users and policies. Each call is made once: the core tries again, and knows what may have been done.
    pub(crate) iam: aws_sdk_iam::Client,
}

impl Clients {
    /// Those of a target, by the broker's own login there.
    pub(crate) fn new(target: &TargetConfig, login: impl ProvideCredentials + 'static) -> Self {
        let login = SharedCredentialsProvider::new(login);
        // One session of the broker's own for all of them.
        let kept = IdentityCache::lazy().build();
        let with =
            |retry| config(target, Some(login.clone()), retry).into_builder().identity_cache(kept.clone()).build();
        let twice = with(RetryConfig::standard().with_max_attempts(2));
        let once = with(RetryConfig::disabled());
        Self { sts: aws_sdk_sts::Client::new(&twice), open_sts: open_sts(target), iam: aws_sdk_iam::Client::new(&once) }
    }
}

/// STS without a login.
pub(crate) fn open_sts(target: &TargetConfig) -> aws_sdk_sts::Client {
    aws_sdk_sts::Client::new(&config(target, None, RetryConfig::standard().with_max_attempts(2)))
}

/// AssumeRoleWithWebIdentity, shown this assertion.
pub(crate) fn with_assertion(
    sts: &aws_sdk_sts::Client,
    assertion: &SecretString,
) -> AssumeRoleWithWebIdentityFluentBuilder {
    sts.assume_role_with_web_identity().web_identity_token(assertion.expose_secret())
}

/// STS as somebody who has just this key: whether it is good yet.
pub(crate) fn sts_as(target: &TargetConfig, key: &AwsCredential) -> aws_sdk_sts::Client {
    let secret = key.secret_access_key.expose_secret();
    let login = SharedCredentialsProvider::new(Credentials::new(&key.access_key_id, secret, None, None, "leasehold"));
    aws_sdk_sts::Client::new(&config(target, Some(login), RetryConfig::disabled()))
}

/// Nothing of the process's environment: what a target does is in its own table.
fn config(target: &TargetConfig, login: Option<SharedCredentialsProvider>, retry: RetryConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_MAX)
        .operation_attempt_timeout(TRY_MAX)
        .operation_timeout(CALL_MAX)
        .build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(target.region.clone()))
        .timeout_config(timeouts)
        .retry_config(retry);
    config.set_credentials_provider(login);
    config.set_endpoint_url(target.endpoint.clone());
    // The name has no character that is refused.
    config.set_app_name(AppName::new("leasehold").ok());
    config.build()
}
