//! Whether a submission fits: its numbers, its model, its input. Pure computation over what is in memory, apart from the submitter so that it can run beside the
//! executor; it stores nothing and knows no other submission.

use std::sync::Arc;

use siding_core::{
    clock::Timestamp,
    model::{
        catalog::Catalog,
        repository::{Model, Unresolved},
    },
    tensor::InputProblem,
};

use crate::{
    admission,
    submit::{Refusal, Submission},
};

/// A submission that fits its model.
pub(super) struct Fitting {
    pub submission: Submission,
    pub model: Arc<Model>,
    /// The input's size, as `check_input` returned it.
    pub size: f64,
    /// What tells its repeats from other submissions.
    pub fingerprint: [u8; 32],
}

/// What is needed to say whether a submission fits.
pub(super) struct Fitter {
    pub catalog: Catalog,
    /// The time of the request.
    pub now: Timestamp,
}

impl Fitter {
    pub(super) fn fit(&self, submission: Submission) -> Result<Fitting, Refusal> {
        let problems = admission::problems(&submission, self.now);
        if !problems.is_empty() {
            return Err(Refusal::Invalid(problems));
        }
        let model = self.resolve(&submission)?;
        let size = model.manifest.check_input(&submission.input).map_err(|problems| Refusal::Invalid(below_input(problems)))?;
        let fingerprint = admission::fingerprint(&submission);
        Ok(Fitting { submission, model, size, fingerprint })
    }

    fn resolve(&self, submission: &Submission) -> Result<Arc<Model>, Refusal> {
        let model = submission.model.clone();
        self.catalog.current().resolve(&model, submission.version.as_ref()).map_err(|unresolved| match unresolved {
            Unresolved::UnknownModel { known } => Refusal::UnknownModel { model, known },
            Unresolved::UnknownVersion { known, .. } => match submission.version.clone() {
                Some(version) => Refusal::UnknownVersion { model, version, known },
                None => Refusal::UnknownModel { model, known },
            },
            Unresolved::Broken { why } => Refusal::BrokenModel { model, why },
        })
    }
}

fn below_input(problems: Vec<InputProblem>) -> Vec<InputProblem> {
    problems.into_iter().map(|problem| InputProblem { pointer: format!("/input{}", problem.pointer), ..problem }).collect()
}
