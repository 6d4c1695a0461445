//! What a proxy's configuration wants of a token. Everything that is said has to hold, so that whoever adds to a question can only
//! make it stricter.

use axum::http::HeaderMap;

/// Headers that say the same as the query, for proxies that cannot set one of their own.
const SCOPE_HEADER: &str = "x-required-scope";
const CLAIMS_HEADER: &str = "x-required-claims";

/// Most scopes and claims of a question.
const WANTED_MAX: usize = 32;

/// What is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    scopes: Vec<String>,
    claims: Vec<(String, String)>,
}

impl Question {
    /// From `scope=a&scope=b&claim.tenant=42`; several scopes may stand in one, with spaces between.
    ///
    /// # Errors
    /// What is not understood: what is wanted must not be less than somebody has meant.
    pub(super) fn of_query(pairs: Vec<(String, String)>) -> Result<Self, &'static str> {
        let mut question = Self::default();
        for (name, value) in pairs {
            match name.strip_prefix("claim.") {
                None if name == "scope" => question.want_scopes(&value)?,
                Some(claim) if !claim.is_empty() && !value.is_empty() => {
                    question.claims.push((claim.to_owned(), value))
                }
                _ => return Err("only scope=NAME and claim.NAME=VALUE can be asked, each with a value"),
            }
        }
        question.bounded()
    }

    /// The same with what the headers want, too: `X-Required-Scope: a b` and `X-Required-Claims: tenant=42; region=eu`.
    ///
    /// # Errors
    /// As for a query.
    pub(super) fn and_headers(mut self, headers: &HeaderMap) -> Result<Self, &'static str> {
        for value in headers.get_all(SCOPE_HEADER) {
            self.want_scopes(value.to_str().map_err(|_| "X-Required-Scope is not ASCII")?)?;
        }
        for value in headers.get_all(CLAIMS_HEADER) {
            for pair in value.to_str().map_err(|_| "X-Required-Claims is not ASCII")?.split(';') {
                let pair = pair.trim().split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
                let (name, value) = pair.ok_or("X-Required-Claims must be NAME=VALUE; NAME=VALUE")?;
                self.claims.push((name.to_owned(), value.to_owned()));
            }
        }
        self.bounded()
    }

    pub(super) fn scopes(&self) -> Vec<&str> {
        self.scopes.iter().map(String::as_str).collect()
    }

    pub(super) fn claims(&self) -> Vec<(&str, &str)> {
        self.claims.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    fn want_scopes(&mut self, text: &str) -> Result<(), &'static str> {
        let before = self.scopes.len();
        self.scopes.extend(text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned));
        // A variable of the proxy that is empty by mistake must not want nothing.
        if self.scopes.len() == before { Err("an empty scope is wanted") } else { Ok(()) }
    }

    fn bounded(self) -> Result<Self, &'static str> {
        let is_small = self.scopes.len() <= WANTED_MAX && self.claims.len() <= WANTED_MAX;
        if is_small { Ok(self) } else { Err("more than 32 scopes or claims are wanted") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<Question, &'static str> {
        Question::of_query(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn all_that_is_said_is_wanted() {
        let question =
            query(&[("scope", "a b"), ("claim.tenant", "42"), ("scope", "c"), ("claim.tenant", "43")]).unwrap();
        assert_eq!(question.scopes(), ["a", "b", "c"]);
        // Both: no token has two values for one claim, so nobody is let in.
        assert_eq!(question.claims(), [("tenant", "42"), ("tenant", "43")]);
        assert_eq!(query(&[]).unwrap(), Question::default());
        let mut headers = HeaderMap::new();
        headers.append(SCOPE_HEADER, "d e".parse().unwrap());
        headers.append(SCOPE_HEADER, "f".parse().unwrap());
        headers.append(CLAIMS_HEADER, "tenant=42; region=a=b".parse().unwrap());
        let question = query(&[("scope", "a")]).unwrap().and_headers(&headers).unwrap();
        assert_eq!(question.scopes(), ["a", "d", "e", "f"]);
        assert_eq!(question.claims(), [("tenant", "42"), ("region", "a=b")]);
    }

    #[test]
    fn what_is_not_understood_is_not_passed_over() {
        for pairs in [
            [("scopes", "a")],
            [("scope", "")],
            [("scope", " ")],
            [("claim.", "x")],
            [("claim.tenant", "")],
            [("", "")],
        ] {
            assert!(query(&pairs).is_err(), "{pairs:?}");
        }
        for (name, value) in
            [(SCOPE_HEADER, ""), (CLAIMS_HEADER, ""), (CLAIMS_HEADER, "tenant"), (CLAIMS_HEADER, "tenant=")]
        {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert!(Question::default().and_headers(&headers).is_err(), "{name} {value:?}");
        }
        assert!(query(&[("scope", "a "); 33]).is_err());
    }
}
