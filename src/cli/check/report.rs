//! What `check` prints.

use std::path::{Path, PathBuf};

use leasehold_sdk::{Finding, Level};
use serde::Serialize;

use super::super::output::{Output, json, print, safe};

/// One thing that was found.
#[derive(Debug, Serialize)]
pub struct Found {
    level: &'static str,
    /// The target, or the part of the broker.
    about: String,
    role: Option<String>,
    what: String,
    fix: Option<String>,
}

impl Found {
    pub fn new(level: Level, about: &str, what: String) -> Self {
        Self { level: word(level), about: about.to_owned(), role: None, what, fix: None }
    }

    pub fn of(target: &str, finding: Finding) -> Self {
        let Finding { level, role, what, fix } = finding;
        Self { level: word(level), about: target.to_owned(), role, what: what.to_string(), fix }
    }

    fn line(&self) -> String {
        let role = self.role.as_deref().map(|role| format!("role {}: ", safe(role))).unwrap_or_default();
        let mut text = format!("{:<8}{:<16} {role}{}\n", self.level, safe(&self.about), safe(&self.what));
        for line in self.fix.iter().flat_map(|fix| fix.lines()) {
            text.push_str(&format!("{:24} {}\n", "", safe(line)));
        }
        text
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Good => "good",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

/// All that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    config: PathBuf,
    findings: Vec<Found>,
}

impl Report {
    pub fn new(config: &Path) -> Self {
        Self { config: config.to_owned(), findings: Vec::new() }
    }

    pub fn add(&mut self, found: Vec<Found>) {
        self.findings.extend(found);
    }

    pub fn is_bad(&self) -> bool {
        self.count("error") > 0
    }

    fn count(&self, level: &str) -> usize {
        self.findings.iter().filter(|found| found.level == level).count()
    }

    pub fn print(&self, output: Output) -> anyhow::Result<()> {
        match output {
            Output::Json => json(self),
            Output::Table => print(&self.text()),
        }
    }

    fn text(&self) -> String {
        let mut text: String = self.findings.iter().map(Found::line).collect();
        let (errors, warnings) = (self.count("error"), self.count("warning"));
        text.push_str(&format!("{}: {errors} errors, {warnings} warnings\n", safe(&self.config.to_string_lossy())));
        text
    }
}

/// What must be run in the targets.
#[derive(Debug, Serialize)]
pub struct Installs {
    targets: Vec<Install>,
}

#[derive(Debug, Serialize)]
struct Install {
    target: String,
    sql: Option<String>,
}

impl Installs {
    pub fn of<'a>(targets: impl Iterator<Item = (&'a str, Option<String>)>) -> Self {
        Self { targets: targets.map(|(target, sql)| Install { target: target.to_owned(), sql }).collect() }
    }

    pub fn print(&self, output: Output) -> anyhow::Result<()> {
        match output {
            Output::Json => json(self),
            Output::Table => print(&self.targets.iter().map(Install::text).collect::<Vec<_>>().join("\n")),
        }
    }
}

impl Install {
    /// One script for all targets would be run in the wrong one: each part says where it belongs, as SQL comments do.
    fn text(&self) -> String {
        let sql = self.sql.as_deref().unwrap_or("-- nothing to install");
        let lines: Vec<_> = sql.lines().map(safe_sql).collect();
        format!("-- target {}\n{}\n", safe(&self.target), lines.join("\n"))
    }
}

/// Tabs are harmless in SQL.
fn safe_sql(line: &str) -> String {
    line.split('\t').map(safe).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use leasehold_sdk::Reason;

    use super::*;

    #[test]
    fn a_finding_is_a_line_with_its_remedy_below() {
        let finding = Finding {
            level: Level::Error,
            role: Some("orders-read".into()),
            what: Reason::new("no ADMIN option on orders_reader"),
            fix: Some("GRANT orders_reader TO leasehold\n  WITH ADMIN OPTION;".into()),
        };
        let mut report = Report::new(Path::new("leasehold.toml"));
        report.add(vec![Found::new(Level::Good, "identity", "fine".into()), Found::of("orders", finding)]);
        let text = report.text();
        assert!(report.is_bad());
        assert!(
            text.contains("error   orders           role orders-read: no ADMIN option on orders_reader\n"),
            "{text}"
        );
        assert!(text.contains(" GRANT orders_reader TO leasehold\n"), "{text}");
        assert!(text.ends_with("leasehold.toml: 1 errors, 0 warnings\n"), "{text}");
    }

    #[test]
    fn sql_says_where_it_belongs() {
        let installs = Installs::of([("orders", Some("SELECT 1;\n\tSELECT 2;".to_owned())), ("b", None)].into_iter());
        let text: Vec<_> = installs.targets.iter().map(Install::text).collect();
        assert_eq!(text, ["-- target orders\nSELECT 1;\n\tSELECT 2;\n", "-- target b\n-- nothing to install\n"]);
    }
}
