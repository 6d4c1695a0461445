//! Values on the command line that more than one command takes.

use std::collections::BTreeMap;

/// What to ask a credential with.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AskArgs {
    /// How long it is to live, such as 90s, 15m or 1h30m [default: the role's ttl]
    #[arg(long, value_parser = duration)]
    pub ttl: Option<String>,
    #[command(flatten)]
    pub params: ParamArgs,
    /// Which of the role's scopes a token is to have, with spaces between [default: all of them]
    #[arg(long, value_name = "SCOPES")]
    pub scope: Option<String>,
}

/// Values for a role's params.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ParamArgs {
    /// A value for one of the role's params; may be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
}

impl ParamArgs {
    /// What was given; nothing if nothing was.
    pub fn given(&self) -> Option<BTreeMap<String, String>> {
        (!self.params.is_empty()).then(|| self.params.iter().cloned().collect())
    }
}

/// A duration, as the text that the API takes.
pub fn duration(text: &str) -> Result<String, String> {
    match humantime::parse_duration(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("a duration such as 90s, 15m or 1h30m is needed: {error}")),
    }
}

fn param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("NAME=VALUE is needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_are_names_and_values() {
        assert_eq!(param("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(param("a="), Ok(("a".into(), String::new())));
        assert!(param("=b").is_err() && param("a").is_err());
        assert!(duration("15m").is_ok() && duration("1h30m").is_ok() && duration("soon").is_err());
    }
}
