//! What a check has found, as programs read it. It decides the shape, which has a version and only grows; it judges nothing.

use serde::Serialize;
use siding_core::model::{
    manifest::{Runner, SizeOf},
    repository::{Broken, Model},
};

/// The shape of `Report`. A reader refuses one that it does not know.
const VERSION: u32 = 1;

/// Everything that was checked.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of this shape.
    pub version: u32,
    /// Each version of a model that could be read.
    pub models: Vec<Checked>,
    /// Folders that hold none, each with the reason.
    pub broken: Vec<BrokenFolder>,
}

/// A folder that cannot be served.
#[derive(Debug, Clone, Serialize)]
pub struct BrokenFolder {
    /// Below the repository.
    pub folder: String,
    /// The file, the line and the key, where there is one.
    pub error: String,
}

/// One version of a model.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Which runner carries it out.
    pub runner: Runner,
    /// What is wrong; nothing when all is well.
    pub problems: Vec<String>,
    /// What deserves a look and is not wrong.
    pub notes: Vec<String>,
    /// How long it took to start a process for it, and to read, check and load it there.
    pub load_ms: Option<f64>,
    /// What it took of memory.
    pub memory: Memory,
    /// The sizes that were measured, the example's own first.
    pub runs: Vec<Run>,
    /// The line through them: what `[cost]` should say for this machine.
    pub cost: Option<CheckedCost>,
}

/// What is really in memory of the model's own process, the runtime's library and the program itself with it; `None` where the system does not tell, and of a
/// model that has no process.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Memory {
    /// After loading.
    pub loaded_bytes: Option<u64>,
    /// After all runs.
    pub ran_bytes: Option<u64>,
}

/// One size that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// The number that `per_unit_ms` multiplies.
    pub size: f64,
    /// The median.
    pub ms: f64,
    /// The quickest.
    pub min_ms: f64,
    /// How many were timed.
    pub runs: usize,
    /// What the manifest says.
    pub expected_ms: f64,
}

/// What `[cost]` should say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedCost {
    /// Milliseconds of every run.
    pub base_ms: f64,
    /// Milliseconds for each unit of size.
    pub per_unit_ms: f64,
    /// What the size is, where the manifest says so or has to.
    pub size: Option<SizeOf>,
}

impl Report {
    /// A report of these.
    #[must_use]
    pub fn new(models: Vec<Checked>, broken: &[Broken]) -> Self {
        let broken = broken.iter().map(|broken| BrokenFolder { folder: broken.folder.clone(), error: broken.why.clone() });
        Self { version: VERSION, models, broken: broken.collect() }
    }

    /// How many things are wrong.
    #[must_use]
    pub fn problems(&self) -> usize {
        self.broken.len() + self.models.iter().map(|model| model.problems.len()).sum::<usize>()
    }
}

impl Checked {
    /// Nothing known yet.
    pub(super) fn of(model: &Model) -> Self {
        let manifest = &model.manifest;
        Self {
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            runner: manifest.runner,
            problems: Vec::new(),
            notes: Vec::new(),
            load_ms: None,
            memory: Memory::default(),
            runs: Vec::new(),
            cost: None,
        }
    }
}

impl Checked {
    /// A model whose check did not end, for this reason.
    #[must_use]
    pub fn given_up(model: &Model, why: String) -> Self {
        Self { problems: vec![why], ..Self::of(model) }
    }
}

impl CheckedCost {
    /// The section of `model.toml`, ready to be put there.
    #[must_use]
    pub fn toml(&self) -> String {
        let mut text = format!("[cost]\nbase_ms = {}\n", rounded(self.base_ms));
        if self.per_unit_ms > 0.0 {
            text += &format!("per_unit_ms = {}\n", rounded(self.per_unit_ms));
        }
        if let Some(size) = &self.size {
            let by = match size.by {
                siding_core::model::manifest::SizeBy::Elements => "elements",
                siding_core::model::manifest::SizeBy::Value => "value",
            };
            text += &format!("size = {{ input = {:?}, by = \"{by}\" }}\n", size.input);
        }
        text
    }
}

/// Two digits: more are not the machine's to give.
fn rounded(number: f64) -> f64 {
    format!("{number:.1e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use siding_core::model::manifest::SizeBy;

    use super::*;

    #[test]
    fn the_report_looks_like_this_for_ever() {
        let size = SizeOf { input: "x".into(), by: SizeBy::Elements };
        let checked = Checked {
            name: "m".into(),
            version: "1".into(),
            runner: Runner::Tensor,
            problems: vec!["a".into()],
            notes: vec!["b".into()],
            load_ms: Some(1.5),
            memory: Memory { loaded_bytes: Some(1), ran_bytes: None },
            runs: vec![Run { size: 2.0, ms: 3.0, min_ms: 2.5, runs: 7, expected_ms: 4.0 }],
            cost: Some(CheckedCost { base_ms: 0.5, per_unit_ms: 0.25, size: Some(size) }),
        };
        let broken = [Broken { folder: "n/1".into(), why: "c".into() }];
        let report = Report::new(vec![checked], &broken);
        assert_eq!(report.problems(), 2);
        assert_eq!(
            serde_json::to_string(&report).expect("JSON"),
            concat!(
                r#"{"version":1,"models":[{"name":"m","version":"1","runner":"tensor","problems":["a"],"notes":["b"],"load_ms":1.5,"#,
                r#""memory":{"loaded_bytes":1,"ran_bytes":null},"#,
                r#""runs":[{"size":2.0,"ms":3.0,"min_ms":2.5,"runs":7,"expected_ms":4.0}],"#,
                r#""cost":{"base_ms":0.5,"per_unit_ms":0.25,"size":{"input":"x","by":"elements"}}}],"#,
                r#""broken":[{"folder":"n/1","error":"c"}]}"#
            )
        );
    }

    #[test]
    fn the_cost_is_a_section_that_the_manifest_takes() {
        let size = |input: &str| Some(SizeOf { input: input.into(), by: SizeBy::Value });
        let rows = [
            (
                (0.0, 0.004_96, size("iters")),
                "[cost]\nbase_ms = 0\nper_unit_ms = 0.005\nsize = { input = \"iters\", by = \"value\" }\n",
            ),
            ((123.4, 0.0, None), "[cost]\nbase_ms = 120\n"),
        ];
        for ((base_ms, per_unit_ms, size), expected) in rows {
            assert_eq!(CheckedCost { base_ms, per_unit_ms, size }.toml(), expected);
        }
    }
}
