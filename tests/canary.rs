//! A password is delivered once and is nowhere else: not in logs, audit, store files or the database's own statement log
//! (law 6), plain or encoded.

use std::path::{Path, PathBuf};

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use leasehold_client::wire::RenewRequest;
use leasehold_testkit::{Broker, Installation, PgFixture, PgOptions, Proxy};
use secrecy::ExposeSecret;

use crate::stage::{BILLING, ROLE, Rights, SOON, Stage, mint};

leasehold_testkit::each_version! { no_password_is_anywhere_but_with_its_caller }

async fn no_password_is_anywhere_but_with_its_caller(postgres: Installation) {
    let pg = PgFixture::own(PgOptions::on(postgres).without_fsync().log_statements()).await;
    let proxy = Proxy::start(pg.server().port()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await;
    let url = format!("postgres://{}@{}/{}", stage.admin.name, proxy.address(), stage.pg.database());
    // A statement that fails is logged with its text, and an account's own statement has the verifier in it.
    let role = "ttl = \"10m\"\ncreation_statements = [\"COMMENT ON ROLE {{name}} IS {{verifier}}\"]\n";
    let stage = stage.with_target_at(&url, "", role).limit("mint_milliseconds_max", 3000);
    // Until here the test itself has told the database passwords.
    let told =
        usize::try_from(std::fs::metadata(stage.pg.server().log_path()).expect("its log").len()).expect("a size");
    // Everything that can be logged is.
    let options = stage.options().env("LEASEHOLD_LOG", "trace");
    let mut broker = Broker::start(options).await.unwrap_or_else(|e| panic!("{e:#}"));
    let (passwords, account) = a_busy_life(&stage, &mut broker, &proxy).await;
    assert!(broker.terminate().await.expect("it ends").success());

    let files = files_to_search(&stage, told);
    // The search finds what is there, so what it does not find is not.
    let found = |needle: &str| files.iter().filter(|(_, bytes)| contains(bytes, needle.as_bytes())).count();
    assert!(found(&account) >= 3, "the account is in the audit log, the store and the statement log");
    assert!(found("SCRAM-SHA-256$") >= 1, "the statement log has the verifier: statements are logged");
    for password in &passwords {
        for needle in forms(password) {
            for (path, bytes) in &files {
                assert!(!contains(bytes, needle.as_bytes()), "{} has a password in it", path.display());
            }
        }
    }
}

/// Mints, renews, fails, revokes, reloads and restarts; answers every password there was, and one account's name.
async fn a_busy_life(stage: &Stage, broker: &mut Broker, proxy: &Proxy) -> (Vec<String>, String) {
    let mut passwords = vec![stage.admin.password.clone()];
    let client = stage.client(broker, BILLING);
    let mut account = String::new();
    for _ in 0..3 {
        let held = mint(&client, "10m").await.expect("a mint");
        stage.session(&held).await;
        client.renew(&held.lease.id, &RenewRequest::default()).await.expect("a renewal");
        client.revoke(&held.lease.id).await.expect("a revocation");
        account.clone_from(&held.lease.account);
        passwords.push(held.login.password.expose_secret().to_owned());
    }
    for format in ["json", "env", "url"] {
        let got = broker.command(&stage.svid(BILLING)).args(["get", ROLE, "--format", format]).output().await;
        let said = String::from_utf8(got.expect("run it").stdout).expect("UTF-8");
        passwords.push(password_in(&said));
    }
    // A mint that fails half-way, one that is refused, and a target that is away.
    proxy.cut_reply_to(&format!("CREATE ROLE \"lh_{}_", stage.cluster));
    mint(&client, "10m").await.map(drop).expect_err("its answer is lost");
    mint(&client, "10y").await.map(drop).expect_err("longer than allowed");
    proxy.sever();
    mint(&client, "10m").await.map(drop).expect_err("the target is away");
    proxy.mend();
    broker.reload().expect("SIGHUP");
    broker.restart().await.expect("start it again");
    let client = stage.client(broker, BILLING);
    let held = mint(&client, "2s").await.expect("a mint");
    passwords.push(held.login.password.expose_secret().to_owned());
    stage.over(broker, &held.lease.id).await;
    stage.quiet_within(broker, SOON).await;
    (passwords, account)
}

/// The longest run of letters and digits of what `get` printed that is no account and no lease: passwords are longer than
/// anything else there.
fn password_in(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    let password = words.filter(|word| !word.starts_with("lh_")).max_by_key(|word| word.len()).expect("a word");
    assert!(password.len() >= 27, "160 bits do not fit into {} characters", password.len());
    password.to_owned()
}

/// All files of the broker but the one in which the test itself put a secret, and the database's log from a place on.
fn files_to_search(stage: &Stage, told: usize) -> Vec<(PathBuf, Vec<u8>)> {
    let statements = stage.pg.server().log_path().to_owned();
    let mut files = vec![(statements.clone(), std::fs::read(&statements).expect("read its log").split_off(told))];
    let mut paths = Vec::new();
    let given = |path: &Path| path.file_name().is_some_and(|name| name == "orders-password");
    for entry in std::fs::read_dir(stage.config.dir()).expect("the broker's directory") {
        let path = entry.expect("a file").path();
        if path.is_file() && !given(&path) {
            paths.push(path);
        }
    }
    let named = |name: &str| paths.iter().any(|path| path.file_name().is_some_and(|file| file == name));
    for name in ["leasehold.db", "audit.jsonl", "targets.json", "addresses.json", "broker.log"] {
        assert!(named(name), "{name} is not among {paths:?}");
    }
    files.extend(paths.into_iter().map(|path| (path.clone(), std::fs::read(&path).expect("read a file"))));
    files
}

/// A secret, and how it looks in hex and in base64 at each of the three places where it can begin.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut forms = vec![secret.to_owned(), HEXLOWER.encode(bytes), HEXUPPER.encode(bytes)];
    for skipped in 0..3 {
        // Whole groups of three bytes look the same whatever stands around them.
        let whole = &bytes[skipped..];
        let whole = &whole[..whole.len() / 3 * 3];
        forms.push(BASE64_NOPAD.encode(whole));
        forms.push(BASE64URL_NOPAD.encode(whole));
    }
    forms
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

#[test]
fn a_secret_is_found_in_every_form() {
    let secret = "correct-horse-battery-staple";
    for before in ["", "x", "xy"] {
        let text = format!("{before}{secret} after");
        let encoded = BASE64_NOPAD.encode(text.as_bytes());
        assert!(forms(secret).iter().any(|form| encoded.contains(form)), "{before:?}");
    }
}
