//! `leasehold explain`.

use leasehold_client::wire::DecisionRequest;

use super::connect::ConnectArgs;
use super::exit;
use super::output::Output;
use super::value::ParamArgs;

/// `leasehold explain ROLE`. It ends with 0 whatever the answer is: the question was answered.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// On this role.
    role: String,
    /// Doing this: mint, read, revoke, admin or exchange.
    #[arg(long, default_value = "mint")]
    action: String,
    /// For this SPIFFE ID instead of your own; needs a `read` grant.
    #[arg(long, value_name = "SPIFFE_ID")]
    identity: Option<String>,
    /// For an exchange: on behalf of this SPIFFE ID.
    #[arg(long, value_name = "SPIFFE_ID")]
    subject: Option<String>,
    #[command(flatten)]
    params: ParamArgs,
    #[command(flatten)]
    broker: ConnectArgs,
}

/// Asks and prints the decision.
pub async fn run(args: ExplainArgs, output: Output) -> anyhow::Result<u8> {
    let ask = DecisionRequest {
        identity: args.identity,
        action: args.action,
        role: args.role,
        params: args.params.given(),
        subject: args.subject,
    };
    let decided = args.broker.with_client(async |client| Ok(client.decide(&ask).await?)).await?;
    let members = [
        ("allowed", if decided.allowed { "yes" } else { "no" }.to_owned()),
        ("grant", decided.grant.clone().unwrap_or_default()),
        ("reason", decided.reason.clone().unwrap_or_default()),
        ("decision", decided.decision_id.clone()),
    ];
    output.one(&decided, members)?;
    Ok(exit::DONE)
}
