//! The API's calls as methods.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::limits::{CALL_TIME_DEFAULT, PAGE_LEASES, RECONCILE_TIME_MAX};
use crate::path::{query, segment};
use crate::transport::{Call, Transport};
use crate::way::Way;
use crate::wire::{
    BlockList, BlockRequest, BlockResponse, BrokerList, CredentialMembers, DecisionRequest, DecisionResponse,
    ForgetResponse, IssuerDocuments, Lease, LeaseList, LeaseQuery, LeaseResponse, MintRequest, MintResponse,
    OrderResponse, ReconcileRequest, ReconcileResponse, RenewRequest, RevokeManyRequest, RevokeManyResponse, RoleList,
    RotateAdminRequest, RotateAdminResponse, RotateKeyRequest, RotateSealResponse, TokenKeyList,
};
use crate::{ClientConfig, ClientError};

/// A broker, over mTLS. Cheap to clone; clones share their connections.
///
/// It follows changes of our certificate and bundle if [`leasehold_identity::Identity::spawn_watch`] runs. Nothing is
/// retried behind the caller's back, except what surely never left and what a kept connection's outdated certificate was
/// refused for.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// A client of the broker that `config` names. Connections are made when they are needed.
    ///
    /// # Errors
    /// [`ClientError::Setting`] for an address that is not `https://host:port`.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let transport = Transport::new(Way::to_api(&config)?, config.timeout);
        Ok(Self { transport: Arc::new(transport) })
    }

    /// A client over the break-glass socket of the broker on this host, for root: it can look and end. `reason` goes with
    /// every request, into the broker's audit log.
    ///
    /// # Errors
    /// [`ClientError::Setting`] for a reason that is empty or not one line.
    pub fn break_glass(socket: PathBuf, reason: &str) -> Result<Self, ClientError> {
        let transport = Transport::new(Way::break_glass(socket, reason)?, CALL_TIME_DEFAULT);
        Ok(Self { transport: Arc::new(transport) })
    }

    /// Says goodbye on the kept connections. To be called before a process ends: a connection that just breaks off looks
    /// to the broker like an answer that was lost, and what was lost is revoked.
    pub async fn close(&self) {
        self.transport.close().await;
    }

    /// Asks for one credential of a role. A repeat makes another.
    ///
    /// # Errors
    /// See [`ClientError`]; 403 says that there is no grant or no such role.
    pub async fn mint(&self, role: &str, ask: &MintRequest) -> Result<MintResponse, ClientError> {
        #[derive(Deserialize)]
        struct Issued {
            lease: Option<Lease>,
            credential: CredentialMembers,
        }
        let path = format!("/v1/credentials/{}", segment(role));
        let issued: Issued = self.transport.call(Call::post(path, Some(ask))).await?.secret_json()?;
        let lease = issued.lease;
        match issued.credential.into_credential() {
            Ok(credential) => Ok(MintResponse { lease, credential }),
            Err(wrong) => {
                Err(ClientError::Credential { lease: lease.map(|lease| lease.id).unwrap_or_default(), wrong })
            }
        }
    }

    /// The roles that we may mint.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn roles(&self) -> Result<RoleList, ClientError> {
        self.transport.call(Call::get("/v1/roles".into())).await?.json()
    }

    /// One lease.
    ///
    /// # Errors
    /// See [`ClientError`]; 404 says that it is unknown or not ours to see.
    pub async fn lease(&self, id: &str) -> Result<Lease, ClientError> {
        self.one(Call::get(lease_path(id))).await
    }

    /// One lease, as soon as it is no longer in `state`, or as it is after `wait` (in whole seconds; the broker may answer
    /// earlier).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn lease_while(&self, id: &str, state: &str, wait: Duration) -> Result<Lease, ClientError> {
        let asked = query([("while", Some(state.to_owned())), ("wait", Some(format!("{}s", wait.as_secs())))]);
        self.one(Call::get(lease_path(id) + &asked).and_wait(wait)).await
    }

    /// One page of the leases that we may see, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn leases(&self, ask: &LeaseQuery) -> Result<LeaseList, ClientError> {
        let asked = query([
            ("role", ask.role.clone()),
            ("target", ask.target.clone()),
            ("identity", ask.identity.clone()),
            ("state", ask.state.clone()),
            ("limit", ask.limit.map(|n| n.to_string())),
            ("cursor", ask.cursor.clone()),
        ]);
        self.transport.call(Call::get("/v1/leases".to_owned() + &asked)).await?.json()
    }

    /// All leases that we may see, page after page to the end.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn all_leases(&self, ask: &LeaseQuery) -> Result<Vec<Lease>, ClientError> {
        let mut ask = LeaseQuery { limit: ask.limit.or(Some(PAGE_LEASES)), ..ask.clone() };
        let mut all = Vec::new();
        loop {
            let page = self.leases(&ask).await?;
            let empty = page.leases.is_empty();
            all.extend(page.leases);
            match page.next_cursor {
                // An empty page with a cursor would let a broker that has gone wrong keep us for ever.
                Some(next) if !empty && ask.cursor.as_ref() != Some(&next) => ask.cursor = Some(next),
                _ => return Ok(all),
            }
        }
    }

    /// Moves the end of one of our leases.
    ///
    /// # Errors
    /// See [`ClientError`]; 409 says that it no longer lives.
    pub async fn renew(&self, id: &str, ask: &RenewRequest) -> Result<Lease, ClientError> {
        self.one(Call::post(lease_path(id) + "/renew", Some(ask))).await
    }

    /// Ends a lease. It is dead if [`Lease::is_over`], else it is being ended.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revoke(&self, id: &str) -> Result<Lease, ClientError> {
        self.one(Call::post::<()>(lease_path(id) + "/revoke", None)).await
    }

    /// Orders the end of many leases, or counts them. When it answers, the order is durable.
    ///
    /// # Errors
    /// See [`ClientError`]; 409 says that `expect` is needed or no longer true.
    pub async fn revoke_many(&self, ask: &RevokeManyRequest) -> Result<RevokeManyResponse, ClientError> {
        self.transport.call(Call::post("/v1/leases/revoke".into(), Some(ask))).await?.json()
    }

    /// How far such an order has come.
    ///
    /// # Errors
    /// See [`ClientError`]; 404 says that it is unknown or not ours to see.
    pub async fn order(&self, id: &str) -> Result<OrderResponse, ClientError> {
        self.transport.call(Call::get("/v1/leases/revoke/".to_owned() + &segment(id))).await?.json()
    }

    /// Would this be allowed, by which grant, and if not why.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn decide(&self, ask: &DecisionRequest) -> Result<DecisionResponse, ClientError> {
        self.transport.call(Call::post("/v1/decisions".into(), Some(ask))).await?.json()
    }

    /// Runs a pass of the reconciler and waits for it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reconcile(&self, ask: &ReconcileRequest) -> Result<ReconcileResponse, ClientError> {
        self.transport.call(Call::post("/v1/reconcile".into(), Some(ask)).and_wait(RECONCILE_TIME_MAX)).await?.json()
    }

    /// The brokers that work on the store.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn brokers(&self) -> Result<BrokerList, ClientError> {
        self.transport.call(Call::get("/v1/brokers".into())).await?.json()
    }

    /// Refuses an identity everything from now on, on every broker of the store. Its leases live on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn block(&self, ask: &BlockRequest) -> Result<BlockResponse, ClientError> {
        self.transport.call(Call::put("/v1/blocks".into(), ask)).await?.json()
    }

    /// Lifts a block.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn unblock(&self, ask: &BlockRequest) -> Result<BlockResponse, ClientError> {
        self.transport.call(Call::delete("/v1/blocks".into(), ask)).await?.json()
    }

    /// All blocks.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn blocks(&self) -> Result<BlockList, ClientError> {
        self.transport.call(Call::get("/v1/blocks".into())).await?.json()
    }

    /// Gives the admin login of a target a password that nobody has seen, and waits for it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rotate_admin(
        &self,
        target: &str,
        ask: &RotateAdminRequest,
    ) -> Result<RotateAdminResponse, ClientError> {
        let path = format!("/v1/targets/{}/rotate-admin", segment(target));
        self.transport.call(Call::post(path, Some(ask)).and_wait(RECONCILE_TIME_MAX)).await?.json()
    }

    /// Seals every secret that is kept by the current key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rotate_seal(&self) -> Result<RotateSealResponse, ClientError> {
        let call = Call::post("/v1/seal/rotate".into(), None::<&()>);
        self.transport.call(call.and_wait(RECONCILE_TIME_MAX)).await?.json()
    }

    /// The signing keys of the issuer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn token_keys(&self) -> Result<TokenKeyList, ClientError> {
        self.transport.call(Call::get("/v1/token/keys".into())).await?.json()
    }

    /// Makes other signing keys.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rotate_token_keys(&self, ask: &RotateKeyRequest) -> Result<TokenKeyList, ClientError> {
        self.transport.call(Call::post("/v1/token/rotate-key".into(), Some(ask))).await?.json()
    }

    /// What the issuer publishes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn issuer_documents(&self) -> Result<IssuerDocuments, ClientError> {
        self.transport.call(Call::get("/v1/token/discovery".into())).await?.json()
    }

    /// Closes the leases of a target that is gone for good.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn forget_target(&self, target: &str) -> Result<ForgetResponse, ClientError> {
        let path = format!("/v1/targets/{}/forget", segment(target));
        self.transport.call(Call::post::<()>(path, None)).await?.json()
    }

    /// What it goes by, for those who keep a credential.
    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    async fn one(&self, call: Call) -> Result<Lease, ClientError> {
        Ok(self.transport.call(call).await?.json::<LeaseResponse>()?.lease)
    }
}

fn lease_path(id: &str) -> String {
    format!("/v1/leases/{}", segment(id))
}
