//! A stand-in for AWS: moto's server, with IAM, STS and S3 as far as it has them, and customers of AWS that ask it.
//!
//! Until [`Moto::authorize`] it believes everyone: no key, signature or right is looked at. Even then it is not AWS:
//!
//! * It looks at no clock: old signatures and expired sessions are good, and so is a key that is inactive.
//! * It knows no condition of an identity policy: a statement that has one denies, whatever it says. [`crate::IamSession`] judges.
//! * Who may assume a role is who stands in its trust policy by the ARN of the user, without a path; `:root` is nobody. A role
//!   that is not there can be assumed by whoever may assume roles.
//! * `SourceIdentity`, tags, session policies and durations of an assumed role bind nobody; [`Moto::calls`] has them.
//! * Sizes, names and paths are not checked, and a user's id does not look like one. Users are listed in pages by the kit's own hand.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use leasehold_playground::Leash;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::versions::pinned;

const PINS: &str = include_str!("../aws/requirements.txt");
const SERVER: &str = include_str!("../aws/moto_server.py");

/// How long it may take to start, a customer to end, and one question to be answered.
const START_TIME: Duration = Duration::from_secs(60);
const CUSTOMER_TIME: Duration = Duration::from_secs(60);
const QUESTION_TIME: Duration = Duration::from_secs(60);

/// The IAM user that is there from the beginning, for those who are not somebody else, and may do everything.
const ADMINISTRATOR: &str = "kit-administrator";

/// The region of all calls.
const REGION: &str = "us-east-1";

/// One that runs. Dropping it kills it, and it dies with this process.
pub struct Moto {
    dir: TempDir,
    port: u16,
    administrator: AwsKey,
    authorizes: bool,
    child: Child,
    leash: Option<Leash>,
}

/// An access key.
#[derive(Clone, Debug)]
pub struct AwsKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The token beside it, where it belongs to a session.
    pub token: Option<String>,
}

/// A role that was made.
#[derive(Clone, Debug)]
pub struct AwsRole {
    /// Its ARN.
    pub arn: String,
    /// Its unique id (`RoleId`), which another role of the same name does not have.
    pub id: String,
}

/// A call that was refused.
#[derive(Clone, Debug)]
pub struct AwsRefusal {
    /// Such as `NoSuchEntity`.
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// What it said in words.
    pub message: String,
}

/// A call that arrived, of the services that take forms (IAM and STS), whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsCall {
    /// By its signature: `iam` or `sts`.
    pub service: String,
    /// The region by its signature.
    pub region: String,
    /// The id of the access key that signed it.
    pub key: String,
    /// Whether a session token was with it.
    pub with_token: bool,
    /// What was asked, such as `AssumeRole`.
    pub action: String,
    /// All else, as it was sent: lists as `Tags.member.1.Key`.
    pub params: BTreeMap<String, String>,
}

impl AwsKey {
    /// The variables by which it is told to whoever asks AWS.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, &str)> {
        let mut env = vec![("AWS_ACCESS_KEY_ID", self.id.as_str()), ("AWS_SECRET_ACCESS_KEY", self.secret.as_str())];
        env.extend(self.token.as_deref().map(|token| ("AWS_SESSION_TOKEN", token)));
        env
    }

    /// The key in an answer to `CreateAccessKey` (`AccessKey`) or to `AssumeRole` and the like (`Credentials`).
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of(answer: &Value) -> Self {
        let found = ["AccessKey", "Credentials"].iter().find_map(|name| answer.get(name)).expect("a key");
        let text = |name: &str| found.get(name).and_then(Value::as_str).map(str::to_owned);
        let (id, secret) = (text("AccessKeyId").expect("its id"), text("SecretAccessKey").expect("its secret"));
        Self { id, secret, token: text("SessionToken") }
    }
}

