//! Rules about characters, and the cleaning that satisfies them.

use artifact::{Example, Message};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfkc_quick};

use super::{Finding, Rule, Rules};
use crate::normal::texts;

/// What is done to every text before it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// Unicode normal form C.
    pub nfc: bool,
    /// Unicode normal form KC, which also folds ligatures, full-width letters and the like.
    pub nfkc: bool,
    /// Control characters are taken out, and `\r\n` becomes `\n`.
    pub control: bool,
}

impl Cleaning {
    /// Parses `nfc`, `nfkc` and `control`, by commas.
    ///
    /// # Errors
    /// A sentence that names what is not known.
    pub fn parse(words: &str) -> Result<Self, String> {
        let mut cleaning = Self::default();
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty() && *word != "none") {
            match word {
                "nfc" => cleaning.nfc = true,
                "nfkc" => cleaning.nfkc = true,
                "control" => cleaning.control = true,
                other => return Err(format!("expected nfc, nfkc or control, found `{other}`")),
            }
        }
        Ok(cleaning)
    }

    /// Cleans all that is said in an example.
    pub fn apply(self, example: &mut Example) {
        if self == Self::default() {
            return;
        }
        let one = |text: &mut String| {
            if let Some(clean) = self.text(text) {
                *text = clean;
            }
        };
        example.text.as_mut().map(one);
        let turns = example.messages.iter_mut().chain(&mut example.chosen).chain(&mut example.rejected);
        for Message { content, .. } in turns {
            content.as_mut().map(one);
        }
    }

    /// The clean text where it differs.
    fn text(self, text: &str) -> Option<String> {
        if text.is_ascii() && !(self.control && text.bytes().any(is_control_byte)) {
            return None;
        }
        let mut clean = text.to_owned();
        if self.control {
            clean = clean.replace("\r\n", "\n");
            clean.retain(|character| !is_control(character) || character == '\u{fffd}');
        }
        if self.nfkc && is_nfkc_quick(clean.chars()) != IsNormalized::Yes {
            clean = clean.nfkc().collect();
        } else if self.nfc && is_nfc_quick(clean.chars()) != IsNormalized::Yes {
            clean = clean.nfc().collect();
        }
        (clean != text).then_some(clean)
    }
}

fn is_control_byte(byte: u8) -> bool {
    (byte < 0x20 && !matches!(byte, b'\t' | b'\n')) || byte == 0x7f
}

/// Whether there is a control byte; all bytes of a block are looked at together, so that wide registers serve.
#[expect(clippy::needless_bitwise_bool, reason = "without branches it runs on vectors")]
fn has_control_byte(bytes: &[u8]) -> bool {
    bytes.chunks(256).any(|block| {
        block.iter().fold(false, |found, byte| {
            found | ((*byte < 0x20) & (*byte != b'\t') & (*byte != b'\n') & (*byte != b'\r')) | (*byte == 0x7f)
        })
    })
}

/// Characters that no text needs: C0 and C1 controls, byte order marks inside, the sign of a lost character.
fn is_control(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => false,
        '\u{feff}' | '\u{fffd}' => true,
        other => other.is_control(),
    }
}

pub(super) fn check(example: &Example, rules: Rules, findings: &mut Vec<Finding>) {
    let (control, form) = (rules.has(Rule::ControlCharacters), rules.has(Rule::NotNfc));
    if !control && !form {
        return;
    }
    let (mut controls, mut denormal) = (None, false);
    for text in texts(example) {
        if text.is_ascii() {
            if control && controls.is_none() && has_control_byte(text.as_bytes()) {
                controls = text.chars().find(|character| is_control(*character));
            }
            continue;
        }
        if control && controls.is_none() {
            controls = text.chars().find(|character| is_control(*character));
        }
        if form && !denormal {
            denormal = match is_nfc_quick(text.chars()) {
                IsNormalized::Yes => false,
                IsNormalized::No => true,
                IsNormalized::Maybe => !unicode_normalization::is_nfc(text),
            };
        }
    }
    if let Some(found) = controls {
        findings.push(Finding::new(
            Rule::ControlCharacters,
            format!("U+{:04X}; --clean control takes such out", found as u32),
        ));
    }
    if denormal {
        findings.push(Finding::new(Rule::NotNfc, "not in normal form C; --clean nfc makes it so"));
    }
}
