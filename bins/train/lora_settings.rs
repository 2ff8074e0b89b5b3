//! The settings of an adapter: from the flags, or those of the adapter that is continued.

use anyhow::Result;
use cli::{Hint, Usage};
use model::{Bias, InitialWeights, LoraConfig, Targets};
use serde_json::{Map, Value};

use super::args::{Args, BiasArg, InitArg, LoraArgs, Method};

/// The adapter's settings: those of `adapter` where one is continued, else those of the flags.
pub(crate) fn lora(args: &Args, adapter: Option<&LoraConfig>) -> Result<LoraConfig> {
    let flags = &args.lora;
    if let Some(adapter) = adapter {
        if let Some(flag) = contradiction(flags, adapter)? {
            return Err(Usage(format!(
                "{flag} differs from the settings of the adapter that --adapter goes on training"
            )))
            .hint(format!("leave out {flag}, or leave out --adapter to start a new one"));
        }
        return Ok(adapter.clone());
    }
    let config = from_flags(flags, args.method == Some(Method::Dora))?;
    config.check().map_err(|error| Usage(error.to_string()))?;
    Ok(config)
}

fn from_flags(flags: &LoraArgs, use_dora: bool) -> Result<LoraConfig> {
    let dropout = flags.lora_dropout.unwrap_or(0.0);
    if !(0.0..1.0).contains(&dropout) {
        return Err(Usage(format!("--lora-dropout must be from 0 to below 1, found {dropout}")).into());
    }
    let alpha = flags.lora_alpha.unwrap_or(32.0);
    if !alpha.is_finite() {
        return Err(Usage(format!("--lora-alpha must be a number, found {alpha}")).into());
    }
    Ok(LoraConfig {
        r: flags.lora_r.unwrap_or(16) as usize,
        alpha,
        dropout,
        target_modules: flags.target_modules.as_deref().map_or(Targets::AllLinear, Targets::parse),
        exclude_modules: flags.exclude_modules.as_deref().map(Targets::parse),
        layers_to_transform: layer_numbers(&flags.layers)?,
        layers_pattern: flags.layers_pattern.clone(),
        rank_pattern: pattern("--lora-rank-pattern", &flags.lora_rank_pattern, |n: &usize| *n > 0)?,
        alpha_pattern: pattern("--lora-alpha-pattern", &flags.lora_alpha_pattern, |x: &f64| x.is_finite())?,
        use_rslora: flags.rslora,
        use_dora,
        bias: bias(flags.bias),
        lora_bias: flags.lora_bias,
        modules_to_save: flags.modules_to_save.clone(),
        ensure_weight_tying: flags.ensure_weight_tying,
        init_lora_weights: match flags.init_lora_weights {
            None | Some(InitArg::True) => InitialWeights::Kaiming,
            Some(InitArg::False) => InitialWeights::Random,
            Some(InitArg::Gaussian) => InitialWeights::Gaussian,
            Some(InitArg::Orthogonal) => InitialWeights::Orthogonal,
        },
    })
}

/// The first flag that says something else than the adapter that is continued.
fn contradiction(flags: &LoraArgs, adapter: &LoraConfig) -> Result<Option<&'static str>> {
    let given = from_flags(flags, adapter.use_dora)?;
    let differs = [
        ("--init-lora-weights", flags.init_lora_weights.is_some()),
        ("--lora-r", flags.lora_r.is_some() && given.r != adapter.r),
        ("--lora-dropout", flags.lora_dropout.is_some() && given.dropout != adapter.dropout),
        ("--lora-alpha", flags.lora_alpha.is_some() && given.alpha != adapter.alpha),
        ("--target-modules", flags.target_modules.is_some() && given.target_modules != adapter.target_modules),
        ("--exclude-modules", flags.exclude_modules.is_some() && given.exclude_modules != adapter.exclude_modules),
        ("--layers", !flags.layers.is_empty() && given.layers_to_transform != adapter.layers_to_transform),
        ("--layers-pattern", !flags.layers_pattern.is_empty() && given.layers_pattern != adapter.layers_pattern),
        ("--lora-rank-pattern", !given.rank_pattern.is_empty() && given.rank_pattern != adapter.rank_pattern),
        ("--lora-alpha-pattern", !given.alpha_pattern.is_empty() && given.alpha_pattern != adapter.alpha_pattern),
        ("--rslora", flags.rslora && !adapter.use_rslora),
        ("--modules-to-save", !given.modules_to_save.is_empty() && given.modules_to_save != adapter.modules_to_save),
        ("--ensure-weight-tying", flags.ensure_weight_tying && !adapter.ensure_weight_tying),
        ("--bias", flags.bias.is_some() && given.bias != adapter.bias),
        ("--lora-bias", flags.lora_bias && !adapter.lora_bias),
    ];
    Ok(differs.into_iter().find(|(_, differs)| *differs).map(|(flag, _)| flag))
}

