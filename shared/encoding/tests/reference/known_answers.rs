//! Renderings of transformers and encodings of the tokenizers' own libraries, to the character and the id.

use crate::reference;
use encoding::{ChatTemplate, Specials, TemplateOptions, TemplateOrigin, Tokenizer, TokenizerFacts};
use serde_json::{Map, Value};

fn read(name: &str) -> Option<Map<String, Value>> {
    let text = std::fs::read_to_string(reference(name)?).expect("readable");
    Some(serde_json::from_str(&text).expect("JSON"))
}

#[test]
fn templates_render_as_in_transformers() {
    let Some(cases) = read("known_answers/chat_templates.json") else { return };
    let mut wrong = Vec::new();
    for (name, case) in &cases {
        let data = case["data"].as_object().expect("data");
        let token = |key: &str| data.get(key).and_then(Value::as_str).map(str::to_owned);
        let facts = TokenizerFacts {
            bos_token: token("bos_token"),
            eos_token: token("eos_token"),
            ..TokenizerFacts::default()
        };
        let known = ["messages", "tools", "bos_token", "eos_token", "add_generation_prompt"];
        let options = TemplateOptions {
            day: None,
            variables: data
                .iter()
                .filter(|(key, _)| !known.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        };
        let origin = TemplateOrigin::File(name.clone());
        let source = case["chat_template"].as_str().expect("a template");
        let rendered = ChatTemplate::compile(source, origin, &facts, &options).and_then(|template| {
            let prompt = data.get("add_generation_prompt").and_then(Value::as_bool);
            template.render_json(&data["messages"], data.get("tools"), prompt)
        });
        match rendered {
            Ok(text) if text == case["target"].as_str().expect("a target") => {}
            other => wrong.push(format!("{name}\n  found    {other:?}\n  expected {:?}", case["target"])),
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn texts_encode_and_decode_as_known() {
    for name in ["gpt2", "llama-2", "qwen2"] {
        let Some(document) = read(&format!("known_answers/tokenization_{name}.json")) else { return };
        let path = reference(document["tokenizer"].as_str().expect("a path")).expect("the tokenizer is installed");
        let tokenizer = Tokenizer::open(&path).expect("opens");
        let specials = if document["add_special_tokens"] == true { Specials::Added } else { Specials::None };
        for (case_name, case) in document["cases"].as_object().expect("cases") {
            let text = case["text"].as_str().expect("a text");
            let encoded = tokenizer.encode(text, specials).expect("encodes");
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).expect("ids");
            assert_eq!(encoded.ids, ids, "{name} {case_name}");
            let decoded = tokenizer.decode(&ids, false).expect("decodes");
            // The known answers were decoded by transformers, which then joins punctuation unless told not to. We never
            // do: it would change what the model wrote.
            let tidied = tokenizer.facts().config.get("clean_up_tokenization_spaces") != Some(&Value::Bool(false));
            let decoded = if tidied { tidy(&decoded) } else { decoded };
            assert_eq!(decoded, case["decoded"].as_str().expect("a text"), "{name} {case_name}");
        }
    }
}

/// transformers' `clean_up_tokenization`.
fn tidy(text: &str) -> String {
    let pairs = [" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're"];
    pairs.iter().fold(text.to_owned(), |text, pair| text.replace(pair, pair.trim_start())).replace(" ' ", "'")
}
