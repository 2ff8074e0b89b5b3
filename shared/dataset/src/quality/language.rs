//! The language of an example, by whatlang (trigrams, after Cavnar and Trenkle 1994).

use artifact::Example;
use whatlang::{Lang, detect};

use super::Finding;

/// `--language`: the languages that may stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Languages {
    codes: Vec<&'static str>,
}

/// Two letters (ISO 639-1) and three (ISO 639-3) of each language that can be told.
const NAMES: [(&str, &str); 70] = [
    ("af", "afr"),
    ("sq", "als"),
    ("am", "amh"),
    ("ar", "ara"),
    ("hy", "hye"),
    ("az", "aze"),
    ("eu", "eus"),
    ("be", "bel"),
    ("bn", "ben"),
    ("bg", "bul"),
    ("my", "mya"),
    ("ca", "cat"),
    ("zh", "cmn"),
    ("hr", "hrv"),
    ("cs", "ces"),
    ("cy", "cym"),
    ("da", "dan"),
    ("nl", "nld"),
    ("en", "eng"),
    ("eo", "epo"),
    ("et", "est"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("ka", "kat"),
    ("de", "deu"),
    ("el", "ell"),
    ("gu", "guj"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hu", "hun"),
    ("id", "ind"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("jv", "jav"),
    ("kn", "kan"),
    ("km", "khm"),
    ("ko", "kor"),
    ("la", "lat"),
    ("lv", "lav"),
    ("lt", "lit"),
    ("mk", "mkd"),
    ("ml", "mal"),
    ("mr", "mar"),
    ("ne", "nep"),
    ("no", "nob"),
    ("or", "ori"),
    ("fa", "pes"),
    ("pl", "pol"),
    ("pt", "por"),
    ("pa", "pan"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("sr", "srp"),
    ("sn", "sna"),
    ("si", "sin"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("es", "spa"),
    ("sv", "swe"),
    ("ta", "tam"),
    ("te", "tel"),
    ("tl", "tgl"),
    ("th", "tha"),
    ("tr", "tur"),
    ("tk", "tuk"),
    ("uk", "ukr"),
    ("ur", "urd"),
    ("uz", "uzb"),
    ("vi", "vie"),
    ("zu", "zul"),
];

impl Languages {
    /// Parses codes of two or three letters, by commas.
    ///
    /// # Errors
    /// A sentence that names what is not known.
    pub fn parse(codes: &str) -> Result<Self, String> {
        let mut known = Vec::new();
        for code in codes.split(',').map(|code| code.trim().to_lowercase()).filter(|code| !code.is_empty()) {
            let found = NAMES.iter().find(|(two, three)| *two == code || *three == code);
            let found = found.map(|(_, three)| *three).or_else(|| Lang::from_code(&code).map(|lang| lang.code()));
            known.push(found.ok_or_else(|| format!("`{code}` is no language that can be told, such as en, de, zh"))?);
        }
        Ok(Self { codes: known })
    }

    /// Whether any language may stay.
    pub fn is_any(&self) -> bool {
        self.codes.is_empty()
    }

    /// Whether a language other than those asked for was told with confidence.
    pub(crate) fn check(&self, example: &Example) -> Option<Finding> {
        if self.is_any() {
            return None;
        }
        let mut said = String::new();
        for text in said_in(example) {
            said.push_str(text);
            said.push('\n');
            // A few hundred words tell; more would only take time.
            if said.len() > 4096 {
                break;
            }
        }
        let found = detect(&said)?;
        let code = found.lang().code();
        let wrong = found.is_reliable() && !self.codes.contains(&code);
        let named = NAMES.iter().find(|(_, three)| *three == code).map_or(code, |(two, _)| *two);
        wrong.then(|| Finding { code: "language", detail: format!("{named} ({})", found.lang().eng_name()) })
    }
}

fn said_in(example: &Example) -> impl Iterator<Item = &str> {
    let turns =
        example.messages.iter().chain(&example.chosen).filter(|turn| turn.role != "tool" && turn.role != "system");
    example.text.as_deref().into_iter().chain(turns.filter_map(|turn| turn.content.as_deref()))
}