/// Refuses flags of adapters where none is trained.
pub(crate) fn refuse(flags: &LoraArgs) -> Result<()> {
    // A continued adapter whose settings no flag can repeat: any flag given differs from it.
    let nothing = LoraConfig {
        r: 0,
        alpha: f64::NAN,
        dropout: f64::NAN,
        target_modules: Targets::Named(vec![String::new()]),
        exclude_modules: Some(Targets::Named(vec![String::new()])),
        bias: if flags.bias == Some(BiasArg::All) { Bias::None } else { Bias::All },
        ..LoraConfig::default()
    };
    match contradiction(flags, &nothing)? {
        Some(flag) => Err(Usage(format!("{flag} belongs to adapters, and every weight is trained here")))
            .hint(format!("leave out {flag}, or choose --method lora")),
        None => Ok(()),
    }
}

/// For the manifest: what is not as by default, apart from the settings that have a line of their own there.
pub(crate) fn beyond_defaults(config: &LoraConfig) -> Map<String, Value> {
    const LISTED: [&str; 5] = ["r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora"];
    let named = Targets::Named(Vec::new());
    // The targets have their own line; as names, none, everything else is written as it was given.
    let json =
        |config: &LoraConfig| LoraConfig { target_modules: named.clone(), ..config.clone() }.to_json(None, false, &[]);
    let (found, default) = (json(config), json(&LoraConfig::default()));
    let fields = found.as_object().into_iter().flatten();
    let differs = fields.filter(|(key, value)| !LISTED.contains(&key.as_str()) && default[key.as_str()] != **value);
    differs.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn bias(flag: Option<BiasArg>) -> Bias {
    match flag {
        None | Some(BiasArg::None) => Bias::None,
        Some(BiasArg::All) => Bias::All,
        Some(BiasArg::LoraOnly) => Bias::LoraOnly,
    }
}

/// `0`, `2`, `8-11`.
fn layer_numbers(words: &[String]) -> Result<Vec<usize>> {
    let mut numbers = Vec::new();
    for word in words {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last - first < 100_000 => numbers.extend(first..=last),
            _ => return Err(Usage(format!("--layers takes numbers and ranges such as 0,2,8-11, found {word}")).into()),
        }
    }
    Ok(numbers)
}

/// `NAME=VALUE`, in the order given.
fn pattern<T: std::str::FromStr>(
    flag: &str,
    words: &[String],
    allowed: impl Fn(&T) -> bool,
) -> Result<Vec<(String, T)>> {
    let one = |word: &String| {
        let (name, value) = word.rsplit_once('=')?;
        let value = value.trim().parse().ok().filter(|value| allowed(value))?;
        (!name.is_empty()).then(|| (name.trim().to_owned(), value))
    };
    let wrong = |word: &String| Usage(format!("{flag} takes NAME=NUMBER, found {word}"));
    words.iter().map(|word| Ok(one(word).ok_or_else(|| wrong(word))?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_numbers_and_ranges() {
        let numbers = |words: &[&str]| layer_numbers(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(numbers(&["0", "2-4"]).unwrap(), [0, 2, 3, 4]);
        assert!(numbers(&["4-2"]).is_err() && numbers(&["a"]).is_err() && numbers(&["-1"]).is_err());
    }

    #[test]
    fn patterns_keep_their_order() {
        let words = ["q_proj=4".to_owned(), "layers.0.*=2".to_owned()];
        let found = pattern("--lora-rank-pattern", &words, |n: &usize| *n > 0).unwrap();
        assert_eq!(found, [("q_proj".to_owned(), 4), ("layers.0.*".to_owned(), 2)]);
        assert!(pattern::<usize>("--lora-rank-pattern", &["q_proj".to_owned()], |_| true).is_err());
        assert!(pattern("--lora-rank-pattern", &["q_proj=0".to_owned()], |n: &usize| *n > 0).is_err());
    }

    #[test]
    fn the_manifest_holds_what_is_not_by_default() {
        assert!(beyond_defaults(&LoraConfig::default()).is_empty());
        let config = LoraConfig {
            modules_to_save: vec!["lm_head".to_owned()],
            layers_to_transform: vec![1],
            use_dora: true,
            ..LoraConfig::default()
        };
        let keys: Vec<String> = beyond_defaults(&config).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["layers_to_transform", "modules_to_save", "use_dora"]);
    }
}
