//! URLs that may carry a password: a type that prints them without it. It hides; it never decides where the text is needed whole
//! (`expose` is called where a connection is made, and nowhere else).

use std::fmt;

use serde::Deserialize;

/// What stands in a password's place.
const HIDDEN: &str = "***";

/// A URL whose password is printed by nobody: `Debug` and `Display` hide it.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The whole text, for making a connection. Never for a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl From<&str> for SecretUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&without_password(&self.0), f)
    }
}

/// The URL without its password. What cannot be read as a URL is hidden whole, and the user's part reaches to the last `@`: a password
/// with characters that should have been escaped is hidden too, at the price of a part of the host.
fn without_password(url: &str) -> String {
    if url.is_empty() {
        return String::new();
    }
    let Some((scheme, rest)) = url.split_once("://") else { return HIDDEN.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let rest = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:{HIDDEN}@{host}"),
            None => format!("{user}@{host}"),
        },
        None => rest.to_owned(),
    };
    match query {
        // The `?` may have been a part of the password.
        Some(query) if query.contains('@') => format!("{scheme}://{HIDDEN}"),
        Some(query) => format!("{scheme}://{rest}?{}", query.split('&').map(without_secret_value).collect::<Vec<_>>().join("&")),
        None => format!("{scheme}://{rest}"),
    }
}

/// A parameter as it is, unless its name says that its value is secret.
fn without_secret_value(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("pass") => format!("{name}={HIDDEN}"),
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_printed_and_the_rest_is() {
        let rows = [
            ("", ""),
            ("postgres://siding:pw@db:5432/jobs", "postgres://siding:***@db:5432/jobs"),
            ("amqp://u:p%40w@h/%2f?heartbeat=10", "amqp://u:***@h/%2f?heartbeat=10"),
            ("redis://:pw@h", "redis://:***@h"),
            ("amqp://127.0.0.1:5672/x", "amqp://127.0.0.1:5672/x"),
            ("postgres://u@h/d?password=pw&sslmode=require", "postgres://u@h/d?password=***&sslmode=require"),
            ("postgres://u:p@w/d:x@h/d", "postgres://u:***@h/d"),
            ("postgres://u:pw?x@h/d", "postgres://***"),
            ("host=h password=pw", "***"),
        ];
        for (url, expected) in rows {
            let url = SecretUrl::from(url);
            assert_eq!((url.to_string().as_str(), format!("{url:?}")), (expected, format!("{expected:?}")), "{}", url.expose());
        }
    }
}
