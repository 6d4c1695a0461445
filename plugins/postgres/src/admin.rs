//! Another password for our own login.

use std::num::NonZeroU32;

use leasehold_sdk::{EngineError, failpoint};
use secrecy::SecretString;

use crate::engine::Target;
use crate::quote::quote_literal;
use crate::scram;

/// PBKDF2 iterations of the verifier of an admin password: PostgreSQL's own default.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");

/// Sets it by its verifier, so that the statement log never has the password, and logs in with it.
pub(crate) async fn set_password(target: &Target, next: &SecretString) -> Result<(), EngineError> {
    let verifier = quote_literal(&scram::verifier(next, ITERATIONS))?;
    let mut session = target.other_session().await?;
    let set = session.run(&format!("ALTER ROLE CURRENT_USER PASSWORD {verifier}")).await;
    set.map_err(|e| e.making("the new password of the admin login"))?;
    failpoint::hit("rotate.set");
    let proved = target.sessions.prove(next).await;
    proved
        .map_err(|why| EngineError::unknown(format!("the new password was set, but it was not let in with it: {why}")))
}
