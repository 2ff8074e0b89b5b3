//! Which linear layers an adapter covers, and with which rank and scale: PEFT's matching rules.

use fancy_regex::Regex;

use super::config::{LoraConfig, Targets};
use crate::ModelError;

/// Rank and scale of one adapted layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    pub(super) rank: usize,
    pub(super) scale: f64,
}

/// An adapter's settings with their patterns compiled.
pub(super) struct Rules<'a> {
    config: &'a LoraConfig,
    targets: Matcher,
    excluded: Option<Matcher>,
    /// Modules that are trained as a whole get no adapter.
    whole: Vec<Regex>,
    /// Each finds the number of the layer that a name belongs to.
    numbers: Vec<Regex>,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

enum Matcher {
    All,
    Named(Vec<String>),
    Pattern(Regex),
}

impl Matcher {
    fn new(targets: &Targets) -> Result<Self, ModelError> {
        Ok(match targets {
            Targets::AllLinear => Self::All,
            Targets::Named(names) => Self::Named(names.clone()),
            Targets::Pattern(pattern) => Self::Pattern(compile(pattern, &format!("^(?:{pattern})$"))?),
        })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|target| named(target, name)),
            Self::Pattern(pattern) => found(pattern, name),
        }
    }
}

/// A full name, or its ending after a dot.
fn named(target: &str, name: &str) -> bool {
    name == target || name.strip_suffix(target).is_some_and(|rest| rest.ends_with('.'))
}

/// Python's syntax, look-around and back-references included.
fn compile(pattern: &str, expression: &str) -> Result<Regex, ModelError> {
    Regex::new(expression)
        .map_err(|error| ModelError::Pattern { pattern: pattern.to_owned(), reason: error.to_string() })
}

/// A pattern that backtracks too long for a name does not match it.
fn found(pattern: &Regex, name: &str) -> bool {
    pattern.is_match(name).unwrap_or(false)
}

/// A rank or alpha pattern matches a whole name, or its ending after a dot.
fn compile_all<T: Copy>(patterns: &[(String, T)]) -> Result<Vec<(Regex, T)>, ModelError> {
    patterns
        .iter()
        .map(|(pattern, value)| Ok((compile(pattern, &format!(r"^(?:.*\.)?(?:{pattern})$"))?, *value)))
        .collect()
}

impl<'a> Rules<'a> {
    pub(super) fn new(config: &'a LoraConfig) -> Result<Self, ModelError> {
        let whole = config.modules_to_save.iter();
        let lists = config.layers_pattern.iter();
        let numbers = if config.layers_pattern.is_empty() {
            vec![compile("layers_pattern", r"^.*?\.[^.]*\.(\d+)\.")?]
        } else {
            lists.map(|list| compile(list, &format!(r"^(?:.*?\.)?{list}\.(\d+)\."))).collect::<Result<_, _>>()?
        };
        Ok(Self {
            config,
            targets: Matcher::new(&config.target_modules)?,
            excluded: config.exclude_modules.as_ref().map(Matcher::new).transpose()?,
            whole: whole
                .map(|name| compile(name, &format!(r"^(?:.*\.)?{name}(?:$|\..*)")))
                .collect::<Result<_, _>>()?,
            numbers,
            ranks: compile_all(&config.rank_pattern)?,
            alphas: compile_all(&config.alpha_pattern)?,
        })
    }

    /// Checks that each named target and each pattern of ranks and alphas matches a layer.
    pub(super) fn check(&self, linears: &[&str]) -> Result<(), ModelError> {
        let nowhere = |matches: &dyn Fn(&str) -> bool| !linears.iter().any(|name| matches(name));
        let unmatched = match &self.targets {
            Matcher::Named(names) if names.is_empty() => Some(String::new()),
            Matcher::Named(names) => names.iter().find(|target| nowhere(&|name| named(target, name))).cloned(),
            Matcher::Pattern(pattern) if nowhere(&|name| found(pattern, name)) => {
                Some(self.config.target_modules.to_string())
            }
            Matcher::Pattern(_) | Matcher::All => None,
        };
        let ranks = self.ranks.iter().map(|(pattern, _)| pattern).zip(self.config.rank_pattern.iter().map(|(p, _)| p));
        let alphas =
            self.alphas.iter().map(|(pattern, _)| pattern).zip(self.config.alpha_pattern.iter().map(|(p, _)| p));
        let unmatched = unmatched.or_else(|| {
            ranks.chain(alphas).find(|(pattern, _)| nowhere(&|name| found(pattern, name))).map(|(_, text)| text.clone())
        });
        match unmatched {
            Some(found) => Err(ModelError::UnknownTarget { found, linears: endings(linears) }),
            None => Ok(()),
        }
    }

    /// Rank and scale for a layer, where it is adapted.
    pub(super) fn shape(&self, name: &str) -> Option<Shape> {
        let wanted = &self.config.layers_to_transform;
        let in_layers = wanted.is_empty() || self.layer_number(name).is_some_and(|number| wanted.contains(&number));
        let left_out = self.excluded.as_ref().is_some_and(|excluded| excluded.matches(name))
            || self.whole.iter().any(|module| found(module, name));
        if !self.targets.matches(name) || !in_layers || left_out {
            return None;
        }
        let rank = first_match(&self.ranks, name).unwrap_or(self.config.r);
        let alpha = first_match(&self.alphas, name).unwrap_or(self.config.alpha);
        let divisor = if self.config.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        Some(Shape { rank, scale: alpha / divisor })
    }

