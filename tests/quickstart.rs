//! The quickstart's texts: written by their generator, and held out as its README says.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PRODUCTS: &str = "kettle, toaster, frying pan, coffee mill, rake, garden hose, wheelbarrow, lawn chair, radio, drum, \
    flute, record player, lantern, reading lamp, candle stand, torch, tent, suitcase, sleeping bag, map case, kite, \
    train set, puzzle, doll house";
const TOWNS: &str =
    "Brookham, Carrow, Dunmore, Eastwick, Fernley, Glenside, Holmby, Larkfield, Marlow, Norwell, Penrith, Redhill";
/// What an answer says for each kind of trouble, and for no other.
const POLICIES: [&str; 8] = [
    "will replace it within",
    "will send a second",
    "will pack the right",
    "will refund",
    "will post the missing part",
    "will repair",
    "will pay back",
    "will print a new manual",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart")
}

fn letters(name: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    let text_of = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|row| (text_of(&row, "prompt"), text_of(&row, "completion")))
        .collect()
}

/// The one of `words` that a text holds.
fn which<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> &'a str {
    words.into_iter().find(|word| text.contains(word)).unwrap_or_else(|| panic!("nothing of the shop in {text}"))
}

/// Product, town, policy and order number of each letter.
fn affairs(letters: &[(String, String)]) -> Vec<(&str, &str, &str, String)> {
    letters
        .iter()
        .map(|(prompt, completion)| {
            let after = prompt.split("order ").nth(1).or_else(|| prompt.split("order is ").nth(1));
            let order = after.unwrap().trim_start_matches("is ").chars().take(3).collect();
            (which(prompt, PRODUCTS.split(", ")), which(prompt, TOWNS.split(", ")), which(completion, POLICIES), order)
        })
        .collect()
}

#[test]
fn held_out_letters_are_new_combinations_with_new_numbers() {
    let (training, held_out) = (letters("support.jsonl"), letters("support-test.jsonl"));
    assert_eq!((training.len(), held_out.len()), (2000, 200));
    let (training, held_out) = (affairs(&training), affairs(&held_out));
    let by_product: BTreeSet<_> = training.iter().map(|(product, _, policy, _)| (product, policy)).collect();
    let by_town: BTreeSet<_> = training.iter().map(|(_, town, policy, _)| (town, policy)).collect();
    let orders: BTreeSet<_> = training.iter().map(|(_, _, _, order)| order).collect();
    assert_eq!((by_product.len(), by_town.len()), (192 - 32, 96 - 24), "all other combinations are taught");
    for (product, town, policy, order) in &held_out {
        assert!(!by_product.contains(&(product, policy)), "{product}, {policy}");
        assert!(!by_town.contains(&(town, policy)), "{town}, {policy}");
        assert!(!orders.contains(order), "{order}");
    }
}

#[test]
fn no_answer_to_a_held_out_letter_is_in_any_other_text() {
    let base = fs::read_to_string(folder().join("base.txt")).unwrap();
    let taught: BTreeSet<String> = letters("support.jsonl").into_iter().map(|(_, completion)| completion).collect();
    for (prompt, completion) in letters("support-test.jsonl") {
        assert!(!taught.contains(&completion) && !base.contains(completion.trim()), "{completion}");
        assert!(!base.contains(prompt.lines().next().unwrap()), "{prompt}");
    }
    assert!(!base.contains("Shop:"), "the base has seen no answer");
}

#[test]
fn the_texts_are_what_the_generator_writes() {
    for (part, name) in [("base", "base.txt"), ("train", "support.jsonl"), ("test", "support-test.jsonl")] {
        let output =
            Command::new("awk").args(["-v", &format!("part={part}"), "-f", "write.awk"]).current_dir(folder()).output();
        let Ok(output) = output else {
            println!("skipped: there is no awk");
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            output.stdout == fs::read(folder().join(name)).unwrap(),
            "{name} differs: write it again, see write.awk"
        );
    }
}
