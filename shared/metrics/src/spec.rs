//! How a metric is written on a command line: a name, then options after colons, as in
//! `bleu:tokenize=intl:smooth_method=floor:smooth_value=0.1`. Options have the names of the packages they come from.

/// Why a metric could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The name stands for no metric.
    #[error("unknown metric `{name}`")]
    UnknownMetric {
        /// What was asked for.
        name: String,
    },
    /// The metric has no such option.
    #[error("{metric} has no option `{option}`; it has {known}")]
    UnknownOption {
        /// The metric.
        metric: String,
        /// What was asked for.
        option: String,
        /// The options there are.
        known: String,
    },
    /// The option's value is out of range.
    #[error("{metric}:{option}: expected {expected}, found `{found}`")]
    Value {
        /// The metric.
        metric: String,
        /// The option.
        option: String,
        /// What it takes.
        expected: String,
        /// What it was given.
        found: String,
    },
}

/// A metric's name with the options that were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// The name as it was written.
    pub(crate) name: String,
    pub(crate) options: Vec<(String, Option<String>)>,
}

impl Spec {
    /// Cuts a text at its colons.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.split(':').map(str::trim);
        let name = parts.next().unwrap_or_default().to_owned();
        let options = parts.map(|part| match part.split_once('=') {
            Some((option, value)) => (option.trim().to_owned(), Some(value.trim().to_owned())),
            None => (part.to_owned(), None),
        });
        Self { name, options: options.collect() }
    }

    /// Refuses options other than these.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), SpecError> {
        match self.options.iter().find(|(option, _)| !known.contains(&option.as_str())) {
            None => Ok(()),
            Some((option, _)) => Err(SpecError::UnknownOption {
                metric: self.name.clone(),
                option: option.clone(),
                known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
            }),
        }
    }

    /// Whether a switch is on: named alone, or with `yes`, `true`, `no` or `false`.
    pub(crate) fn switch(&self, option: &str) -> Result<bool, SpecError> {
        match self.given(option) {
            None => Ok(false),
            Some(None | Some("yes" | "true")) => Ok(true),
            Some(Some("no" | "false")) => Ok(false),
            Some(Some(found)) => Err(self.wrong(option, "yes or no", found)),
        }
    }

    /// A number in a range, or its default.
    pub(crate) fn number<T: std::str::FromStr + PartialOrd>(
        &self,
        option: &str,
        default: T,
        range: std::ops::RangeInclusive<T>,
        expected: &str,
    ) -> Result<T, SpecError> {
        match self.given(option) {
            None => Ok(default),
            Some(value) => {
                let found = value.unwrap_or_default();
                let number = found.parse::<T>().ok().filter(|number| range.contains(number));
                number.ok_or_else(|| self.wrong(option, expected, found))
            }
        }
    }

    /// One of several words.
    pub(crate) fn word<'a, T: Copy>(&self, option: &str, words: &[(&'a str, T)]) -> Result<Option<T>, SpecError> {
        let Some(value) = self.given(option) else { return Ok(None) };
        let found = value.unwrap_or_default();
        let known: Vec<&'a str> = words.iter().map(|(word, _)| *word).collect();
        let chosen = words.iter().find(|(word, _)| *word == found).map(|(_, value)| *value);
        chosen.map(Some).ok_or_else(|| self.wrong(option, &known.join(", "), found))
    }

    /// The text of an option.
    pub(crate) fn text(&self, option: &str) -> Option<&str> {
        self.given(option).flatten()
    }

    #[expect(clippy::option_option, reason = "not given, given bare, or given with a value")]
    fn given(&self, option: &str) -> Option<Option<&str>> {
        self.options.iter().rev().find(|(name, _)| name == option).map(|(_, value)| value.as_deref())
    }

    pub(crate) fn wrong(&self, option: &str, expected: &str, found: &str) -> SpecError {
        SpecError::Value {
            metric: self.name.clone(),
            option: option.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }
}

/// A name with the options that differ from its defaults.
pub(crate) fn named(base: &str, options: &[(bool, String)]) -> std::borrow::Cow<'static, str> {
    let mut name = base.to_owned();
    for (_, option) in options.iter().filter(|(differs, _)| *differs) {
        name.push(':');
        name.push_str(option);
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_and_strangers_refused() {
        let spec = Spec::parse("bleu: tokenize=zh :lowercase:max=3");
        assert_eq!(spec.name, "bleu");
        assert!(spec.switch("lowercase").expect("a switch"));
        assert!(!spec.switch("force").expect("a switch"));
        assert_eq!(spec.number("max", 4, 1..=8, "1 to 8"), Ok(3));
        assert_eq!(spec.word("tokenize", &[("13a", 0), ("zh", 1)]), Ok(Some(1)));
        assert!(spec.only(&["tokenize", "lowercase"]).expect_err("max").to_string().contains("`max`"));
        let wrong = Spec::parse("bleu:max=nine").number("max", 4, 1..=8, "1 to 8").expect_err("no number");
        assert_eq!(wrong.to_string(), "bleu:max: expected 1 to 8, found `nine`");
    }
}
