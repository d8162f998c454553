//! temp
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    siding_core::telemetry::init_logs(siding_core::telemetry::LogForm::Text, "warn");
    siding::bench::dispatch::run(siding::bench::dispatch::Options::default()).await
}
