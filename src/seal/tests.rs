//! What opens and what does not.

use std::io::Read;

use proptest::prelude::*;

use super::*;

fn key_file(dir: &std::path::Path, name: &str) -> KeySource {
    let source = KeySource::File(dir.join(name));
    source.make_if_missing().unwrap();
    source
}

fn place() -> Place<'static> {
    Place { cluster: "c1", table: "sealed", kind: "admin_password", name: "orders", generation: 7 }
}

#[test]
fn it_opens_at_its_place_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::read(&key_file(dir.path(), "a"), &[]).unwrap();
    let sealed = ring.seal(&place(), &SecretString::from("hush")).unwrap();
    assert!(!sealed.blob.contains("hush"));
    assert_eq!(ring.open(&place(), &sealed).unwrap().expose_secret(), "hush");
    let elsewhere = [
        Place { cluster: "c2", ..place() },
        Place { table: "file", ..place() },
        Place { kind: "x", ..place() },
        Place { name: "billing", ..place() },
        Place { generation: 6, ..place() },
        // The same letters in other parts.
        Place { kind: "admin_passwordo", name: "rders", ..place() },
    ];
    for other in elsewhere {
        assert_eq!(ring.open(&other, &sealed).unwrap_err(), SealError::Broken, "{other:?}");
    }
}

#[test]
fn an_old_key_opens_what_it_sealed_and_the_new_one_seals() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (key_file(dir.path(), "old"), key_file(dir.path(), "new"));
    let before = KeyRing::read(&old, &[]).unwrap();
    let sealed = before.seal(&place(), &SecretString::from("hush")).unwrap();
    let both = KeyRing::read(&new, std::slice::from_ref(&old)).unwrap();
    assert_eq!(both.open(&place(), &sealed).unwrap().expose_secret(), "hush");
    assert_eq!(&both.seal(&place(), &SecretString::from("x")).unwrap().key_id, both.current());
    assert_ne!(both.current(), before.current());
    let without = KeyRing::read(&new, &[]).unwrap();
    assert_eq!(without.open(&place(), &sealed).unwrap_err(), SealError::UnknownKey(before.current().clone()));
}

proptest! {
    #[test]
    fn one_changed_bit_is_enough(byte in 0_usize..40, bit in 0_u8..8) {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::read(&key_file(dir.path(), "a"), &[]).unwrap();
        let sealed = ring.seal(&place(), &SecretString::from("0123456789ab")).unwrap();
        let mut raw = BASE64.decode(sealed.blob.as_bytes()).unwrap();
        raw[byte] ^= 1 << bit;
        let changed = Sealed { blob: BASE64.encode(&raw), ..sealed };
        prop_assert_eq!(ring.open(&place(), &changed).unwrap_err(), SealError::Broken);
    }
}

#[test]
fn a_key_file_is_made_once_and_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let source = key_file(dir.path(), "k");
    let first = source.read().unwrap().id().clone();
    source.make_if_missing().unwrap();
    assert_eq!(*source.read().unwrap().id(), first);
    let mode = std::fs::metadata(dir.path().join("k")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_no_key_is_refused_without_telling_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k");
    for text in ["", "canary", "Y2FuYXJ5", &"A".repeat(5000)] {
        std::fs::write(&file, text).unwrap();
        let said = KeySource::File(file.clone()).read().err().unwrap().to_string();
        assert!(said.contains("k") && !said.contains("canary") && !said.contains("Y2FuYXJ5"), "{said}");
    }
    let command = |words: &[&str]| KeySource::Command(words.iter().map(|w| (*w).to_owned()).collect()).read();
    let key = BASE64.encode(&[7; 32]);
    assert!(command(&["echo", &key]).is_ok());
    assert!(command(&["false"]).is_err());
    assert!(command(&["/no/such/program"]).is_err());
    assert!(KeySource::SystemdCredential("k".to_owned()).read().is_err());
}

#[test]
fn a_recovery_file_is_read_entry_by_entry() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("recovery.age");
    let identity = age::x25519::Identity::generate();
    let recovery = Recovery::new(&[&identity.to_public().to_string()], file.clone()).unwrap();
    for (generation, secret) in [(1, "first"), (2, "second")] {
        let secret = SecretString::from(secret);
        let entry =
            RecoveryEntry { cluster: "c1", target: "orders", generation, at: "now".to_owned(), secret: &secret };
        recovery.append(&entry).unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("first"));
    let second = text.split("# target orders generation 2").nth(1).unwrap();
    let armored = &second[second.find("-----BEGIN").unwrap()..];
    let decryptor = age::Decryptor::new(age::armor::ArmoredReader::new(armored.trim_end().as_bytes())).unwrap();
    let mut plain = String::new();
    let mut reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).unwrap();
    reader.read_to_string(&mut plain).unwrap();
    assert_eq!(plain, "cluster c1\ntarget orders\ngeneration 2\npassword second\n");
    assert_eq!(Recovery::new(&["age1nonsense"], file).unwrap_err(), "age1nonsense");
}
