//! The rules of `[stepped]` between its keys and the tensors that the manifest declares. What passes here can be run without another
//! look: every input has one source, every symbol a size, every number fits where it goes.

use std::collections::BTreeSet;

use super::{Chunks, Collect, Count, Form, Manifest, Source, StateSpec, Stepped, Until, Vocabulary, caller_specs, input::WISHES};
use crate::{
    limits,
    tensor::{Datatype, Dim, TensorData, TensorSpec},
};

pub(in super::super) fn check(manifest: &Manifest) -> Result<(), String> {
    let Some(stepped) = &manifest.stepped else { return Err("stepped: is missing".into()) };
    let check = Check { manifest, stepped };
    if manifest.cost.size.is_some() {
        return Err("cost.size: the size of a stepped model's input is always the number of its runs".into());
    }
    check.files()?;
    check.prelude()?;
    match &stepped.form {
        Form::Chunks(chunks) => check.chunks(chunks)?,
        Form::Count(count) => check.count(count)?,
        Form::Until(until) => check.until(until)?,
    }
    check.sources()?;
    check.state()?;
    check.collect()?;
    check.callers()?;
    match stepped.emit {
        Some(0) => Err("stepped.emit: must be at least 1".into()),
        _ => Ok(()),
    }
}

struct Check<'a> {
    manifest: &'a Manifest,
    stepped: &'a Stepped,
}

fn find<'a>(specs: &'a [TensorSpec], name: &str, key: &str) -> Result<&'a TensorSpec, String> {
    let known = || specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
    specs.iter().find(|spec| spec.name == name).ok_or_else(|| format!("{key}: {name} is none of {}", known()))
}

