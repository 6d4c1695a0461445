//! Writing a broker's configuration file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Builds the TOML file of one test broker, with every file it names in one directory and every port chosen by the kernel.
///
/// Parts that a test does not set have the values most tests want: store `leasehold.db`, audit log `audit.jsonl`,
/// SVID `broker.pem` and `broker-key.pem`, bundle `bundle.pem`, all in the directory.
#[derive(Clone)]
pub struct ConfigFile {
    dir: PathBuf,
    cluster: String,
    trust_domain: String,
    store_url: String,
    store_lines: String,
    broker: String,
    api: String,
    listen: String,
    svid: String,
    bundles: String,
    audit: String,
    limits: String,
    tables: String,
}

impl ConfigFile {
    /// A broker of this cluster in this trust domain, with its files in `dir`.
    #[must_use]
    pub fn new(dir: &Path, cluster: &str, trust_domain: &str) -> Self {
        Self {
            dir: dir.to_owned(),
            cluster: cluster.to_owned(),
            trust_domain: trust_domain.to_owned(),
            store_url: format!("sqlite://{}/leasehold.db", dir.display()),
            store_lines: String::new(),
            broker: String::new(),
            api: "127.0.0.1:0".to_owned(),
            listen: String::new(),
            svid: "{ cert = \"broker.pem\", key = \"broker-key.pem\" }".to_owned(),
            bundles: format!("{} = {{ file = \"bundle.pem\" }}\n", quoted(trust_domain)),
            audit: "\n[[audit]]\nfile = \"audit.jsonl\"\nrequired = true\n".to_owned(),
            limits: String::new(),
            tables: String::new(),
        }
    }

    /// The directory of its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The audit log that it names unless [`ConfigFile::audit`] says otherwise.
    #[must_use]
    pub fn audit_path(&self) -> PathBuf {
        self.dir.join("audit.jsonl")
    }

    /// A line of `[broker]`, such as `zones = ["restricted"]`.
    #[must_use]
    pub fn broker(mut self, line: &str) -> Self {
        let _ = writeln!(self.broker, "{line}");
        self
    }

    /// `listen.api`, for a broker that must tell others beforehand where it will be.
    #[must_use]
    pub fn api(mut self, address: &str) -> Self {
        address.clone_into(&mut self.api);
        self
    }

    /// A line of `[listen]`, such as `public = "127.0.0.1:0"`.
    #[must_use]
    pub fn listen(mut self, line: &str) -> Self {
        let _ = writeln!(self.listen, "{line}");
        self
    }

    /// The broker's SVID and the bundles of these domains come from the Workload API at this address, and no other bundles are
    /// there.
    #[must_use]
    pub fn workload_api(mut self, address: &str, domains: &[&str]) -> Self {
        self.svid = format!("{{ workload_api = {} }}", quoted(address));
        self.bundles = domains.iter().map(|d| format!("{} = {{ workload_api = true }}\n", quoted(d))).collect();
        self
    }

    /// `store.url`.
    #[must_use]
    pub fn store(mut self, url: &str) -> Self {
        url.clone_into(&mut self.store_url);
        self
    }

    /// The same for another broker: its files are in `to`, where those that it needs are copied.
    ///
    /// # Panics
    /// When they cannot be copied.
    #[must_use]
    pub fn in_another_directory(&self, to: &Path) -> Self {
        for entry in std::fs::read_dir(&self.dir).expect("list the files").flatten() {
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text.ends_with(".pem") || text.ends_with("-password") || text.ends_with(".key") {
                std::fs::copy(entry.path(), to.join(&name)).expect("copy a file");
            }
        }
        Self { dir: to.to_owned(), ..self.clone() }
    }

    /// A PostgreSQL store: this URL, and this password in a file of its own.
    ///
    /// # Panics
    /// When the password's file cannot be written.
    #[must_use]
    pub fn postgres_store(mut self, url: &str, password: &str) -> Self {
        std::fs::write(self.dir.join("store-password"), format!("{password}\n")).expect("write the store's password");
        self.store_lines = "password = { file = \"store-password\" }\n".to_owned();
        self.store(url)
    }

    /// The store in a file, as it is unless said otherwise.
    #[must_use]
    pub fn file_store(mut self) -> Self {
        self.store_lines.clear();
        let url = format!("sqlite://{}/leasehold.db", self.dir.display());
        self.store(&url)
    }

    /// A further line of `[store]`.
    #[must_use]
    pub fn store_line(mut self, line: &str) -> Self {
        let _ = writeln!(self.store_lines, "{line}");
        self
    }

