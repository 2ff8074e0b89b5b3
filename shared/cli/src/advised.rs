//! Values of a flag that people know from elsewhere and that are not built: refused by name, with what to use instead.

use crate::format::quoted_list;
use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, ValueEnum};
use std::ffi::OsStr;

/// Reads the values of an enum, and answers to names that are none of them.
#[derive(Clone, Debug)]
pub struct Advised<E: ValueEnum + Clone + Send + Sync + 'static> {
    values: EnumValueParser<E>,
    advice: &'static [(&'static [&'static str], &'static str)],
}

impl<E: ValueEnum + Clone + Send + Sync + 'static> Advised<E> {
    /// `advice` pairs names with what to use in their place.
    pub fn new(advice: &'static [(&'static [&'static str], &'static str)]) -> Self {
        Self { values: EnumValueParser::new(), advice }
    }
}

impl<E: ValueEnum + Clone + Send + Sync + 'static> TypedValueParser for Advised<E> {
    type Value = E;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<E, clap::Error> {
        let given = value.to_string_lossy().to_lowercase().replace('_', "-");
        let known = self.advice.iter().find(|(names, _)| names.contains(&given.as_str()));
        let Some((_, instead)) = known else { return self.values.parse_ref(command, arg, value) };
        let flag = arg.and_then(Arg::get_long).unwrap_or("value");
        let own: Vec<String> = self.possible_values().into_iter().flatten().map(|v| v.get_name().to_owned()).collect();
        let message = format!(
            "--{flag} {} is not built; there are {}\nhint: {instead}\n",
            value.to_string_lossy(),
            quoted_list(&own)
        );
        Err(clap::Error::raw(ErrorKind::InvalidValue, message).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.values.possible_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, ValueEnum)]
    enum Method {
        Lora,
        Full,
    }

    fn parse(value: &str) -> Result<Method, String> {
        let parser = Advised::<Method>::new(&[(&["ia3"], "take lora")]);
        let command = Command::new("x").arg(Arg::new("method").long("method").value_parser(parser));
        let matches = command.try_get_matches_from(["x", "--method", value]).map_err(|error| error.to_string())?;
        Ok(matches.get_one::<Method>("method").expect("given").clone())
    }

    #[test]
    fn a_name_from_elsewhere_is_answered_and_others_are_as_ever() {
        assert_eq!(parse("full"), Ok(Method::Full));
        let refused = parse("IA3").expect_err("not built");
        assert!(refused.contains("--method IA3 is not built") && refused.contains("hint: take lora"), "{refused}");
        assert!(parse("lora2").expect_err("no such value").contains("possible values: lora, full"));
    }
}
