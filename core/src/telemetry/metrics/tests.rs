//! Every metric of the code has a value here and a row in the document. Nothing else of telemetry is checked here.

use super::*;

#[test]
fn what_is_counted_is_what_prometheus_reads() {
    let metrics = Metrics::new();
    let lane: LaneName = "instant".parse().expect("name");
    metrics.submitted(&lane);
    metrics.submitted(&lane);
    metrics.waited(&lane, Duration::from_millis(3));
    let text = metrics.render();
    assert!(text.contains("siding_jobs_submitted_total{lane=\"instant\"} 2"), "{text}");
    assert!(text.contains("siding_job_wait_seconds_count{lane=\"instant\"} 1"), "{text}");
}

/// Every instrument with a value, whatever it is.
fn touched() -> Metrics {
    let metrics = Metrics::new();
    let (lane, model) = ("instant".parse().expect("name"), "m".parse().expect("name"));
    metrics.submitted(&lane);
    metrics.refused("busy", 1);
    metrics.finished(&lane, &model, State::Succeeded);
    metrics.dealt_with(&lane, DealtWith::Dropped);
    metrics.attempt(&lane, AttemptEnd::Succeeded);
    metrics.published(Source::Relay, PublishOutcome::Confirmed, 1);
    metrics.skipped("held");
    metrics.store_error("claim");
    metrics.waited(&lane, Duration::ZERO);
    metrics.ran(&lane, Duration::ZERO);
    metrics.stopped_after(Duration::ZERO);
    metrics.unpublished(0);
    metrics.slots(1, 2);
    metrics.streams_changed(1);
    metrics.broker(Standing::Connected);
    metrics.hints_dropped(1);
    metrics.lost_messages(1);
    metrics.unreadable();
    metrics.dead_letter("published");
    metrics.dead_letters_kept(0);
    metrics.checkpoint_written(1, Duration::ZERO);
    metrics.checkpoint_refused(CheckpointRefused::Write);
    metrics.model_crashed(&model);
    metrics.model_load_refused(&model);
    metrics.models.touch(&model);
    metrics
}

/// `name | type | labels` of every metric in Prometheus' text.
fn told(text: &str) -> Vec<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let row = |(name, kind): (&str, &str)| {
        let sample = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let inside = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let names = inside.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name);
        let labels: Vec<_> = names.filter(|name| *name != "le").map(|name| format!("`{name}`")).collect();
        format!("`{name}` | {kind} | {}", if labels.is_empty() { "none".into() } else { labels.join(", ") })
    };
    types.map(row).collect()
}

#[test]
fn every_metric_of_the_code_is_in_the_document_and_no_other() {
    let mut rendered = told(&touched().render());
    rendered.sort();
    let page = include_str!("../../../../docs/telemetry.md");
    let marked = page.split("<!-- metrics:begin -->").nth(1).and_then(|rest| rest.split("<!-- metrics:end -->").next());
    let rows = marked.expect("the table is marked").lines().filter(|line| line.starts_with("| `"));
    let mut documented: Vec<_> = rows.map(|row| row.trim_matches(['|', ' ']).rsplit_once(" | ").expect("cells").0).collect();
    documented.sort_unstable();
    assert_eq!(documented, rendered);
}

#[test]
fn no_metric_of_the_code_is_left_untouched() {
    let code = concat!(include_str!("../metrics.rs"), include_str!("models.rs"));
    let names: Vec<&str> = code.split('"').filter(|text| text.starts_with("siding_") && !text.contains(' ')).collect();
    assert!(names.len() > 10, "the names were found");
    let text = touched().render();
    for name in names {
        assert!(text.contains(&format!("# TYPE {name}")), "{name} is not in:\n{text}");
    }
}
