//! Chat templates: the Jinja programs that turn messages into one text. Rendered by minijinja, set up so that the
//! result equals that of transformers (`trim_blocks`, `lstrip_blocks`, Python's printing and JSON, loop controls).

use crate::calendar::Day;
use crate::generation_tags;
use crate::generation_tags::Spans;
use crate::python_json::{JsonStyle, python_str, to_json};
use crate::{EncodingError, Result, TokenizerFacts};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use std::collections::BTreeMap;

/// Our template for models that have none: `User:` and `Assistant:` lines, each answer closed by the end token. For
/// models whose texts begin with a start token it prints that first, as other tools add none to a rendered chat.
pub const DEFAULT_TEMPLATE: &str = "{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {{- 'Assistant: ' + message['content'] + eos_token + '\\n' }}
    {%- elif message['role'] in ['user', 'system', 'tool'] %}
        {{- message['role'] | capitalize + ': ' + message['content'] + '\\n' }}
    {%- else %}
        {{- raise_exception('this template knows the roles system, user, assistant and tool, not ' + message['role']) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'Assistant:' }}
{%- endif %}
";

/// Where a template comes from; written with the tokens so that nobody has to guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateOrigin {
    /// The model's own folder.
    Model,
    /// A file that the user named.
    File(String),
    /// [`DEFAULT_TEMPLATE`].
    Default,
}

impl std::fmt::Display for TemplateOrigin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Model => write!(formatter, "the model"),
            Self::File(name) => write!(formatter, "{name}"),
            Self::Default => write!(formatter, "retune's default"),
        }
    }
}

/// A compiled chat template with the constants that it sees.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    sources: BTreeMap<String, String>,
    origin: TemplateOrigin,
    constants: Vec<(String, Value)>,
}

/// What a template may be told beside the messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateOptions {
    /// The day that `strftime_now` gives. Without one the function does not exist, and templates that ask whether it
    /// does fall back on a fixed day of their own.
    pub day: Option<Day>,
    /// Further variables, such as `enable_thinking`.
    pub variables: BTreeMap<String, serde_json::Value>,
}

impl ChatTemplate {
    /// Compiles one source.
    ///
    /// # Errors
    /// [`EncodingError::Template`] where it is not valid.
    pub fn compile(
        source: &str,
        origin: TemplateOrigin,
        facts: &TokenizerFacts,
        options: &TemplateOptions,
    ) -> Result<Self> {
        Self::compile_named(BTreeMap::from([("default".into(), source.into())]), origin, facts, options)
    }

    /// The template of the tokenizer's own files, or [`DEFAULT_TEMPLATE`] where it has none.
    ///
    /// # Errors
    /// [`EncodingError::Template`] where it is not valid.
    pub fn of_model(facts: &TokenizerFacts, options: &TemplateOptions) -> Result<Self> {
        if facts.chat_templates.contains_key("default") {
            Self::compile_named(facts.chat_templates.clone(), TemplateOrigin::Model, facts, options)
        } else if let Some((name, _)) = facts.chat_templates.first_key_value() {
            Err(EncodingError::Template {
                origin: TemplateOrigin::Model.to_string(),
                action: "has no variant called `default`",
                message: format!("the first of {} is `{name}`", facts.chat_templates.len()),
                hint: "write the one you want to a file and pass --chat-template FILE".into(),
            })
        } else {
            let start = if facts.add_bos_token == Some(true) { "{{- bos_token }}\n" } else { "" };
            Self::compile(&format!("{start}{DEFAULT_TEMPLATE}"), TemplateOrigin::Default, facts, options)
        }
    }

    fn compile_named(
        sources: BTreeMap<String, String>,
        origin: TemplateOrigin,
        facts: &TokenizerFacts,
        options: &TemplateOptions,
    ) -> Result<Self> {
        let mut environment = environment(options.day);
        for (name, source) in &sources {
            environment.add_template_owned(name.clone(), generation_tags::to_filter_blocks(source)).map_err(
                |error| EncodingError::Template {
                    origin: origin.to_string(),
                    action: "does not compile",
                    message: error_text(&error),
                    hint: "pass a corrected template with --chat-template FILE".into(),
                },
            )?;
        }
        let mut constants: Vec<(String, Value)> =
            facts.named_tokens().map(|(name, token)| (name.to_owned(), Value::from(token))).collect();
        constants.push(("documents".into(), Value::from(())));
        for (name, value) in &options.variables {
            constants.retain(|(taken, _)| taken != name);
            constants.push((name.clone(), from_json(value)));
        }
        Ok(Self { environment, sources, origin, constants })
    }

    /// The source in general use.
    pub fn source(&self) -> &str {
        &self.sources["default"]
    }

    /// All sources by name.
    pub fn sources(&self) -> &BTreeMap<String, String> {
        &self.sources
    }

    /// Where it comes from.
    pub fn origin(&self) -> &TemplateOrigin {
        &self.origin
    }

    /// Renders messages (and tool definitions) to the text that the model is to see.
    ///
    /// # Errors
    /// [`EncodingError::Template`] where the template raises an exception or fails.
    pub(crate) fn render(
        &self,
        messages: &[Value],
        tools: Option<&Value>,
        add_generation_prompt: bool,
    ) -> Result<String> {
        self.render_with(messages, tools, Some(add_generation_prompt), false)
    }

