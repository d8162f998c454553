//! `siding models` but for `check`, and `siding lanes`: what a server can run, and what is in its queues.

use siding_client::{Client, Model, Tensor};

use super::exit::Failed;
use crate::output::{Format, Output, Paint, Table, human};

/// `siding models list`
pub async fn models(client: &Client, output: &Output) -> Result<(), Failed> {
    let list = client.models().await?;
    match output.format {
        Format::Json => return Ok(output.json(&list)?),
        Format::Jsonl => return Ok(list.models.iter().try_for_each(|model| output.json(model))?),
        Format::Table => {}
    }
    let mut table = Table::new(&["MODEL", "RUNNER", ">ONE RUN", "INPUTS", "OUTPUTS", "LICENSE"]);
    for model in &list.models {
        table.row([
            format!("{}/{}", model.name, model.version),
            model.runner.clone(),
            one_run(model),
            tensors(&model.inputs),
            tensors(&model.outputs),
            model.license.clone().unwrap_or_default(),
        ]);
    }
    output.table(&table)?;
    for broken in &list.broken {
        output.line(&output.paint(Paint::Bad, &format!("{}: {}", broken.folder, broken.error)))?;
    }
    Ok(())
}

/// `siding models show`
pub async fn show(client: &Client, output: &Output, wanted: &str) -> Result<(), Failed> {
    let list = client.models().await?;
    let place = |model: &Model| format!("{}/{}", model.name, model.version);
    // The list has the newest version of each first.
    let Some(model) = list.models.iter().find(|model| model.name == wanted || place(model) == wanted) else {
        let same = |folder: &str| folder == wanted || folder.split('/').next() == Some(wanted);
        let broken = list.broken.iter().find(|broken| same(&broken.folder));
        let why = broken.map_or(String::new(), |broken| format!(" that can run: {}", broken.error));
        return Err(Failed::Usage(format!("the server has no model {wanted}{why}")));
    };
    if output.format != Format::Table {
        return Ok(output.json(model)?);
    }
    let line = |word: &str, text: &str| output.line(&format!("{}  {text}", output.paint(Paint::Dim, &format!("{word:<11}"))));
    line("model", &place(model))?;
    line("description", model.description.as_deref().unwrap_or("-"))?;
    line("runner", &model.runner)?;
    line("license", model.license.as_deref().unwrap_or("-"))?;
    line("one run", &one_run(model))?;
    line("inputs", &tensors(&model.inputs))?;
    Ok(line("outputs", &tensors(&model.outputs))?)
}

/// `siding models load`
pub async fn load(client: &Client, output: &Output, model: &str) -> Result<(), Failed> {
    let (name, version) = version(client, model).await?;
    client.load_model(&name, &version).await?;
    output.note(&format!("the workers were told to load {name}/{version}"));
    Ok(())
}

/// `siding models unload`
pub async fn unload(client: &Client, output: &Output, model: &str) -> Result<(), Failed> {
    let (name, version) = version(client, model).await?;
    client.unload_model(&name, &version).await?;
    output.note(&format!("the workers were told to unload {name}/{version}"));
    Ok(())
}

/// Name and version of what was asked for: NAME/VERSION, or the newest of NAME.
async fn version(client: &Client, model: &str) -> Result<(String, String), Failed> {
    if let Some((name, version)) = model.split_once('/') {
        return Ok((name.to_owned(), version.to_owned()));
    }
    let list = client.models().await?;
    let newest = list.models.into_iter().find(|known| known.name == model).map(|found| (found.name, found.version));
    newest.ok_or_else(|| Failed::Usage(format!("there is no model {model}; `siding models` lists those there are")))
}

fn one_run(model: &Model) -> String {
    let Some(cost) = &model.cost else { return "-".to_owned() };
    let base = human::duration(cost.base_ms);
    if cost.per_unit_ms > 0.0 { format!("{base} + {} us/unit", cost.per_unit_ms * 1000.0) } else { base }
}

fn tensors(tensors: &[Tensor]) -> String {
    let one = |tensor: &Tensor| {
        let dimensions = tensor.shape.iter().map(|dimension| dimension.as_str().map_or(dimension.to_string(), str::to_owned));
        format!("{} {}[{}]", tensor.name, tensor.datatype, dimensions.collect::<Vec<_>>().join(","))
    };
    tensors.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `siding lanes`
pub async fn lanes(client: &Client, output: &Output) -> Result<(), Failed> {
    let lanes = client.lanes().await?;
    match output.format {
        Format::Json => return Ok(output.json(&serde_json::json!({ "lanes": lanes }))?),
        Format::Jsonl => return Ok(lanes.iter().try_for_each(|lane| output.json(lane))?),
        Format::Table => {}
    }
    let mut table =
        Table::new(&["LANE", ">UP TO", ">QUEUED", ">SCHEDULED", ">RUNNING", ">OLDEST WAITS", ">SLOTS", "ACKNOWLEDGES"]);
    for lane in &lanes {
        table.row([
            lane.name.clone(),
            lane.expected_ms_max.map_or("any".to_owned(), human::millis),
            lane.queued.to_string(),
            lane.scheduled.to_string(),
            lane.running.to_string(),
            lane.oldest_due_ms.map_or("-".to_owned(), human::millis),
            format!("{:.0} %", lane.slot_share_max * 100.0),
            lane.ack.replace('_', " "),
        ]);
    }
    Ok(output.table(&table)?)
}