impl Moto {
    /// Starts one that has nothing but an administrator, and believes everyone.
    ///
    /// # Panics
    /// When it is missing, with the command that installs it, or does not start.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut moto = Self::launch(dir);
        moto.port = moto.listens().await;
        moto.administrator = moto.make_administrator().await;
        moto
    }

    fn launch(dir: TempDir) -> Self {
        let log = File::create(dir.path().join("log")).expect("its log");
        let mut command = Command::new(python());
        command.args(["-c", SERVER]).arg(dir.path().join("port")).arg(dir.path().join("calls"));
        clean(&mut command, dir.path());
        let again = log.try_clone().expect("its log");
        let child = command.stdin(Stdio::null()).stdout(again).stderr(log).spawn().expect("start moto");
        let leash = Leash::on(child.id()).expect("a leash");
        let administrator = AwsKey { id: String::new(), secret: String::new(), token: None };
        Self { dir, port: 0, administrator, authorizes: false, child, leash: Some(leash) }
    }

    /// Waits until it says at which port it listens.
    async fn listens(&mut self) -> u16 {
        let deadline = Instant::now() + START_TIME;
        loop {
            if let Ok(port) = fs::read_to_string(self.dir.path().join("port")) {
                return port.parse().expect("a port");
            }
            let ended = self.child.try_wait().expect("its status");
            assert!(ended.is_none() && Instant::now() < deadline, "moto does not start: {}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Without a signature, as nobody looks at one yet.
    async fn make_administrator(&self) -> AwsKey {
        let all = "%7B%22Version%22:%222012-10-17%22,%22Statement%22:%7B%22Effect%22:%22Allow%22,%22Action%22:%22*%22,\
            %22Resource%22:%22*%22%7D%7D";
        self.ask_iam(&format!("Action=CreateUser&UserName={ADMINISTRATOR}")).await;
        self.ask_iam(&format!("Action=PutUserPolicy&UserName={ADMINISTRATOR}&PolicyName=all&PolicyDocument={all}"))
            .await;
        let answer = self.ask_iam(&format!("Action=CreateAccessKey&UserName={ADMINISTRATOR}")).await;
        let between = |from: &str, to: &str| {
            let found = answer.split_once(from).and_then(|(_, rest)| rest.split_once(to));
            found.unwrap_or_else(|| panic!("no {from} in {answer}")).0.to_owned()
        };
        let id = between("<AccessKeyId>", "</AccessKeyId>");
        AwsKey { id, secret: between("<SecretAccessKey>", "</SecretAccessKey>"), token: None }
    }

    async fn ask_iam(&self, form: &str) -> String {
        let scope = format!("Credential=kit/20260101/{REGION}/iam/aws4_request, SignedHeaders=host, Signature=none");
        let headers =
            format!("Content-Type: application/x-www-form-urlencoded\r\nAuthorization: AWS4-HMAC-SHA256 {scope}\r\n");
        self.post("/", &headers, form).await
    }

    /// Its answer to a POST, which must be 200.
    async fn post(&self, path: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}",
            self.port
        );
        let asked = timeout(QUESTION_TIME, async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        });
        let answer = asked.await.expect("moto does not answer").expect("moto answers");
        assert!(answer.split(' ').nth(1) == Some("200"), "{path}: {answer}\n{}", self.log());
        answer.split_once("\r\n\r\n").expect("its body").1.to_owned()
    }

    /// Its URL, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1: a [`crate::Proxy`] in front of it cuts and holds by what a call has in it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The key of whoever may do everything. [`Moto::reset`] changes it.
    #[must_use]
    pub fn administrator(&self) -> &AwsKey {
        &self.administrator
    }

    /// What it wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The calls that arrived since it started or was reset, in their order, those of this kit among them.
    ///
    /// # Panics
    /// When it keeps no record.
    #[must_use]
    pub fn calls(&self) -> Vec<AwsCall> {
        let record = fs::read_to_string(self.dir.path().join("calls")).expect("its record");
        // The last line may be half written.
        let whole = record.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(AwsCall::parse).collect()
    }

    /// The same of one action only.
    #[must_use]
    pub fn calls_of(&self, action: &str) -> Vec<AwsCall> {
        self.calls().into_iter().filter(|call| call.action == action).collect()
    }

    /// Forgets everything but a new administrator; whether it authorizes stays as it was.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn reset(&mut self) {
        let authorizes = self.authorizes;
        self.set_authorization(false).await;
        self.post("/moto-api/reset", "", "").await;
        self.administrator = self.make_administrator().await;
        // It appends; nobody else asks it meanwhile.
        File::create(self.dir.path().join("calls")).expect("its record");
        if authorizes {
            self.set_authorization(true).await;
        }
    }

    /// From now on every call needs a key that exists, a signature by its secret, and a policy that allows it.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn authorize(&mut self) {
        self.set_authorization(true).await;
    }

    /// It believes everyone again.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn believe_everyone(&mut self) {
        self.set_authorization(false).await;
    }

    /// What it takes is a number of calls that it believes yet.
    async fn set_authorization(&mut self, on: bool) {
        let calls = if on { "0" } else { "inf" };
        self.post("/moto-api/reset-auth", "Content-Type: text/plain\r\n", calls).await;
        self.authorizes = on;
    }

    /// Runs a program in Python with boto3 (PyJWT and cryptography are there too), as the administrator unless `env` has another
    /// key. What `env` has not is not there: no other `AWS_` variable, no home with settings, no instance metadata.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn python(&self, script: &str, env: &[(&str, &str)]) -> Output {
        self.run(&["-c", script], env).await
    }

    /// Runs the AWS CLI, in the same surroundings.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn aws(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        self.run(&[&["-m", "awscli"], args].concat(), env).await
    }

    async fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(python());
        command.args(args).stdin(Stdio::null());
        clean(&mut command, self.dir.path());
        command.env("AWS_ENDPOINT_URL", self.endpoint()).env("AWS_REGION", REGION).env("AWS_DEFAULT_REGION", REGION);
        if !env.iter().any(|(name, _)| *name == "AWS_ACCESS_KEY_ID") {
            command.envs(self.administrator.env());
        }
        command.envs(env.iter().copied());
        let mut command = tokio::process::Command::from(command);
        let output = timeout(CUSTOMER_TIME, command.kill_on_drop(true).output()).await;
        output.unwrap_or_else(|_| panic!("{args:?} does not end in {CUSTOMER_TIME:?}")).expect("run python")
    }

    /// One call by boto3, by the administrator: `("iam", "CreateUser", json!({ "UserName": "a" }))`. Returns the answer, with times
    /// as text.
    ///
    /// # Errors
    /// When it was refused.
    ///
    /// # Panics
    /// When there was neither an answer nor a refusal.
    pub async fn call(&self, service: &str, operation: &str, params: Value) -> Result<Value, AwsRefusal> {
        self.call_as(&self.administrator, service, operation, params).await
    }

    /// The same by somebody else.
    ///
    /// # Errors
    /// When it was refused.
    ///
    /// # Panics
    /// When there was neither an answer nor a refusal.
    pub async fn call_as(
        &self,
        key: &AwsKey,
        service: &str,
        operation: &str,
        params: Value,
    ) -> Result<Value, AwsRefusal> {
        let mut keys = vec![&key.id, &key.secret];
        keys.extend(&key.token);
        let asked =
            json!({ "service": service, "region": REGION, "operation": operation, "params": params, "key": keys });
        let answer = self.post("/kit/call", "Content-Type: application/json\r\n", &asked.to_string()).await;
        let mut said: Value = serde_json::from_str(&answer).expect("JSON");
        if let Some(answer) = said.get_mut("answer") {
            return Ok(answer.take());
        }
        assert!(said["code"].is_string(), "{operation}: {said}\n{}", self.log());
        let text = |name: &str| said[name].as_str().expect("a word").to_owned();
        let status = said["status"].as_u64().and_then(|status| status.try_into().ok()).expect("a status");
        Err(AwsRefusal { code: text("code"), status, message: text("message") })
    }

    /// The names of all IAM users but the administrator, with the ids of their access keys.
    ///
    /// # Panics
    /// When it does not tell them, or not all at once.
    pub async fn iam_users(&self) -> BTreeMap<String, Vec<String>> {
        let mut users = BTreeMap::new();
        for name in self.all("ListUsers", json!({}), "Users", "UserName").await.expect("the users") {
            let keys =
                self.all("ListAccessKeys", json!({ "UserName": name }), "AccessKeyMetadata", "AccessKeyId").await;
            match keys {
                Ok(_) if name == ADMINISTRATOR => {}
                Ok(keys) => drop(users.insert(name, keys)),
                // Deleted since it was listed.
                Err(refusal) if refusal.code == "NoSuchEntity" => {}
                Err(refusal) => panic!("{refusal:?}"),
            }
        }
        users
    }

    /// What each entry of a list has under `field`.
    async fn all(&self, operation: &str, params: Value, list: &str, field: &str) -> Result<Vec<String>, AwsRefusal> {
        let answer = self.call("iam", operation, params).await?;
        assert_ne!(answer["IsTruncated"], true, "moto has no pages: {answer}");
        let entries = answer[list].as_array().expect("a list").iter();
        Ok(entries.map(|entry| entry[field].as_str().expect("a word").to_owned()).collect())
    }

    /// Makes an IAM user with a key and one policy.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn create_user(&self, name: &str, policy: &Value) -> AwsKey {
        self.call("iam", "CreateUser", json!({ "UserName": name })).await.expect("a user");
        let policy = json!({ "UserName": name, "PolicyName": "kit", "PolicyDocument": policy.to_string() });
        self.call("iam", "PutUserPolicy", policy).await.expect("its policy");
        AwsKey::of(&self.call("iam", "CreateAccessKey", json!({ "UserName": name })).await.expect("its key"))
    }

    /// Makes a role that these may assume.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn create_role(&self, name: &str, trust: &Value) -> AwsRole {
        let params = json!({ "RoleName": name, "AssumeRolePolicyDocument": trust.to_string() });
        let role = &self.call("iam", "CreateRole", params).await.expect("a role")["Role"];
        let text = |name: &str| role[name].as_str().expect("a word").to_owned();
        AwsRole { arn: text("Arn"), id: text("RoleId") }
    }

    /// A policy that stands in a role, if it is there.
    ///
    /// # Panics
    /// When it is refused otherwise.
    pub async fn role_policy(&self, role: &str, policy: &str) -> Option<Value> {
        match self.call("iam", "GetRolePolicy", json!({ "RoleName": role, "PolicyName": policy })).await {
            Ok(mut answer) => Some(answer["PolicyDocument"].take()),
            Err(refusal) if refusal.code == "NoSuchEntity" => None,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// The version of moto.
    #[must_use]
    pub fn version() -> &'static str {
        let line = PINS.lines().find_map(|line| line.strip_prefix("moto=="));
        line.expect("its version")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // After its end: the number may be somebody else's then.
        self.leash.take();
    }
}

impl AwsCall {
    fn parse(line: &str) -> Self {
        let call: Value = serde_json::from_str(line).expect("a call");
        let text = |name: &str| call[name].as_str().expect("a word").to_owned();
        let params = serde_json::from_value(call["params"].clone()).expect("parameters");
        let with_token = call["with_token"] == true;
        let (service, region, key) = (text("service"), text("region"), text("key"));
        Self { service, region, key, with_token, action: text("action"), params }
    }
}

/// The Python that has all that the tests need.
pub(crate) fn python() -> PathBuf {
    pinned("aws-python", PINS).join("bin/python")
}

/// Nothing of this process's surroundings but where programs are.
pub(crate) fn clean(command: &mut Command, home: &Path) {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home).current_dir(home);
    command.env("AWS_CONFIG_FILE", home.join("aws-config"));
    command.env("AWS_SHARED_CREDENTIALS_FILE", home.join("aws-credentials"));
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_PAGER", "").env("PYTHONUTF8", "1");
}
