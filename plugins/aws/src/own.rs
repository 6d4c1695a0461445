//! The broker's own login in a target: never a key of ours, always one that somebody lent for what the broker can prove.

use std::sync::Arc;

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use leasehold_sdk::{CloudAssertion, EngineError, Host, TargetContext};
use tokio::sync::OnceCell;

use crate::answer::{Does, error};
use crate::target::{Auth, TargetConfig};
use crate::{anywhere, clients};

/// How the broker's own session is bought. The SDK keeps it and asks anew before it ends.
pub(crate) struct Login {
    target: TargetConfig,
    name: String,
    session: String,
    host: Arc<dyn Host>,
    chain: OnceCell<DefaultCredentialsChain>,
}

impl Login {
    pub(crate) fn new(context: &TargetContext, target: TargetConfig, host: Arc<dyn Host>) -> Self {
        let session = format!("leasehold-{}", context.cluster);
        Self { target, name: context.target.clone(), session, host, chain: OnceCell::new() }
    }

    async fn buy(&self) -> Result<Credentials, CredentialsError> {
        match &self.target.auth {
            Auth::Environment => {
                let region = Region::new(self.target.region.clone());
                let chain = || DefaultCredentialsChain::builder().region(region).build();
                self.chain.get_or_init(chain).await.provide_credentials().await
            }
            Auth::WebIdentity => match &self.target.role_arn {
                Some(role) => self.by_assertion(role).await.map_err(failed),
                None => Err(CredentialsError::not_loaded("the target has no role_arn: the broker has no login there")),
            },
            Auth::RolesAnywhere { trust_anchor_arn, profile_arn } => {
                let role = self.target.role_arn.as_deref().unwrap_or_default();
                let ask = anywhere::Ask { trust_anchor_arn, profile_arn, role_arn: role };
                anywhere::create_session(&self.target, &*self.host, &ask).await.map_err(failed)
            }
        }
    }

    /// AssumeRoleWithWebIdentity: not signed by anything but the assertion.
    async fn by_assertion(&self, role: &str) -> Result<Credentials, EngineError> {
        let assertion = CloudAssertion {
            audience: self.target.audience.clone(),
            about: self.name.clone(),
            claims: serde_json::Map::new(),
        };
        let assertion = self.host.assert(assertion).await?;
        let call = clients::with_assertion(&clients::open_sts(&self.target), &assertion)
            .role_arn(role)
            .role_session_name(&self.session);
        let answer = call.send().await.map_err(|e| error("AssumeRoleWithWebIdentity", Does::Nothing, &e))?;
        let given = answer.credentials.ok_or_else(|| EngineError::retry("AWS answered without credentials"))?;
        let mut builder = Credentials::builder()
            .access_key_id(given.access_key_id)
            .secret_access_key(given.secret_access_key)
            .session_token(given.session_token)
            .provider_name("leasehold");
        builder.set_expiry(std::time::SystemTime::try_from(given.expiration).ok());
        Ok(builder.build())
    }
}

fn failed(error: EngineError) -> CredentialsError {
    CredentialsError::provider_error(error)
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("target", &self.name).finish_non_exhaustive()
    }
}

impl ProvideCredentials for Login {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.buy())
    }
}