    /// Whether the template marks what the assistant writes with `{% generation %}` tags.
    pub(crate) fn has_generation_tags(&self) -> bool {
        self.sources.values().any(|source| generation_tags::are_in(source))
    }

    /// Renders without a generation prompt; beside the text the bytes that stand between the template's
    /// `{% generation %}` tags, or `None` where the tags change what the template renders.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub(crate) fn render_marked(&self, messages: &[Value], tools: Option<&Value>) -> Result<Option<(String, Spans)>> {
        let marked = self.render_with(messages, tools, Some(false), true)?;
        let (text, spans) = generation_tags::take_marks(&marked);
        let plain = self.render_with(messages, tools, Some(false), false)?;
        Ok((text == plain).then_some((text, spans)))
    }

    fn render_with(
        &self,
        messages: &[Value],
        tools: Option<&Value>,
        add_generation_prompt: Option<bool>,
        marked: bool,
    ) -> Result<String> {
        let name = if tools.is_some() && self.sources.contains_key("tool_use") { "tool_use" } else { "default" };
        let mut context: Vec<(Value, Value)> = Vec::with_capacity(self.constants.len() + 4);
        context.push((generation_tags::MARKED.into(), Value::from(marked)));
        context.push(("messages".into(), Value::from(messages.to_vec())));
        context.push(("tools".into(), tools.cloned().unwrap_or_else(|| Value::from(()))));
        if let Some(flag) = add_generation_prompt {
            context.push(("add_generation_prompt".into(), Value::from(flag)));
        }
        context.extend(self.constants.iter().map(|(name, value)| (Value::from(name.as_str()), value.clone())));
        let template = self.environment.get_template(name).expect("compiled in `compile_named`");
        template.render(Value::from_pairs(context)).map_err(|error| self.refusal(&error))
    }

    /// Renders messages given as a JSON array, whatever fields they have. Without `add_generation_prompt` the template
    /// decides by its own default; transformers always says `false` or `true`.
    ///
    /// # Errors
    /// [`EncodingError::Template`] where the template raises an exception or fails.
    pub fn render_json(
        &self,
        messages: &serde_json::Value,
        tools: Option<&serde_json::Value>,
        add_generation_prompt: Option<bool>,
    ) -> Result<String> {
        let messages: Vec<Value> = messages.as_array().into_iter().flatten().map(from_json).collect();
        self.render_with(&messages, tools.map(from_json).as_ref(), add_generation_prompt, false)
    }

    fn refusal(&self, error: &Error) -> EncodingError {
        let message = error_text(error);
        let hint = if message.contains("strftime_now") {
            "the template prints today's date; fix the day with --template-date YYYY-MM-DD"
        } else if message.contains("undefined") {
            "a variable of the template has no value; give it with --template-variable NAME=VALUE, or pass another \
             template with --chat-template FILE"
        } else {
            ""
        };
        EncodingError::Template {
            origin: self.origin.to_string(),
            action: "refused the messages",
            message,
            hint: hint.into(),
        }
    }
}

/// The engine, set up as transformers sets up Jinja2.
fn environment(day: Option<Day>) -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(false);
    environment.set_syntax(syntax.build().expect("the usual delimiters are valid"));
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, _, value| {
        out.write_str(&python_str(value)).map_err(|_| Error::new(ErrorKind::WriteFailure, "cannot print"))
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter(generation_tags::FILTER, generation_tags::mark);
    // As in Jinja2: nothing can be walked through, what is undefined can.
    environment
        .add_test("iterable", |value: &Value| !value.is_none() && (value.is_undefined() || value.try_iter().is_ok()));
    environment.add_filter("string", |value: Value| python_str(&value));
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    if let Some(day) = day {
        environment.add_function("strftime_now", move |format: String| day.format(&format));
    }
    environment
}

/// transformers' `tojson`: Python's `json.dumps` without HTML escapes, non-ASCII text kept.
fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<Value> = options.get("indent")?;
    let indent = match indent.filter(|value| !value.is_none()) {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(width) => Some(" ".repeat(usize::try_from(width)?)),
    };
    let separators: Option<Vec<String>> = options.get("separators")?;
    let flag = |name| options.get::<Option<bool>>(name).map(Option::unwrap_or_default);
    let style = JsonStyle {
        item_separator: (if indent.is_some() { "," } else { ", " }).into(),
        key_separator: ": ".into(),
        indent,
        ensure_ascii: flag("ensure_ascii")?,
        sort_keys: flag("sort_keys")?,
    };
    let style = match separators.as_deref() {
        Some([item, key]) => JsonStyle { item_separator: item.clone(), key_separator: key.clone(), ..style },
        _ => style,
    };
    options.assert_all_used()?;
    to_json(value, &style)
}

/// A JSON value as the engine's value, keys in their order.
pub(crate) fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(integer), _, _) => Value::from(integer),
            (None, Some(integer), _) => Value::from(integer),
            (None, None, float) => Value::from(float.unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::from(items.iter().map(from_json).collect::<Vec<_>>()),
        serde_json::Value::Object(entries) => {
            Value::from_pairs(entries.iter().map(|(key, value)| (key.as_str(), from_json(value))))
        }
    }
}

/// The message and its causes without the engine's source listing.
fn error_text(error: &Error) -> String {
    let mut text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    if let Some(line) = error.line() {
        text.push_str(&format!(" (line {line})"));
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
