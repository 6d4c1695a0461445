//! Policy documents out of files.

use std::path::{Path, PathBuf};

use leasehold_sdk::SettingError;
use serde::Deserialize;
use serde_json::Value;

/// Largest file that is read, in bytes: white space counts for nothing at AWS.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where a document is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Source {
    /// A file, relative to the configuration's.
    File(PathBuf),
}

impl Source {
    /// The document without white space, at most `most` characters of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(self, key: &'static str, base: &Path, most: usize) -> Result<String, SettingError> {
        let Self::File(path) = self;
        let path = base.join(path);
        let wrong = |why: String| SettingError::new(format!("{key}.file"), format!("{}: {why}", path.display()));
        let size = std::fs::metadata(&path).map_err(|e| wrong(e.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(wrong(format!("is larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
        let document: Value = serde_json::from_str(&text).map_err(|e| wrong(format!("is no JSON: {e}")))?;
        check(&document).map_err(wrong)?;
        let text = document.to_string();
        let length = text.chars().count();
        if length > most {
            return Err(wrong(format!(
                "has {length} characters without white space, {most} is the most that AWS takes"
            )));
        }
        Ok(text)
    }
}

/// What every policy is: AWS judges the rest.
fn check(document: &Value) -> Result<(), String> {
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.as_slice(),
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        _ => return Err("is no policy: it has no Statement".into()),
    };
    if statements.iter().any(|statement| !matches!(statement["Effect"].as_str(), Some("Allow" | "Deny"))) {
        return Err("has a statement whose Effect is neither Allow nor Deny".into());
    }
    if statements.iter().any(|statement| statement.get("Principal").is_some()) {
        return Err("has a Principal: the policy of a session or a user names none".into());
    }
    // Without it AWS reads a document of 2008, in which variables are plain text.
    match document["Version"].as_str() {
        Some("2012-10-17") => Ok(()),
        _ => Err("must say \"Version\": \"2012-10-17\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_policy_is_refused_with_its_file() {
        let dir = std::env::temp_dir().join(format!("leasehold-policy-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let read = |text: &str| {
            std::fs::write(dir.join("p.json"), text).unwrap();
            Source::File("p.json".into()).read("session_policy", &dir, 120).map_err(|e| (e.key, e.why))
        };
        let good =
            r#"{ "Version": "2012-10-17", "Statement": [ {"Effect": "Allow", "Action": "s3:*", "Resource": "*"} ] }"#;
        assert!(read(good).unwrap().contains(r#""Version":"2012-10-17""#));
        for (text, why) in [
            ("", "no JSON"),
            ("{}", "no Statement"),
            (r#"{"Version": "2012-10-17", "Statement": []}"#, "no Statement"),
            (r#"{"Version": "2012-10-17", "Statement": {"Effect": "Maybe"}}"#, "Effect"),
            (r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*"}}"#, "Principal"),
            (r#"{"Version": "2008-10-17", "Statement": {"Effect": "Allow"}}"#, "2012-10-17"),
            (&good.replace("s3:*", &"x".repeat(100)), "characters"),
        ] {
            let (key, said) = read(text).unwrap_err();
            assert!(key == "session_policy.file" && said.contains(why) && said.contains("p.json"), "{text}: {said}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