    /// One more trust domain, with its bundle in a file.
    #[must_use]
    pub fn bundle(self, trust_domain: &str, file: &str) -> Self {
        self.bundle_from(trust_domain, &format!("{{ file = {} }}", quoted(file)))
    }

    /// The same from this source, such as `{ url = "…", profile = "https_web" }`.
    #[must_use]
    pub fn bundle_from(mut self, trust_domain: &str, source: &str) -> Self {
        let _ = writeln!(self.bundles, "{} = {source}", quoted(trust_domain));
        self
    }

    /// All `[[audit]]` tables, in place of the one that is there.
    #[must_use]
    pub fn audit(mut self, tables: &str) -> Self {
        self.audit = format!("\n{tables}\n");
        self
    }

    /// A line of `[limits]`.
    #[must_use]
    pub fn limit(mut self, key: &str, value: u64) -> Self {
        let _ = writeln!(self.limits, "{key} = {value}");
        self
    }

    /// `[targets.NAME]` with these lines.
    #[must_use]
    pub fn target(self, name: &str, lines: &str) -> Self {
        self.table(&format!("[targets.{}]", quoted(name)), lines)
    }

    /// `[targets.NAME]` of the plugin `postgres`: this URL, this password in a file of its own, and further lines.
    ///
    /// # Panics
    /// When the password's file cannot be written.
    #[must_use]
    pub fn postgres(self, name: &str, url: &str, password: &str, more: &str) -> Self {
        let file = format!("{name}-password");
        std::fs::write(self.dir.join(&file), format!("{password}\n")).expect("write the target's password");
        let lines =
            format!("plugin = \"postgres\"\nurl = {}\npassword = {{ file = {} }}\n{more}", quoted(url), quoted(&file));
        self.target(name, &lines)
    }

    /// `[roles.NAME]` with these lines.
    #[must_use]
    pub fn role(self, name: &str, lines: &str) -> Self {
        self.table(&format!("[roles.{}]", quoted(name)), lines)
    }

    /// A `[[grants]]` table: these identities may do these actions on these roles.
    #[must_use]
    pub fn grant(self, name: &str, identities: &[&str], roles: &[&str], actions: &[&str]) -> Self {
        let lines = format!(
            "name = {}\nidentities = {}\nroles = {}\nactions = {}",
            quoted(name),
            array(identities),
            array(roles),
            array(actions)
        );
        self.table("[[grants]]", &lines)
    }

    /// Any further text, after all else.
    #[must_use]
    pub fn table(mut self, heading: &str, lines: &str) -> Self {
        let _ = write!(self.tables, "\n{heading}\n{lines}\n");
        self
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            cluster,
            trust_domain,
            store_url,
            store_lines,
            broker,
            api,
            listen,
            svid,
            bundles,
            audit,
            limits,
            tables,
            ..
        } = self;
        let (cluster, trust_domain, store_url) = (quoted(cluster), quoted(trust_domain), quoted(store_url));
        let api = quoted(api);
        let data_dir = quoted(&self.dir.to_string_lossy());
        format!(
            "[broker]\ncluster = {cluster}\ndata_dir = {data_dir}\n{broker}\n\
             [listen]\napi = {api}\nops = \"127.0.0.1:0\"\n{listen}\n\
             [identity]\ntrust_domain = {trust_domain}\nsvid = {svid}\n\n\
             [identity.bundles]\n{bundles}\n[store]\nurl = {store_url}\n{store_lines}{audit}\n[limits]\n{limits}{tables}"
        )
    }

    /// Writes `leasehold.toml` in one step, so that a running broker never reads half of it, and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self) -> PathBuf {
        let path = self.dir.join("leasehold.toml");
        let next = self.dir.join("leasehold.toml.next");
        std::fs::write(&next, self.text()).expect("write the configuration");
        std::fs::rename(&next, &path).expect("put the configuration in its place");
        path
    }
}

fn array(items: &[&str]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_for_toml() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\u000A""#);
        assert_eq!(array(&["a", "b"]), r#"["a", "b"]"#);
    }

    #[test]
    fn tables_come_after_the_fixed_part() {
        let text = ConfigFile::new(Path::new("/x"), "test", "dev.local")
            .limit("body_bytes_max", 9)
            .role("r", "ttl = \"1h\"")
            .text();
        assert!(text.ends_with("[limits]\nbody_bytes_max = 9\n\n[roles.\"r\"]\nttl = \"1h\"\n"), "{text}");
    }
}
