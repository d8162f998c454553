//! What settings must keep, beyond their kinds: ranges, and values that would break something. Pure: it looks at settings and names the keys.
//! Which parts go together in one process is not its business (`compose/siding/src/seams.rs`).

use super::Settings;
use crate::{id::LaneName, limits, model::versions::VersionPolicy};

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
            ("worker.checkpoint_ms", self.worker.checkpoint_ms),
            ("worker.stop_patience_ms", self.worker.stop_patience_ms),
            ("stream.heartbeat_ms", self.stream.heartbeat_ms),
            ("stream.poll_ms", self.stream.poll_ms),
            ("store.readers", u64::from(self.store.readers)),
            ("store.busy_timeout_ms", self.store.busy_timeout_ms),
            ("store.statement_timeout_ms", self.store.statement_timeout_ms),
            ("store.connections", u64::from(self.store.connections)),
            ("broker.heartbeat_secs", u64::from(self.broker.heartbeat_secs)),
            ("broker.confirm_timeout_ms", self.broker.confirm_timeout_ms),
            ("broker.unconfirmed_max", self.broker.unconfirmed_max as u64),
            ("dispatch.lost_after_ms", self.dispatch.lost_after_ms),
            ("worker.model_rest_ms", self.worker.model_rest_ms),
            ("worker.intra_threads", self.worker.intra_threads as u64),
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
        let unknown = self.worker.providers.0.iter().find(|name| !["cuda", "tensorrt", "cpu"].contains(&name.as_str()));
        wrong.extend(unknown.map(|name| ("worker.providers", format!("{name} is none of cuda, tensorrt, cpu"))));
        let region = &self.broker.region;
        // It stands beside the lane's name in a queue's name, and follows the same rules.
        let as_name = region.parse::<LaneName>().err().map(|error| error.problem);
        let too_long =
            (region.len() > limits::REGION_BYTES_MAX).then(|| format!("must have at most {} bytes", limits::REGION_BYTES_MAX));
        wrong.extend(as_name.or(too_long).map(|what| ("broker.region", what)));
        let policy = self.models.versions.parse::<VersionPolicy>();
        wrong.extend(policy.err().map(|error| ("models.versions", error.to_string())));
        wrong.extend(self.lanes().err().map(|error| ("lanes", error.to_string())));
        wrong
    }
}
