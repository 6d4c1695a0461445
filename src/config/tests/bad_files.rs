//! What is wrong is said, with its line and key, all of it at once.

use proptest::prelude::*;

use super::*;

#[test]
fn each_wrong_line_is_named() {
    let mut wrong = String::new();
    let text = include_str!("bad_lines.txt");
    for case in text.split("\n\n").skip(1) {
        let mut lines = case.lines();
        let (number, line) = lines.next().and_then(|l| l.split_once(' ')).expect("NUMBER LINE");
        let want: Vec<&str> = lines.map(str::trim_start).collect();
        let line = line.replace(" ⏎ ", "\n");
        let found = errors(&with_line(GOOD, number.parse().expect("a number"), &line));
        let same = want.len() == found.len() && want.iter().all(|w| found.iter().any(|f| f.starts_with(w)));
        if !same || found.concat().contains("canary") {
            wrong += &format!("{case}\n  but was:\n    {}\n\n", found.join("\n    "));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn everything_is_told_at_once_and_in_the_order_of_the_file() {
    let text =
        with_line(&with_line(&with_line(GOOD, 2, "cluster = \"\""), 17, "ttl = \"0s\""), 22, "roles = [\"nope\"]");
    let lines: Vec<String> = errors(&text).iter().map(|e| e.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["2", "17", "22"]);
}

#[test]
fn an_error_reads_as_the_design_says() {
    let text = with_line(GOOD, 17, "ttl = \"1h\"\noverlap = \"1h\"");
    let error = read(&text).unwrap_err().to_string();
    assert!(error.starts_with("/etc/leasehold/leasehold.toml:18: roles.orders-read.overlap: "), "{error}");
}

#[test]
fn files_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("leasehold.toml");
    let said = || load(&path, &[Box::new(fake::Fake)], "i").unwrap_err().to_string();
    assert!(said().contains("leasehold.toml: cannot be read: "), "{}", said());
    std::fs::write(&path, b"a = 1\n\xff").unwrap();
    assert!(said().ends_with("leasehold.toml:2: is not UTF-8"), "{}", said());
    std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(said().ends_with("is larger than 1048576 bytes"), "{}", said());
}

fn any_line() -> impl Strategy<Value = String> {
    let words = "(broker|zones|roles|targets|grants|params|ttl|limits|audit|identity|bundles|svid|a|\"\"|\"x.y\")";
    let values =
        "(1|-1|0x9|1e999|nan|\"s\"|\"1h\"|true|\\[\\]|\\[1,\"*\"\\]|\\{\\}|\\{a=1\\}|1979-05-27|\\[\\[\\[|\\})";
    let regex = |form: &str| proptest::string::string_regex(form).unwrap();
    prop_oneof![
        regex(&format!("\\[{words}(\\.{words})?\\]")),
        regex(&format!("\\[\\[{words}(\\.{words})?\\]\\]")),
        regex(&format!("{words}(\\.{words})? ?= ?{values}")),
        regex("[ -~\n]{0,20}"),
        regex("\\PC{0,8}"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_it_panic_and_each_error_has_a_line(lines in proptest::collection::vec(any_line(), 0..12)) {
        let text = lines.join("\n");
        let last = text.lines().count().max(1) + 1;
        let errors = read(&text).expect_err("the broker has no name");
        for error in errors.iter() {
            prop_assert!(error.line.is_some_and(|n| (1..=last).contains(&n)), "{error}");
            prop_assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn a_spoiled_good_file_never_panics(line in 1..=22usize, new in any_line()) {
        let _ = read(&with_line(GOOD, line, &new));
    }
}
