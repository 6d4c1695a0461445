//! A target's settings: whom its tokens are for.

use leasehold_sdk::{Keys, SettingError, Settings};

/// Longest audience, in bytes.
const AUDIENCE_BYTES_MAX: usize = 512;

/// Audiences of clouds, as they stand in tokens that a cloud exchanges for its own credentials. What a cloud would accept is
/// never a workload's token: whoever had one could become anything that the cloud lets the issuer be.
const CLOUDS: [&str; 6] = [
    "sts.amazonaws.com",
    "sts.amazonaws.com.cn",
    "iam.googleapis.com",
    "sts.googleapis.com",
    "AzureADTokenExchange",
    "sts.aliyuncs.com",
];

/// A target's checked settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetConfig {
    /// The one audience (`aud`).
    pub(crate) audience: String,
}

impl TargetConfig {
    /// Checks a target's settings.
    ///
    /// # Errors
    /// The key that is wrong and why.
    pub(crate) fn read(settings: Settings) -> Result<Self, SettingError> {
        let mut keys = Keys::new(crate::NAME, settings);
        let audience: String =
            keys.required("audience", "who its tokens are for, such as \"https://payments.internal\"")?;
        keys.finish()?;
        let wrong = |why: &str| Err(SettingError::new("audience", why));
        if audience.is_empty() || audience.len() > AUDIENCE_BYTES_MAX || !audience.bytes().all(|b| b.is_ascii_graphic())
        {
            return wrong("must be 1 to 512 printable ASCII characters without spaces");
        }
        if CLOUDS.iter().any(|cloud| contains_ignoring_case(&audience, cloud)) {
            return wrong("is the audience of a cloud: a token that a cloud takes is never handed to a workload");
        }
        Ok(Self { audience })
    }
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(audience: &str) -> Result<TargetConfig, SettingError> {
        let serde_json::Value::Object(settings) = serde_json::json!({ "audience": audience }) else { unreachable!() };
        TargetConfig::read(settings)
    }

    #[test]
    fn an_audience_is_one_text_and_no_clouds() {
        assert_eq!(read("https://payments.internal").unwrap().audience, "https://payments.internal");
        for bad in [
            "",
            "two words",
            "new\nline",
            "sts.amazonaws.com",
            "https://STS.amazonaws.com/",
            "api://AzureADTokenExchange",
        ] {
            assert_eq!(read(bad).unwrap_err().key, "audience", "{bad:?}");
        }
        assert!(read("//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x").is_err());
        assert!(TargetConfig::read(Settings::new()).unwrap_err().why.contains("is missing"));
    }
}
