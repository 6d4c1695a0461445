//! Any text as an access token, through the verifier that services embed: it is refused, and the refusal shows nothing of it.
#![no_main]

use std::sync::LazyLock;

use leasehold_client::token::{KeySource, Presented, StatusPolicy, Verifier, VerifierConfig, Wanted};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

const ISSUER: &str = "https://issuer.fuzz";

/// A verifier with one key, whose private half nobody has.
static BED: LazyLock<(Runtime, Verifier)> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("leasehold-fuzz-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("make it");
        std::fs::write(path, text).expect("write it");
    };
    write(".well-known/openid-configuration", r#"{"issuer":"https://issuer.fuzz","jwks_uri":"https://issuer.fuzz/oauth2/jwks"}"#);
    write(
        "oauth2/jwks",
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    );
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = VerifierConfig::new(ISSUER, "https://a", KeySource::Folder(folder)).status(StatusPolicy::Ignore);
    (runtime, Verifier::new(config).expect("a verifier"))
});

fuzz_target!(|token: &str| {
    let (runtime, verifier) = &*BED;
    let presented = Presented { token, certificate: Some(b"certificate") };
    let verdict = runtime.block_on(verifier.verify(&presented, &Wanted { scopes: &["a"], claims: &[] }));
    let refused = verdict.expect_err("nobody can sign for this key");
    assert!(token.len() < 20 || !format!("{refused} {refused:?} {}", refused.www_authenticate()).contains(token));
});
