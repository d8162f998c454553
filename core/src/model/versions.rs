//! Which versions of a model new jobs get: the setting `models.versions` as a pure decision. It never looks at files, and it never takes a version
//! away from jobs that were accepted for it.

use std::str::FromStr;

use crate::id::{ModelName, ModelVersion};

/// Which versions are served to new jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionPolicy {
    latest_only: bool,
    /// Models of which exactly these versions are served.
    named: Vec<(ModelName, ModelVersion)>,
}

impl VersionPolicy {
    /// Whether `version` of `name` is served, when `newest` is the newest version of that model that can be.
    #[must_use]
    pub fn serves(&self, name: &ModelName, version: &ModelVersion, newest: &ModelVersion) -> bool {
        let mut named = self.named.iter().filter(|(of, _)| of == name).peekable();
        match named.peek() {
            Some(_) => named.any(|(_, named)| named == version),
            None => !self.latest_only || version == newest,
        }
    }
}

/// Why a policy cannot be read: what it must be instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be \"all\" or \"latest\", and after that any number of NAME/VERSION, separated by commas; {0:?} is none of these")]
pub struct InvalidPolicy(String);

impl FromStr for VersionPolicy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(',').map(str::trim);
        let latest_only = match words.next() {
            Some("all") => false,
            Some("latest") => true,
            first => return Err(InvalidPolicy(first.unwrap_or_default().to_owned())),
        };
        let one = |word: &str| match word.split_once('/').map(|(name, version)| (name.parse(), version.parse())) {
            Some((Ok(name), Ok(version))) => Ok((name, version)),
            _ => Err(InvalidPolicy(word.to_owned())),
        };
        Ok(Self { latest_only, named: words.map(one).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_says_which_versions_new_jobs_get() {
        let rows = [
            ("every version", "all", "m/1", true),
            ("the newest one", "latest", "m/2", true),
            ("an older one", "latest", "m/1", false),
            ("a named one, though older", "latest, m/1", "m/1", true),
            ("what is not named of a model that is", "latest, m/1", "m/2", false),
            ("the same where all are served", "all,m/1", "m/2", false),
            ("another model's names say nothing", "latest, n/1", "m/2", true),
            ("one of several that are named", "latest, m/1, m/2", "m/2", true),
        ];
        for (why, policy, asked, served) in rows {
            let policy: VersionPolicy = policy.parse().expect("a policy");
            let (name, version) = asked.split_once('/').expect("two parts");
            let parsed = (name.parse().expect("a name"), version.parse().expect("a version"));
            assert_eq!(policy.serves(&parsed.0, &parsed.1, &"2".parse().expect("a version")), served, "{why}");
        }
        for (text, part) in
            [("", "\"\""), ("newest", "\"newest\""), ("all, m", "\"m\""), ("latest, /1", "\"/1\""), ("m/1", "\"m/1\"")]
        {
            let error = text.parse::<VersionPolicy>().expect_err("no policy");
            assert!(error.to_string().contains(&format!("{part} is none")), "{text}: {error}");
        }
    }
}
