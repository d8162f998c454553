//! What settings must keep, beyond their kinds: ranges, and values that would break something. Pure: it looks at settings and names the keys.
//! Which parts go together in one process is not its business (`compose/siding/src/seams.rs`).

use super::Settings;

/// Longest name of a region: it is the first word of a queue's name, which AMQP bounds to 255 bytes.
const REGION_BYTES_MAX: usize = 32;

impl super::Server {
    /// Why this process may not listen where it is told to; nothing when it may.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        (!self.allow_network && !self.listen.ip().is_loopback()).then(|| {
            format!(
                "{} is not a loopback address: there are no API keys, so everyone who reaches the port could submit and cancel; use \
                 127.0.0.1 or [::1], or set server.allow_network = true where only trusted callers reach it",
                self.listen
            )
        })
    }
}

impl Settings {
    /// Everything that is wrong: the key, and what it must be.
    #[must_use]
    pub fn wrong(&self) -> Vec<(&'static str, String)> {
        let mut wrong: Vec<(&'static str, String)> = Vec::new();
        wrong.extend(self.server.refusal().map(|refusal| ("server.listen", refusal)));
        let positive = [
            ("submit.unpublished_max", self.submit.unpublished_max as u64),
            ("submit.attempts_max", u64::from(self.submit.attempts_max)),
            ("dispatch.relay_poll_ms", self.dispatch.relay_poll_ms),
            ("dispatch.sweep_poll_ms", self.dispatch.sweep_poll_ms),
            ("dispatch.queue_messages_max", self.dispatch.queue_messages_max as u64),
            ("stream.heartbeat_ms", self.stream.heartbeat_ms),
            ("stream.poll_ms", self.stream.poll_ms),
            ("store.readers", u64::from(self.store.readers)),
            ("store.busy_timeout_ms", self.store.busy_timeout_ms),
            ("store.statement_timeout_ms", self.store.statement_timeout_ms),
            ("store.connections", u64::from(self.store.connections)),
            ("broker.heartbeat_secs", u64::from(self.broker.heartbeat_secs)),
            ("broker.confirm_timeout_ms", self.broker.confirm_timeout_ms),
            ("broker.unconfirmed_max", self.broker.unconfirmed_max as u64),
            ("broker.deliveries_max", u64::from(self.broker.deliveries_max)),
        ];
        wrong.extend(positive.into_iter().filter(|(_, value)| *value == 0).map(|(key, _)| (key, "must be above 0".to_owned())));
        let urls = [
            ("store.url", &self.store.url, ["postgres://", "postgresql://"]),
            ("broker.url", &self.broker.url, ["amqp://", "amqps://"]),
            ("cache.url", &self.cache.url, ["redis://", "redis://"]),
        ];
        for (key, url, schemes) in urls {
            if !url.is_empty() && !schemes.iter().any(|scheme| url.expose().starts_with(scheme)) {
                wrong.push((key, format!("must begin with {}, or be empty", schemes[0])));
            }
        }
        let region = &self.broker.region;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if region.is_empty() || region.len() > REGION_BYTES_MAX || !region.chars().all(fits) {
            wrong.push(("broker.region", format!("must be a word of letters, digits, - and _, at most {REGION_BYTES_MAX}")));
        }
        wrong.extend(self.lanes().err().map(|error| ("lanes", error.to_string())));
        wrong
    }
}