impl<'a> Check<'a> {
    fn input(&self, name: &str, key: &str) -> Result<&'a TensorSpec, String> {
        find(&self.manifest.inputs, name, key)
    }

    fn output(&self, name: &str, key: &str) -> Result<&'a TensorSpec, String> {
        find(&self.manifest.outputs, name, key)
    }

    fn files(&self) -> Result<(), String> {
        let mut known = vec![super::super::FILE_NAME];
        known.extend(
            self.manifest
                .file
                .iter()
                .flat_map(|file| std::iter::once(&file.model).chain(&file.external))
                .map(|f| f.path.as_str()),
        );
        for file in self.stepped.files() {
            if known.contains(&file.path.as_str()) {
                return Err(format!("stepped: {} is named twice", file.path));
            }
            known.push(&file.path);
        }
        Ok(())
    }

    fn prelude(&self) -> Result<(), String> {
        let Some(prelude) = &self.stepped.prelude else { return Ok(()) };
        super::super::check::check_tensors("stepped.prelude.inputs", &prelude.inputs)?;
        super::super::check::check_tensors("stepped.prelude.outputs", &prelude.outputs)?;
        let mut given = BTreeSet::new();
        for (output, input) in &prelude.gives {
            let key = format!("stepped.prelude.gives.{output}");
            let (output, input) = (find(&prelude.outputs, output, &key)?, self.input(input, &key)?);
            if output.datatype != input.datatype || output.shape.len() != input.shape.len() {
                return Err(format!("{key}: {} has another type or rank", input.name));
            }
            if !given.insert(&input.name) {
                return Err(format!("{key}: {} is given twice", input.name));
            }
        }
        Ok(())
    }

    fn chunks(&self, chunks: &Chunks) -> Result<(), String> {
        let key = "stepped.chunks";
        let spec = self.input(&chunks.input, &format!("{key}.input"))?;
        let Some(Dim::Fixed(window)) = spec.shape.get(chunks.axis) else {
            return Err(format!("{key}.axis: {} is {}; it needs a number along the axis", spec.name, spec.shape_text()));
        };
        if !(1..=*window).contains(&chunks.hop) {
            return Err(format!("{key}.hop: must be from 1 to the window's {window}, not {}", chunks.hop));
        }
        if chunks.front >= *window {
            return Err(format!("{key}.front: must be less than the window's {window}, not {}", chunks.front));
        }
        Ok(())
    }

    fn count(&self, count: &Count) -> Result<(), String> {
        let key = "stepped.count";
        if count.steps == 0 || count.steps > count.steps_max || count.steps_max > limits::STEPS_MAX {
            return Err(format!("{key}: steps must be at least 1 and at most steps_max, which is at most {}", limits::STEPS_MAX));
        }
        for schedule in &count.schedule {
            let key = format!("{key}.schedule");
            let spec = self.input(&schedule.input, &format!("{key}.input"))?;
            if !matches!(spec.datatype, Datatype::Fp32 | Datatype::Fp64 | Datatype::Int64 | Datatype::Int32) {
                return Err(format!("{key}: {} is {}; it must be FP32, FP64, INT64 or INT32", spec.name, spec.datatype));
            }
            for number in [schedule.from, schedule.to] {
                if !number.is_finite() || number.abs() > f64::from(i32::MAX) || (schedule.rho != 1.0 && number < 0.0) {
                    return Err(format!("{key}: {number} is too large, or not positive where rho is not 1"));
                }
            }
            if !(0.01..=100.0).contains(&schedule.rho) {
                return Err(format!("{key}.rho: must be from 0.01 to 100, not {}", schedule.rho));
            }
        }
        Ok(())
    }

    fn until(&self, until: &Until) -> Result<(), String> {
        let key = "stepped.until";
        let tokens = self.input(&until.tokens, &format!("{key}.tokens"))?;
        self.takes_tokens(tokens, &format!("{key}.tokens"))?;
        let logits = self.output(&until.logits, &format!("{key}.logits"))?;
        let vocabulary = match (logits.datatype, logits.shape.as_slice()) {
            (Datatype::Fp32, [_, Dim::Fixed(size)] | [_, _, Dim::Fixed(size)]) => *size,
            _ => return Err(format!("{key}.logits: must be FP32 of shape [1, n] or [1, positions, n] with a number n")),
        };
        let prompt = until.prompt.iter().flat_map(|prompt| prompt.before.iter().chain(&prompt.after));
        let own = until.start.iter().chain(&until.stop).chain(&until.never);
        if let Some(id) = own.chain(prompt).find(|&&id| usize::try_from(id).map_or(true, |id| id >= vocabulary)) {
            return Err(format!("{key}: {id} is no token; there are {vocabulary}"));
        }
        if !(1..=limits::STEPS_MAX).contains(&until.tokens_max) || until.tokens_min > until.tokens_max {
            return Err(format!("{key}.tokens_max: must be from tokens_min and 1 to {}", limits::STEPS_MAX));
        }
        let sampling = until.sampling;
        if !((0.0..=limits::TEMPERATURE_MAX).contains(&sampling.temperature) && sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
            return Err(format!(
                "{key}.sampling: temperature is from 0 to {}, top_p above 0 and at most 1",
                limits::TEMPERATURE_MAX
            ));
        }
        if let Some(Vocabulary::Bytes) = until.vocabulary
            && vocabulary < 256
        {
            return Err(format!("{key}.vocabulary: bytes need at least 256 tokens, there are {vocabulary}"));
        }
        self.prompt(until)
    }

    fn prompt(&self, until: &Until) -> Result<(), String> {
        let key = "stepped.until.prompt";
        let Some(prompt) = &until.prompt else {
            return if until.start.is_empty() {
                Err(format!("{key}: is missing; without it, start must not be empty"))
            } else {
                Ok(())
            };
        };
        if !(1..=limits::TENSOR_ELEMENTS_MAX).contains(&prompt.tokens_max) {
            return Err(format!("{key}.tokens_max: must be from 1 to {}", limits::TENSOR_ELEMENTS_MAX));
        }
        match (self.stepped.prompted(), &prompt.mask) {
            (None, _) if prompt.input != until.tokens => {
                return Err(format!("{key}.input: must be an input of the prelude, or {}", until.tokens));
            }
            (None, Some(_)) => return Err(format!("{key}.mask: only a prelude's prompt has one")),
            (None, None) => {}
            (Some(_), _) if until.start.is_empty() => {
                return Err("stepped.until.start: must not be empty: the prompt goes to the prelude".into());
            }
            (Some(spec), mask) => {
                self.takes_tokens(spec, &format!("{key}.input"))?;
                if let Some(mask) = mask {
                    let inputs = self.stepped.prelude.as_ref().map_or(&[][..], |prelude| &prelude.inputs);
                    let other = find(inputs, &mask.input, &format!("{key}.mask.input"))?;
                    if other.shape != spec.shape || TensorData::filled(other.datatype, mask.value, 1).is_none() {
                        return Err(format!(
                            "{key}.mask: {} needs the shape {} and a type for the value",
                            other.name,
                            spec.shape_text()
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Token ids are whole numbers, `[1, n]` with any `n`.
    fn takes_tokens(&self, spec: &TensorSpec, key: &str) -> Result<(), String> {
        match (spec.datatype, spec.shape.as_slice()) {
            (Datatype::Int64 | Datatype::Int32, [Dim::Symbol(_) | Dim::Fixed(1), Dim::Symbol(_)]) => Ok(()),
            _ => Err(format!(
                "{key}: {} must be INT64 or INT32 of shape [1, any], not {} {}",
                spec.name,
                spec.datatype,
                spec.shape_text()
            )),
        }
    }

    /// Every input has one source, and a number that fits it.
    fn sources(&self) -> Result<(), String> {
        for name in self.stepped.constants.keys() {
            self.input(name, "stepped.constants")?;
        }
        for spec in &self.manifest.inputs {
            let sources: Vec<_> = self.stepped.sources(&spec.name).collect();
            match *sources {
                [] => {}
                [Source::Constant(number)] if TensorData::filled(spec.datatype, number, 1).is_none() => {
                    return Err(format!("stepped.constants.{}: {} does not have {number}", spec.name, spec.datatype));
                }
                [Source::Constant(_) | Source::Schedule] => self.sized(spec, None, "stepped")?,
                [_] => {}
                _ => return Err(format!("stepped: the input {} has more than one source", spec.name)),
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<(), String> {
        let states = &self.stepped.state;
        if states.len() + self.stepped.collect.len() > limits::TENSORS_MAX {
            return Err(format!("stepped: state and collect are more than {} tensors together", limits::TENSORS_MAX));
        }
        for (index, StateSpec { input, output, initial, grows, noise }) in states.iter().enumerate() {
            let key = format!("stepped.state: {input}");
            if states[..index].iter().any(|earlier| earlier.output == *output) {
                return Err(format!("{key}: {output} is the state of another input"));
            }
            let (takes, gives) = (self.input(input, &key)?, self.output(output, &key)?);
            if takes.datatype != gives.datatype || takes.shape.len() != gives.shape.len() {
                return Err(format!("{key}: {output} has another type or rank"));
            }
            if let Some(axis) = grows
                && !matches!(takes.shape.get(*axis), Some(Dim::Symbol(_)))
            {
                return Err(format!("{key}: grows: {} has no symbol along axis {axis}", takes.shape_text()));
            }
            if TensorData::filled(takes.datatype, *initial, 1).is_none() {
                return Err(format!("{key}: initial: {} does not have {initial}", takes.datatype));
            }
            if let Some(noise) = noise {
                let known = matches!(&self.stepped.form, Form::Count(count) if count.schedule.iter().any(|s| s.input == *noise));
                if !known || takes.datatype != Datatype::Fp32 {
                    return Err(format!("{key}: noise: must name a schedule's input, and the state must be FP32"));
                }
            }
            if !self.stepped.is_given(input) {
                self.sized(takes, *grows, &key)?;
            }
        }
        Ok(())
    }

    /// Every symbol of the shape is known when a job begins.
    fn sized(&self, spec: &TensorSpec, grows: Option<usize>, key: &str) -> Result<(), String> {
        let callers = caller_specs(self.manifest, self.stepped);
        let mut known: BTreeSet<&Dim> = callers.iter().flat_map(|spec| &spec.shape).collect();
        if let Form::Until(until) = &self.stepped.form {
            // There is one prompt in a job. How many tokens a run is given changes.
            known.extend(self.input(&until.tokens, key)?.shape.first());
            known.extend(self.stepped.prompted().iter().flat_map(|spec| &spec.shape));
        }
        for (axis, dim) in spec.shape.iter().enumerate() {
            if matches!(dim, Dim::Symbol(_)) && grows != Some(axis) && !known.contains(dim) {
                return Err(format!("{key}: nothing that the caller gives says how large {dim} of {} is", spec.name));
            }
        }
        Ok(())
    }

    fn collect(&self) -> Result<(), String> {
        let is_until = matches!(self.stepped.form, Form::Until(_));
        if is_until != self.stepped.collect.is_empty() {
            return Err("stepped.collect: is needed for chunks and count; the output of until is tokens".into());
        }
        for (index, Collect { output, along, trim, rate }) in self.stepped.collect.iter().enumerate() {
            let key = format!("stepped.collect: {output}");
            let spec = self.output(output, &key)?;
            if self.stepped.collect[..index].iter().any(|earlier| earlier.output == *output) {
                return Err(format!("{key}: is collected twice"));
            }
            if along.is_some_and(|axis| axis >= spec.shape.len()) {
                return Err(format!("{key}: along: {} has no such axis", spec.shape_text()));
            }
            if along.is_none() && (*trim > 0 || rate.is_some()) {
                return Err(format!("{key}: trim and rate need along"));
            }
            if let Some([places, of]) = rate
                && (*of == 0
                    || *places == 0
                    || (*places).max(*of) > limits::STEPS_MAX
                    || !matches!(self.stepped.form, Form::Chunks(_)))
            {
                return Err(format!("{key}: rate: only chunks have one, of numbers from 1 to {}", limits::STEPS_MAX));
            }
        }
        Ok(())
    }

    /// What the caller gives can be told apart.
    fn callers(&self) -> Result<(), String> {
        let specs = caller_specs(self.manifest, self.stepped);
        for (index, spec) in specs.iter().enumerate() {
            if WISHES.contains(&spec.name.as_str()) {
                return Err(format!("inputs: {} has the name of a wish ({})", spec.name, WISHES.join(", ")));
            }
            if specs[..index].iter().any(|earlier| earlier.name == spec.name) {
                return Err(format!(
                    "stepped.prelude.inputs: {} is an input of the loop, too, and must be declared alike",
                    spec.name
                ));
            }
        }
        Ok(())
    }
}
