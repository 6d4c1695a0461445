//! What AWS would say to a request, by a judge of IAM policies that knows nothing of Leasehold: `@cloud-copilot/iam-simulate`.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::versions::pinned;

const PINS: &str = include_str!("../aws/package.json");
const SCRIPT: &str = include_str!("../aws/verdict.mjs");

/// How long a judgement may take, of however many requests.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A statement allows it and none denies it.
    Allowed,
    /// A statement denies it.
    ExplicitlyDenied,
    /// No statement allows it.
    ImplicitlyDenied,
}

/// The session of an assumed role, with its policies and what is known of it when it asks for something.
#[derive(Clone, Debug)]
pub struct IamSession {
    account: String,
    principal: String,
    policies: Vec<Value>,
    session_policy: Option<Value>,
    boundary: Option<Value>,
    context: Map<String, Value>,
}

impl IamSession {
    /// A session of a role without policies, in an account without service control policies. `role` is its name, without a path.
    #[must_use]
    pub fn new(account: &str, role: &str, session: &str) -> Self {
        Self {
            account: account.to_owned(),
            principal: format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
            policies: Vec::new(),
            session_policy: None,
            boundary: None,
            context: Map::new(),
        }
    }

    /// One more policy of the role.
    #[must_use]
    pub fn policy(mut self, document: Value) -> Self {
        self.policies.push(document);
        self
    }

    /// The policy that was handed over when the role was assumed.
    #[must_use]
    pub fn session_policy(mut self, document: Value) -> Self {
        self.session_policy = Some(document);
        self
    }

    /// The permissions boundary of the role.
    #[must_use]
    pub fn boundary(mut self, document: Value) -> Self {
        self.boundary = Some(document);
        self
    }

    /// A key of the request's context, such as `aws:SourceIdentity`, `aws:userid` or `aws:TokenIssueTime`: a string, or a list
    /// of strings for a key that has several values. Nothing is known of itself: not even who asks, other than by its ARN.
    #[must_use]
    pub fn context(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.context.insert(key.to_owned(), value.into());
        self
    }

    /// What becomes of its request to do `action` to `resource`, an ARN or `*`.
    ///
    /// # Panics
    /// When the judge is missing, or finds something wrong with the policies, the request or its context.
    pub async fn verdict(&self, action: &str, resource: &str) -> Verdict {
        Self::verdicts(&[(self, action, resource)]).await[0]
    }

    /// The same for many requests, in their order, in little more time than for one.
    ///
    /// # Panics
    /// As [`IamSession::verdict`].
    pub async fn verdicts(requests: &[(&Self, &str, &str)]) -> Vec<Verdict> {
        let asked = requests.iter().map(|(session, action, resource)| session.simulation(action, resource));
        let said = judge(&Value::Array(asked.collect())).await;
        let verdicts: Vec<Verdict> = said.iter().map(|word| verdict(word)).collect();
        assert_eq!(verdicts.len(), requests.len(), "one verdict for each request");
        verdicts
    }

    /// As the judge has it.
    fn simulation(&self, action: &str, resource: &str) -> Value {
        let named = |(number, policy): (usize, &Value)| json!({ "name": format!("policy {number}"), "policy": policy });
        let mut simulation = json!({
            "request": {
                "principal": self.principal,
                "action": action,
                "resource": { "resource": resource, "accountId": self.account },
                "contextVariables": self.context,
            },
            "identityPolicies": self.policies.iter().enumerate().map(named).collect::<Vec<_>>(),
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
        });
        if let Some(policy) = &self.session_policy {
            simulation["sessionPolicy"] = policy.clone();
        }
        if let Some(policy) = &self.boundary {
            simulation["permissionBoundaryPolicies"] = json!([{ "name": "boundary", "policy": policy }]);
        }
        simulation
    }
}

fn verdict(word: &str) -> Verdict {
    match word {
        "Allowed" => Verdict::Allowed,
        "ExplicitlyDenied" => Verdict::ExplicitlyDenied,
        "ImplicitlyDenied" => Verdict::ImplicitlyDenied,
        other => panic!("no verdict is called {other}"),
    }
}

async fn judge(simulations: &Value) -> Vec<String> {
    let dir = pinned("aws-node", PINS);
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", SCRIPT]).current_dir(&dir).env("LEASEHOLD_IAM_SIMULATE", &dir);
    command.env_remove("NODE_OPTIONS").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let missing = "the tests need Node.js, and there is none: run `scripts/setup --tests`";
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{missing} ({error})"));
    let mut input = child.stdin.take().expect("its input");
    // It reads all before it writes anything; if it ends before, what it said tells why.
    let _ = input.write_all(simulations.to_string().as_bytes()).await;
    drop(input);
    let ended = tokio::time::timeout(TIMEOUT, child.wait_with_output()).await;
    let output = ended.expect("the judge of policies does not end").expect("its output");
    assert!(output.status.success(), "the judge of policies: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("its verdicts")
}