    /// The first list of layers that a pattern finds in the name counts: `model.layers.3.mlp.up_proj` is in layer 3.
    fn layer_number(&self, name: &str) -> Option<usize> {
        self.numbers.iter().find_map(|pattern| pattern.captures(name).ok()??.get(1)?.as_str().parse().ok())
    }
}

fn first_match<T: Copy>(patterns: &[(Regex, T)], name: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| found(pattern, name)).map(|(_, value)| *value)
}

/// What comes after the last dot, each once: the names a person would type.
fn endings(linears: &[&str]) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for name in linears {
        let ending = name.rsplit('.').next().unwrap_or(name);
        if !list.iter().any(|known| known == ending) {
            list.push(ending.to_owned());
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEARS: [&str; 3] =
        ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj"];

    fn named_targets(names: &[&str]) -> LoraConfig {
        LoraConfig {
            r: 4,
            alpha: 8.0,
            target_modules: Targets::Named(names.iter().map(|name| (*name).to_owned()).collect()),
            ..LoraConfig::default()
        }
    }

    #[test]
    fn a_name_matches_after_a_dot_only() {
        let config = named_targets(&["q_proj", "model.layers.0.mlp.up_proj"]);
        let rules = Rules::new(&config).unwrap();
        assert!(LINEARS.iter().all(|name| rules.shape(name) == Some(Shape { rank: 4, scale: 2.0 })));
        let config = named_targets(&["proj"]);
        assert!(Rules::new(&config).unwrap().check(&LINEARS).is_err());
    }

    #[test]
    fn an_unknown_target_lists_the_linear_layers() {
        let config = named_targets(&["q_proj", "query"]);
        let error = Rules::new(&config).unwrap().check(&LINEARS).unwrap_err().to_string();
        assert!(error.contains("`query`") && error.contains("`q_proj`, `up_proj`"), "{error}");
    }

    #[test]
    fn patterns_change_rank_and_alpha() {
        let config = LoraConfig {
            rank_pattern: vec![("layers.0.self_attn.q_proj".to_owned(), 16), ("q_proj".to_owned(), 2)],
            alpha_pattern: vec![("up_proj".to_owned(), 1.0)],
            use_rslora: true,
            ..named_targets(&["q_proj", "up_proj"])
        };
        let rules = Rules::new(&config).unwrap();
        assert_eq!(rules.shape(LINEARS[0]), Some(Shape { rank: 16, scale: 2.0 }));
        assert_eq!(rules.shape(LINEARS[1]), Some(Shape { rank: 4, scale: 0.5 }));
        assert_eq!(rules.shape(LINEARS[2]).unwrap().rank, 2);
    }

    #[test]
    fn layers_and_exclusions_narrow_the_choice() {
        let config =
            LoraConfig { layers_to_transform: vec![1], target_modules: Targets::AllLinear, ..LoraConfig::default() };
        let rules = Rules::new(&config).unwrap();
        assert_eq!(LINEARS.map(|name| rules.shape(name).is_some()), [false, false, true]);
        let config = LoraConfig {
            exclude_modules: Some(Targets::Pattern(r".*\.mlp\..*".to_owned())),
            target_modules: Targets::Pattern(".*layers.0.*".to_owned()),
            ..LoraConfig::default()
        };
        let rules = Rules::new(&config).unwrap();
        assert_eq!(LINEARS.map(|name| rules.shape(name).is_some()), [true, false, false]);
    }

    #[test]
    fn layers_are_counted_in_the_list_that_is_named() {
        let names = ["model.vision.layers.0.q_proj", "model.text.blocks.0.q_proj"];
        let chosen = |patterns: &[&str]| {
            let config = LoraConfig {
                layers_to_transform: vec![0],
                layers_pattern: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
                ..LoraConfig::default()
            };
            let rules = Rules::new(&config).unwrap();
            names.map(|name| rules.shape(name).is_some())
        };
        assert_eq!(chosen(&[]), [true, true]);
        assert_eq!(chosen(&["blocks"]), [false, true]);
        assert_eq!(chosen(&["layers", "blocks"]), [true, true]);
    }

    #[test]
    fn whole_modules_get_no_adapter_and_patterns_may_look_ahead() {
        let config = LoraConfig { modules_to_save: vec!["mlp".to_owned()], ..LoraConfig::default() };
        let rules = Rules::new(&config).unwrap();
        assert_eq!(LINEARS.map(|name| rules.shape(name).is_some()), [true, false, true]);
        let config = LoraConfig {
            target_modules: Targets::Pattern(r"(?!.*\.mlp\.).*layers\.0.*".to_owned()),
            ..LoraConfig::default()
        };
        let rules = Rules::new(&config).unwrap();
        assert_eq!(LINEARS.map(|name| rules.shape(name).is_some()), [true, false, false]);
    }

    #[test]
    fn a_pattern_for_no_layer_is_refused() {
        let config = LoraConfig { rank_pattern: vec![("q_prj".to_owned(), 2)], ..LoraConfig::default() };
        let error = Rules::new(&config).unwrap().check(&LINEARS).unwrap_err().to_string();
        assert!(error.contains("`q_prj`"), "{error}");
    }
}
