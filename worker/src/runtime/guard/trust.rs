//! Whether a version runs in this process or in one of its own: a pure decision from the setting and from what the version has done on this
//! worker.

use siding_core::config::Isolation;

/// Runs that a version must have ended on this worker since its last crash to be no stranger any more.
const NEW_RUNS: u32 = 20;

/// Where a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In this process.
    Here,
    /// In one of its own.
    Apart,
}

/// What the settings say of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Always there.
    Fixed(Place),
    /// Apart until it has proved itself.
    Proving,
}

/// The rule for one version. Scripted models have no native code that could break, so that being new is nothing against them: they run apart
/// only where everything does.
pub(super) fn rule(isolation: Isolation, is_scripted: bool, is_trusted: bool) -> Rule {
    match isolation {
        Isolation::Never => Rule::Fixed(Place::Here),
        Isolation::Always => Rule::Fixed(Place::Apart),
        Isolation::New if is_scripted || is_trusted => Rule::Fixed(Place::Here),
        Isolation::New => Rule::Proving,
    }
}

/// What a version has done on this worker.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trust {
    /// Runs since its last crash.
    ended: u32,
}

impl Trust {
    /// A run ended, well or with an error of its own.
    pub(super) fn ended(&mut self) {
        self.ended = self.ended.saturating_add(1);
    }

    /// Its process crashed: it is a stranger again.
    pub(super) fn crashed(&mut self) {
        self.ended = 0;
    }

    /// Where it is to run now.
    pub(super) fn place(self, rule: Rule) -> Place {
        match rule {
            Rule::Fixed(place) => place,
            Rule::Proving if self.ended < NEW_RUNS => Place::Apart,
            Rule::Proving => Place::Here,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_make_the_rule() {
        use {Isolation as I, Place as P};
        let rows = [
            (I::Never, false, false, Rule::Fixed(P::Here)),
            (I::Always, false, true, Rule::Fixed(P::Apart)),
            (I::Always, true, false, Rule::Fixed(P::Apart)),
            (I::New, false, false, Rule::Proving),
            (I::New, false, true, Rule::Fixed(P::Here)),
            (I::New, true, false, Rule::Fixed(P::Here)),
        ];
        for (isolation, is_scripted, is_trusted, expected) in rows {
            assert_eq!(rule(isolation, is_scripted, is_trusted), expected, "{isolation:?} {is_scripted} {is_trusted}");
        }
    }

    #[test]
    fn a_version_is_a_stranger_until_it_has_run_often_and_again_after_a_crash() {
        let mut trust = Trust::default();
        let mut places = Vec::new();
        for run in 1..=45 {
            if run == 25 {
                trust.crashed();
            } else {
                trust.ended();
            }
            places.push((run, trust.place(Rule::Proving)));
        }
        let here: Vec<u32> = places.iter().filter(|(_, place)| *place == Place::Here).map(|(run, _)| *run).collect();
        assert_eq!(here, [20, 21, 22, 23, 24, 45]);
        assert_eq!(trust.place(Rule::Fixed(Place::Apart)), Place::Apart);
    }
}
