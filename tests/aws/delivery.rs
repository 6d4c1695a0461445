//! The SDKs of AWS as customers: by the agent's endpoint, by `credential_process`, by the environment and by a profile.
