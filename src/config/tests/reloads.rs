//! What a changed file is refused for, and what not.

use super::*;

/// `GOOD` with a second target, which no role uses.
fn two_targets() -> String {
    GOOD.to_owned() + "[targets.\"b.c\"]\nplugin = \"fake\"\nurl = \"fake://u@b:1/c\"\n"
}

fn orphans(before: &str, next: &str, unended: &[(&str, u64)]) -> Vec<String> {
    let next = good(next);
    let unended = unended.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    match changes(&Remembered::of(&good(before)), &next).refuse_orphans(&next, &unended) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|e| format!("{}: {}: {}", e.line.unwrap(), e.key, e.why)).collect(),
    }
}

#[test]
fn a_dropped_target_with_leases_is_refused_with_their_number() {
    let said = orphans(&two_targets(), GOOD, &[("b.c", 3), ("orders", 5)]);
    assert_eq!(said.len(), 1, "{said:?}");
    let want =
        "12: targets.\"b.c\": this target is no longer in the file and would leave behind 3 leases that have not ended";
    assert!(said[0].starts_with(want), "{said:?}");
    assert!(said[0].contains("retired = true") && said[0].contains("leasehold target forget b.c"), "{said:?}");
    assert!(orphans(&two_targets(), GOOD, &[("orders", 5)]).is_empty());
    // Retired or not: out of the file, its leases could never be ended.
    let retired = two_targets() + "retired = true\n";
    assert_eq!(orphans(&retired, GOOD, &[("b.c", 3)]).len(), 1);
}

#[test]
fn a_re_pointed_target_with_leases_is_refused_with_their_number() {
    let moved = with_line(GOOD, 14, "url = \"fake://admin@elsewhere:1/orders\"");
    let said = orphans(GOOD, &moved, &[("orders", 1)]);
    let want = "14: targets.orders.url: pointing this target from fake fake://db:1/orders to fake fake://elsewhere:1/orders \
                would leave behind 1 lease that has not ended";
    assert!(said[0].starts_with(want), "{said:?}");
    assert!(orphans(GOOD, &moved, &[]).is_empty());
    assert!(orphans(GOOD, &(moved.replace("plugin", "retired = true\nplugin")), &[("orders", 1)]).is_empty());
    let other_login = with_line(GOOD, 14, "url = \"fake://root@db:1/orders\"");
    assert!(orphans(GOOD, &other_login, &[("orders", 1)]).is_empty());
}

#[test]
fn the_memory_survives_a_restart_and_names_alone_do_for_a_first_one() {
    let next = good(GOOD);
    let kept = serde_json::to_string(&Remembered::of(&good(&two_targets()))).unwrap();
    let before: Remembered = serde_json::from_str(&kept).unwrap();
    assert_eq!(changes(&before, &next).targets.keys().collect::<Vec<_>>(), ["b.c"]);
    let before = Remembered::default().and_names(&["gone".to_owned(), "orders".to_owned()]);
    assert_eq!(changes(&before, &next).targets.keys().collect::<Vec<_>>(), ["gone"]);
}

#[test]
fn what_was_fixed_at_start_needs_a_restart() {
    let running = good(GOOD);
    for (number, line, want) in [
        (2, "cluster = \"other\"", "2: broker.cluster"),
        (5, "api = \"127.0.0.1:1\"", "5: listen.api"),
        (6, "ops = \"127.0.0.1:1\"", "6: listen.ops"),
        (5, "api = \"127.0.0.1:0\"\npublic = \"127.0.0.1:1\"", "6: listen.public"),
        (9, "svid = { cert = \"other.pem\", key = \"broker-key.pem\" }", "7: identity"),
        (22, "roles = [\"orders-read\"]\n[store]\nurl = \"sqlite:///x.db\"", "23: store"),
        (22, "roles = [\"orders-read\"]\n[[audit]]\nstdout = true", "23: audit"),
    ] {
        let errors = needs_restart(&running, &good(&with_line(GOOD, number, line))).unwrap_err().to_string();
        assert!(
            errors.contains(&format!("leasehold.toml:{want}: a change of this takes effect only at start")),
            "{errors}"
        );
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    let shown = |cert: &str| {
        let tls = format!("public = \"127.0.0.1:1\"\npublic_tls = {{ cert = \"{cert}\", key = \"key.pem\" }}");
        good(&with_line(GOOD, 5, &tls))
    };
    let errors = needs_restart(&shown("a.pem"), &shown("b.pem")).unwrap_err().to_string();
    assert!(
        errors.contains("leasehold.toml:6: listen.public_tls: a change") && errors.lines().count() == 1,
        "{errors}"
    );
    let moved = needs_restart(&running, &good(&with_line(GOOD, 3, "data_dir = \"/other\""))).unwrap_err();
    assert!(moved.iter().any(|e| e.key == "broker.data_dir"), "{moved}");
    assert!(needs_restart(&running, &good(&two_targets())).is_ok());
}
