//! Names of things in AWS (`arn:partition:service:region:account:resource`).

/// Longest ARN of a role, in bytes (IAM: `RoleArn`).
const ARN_BYTES_MAX: usize = 2048;

/// The parts of an ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov` and so on.
    pub(crate) partition: &'a str,
    /// Such as `iam`.
    pub(crate) service: &'a str,
    /// Twelve digits; empty or `aws` for what belongs to AWS.
    pub(crate) account: &'a str,
    /// Such as `role/team/invoices`.
    pub(crate) resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Reads one.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let plain =
            text.len() <= ARN_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        let mut parts = text.strip_prefix("arn:").filter(|_| plain)?.splitn(5, ':');
        let arn = Self {
            partition: parts.next().filter(|partition| partition.starts_with("aws"))?,
            service: parts.next()?,
            account: parts.next().and_then(|_region| parts.next())?,
            resource: parts.next().filter(|resource| !resource.is_empty())?,
        };
        Some(arn)
    }

    /// A role of IAM: its name without its path.
    pub(crate) fn role_name(&self) -> Option<&'a str> {
        let path = self.resource.strip_prefix("role/").filter(|_| self.service == "iam" && self.has_account())?;
        path.rsplit('/').next().filter(|name| !name.is_empty() && !path.contains('*'))
    }

    /// The name of the role whose session this is (`arn:aws:sts::…:assumed-role/name/session`).
    pub(crate) fn session_of(&self) -> Option<&'a str> {
        self.resource.strip_prefix("assumed-role/").filter(|_| self.service == "sts")?.split('/').next()
    }

    /// Whether it is a managed policy, ours or AWS's.
    pub(crate) fn is_policy(&self) -> bool {
        self.service == "iam" && (self.has_account() || self.account == "aws") && self.resource.starts_with("policy/")
    }

    fn has_account(&self) -> bool {
        self.account.len() == 12 && self.account.bytes().all(|b| b.is_ascii_digit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_policies_are_told_apart() {
        let role = Arn::parse("arn:aws:iam::123456789012:role/team/invoices").unwrap();
        assert_eq!((role.role_name(), role.account, role.is_policy()), (Some("invoices"), "123456789012", false));
        assert!(Arn::parse("arn:aws:iam::aws:policy/ReadOnlyAccess").unwrap().is_policy());
        let session = Arn::parse("arn:aws-cn:sts::123456789012:assumed-role/leasehold/x").unwrap();
        assert_eq!((session.session_of(), session.partition), (Some("leasehold"), "aws-cn"));
        for none in ["", "arn:aws:iam::123456789012", "arn:gcp:iam::1:role/x", "arn:aws:iam::1:role/\"x"] {
            assert_eq!(Arn::parse(none), None, "{none}");
        }
        for none in ["arn:aws:iam::1:role/x", "arn:aws:iam::123456789012:role/", "arn:aws:iam::123456789012:role/*"] {
            assert_eq!(Arn::parse(none).unwrap().role_name(), None, "{none}");
        }
    }
}
