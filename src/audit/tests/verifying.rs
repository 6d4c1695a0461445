use proptest::prelude::*;

use super::*;

/// Bytes of a log of eight lines, and its head.
fn sample() -> (Vec<u8>, AuditHead) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let head = runtime.block_on(written(&path, 8));
    (std::fs::read(&path).unwrap(), head)
}

fn check(bytes: &[u8], known: Option<&AuditHead>) -> Result<ChainReport, Faults> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    std::fs::write(&path, bytes).unwrap();
    checked(&[&path], &demands(known))
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_is_found(flips in prop::collection::vec(any::<prop::sample::Index>(), 16)) {
        let (bytes, head) = sample();
        for flip in flips {
            let bit = flip.index(bytes.len() * 8);
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(check(&changed, Some(&head)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn any_line_dropped_repeated_swapped_or_moved_is_found(a in 0usize..8, b in 0usize..8) {
        let (bytes, head) = sample();
        let lines = split(&bytes);
        let mut dropped = lines.clone();
        dropped.remove(a);
        let verdict = check(&dropped.concat(), Some(&head));
        // Without its first line a log is the end of a longer one: whole, and it says where it begins.
        let is_found = if a == 0 { verdict.unwrap().first.unwrap().0 == 2 } else { verdict.is_err() };
        prop_assert!(is_found);
        if a != 0 && a != 7 {
            prop_assert!(check(&dropped.concat(), None).is_err());
        }

        let mut repeated = lines.clone();
        repeated.insert(b, lines[a].clone());
        prop_assert!(check(&repeated.concat(), Some(&head)).is_err());
        if a != b {
            let mut swapped = lines.clone();
            swapped.swap(a, b);
            prop_assert!(check(&swapped.concat(), Some(&head)).is_err());
            let mut moved = lines.clone();
            let line = moved.remove(a);
            moved.insert(b, line);
            prop_assert!(check(&moved.concat(), Some(&head)).is_err());
        }
    }

    #[test]
    fn any_cut_tail_is_found_with_the_known_head(keep in any::<prop::sample::Index>()) {
        let (bytes, head) = sample();
        let keep = keep.index(bytes.len());
        prop_assert!(check(&bytes[..keep], Some(&head)).is_err());
    }
}

#[test]
fn a_line_made_by_another_hand_is_found() {
    let (bytes, head) = sample();
    let (other, other_head) = sample();
    let mut lines = split(&bytes);
    lines[3] = split(&other)[3].clone();
    assert!(check(&lines.concat(), None).unwrap_err().to_string().contains(":4: "));
    // All of it, whole in itself: only the head gives it away.
    check(&other, None).unwrap();
    assert!(head != other_head || bytes == other, "two logs of different times have different heads");
    if bytes != other {
        assert!(check(&other, Some(&head)).unwrap_err().to_string().contains("the log was rewritten"));
    }
}

#[test]
fn garbage_gets_a_clear_word_and_bounded_memory() {
    let (bytes, _) = sample();
    for (garbage, word) in [
        (&b"\n"[..], "not a line"),
        (b"{}\n", "not a line"),
        (b"\xff\xfe\xfd\n", "not a line"),
        (&[b'x'; 300_000], "longer than"),
        (b"{\"seq\":9", "torn"),
    ] {
        let broken = check(&[&bytes, garbage].concat(), None).unwrap_err();
        assert_eq!(broken.0[0].place.as_ref().unwrap().1, 9);
        assert!(broken.to_string().contains(word), "{broken}");
    }
    let broken = verify(&[PathBuf::from("absent.jsonl")], &Demands::default()).unwrap_err();
    assert!(broken.to_string().starts_with("absent.jsonl:0: cannot be read"), "{broken}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, b"").unwrap();
    assert_eq!(verify(std::slice::from_ref(&path), &Demands::default()).unwrap().chains, []);
    std::fs::write(&path, &bytes).unwrap();
    let another = Demands { only: Some("another".into()), ..Demands::default() };
    assert!(verify(&[path], &another).unwrap_err().to_string().contains("of the chain"));
}
